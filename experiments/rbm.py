"""The lab's RBM: 784 visible and 100 hidden units, CD-1, on MNIST.

    python -m experiments.rbm

trains the preset `lab` (100 epochs, batch 100, learning rate 0.1) and answers the lab's tasks 1.1
to 1.3 and 1.7 in runs/rbm-mnist-seed0/report.html; `--study` adds the comparisons of 1.4 to 1.6 and
1.8. Expected on MNIST with seed 0: test reconstruction error 0.0146 (docs/results/rbm.md), after 1
to 2 minutes on two CPU cores; the study takes about half an hour more.

The other presets reach for the published likelihoods in `experiments/comparison/published.py`, with
a learning rate that falls to 0 at the end: `cd25` (500 hidden units, CD-25) and `pcd500` (500,
centred PCD), whose likelihood only AIS estimates; `pcd16` and `pcd16_centred` (16 hidden units,
PCD-5, pixels thresholded as PyDeep has them), whose likelihood is exact and in summary.json.

`gaussian` has Gaussian visible units for real-valued pixels, grey or colour; `--visible gaussian`
takes it in the place of `lab`.
"""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.comparison import cut_picture
from experiments.lab import explore
from experiments.lab import samples as lab_samples
from experiments.lab.drawing import Drawing, error_curve
from experiments.lab.rbm import beside, study, tasks
from experiments.lab.rbm.training import (
    SHOWN,
    RBMArgs,
    drawing_by_sampler,
    gaussian_rates,
    input_in_words,
    learner_for,
    make_evaluator,
    rate,
    samples_so_far,
    with_decay,
)
from experiments.lab.study import elsewhere
from experiments.running import artifacts, cli
from experiments.running.console import show
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.seeds_page import series
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.errors import DataError
from jaxgen.evaluation.monitors import rbm_monitors
from jaxgen.files import make_folder
from jaxgen.models import dbn, rbm
from jaxgen.report.page import Figure, number
from jaxgen.runs import metrics_log
from jaxgen.runs.files import FIGURES, LOG
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(RBMArgs):
    """Train the lab's RBM and answer its tasks 1.1 to 1.3 and 1.7; --study adds the others."""

    preset: str = "lab"
    """Named set of defaults; other flags change single values of it. lab; cd25, pcd500: 500 hidden
    units, CD-25 or centred PCD; pcd16, pcd16_centred: 16 hidden units, PCD-5, exact likelihood;
    gaussian: Gaussian visible units, for grey or colour pixels as they are."""
    study: bool = False
    """Train the variants of tasks 1.4 to 1.6 and 1.8 as well and compare them."""


_CD25 = rbm.Config(  # rate, momentum and weight cost as where Salakhutdinov pretrains DBMs, rbm.m
    num_hidden=500,
    num_gibbs_steps=25,
    learning_rate=0.05,
    momentum=0.9,
    weight_decay=1e-3,
    init_scale=0.01,
)
_PCD500 = rbm.Config(
    num_hidden=500, learning_rate=0.05, persistent=True, centred=True, init_scale=0.01
)
_PCD16 = rbm.Config(  # with one Gibbs step one seed of three ended six nats lower
    num_hidden=16,
    num_gibbs_steps=5,
    learning_rate=0.1,
    persistent=True,
    binarize="threshold",
    init_scale=0.01,
)
_GAUSSIAN = rbm.Config(
    num_hidden=200, visible="gaussian", learning_rate=0.005, momentum=0.5, init_scale=0.01
)
PRESETS = {
    "lab": Args(),
    "cd25": Args(preset="cd25", base_rates=True, schedule="falling", epochs=50, model=_CD25),
    "pcd500": Args(preset="pcd500", base_rates=True, schedule="falling", epochs=200, model=_PCD500),
    # Three minutes beside other work, either of them.
    "pcd16": Args(preset="pcd16", base_rates=True, schedule="falling", epochs=50, model=_PCD16),
    "pcd16_centred": Args(
        preset="pcd16_centred",
        base_rates=True,
        schedule="falling",
        epochs=50,
        model=dataclasses.replace(_PCD16, centred=True),
    ),
    "gaussian": Args(preset="gaussian", model=_GAUSSIAN),
}
QUICK = {
    "epochs": 60,
    "batch_size": 20,
    "dataset": "digits",
    "base_rates": True,  # from biases of 0 two thirds of the units end always or never on
    "schedule": "falling",
    "model": {  # CD-1 draws ones and nines of the digits
        "num_hidden": 64,
        "persistent": True,
        "centred": True,
        "init_scale": 0.01,
    },
}
EXAMPLES = {
    "python -m experiments.rbm": "the lab's RBM on MNIST: 1 to 2 minutes",
    "python -m experiments.rbm --quick": "the whole path on small scans: 15 seconds",
}


