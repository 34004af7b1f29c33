"""The lab's RBM: 784 visible and 100 hidden units, CD-1, on MNIST.

    python -m experiments.rbm

trains the preset `lab` (100 epochs, batch 100, learning rate 0.1) and answers the lab's tasks 1.1
to 1.3 and 1.7 in runs/rbm-mnist-seed0/report.html; `--study` adds the comparisons of 1.4 to 1.6 and
1.8. Expected on MNIST with seed 0: test reconstruction error 0.0146, after 70 to 90 seconds on two
CPU cores (docs/results/rbm.md); the study takes about half an hour more.
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np

from experiments import common, monitor, rbm_study, rbm_tasks, run_folder
from jaxgen import checkpoint, export, rbm, report
from jaxgen.files import appearing_whole, write_json
from jaxgen.learner import named_key
from jaxgen.train import Result


@dataclass(frozen=True)
class Args(common.Args):
    """Train the lab's RBM and answer its tasks 1.1 to 1.3 and 1.7; --study adds the others."""

    model: rbm.Config = field(default_factory=rbm.Config)
    generation_steps: int = 100
    """Gibbs steps of task 1.7, from a set hidden state to the generated image."""
    gain: float = 1.0
    """Factor on the set hidden state of task 1.7; 1 keeps it binary, the lab uses 10 to 20."""
    study: bool = False
    """Train the variants of tasks 1.4 to 1.6 and 1.8 as well and compare them."""


PRESETS = {"lab": Args()}
QUICK = {"epochs": 60, "dataset": "digits"}


def facts(args: Args, session: common.Session, result: Result) -> dict[str, str]:
    """The table at the head of the page."""
    config, steps = args.model, result.step - result.first_step
    rule = f"PCD-{config.num_gibbs_steps}" if config.persistent else f"CD-{config.num_gibbs_steps}"
    train_s = f"{result.train_s:.1f} s for {steps} steps in this process"
    return {
        "data set": f"{session.dataset.name}, sha256 {session.dataset.digest}",
        "binarisation": config.binarize,
        "model": f"{config.num_hidden} hidden units, {rule}, rate {config.learning_rate}",
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed}",
        "time": f"compilation {result.compile_s:.1f} s, training {train_s}",
        "parameters": f"sha256 {checkpoint.digest(result.state.params)}",
        "command": run_folder.command(),
    }


def write_results(
    args: Args, session: common.Session, result: Result, measured: Mapping[str, float]
) -> Path:
    """Figures, page, samples, parameters and, last, the summary."""
    folder, params = session.folder, jax.device_get(result.state.params)
    learner = rbm.learner(args.model, session.dataset.train.images.shape[1:])
    trained = rbm_tasks.Trained(
        args.model, params, session.dataset, folder, args.generation_steps, args.gain
    )
    key_sample = named_key(jax.random.key(args.seed), "sample")
    images = jax.jit(learner.sample, static_argnums=2)(result.state, key_sample, 100)
    with appearing_whole(folder / "samples.npz") as file:
        np.savez_compressed(file, images=images)
    export.save_params(folder / "params.safetensors", export.flatten(params), {"experiment": "rbm"})
    sections = [
        rbm_tasks.training(trained, monitor.earlier_lines(folder / "metrics.jsonl", result.step)),
        *rbm_tasks.tasks(trained, measured, np.asarray(images)),
    ]
    title = f"RBM on {session.dataset.name}"
    page = report.write_page(folder / "report.html", title, facts(args, session, result), sections)
    write_json(folder / "summary.json", common.summary(args, session, result, measured))
    return page


def run(args: Args, session: common.Session) -> Path:
    """Trains the RBM, answers the lab's questions, returns the page."""
    learner = rbm.learner(args.model, session.dataset.train.images.shape[1:])
    measured = rbm_tasks.measurer(args.model.binarize, session.dataset)
    result = common.train(
        args, learner, session, dataclasses.asdict(args.model), lambda s: measured(s.params)
    )
    values = measured(result.state.params)
    error = report.number(float(values["test_reconstruction_error"]))
    print(f"step {result.step}: test_reconstruction_error {error}; drawing the report", flush=True)
    page = write_results(args, session, result, values)
    return rbm_study.run(args, session, result) if args.study else page


if __name__ == "__main__":
    sys.exit(common.main("rbm", run, PRESETS, QUICK))
