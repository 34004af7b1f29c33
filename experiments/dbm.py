"""A deep Boltzmann machine of two hidden layers (Salakhutdinov and Hinton 2009), on MNIST.

    python -m experiments.dbm

pretrains two RBMs, in the folders `layer1` and `layer2` of the run, then trains the machine that
they make by mean field and persistent chains, and writes runs/dbm-mnist-seed0/report.html. The
preset `small` is 784-200-200, 10 epochs for each RBM and 20 for the machine.

`--preset salakhutdinov` is 784-500-1000 with the settings of the authors' public code: batch 100;
CD-1 at rate 0.05 with weight decay 0.001, 100 epochs for each RBM; then 500 epochs, as for the
paper, at a rate of 0.001 that is divided by 1.000015 at every update, to 0.0001 at least, with
weight decay 0.0002, 5 Gibbs steps of 100 chains and 10 updates of mean field, where copies of that
code have 10, 20 or 50 and a comment names 30 as well. Chosen here: momentum 0.9 from the first
epoch on and not from the sixth; first weights of 0.01 in both RBMs, not 0.001 in the first; CD-1 at
a constant rate in the second RBM too, where that code has more steps and a smaller rate every 20
epochs; no label units, no sparsity.

`--preset centred` reaches the paper's bound in 200 epochs and without pretraining (one seed;
docs/results/presets.md), as Montavon and Mueller ("Deep Boltzmann machines and the centering
trick", 2012) have it: small weights, the centred gradient, a rate of 0.05 that falls to 0 over the
second half, and visible biases that start at the base rates. `--pretraining-epochs 0` leaves
pretraining out of any preset.

The lab has no task about DBMs, so the page answers the lab's questions about RBMs and DBNs.
"""

import dataclasses
import logging
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab import samples as lab_samples
from experiments.lab.dbn import layers, tasks
from experiments.lab.drawing import (
    NUM_SHOWN,
    Drawing,
    against_mean,
    error_curve,
    sample_sheet,
)
from experiments.lab.rbm import tasks as rbm_tasks
from experiments.lab.rbm.training import (
    BoltzmannArgs,
    RBMArgs,
    base_rates,
    make_evaluator,
    with_decay,
)
from experiments.running import artifacts, cli
from experiments.running.console import show
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session
from experiments.running.train import sum_results, train_in_session
from jaxgen.errors import require_counts
from jaxgen.evaluation.monitors import dbm_monitors
from jaxgen.learner import PRNGKey, task_key
from jaxgen.models import dbm
from jaxgen.models.dbn import Layers
from jaxgen.random import binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, counted, number
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result
from jaxgen.training.seeds import start_from

logger = logging.getLogger("jaxgen")


