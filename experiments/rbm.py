"""The lab's RBM: 784 visible and 100 hidden units, CD-1, on MNIST.

    python -m experiments.rbm

trains the preset `lab` (100 epochs, batch 100, learning rate 0.1) and answers the lab's tasks 1.1
to 1.3 and 1.7 in runs/rbm-mnist-seed0/report.html; `--study` adds the comparisons of 1.4 to 1.6 and
1.8. Expected on MNIST with seed 0: test reconstruction error 0.0146, after 70 to 90 seconds on two
CPU cores (docs/results/rbm.md); the study takes about half an hour more.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import jax

from experiments import common, examined_net, launch, monitor, rbm_study, rbm_tasks, results
from experiments.examined import Examined
from experiments.finished import Finished
from jaxgen import dbn, rbm
from jaxgen.data import Dataset
from jaxgen.report import number
from jaxgen.train import Result


@dataclass(frozen=True)
class Args(rbm_tasks.GenerationArgs):
    """Train the lab's RBM and answer its tasks 1.1 to 1.3 and 1.7; --study adds the others."""

    model: rbm.Config = field(default_factory=rbm.Config)
    study: bool = False
    """Train the variants of tasks 1.4 to 1.6 and 1.8 as well and compare them."""


PRESETS = {"lab": Args()}
QUICK = {"epochs": 60, "dataset": "digits"}


def train(args: Args, session: common.Session) -> Result:
    """Trains the RBM."""
    learner = rbm.learner(args.model, session.dataset.train.images.shape[1:])
    measured = rbm_tasks.measurer(args.model.binarize, session.dataset)
    settings = dataclasses.asdict(args.model)
    return common.train(args, learner, session, settings, lambda state: measured(state.params))


def report(args: Args, session: common.Session, result: Result) -> Path:
    """Answers the lab's questions about one trained RBM, returns the page."""
    config, folder = args.model, session.folder
    values = rbm_tasks.measurer(config.binarize, session.dataset)(result.state.params)
    error = number(float(values["test_reconstruction_error"]))
    print(f"step {result.step}: test_reconstruction_error {error}; drawing the report", flush=True)
    drawing = results.Drawing(session.dataset, folder)
    params = jax.device_get(result.state.params)
    trained = rbm_tasks.Trained(config, params, drawing, args.generation_steps, args.gain)
    learner = rbm.learner(config, session.dataset.train.images.shape[1:])
    samples = results.write_samples(args, session, learner, result)
    log = {"test": monitor.earlier_lines(folder / "metrics.jsonl", result.step)}
    sections = [
        results.training(drawing, log, "test_reconstruction_error", rbm_tasks.ERROR),
        *rbm_tasks.tasks(trained, values, samples),
    ]
    title = f"RBM on {session.dataset.name}"
    rule = f"PCD-{config.num_gibbs_steps}" if config.persistent else f"CD-{config.num_gibbs_steps}"
    model = f"{config.num_hidden} hidden units, {rule}, rate {config.learning_rate}, "
    model += f"binarisation {config.binarize}"
    page = results.write(args, session, result, values, title, model, sections)
    return rbm_study.run(args, session, result) if args.study else page


def examined(run: Finished, dataset: Dataset) -> Examined:
    """A finished run as the yardstick sees it: a net without directed layers."""
    return examined_net.examined(dbn.tied((run.params,)), run.args.model, dataset)


if __name__ == "__main__":
    launch.leave(launch.main("rbm", train, report, PRESETS, QUICK))