def train(args: Args, session: Session) -> Result:
    """Trains the RBM."""
    args = with_decay(args, session.dataset)
    evaluate = make_evaluator(rbm_monitors, args.model.binarize, session.dataset)
    learner = learner_for(args, session.dataset)
    return train_in_session(
        args,
        learner,
        session,
        dataclasses.asdict(args.model) | ({"base_rates": True} if args.base_rates else {}),
        lambda state: evaluate(state.params),
        pictures=samples_so_far(learner),
        at_intervals=False,
        shown=SHOWN,
    )


def kept_samples(session: Session) -> list[Figure]:
    """Pictures of models that docs/results has of MNIST: RBM and DBN at the lab's settings, pcd500.

    None where there are no docs, as in an installed package, or for other data.
    """
    results = Path(__file__).parents[1] / "docs" / "results"
    if session.dataset.name != "mnist" or not results.is_dir():
        return []
    folder = session.folder / FIGURES
    make_folder(folder)
    shown = []
    for name, words in {
        "compare": "RBM and DBN at the lab's settings",
        "presets": "RBM with 500 units by CD-25 and by centred PCD",
    }.items():
        with contextlib.suppress(DataError, OSError):  # a picture of another layout
            path = cut_picture.write(results / f"{name}.png", folder / f"beside_{name}.png", 2)
            caption = f"{words} on MNIST, ten samples each; from docs/results/{name}.md"
            shown.append(Figure(path, caption, f"Rows of samples: {words}"))
    return shown


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained RBM, returns the page."""
    args = with_decay(args, session.dataset)
    config, folder = args.model, session.folder
    measures = make_evaluator(rbm_monitors, config.binarize, session.dataset)(result.state.params)
    error = number(measures["test_reconstruction_error"])
    show(f"step {result.step}: test_reconstruction_error {error}; drawing the report")
    drawing, params = Drawing(session.dataset, folder), jax.device_get(result.state.params)
    trained = tasks.TrainedRBM(args, params, measures, drawing)
    learner = drawing_by_sampler(args, session.dataset)
    samples = artifacts.write_samples(args, session, learner, result)
    looks = lab_samples.measure(samples, session.dataset)
    log = metrics_log.read_lines(folder / LOG, result.step)
    short = tasks.too_short(trained, *series(log, "test_reconstruction_error"))
    others = beside.beside(args, session, samples, kept_samples(session))
    further, absent = elsewhere(args, study.tasks_of(config))
    sections = [
        *tasks.drawn_samples(trained, samples, looks, others, short),
        *tasks.tasks(trained),
        *further,
        error_curve(drawing, {"test": folder}, tasks.ERROR, last_step=result.step),
    ]
    net = dbn.tie((params,))
    sections.insert(0, explore.of_net(net, drawing, config.binarize, sections))
    rule = f"{'PCD' if config.persistent else 'CD'}-{config.num_gibbs_steps}"
    rule = f"centred {rule}" if config.centred else rule
    model = f"{config.num_hidden} hidden units, {rule}, {rate(config)}; "
    model += input_in_words(config, session.image_shape)
    title = f"RBM on {session.dataset.name}"
    numbers = tasks.headline(trained, looks)
    page = artifacts.write(
        *(args, session, result, measures, title, model, sections, numbers, absent),
        alike=bool(short) and looks.alike,
    )
    return study.compare(args, session, result) if args.study else page


EXPERIMENT = Experiment(
    *("rbm", PRESETS, QUICK, train, report),
    choose=gaussian_rates,
    band=Band("test_reconstruction_error", 0.06),
    benchmark=Benchmark(flops=flops.of_rbm, baselines=DENSE, presets=("lab",)),
    comparison=Comparison(order=0),
    headlines=(
        *("test_reconstruction_error", "test_log_likelihood"),
        *("test_pseudo_log_likelihood", "free_energy_gap"),
    ),
    successor=lambda _: ("experiments.dbn",),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