@dataclass(frozen=True)
class Args(BoltzmannArgs):
    """Pretrain a deep Boltzmann machine, train it, and show what it learned and draws."""

    preset: str = "small"
    """Named set of defaults; other flags change single values of it. small: 784-200-200 in minutes;
    salakhutdinov: 784-500-1000 as the authors' public code has it; centred: the same sizes, centred
    gradient, falling rate."""
    epochs: int = 20
    """Passes over the training set of the whole machine."""
    pretraining_epochs: int = 10
    """Passes over the training set before that, for each of the two RBMs; 0: the machine starts at
    small weights."""
    schedule: Literal["constant", "falling"] = "falling"
    """Learning rate of the machine: constant, or falling to 0 over the second half of its epochs;
    --decay is apart from it."""
    base_rates: bool = True
    """Start the visible biases at the log odds of the mean training pixels instead of at 0."""
    model: dbm.Config = field(default_factory=dbm.Config)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "pretraining_epochs")

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Those of pretraining, and of a falling rate."""
        return ("pretraining_epochs", *super().fixed_lengths)

    @property
    def epochs_in_words(self) -> str:
        """Those of pretraining and those of the machine."""
        if not self.pretraining_epochs:
            return counted(self.epochs, "epoch")
        before = counted(self.pretraining_epochs, "epoch")
        return f"{before} for each of two RBMs, then {self.epochs} of the machine"


_PUBLISHED = dbm.Config(
    hidden_sizes=(500, 1000),
    learning_rate=0.001,
    decay=1.5e-5,
    momentum=0.9,
    weight_decay=2e-4,
    pretraining_weight_decay=1e-3,
)
_CENTRED = dbm.Config(hidden_sizes=(500, 1000), learning_rate=0.05, centred=True)
PRESETS = {
    "small": Args(),
    "salakhutdinov": Args(
        preset="salakhutdinov",
        epochs=500,
        pretraining_epochs=100,
        schedule="constant",
        base_rates=False,
        model=_PUBLISHED,
    ),
    "centred": Args(preset="centred", epochs=200, pretraining_epochs=0, model=_CENTRED),
}
QUICK = {
    "epochs": 30,
    "pretraining_epochs": 30,
    "batch_size": 20,
    "dataset": "digits",
    "model": {"num_chains": 50},
}
EXAMPLES = {
    "python -m experiments.dbm": "a small DBM on MNIST: 2 minutes",
    "python -m experiments.dbm --quick": "the whole path on small scans: under a minute",
}
SHOWN = {
    "test_reconstruction_error": "test error",
    "free_energy_contrast": "contrast",
    "mean_field_change": "mean-field change",
}
"""Metrics that a reader looks at first, and what the progress line calls them."""


def pretrain(args: Args, session: Session, lower: Layers = ()) -> Result:
    """Trains the RBM above `lower` in a folder of its own, or finds it trained."""
    sizes = (prod(session.image_shape), *args.model.hidden_sizes)
    logger.info("layer %d: an RBM of %d-%d", len(lower) + 1, *sizes[len(lower) :][:2])
    return layers.train_above(
        dataclasses.replace(args, epochs=args.pretraining_epochs),
        session,
        partial(dbm.pretraining, args.model, session.image_shape),
        lower,
        dataclasses.asdict(args.model),
        None if lower else base_rates(args, session.dataset),
        shown={"free_energy_contrast": "contrast", "pixel_change": "pixel change"},
    )


def train(args: Args, session: Session) -> Result:
    """Pretrains the two RBMs, if asked to, and trains the machine; steps and times are of all."""
    before: list[Result] = []
    stack: Layers = ()
    if args.pretraining_epochs:
        for _ in args.model.hidden_sizes:
            before.append(pretrain(args, session, stack))
            stack = before[-1].state.params
    config = with_decay(args, session.dataset).model
    learner_from = partial(dbm.learner, config, session.image_shape)
    settings = dataclasses.asdict(config) | {"layers": checkpoint.digest(stack)}
    mean = None if stack else base_rates(args, session.dataset)
    if mean is not None:
        settings["base_rates"] = True

    def init(key: PRNGKey, given: Layers) -> dbm.State:
        state: dbm.State = learner_from(given).init(key)
        return state if mean is None else dbm.at_base_rates(state, mean)

    monitors = partial(dbm_monitors, num_mean_field_steps=config.num_mean_field_steps)
    evaluate = make_evaluator(monitors, config.binarize, session.dataset)
    logger.info("machine: %s", shape_in_words(config, session))
    result = train_in_session(
        args,
        learner_from(),
        session,
        settings,
        lambda state: evaluate(state.params),
        start_from(init, session.seeds, stack),
        shown=SHOWN,
    )
    return sum_results([*before, result])


def shape_in_words(config: dbm.Config, session: Session) -> str:
    """The units of the three layers, for example 784-200-200."""
    return "-".join(map(str, (prod(session.image_shape), *config.hidden_sizes)))


def reconstructions(drawing: Drawing, args: Args, params: dbm.Params, error: float) -> Section:
    """Test images, what mean field makes of them, and mu2."""
    key_data, key_pass = jax.random.split(task_key("reconstruction"))
    images = drawing.dataset.test.images[:NUM_SHOWN]
    visible = binarize(key_data, jnp.asarray(images), args.model.binarize)
    steps = args.model.num_mean_field_steps
    _, second, probs = dbm.reconstruct(params, key_pass, visible, steps)
    strips = {
        "test image": images / 255.0,
        "input": drawing.images(visible),
        "mu2": np.asarray(second),
        "p(v=1|h1)": drawing.images(probs),
    }
    rows = figures.rows_of(strips)
    return Section(
        "reconstructions",
        "Reconstructions",
        [
            f"{against_mean(error, drawing.dataset)} Mean field has {steps} updates of mu1 and mu2 "
            "from the bottom-up pass, h1 is drawn with mu1, and p(v=1|h1) is shown."
        ],
        [drawing.save("reconstructions", rows, f"The first {len(images)} test images")],
        question="What is left of a test image after mean field and a step back?",
    )


def report(args: Args, session: Session, result: Result) -> Path:
    """Writes the run folder of one trained machine, returns the page."""
    config, drawing = args.model, Drawing(session.dataset, session.folder)
    monitors = partial(dbm_monitors, num_mean_field_steps=config.num_mean_field_steps)
    params = jax.device_get(result.state.params)
    measures = make_evaluator(monitors, config.binarize, session.dataset)(params)
    error = measures["test_reconstruction_error"]
    own = int(result.state.step)
    updates = f"{own:,} updates of the machine"
    if args.pretraining_epochs:
        updates += f" after {result.step - own:,} of pretraining"
    show(f"{updates}: test_reconstruction_error {number(error)}; drawing the report")
    learner = dbm.learner(config, session.image_shape)
    samples = artifacts.write_samples(args, session, learner, result)
    measures |= tasks.measure_samples(samples, session.dataset)
    looks = lab_samples.measure(samples, session.dataset)
    lower, upper = {"w": params["w1"]}, {"w": params["w2"]}
    trained = rbm_tasks.TrainedRBM(RBMArgs(), lower, measures, drawing)
    words = f"P(v=1|h1) after {config.num_sampling_steps} Gibbs steps from random units h1."
    meaning = "mean over pixels of (x - p(v=1|h1))^2, h1 drawn from mean field, x in [0, 1]"
    sections = [
        sample_sheet(drawing, samples, looks, words),
        rbm_tasks.filters(trained)._replace(name="W1"),
        tasks.top_filters(drawing, (lower, upper))._replace(name="W2"),
        reconstructions(drawing, args, params, error),
        error_curve(drawing, {"machine": session.folder}, meaning, last_step=result.step),
    ]
    model = (
        f"{shape_in_words(config, session)}, {config.num_mean_field_steps} updates of mean field, "
        f"{'centred ' if config.centred else ''}PCD-{config.num_gibbs_steps} with "
        f"{config.num_chains} chains, rate {config.learning_rate}; {updates}. The lab has no task "
        "about deep Boltzmann machines; its questions about RBMs and DBNs are answered here"
    )
    title = f"DBM on {session.dataset.name}"
    numbers = tasks.headline(session.dataset, measures, looks)
    return artifacts.write(args, session, result, measures, title, model, sections, numbers)


EXPERIMENT = Experiment(
    *("dbm", PRESETS, QUICK, train, report),
    band=Band("test_reconstruction_error", 0.06),
    benchmark=Benchmark(
        flops=flops.of_dbm,
        baselines=DENSE,
        presets=("small",),
        note="dbm-small is the whole machine.",
    ),
    comparison=Comparison(order=2),
    headlines=("test_reconstruction_error", "nearest_training_distance", "free_energy_gap"),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
