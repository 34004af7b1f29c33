"""The lab's RBM: 784 visible and 100 hidden units, CD-1, on MNIST.

    python -m experiments.rbm

trains the preset `lab` (100 epochs, batch 100, learning rate 0.1) and answers the lab's tasks 1.1
to 1.3 and 1.7 in runs/rbm-mnist-seed0/report.html; `--study` adds the comparisons of 1.4 to 1.6 and
1.8. Expected on MNIST with seed 0: test reconstruction error 0.0146, after 70 to 90 seconds on two
CPU cores (docs/results/rbm.md); the study takes about half an hour more.

The other presets reach for the published likelihoods in `experiments/comparison/published.py`, with
a learning rate that falls to 0 at the end: `cd25` (500 hidden units, CD-25) and `pcd500` (500,
centred PCD), whose likelihood only AIS estimates; `pcd16` and `pcd16_centred` (16 hidden units,
PCD, pixels thresholded as PyDeep has them), whose likelihood is exact and in summary.json.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jax

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.rbm import study as rbm_study
from experiments.lab.rbm import tasks as rbm_tasks
from experiments.lab.rbm import training as rbm_training
from experiments.running import artifacts as results
from experiments.running import cli
from experiments.running import seeds as members
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.models import rbm
from jaxgen.report.page import number
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(rbm_tasks.GenerationArgs):
    """Train the lab's RBM and answer its tasks 1.1 to 1.3 and 1.7; --study adds the others."""

    preset: str = "lab"
    """Named set of defaults; other flags change single values of it. lab; cd25, pcd500: 500 hidden
    units, CD-25 or centred PCD; pcd16, pcd16_centred: 16 hidden units, PCD, exact likelihood."""
    model: rbm.Config = field(default_factory=rbm.Config)
    schedule: Literal["constant", "falling"] = "constant"
    """Learning rate: constant, or falling to 0 over the second half of the epochs."""
    base_rates: bool = False
    """Start the visible biases at the log odds of the mean training pixels instead of at 0."""
    study: bool = False
    """Train the variants of tasks 1.4 to 1.6 and 1.8 as well and compare them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rbm_training.require_one_decay(self)


_CD25 = rbm.Config(
    num_hidden=500, num_gibbs_steps=25, learning_rate=0.05, weight_decay=1e-4, init_scale=0.01
)
_PCD500 = rbm.Config(
    num_hidden=500, learning_rate=0.05, persistent=True, centred=True, init_scale=0.01
)
_PCD16 = rbm.Config(
    num_hidden=16, learning_rate=0.1, persistent=True, binarize="threshold", init_scale=0.01
)
PRESETS = {
    "lab": Args(),
    # About 35 minutes on two idle cores.
    "cd25": Args(preset="cd25", base_rates=True, schedule="falling", model=_CD25),
    # About 9 minutes.
    "pcd500": Args(preset="pcd500", base_rates=True, schedule="falling", epochs=200, model=_PCD500),
    # About 20 seconds of training, either of them.
    "pcd16": Args(preset="pcd16", base_rates=True, schedule="falling", epochs=50, model=_PCD16),
    "pcd16_centred": Args(
        preset="pcd16_centred",
        base_rates=True,
        schedule="falling",
        epochs=50,
        model=dataclasses.replace(_PCD16, centred=True),
    ),
}
QUICK = {"epochs": 60, "dataset": "digits"}


def train(args: Args, session: Session) -> Result:
    """Trains the RBM."""
    args = rbm_training.with_decay(args, session.dataset)
    learner = rbm.learner(args.model, session.dataset.train.images.shape[1:])
    measured = rbm_tasks.measurer(args.model.binarize, session.dataset)
    settings, state = dataclasses.asdict(args.model), None
    if args.base_rates:
        settings |= {"base_rates": True}
        init = rbm_training.initial(args, args.model.binarize, learner, session.dataset)
        state = members.start(lambda key, _: init(key), session.seeds, ())
    return train_in_session(
        args, learner, session, settings, lambda state: measured(state.params), state
    )


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained RBM, returns the page."""
    args = rbm_training.with_decay(args, session.dataset)
    config, folder = args.model, session.folder
    values = rbm_tasks.measurer(config.binarize, session.dataset)(result.state.params)
    error = number(float(values["test_reconstruction_error"]))
    print(f"step {result.step}: test_reconstruction_error {error}; drawing the report", flush=True)
    drawing = results.Drawing(session.dataset, folder)
    params = jax.device_get(result.state.params)
    trained = rbm_tasks.Trained(config, params, drawing, args.generation_steps, args.gain)
    learner = rbm.learner(config, session.dataset.train.images.shape[1:])
    samples = results.write_samples(args, session, learner, result)
    log = {"test": metrics_log.read_lines(folder / "metrics.jsonl", result.step)}
    sections = [
        results.training(drawing, log, "test_reconstruction_error", rbm_tasks.ERROR),
        *rbm_tasks.tasks(trained, values, samples),
    ]
    title = f"RBM on {session.dataset.name}"
    rule = f"{'PCD' if config.persistent else 'CD'}-{config.num_gibbs_steps}"
    rule = f"centred {rule}" if config.centred else rule
    model = f"{config.num_hidden} hidden units, {rule}, {rbm_training.rate(config)}, "
    model += f"binarisation {config.binarize}"
    page = results.write(args, session, result, values, title, model, sections)
    return rbm_study.run(args, session, result) if args.study else page


EXPERIMENT = Experiment(
    *("rbm", PRESETS, QUICK, train, report),
    band=Band("test_reconstruction_error", 0.06),
    benchmark=Benchmark(flops=flops.of_rbm, baselines=DENSE, presets=("lab",)),
    comparison=Comparison(order=0),
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
