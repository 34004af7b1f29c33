"""The page of one trained GAN, and what both GAN experiments check before they start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.lab.gan import tasks as adversarial_tasks
from experiments.lab.gan.training import Trained
from experiments.running import artifacts as results
from experiments.running.args import RunArgs
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.errors import SettingError, require
from jaxgen.evaluation import gan_diagnostics
from jaxgen.evaluation.gan_diagnostics import Finding
from jaxgen.learner import Learner
from jaxgen.report.page import Section, number
from jaxgen.runs import metrics_log
from jaxgen.runs.samples import read_samples
from jaxgen.runs.summary import read_summary
from jaxgen.training.loop import Result


class Shown(NamedTuple):
    """A GAN whose page is written."""

    trained: Trained
    measured: dict[str, float]
    failures: list[Finding]
    page: Path


def check(args: Any, dataset: Dataset, folder: Path) -> None:
    """Also refuses a --vae that is no finished VAE run, or that --overwrite would remove.

    Errors:
        CheckpointError: its samples cannot be read.
    """
    RunArgs.check(args, dataset, folder)
    require(args, "batch_size", args.batch_size >= 2, "of 2 or more, for fakes are compared")
    if not args.vae:
        return
    summary, found = read_summary(args.vae), "no finished run"
    if summary:
        seeds = ", of several seeds" if "digests" in summary else ""
        found = f"one of {summary['experiment']} on {summary.get('dataset')}{seeds}"
    if found != f"one of vae on {dataset.name}":
        made = f"runs/vae-{dataset.name}-seed0"
        raise SettingError(
            expected=f"a finished run of vae on {dataset.name} in the folder of --vae, {args.vae}",
            found=found,
            remedy=f"type python -m experiments.vae --dataset {dataset.name} and set --vae {made}",
        )
    read_samples(args.vae)
    if args.overwrite and folder.resolve() in (args.vae.resolve(), *args.vae.resolve().parents):
        raise SettingError(
            expected="--vae outside the run folder that --overwrite empties",
            found=f"{args.vae} in {folder}",
            remedy="set --out to another folder",
        )


def show(
    args: Any,
    session: Session,
    result: Result,
    learner: Learner,
    trained: Trained,
    title: str,
    model: str,
    further: Sequence[Section] = (),
) -> Shown:
    """Measures a trained GAN and writes everything its run folder holds."""
    trained = trained._replace(state=jax.device_get(result.state))
    images = results.write_samples(args, session, learner, result)
    logged = metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)
    smoothing = args.model.label_smoothing
    failures = gan_diagnostics.diagnose(logged, smoothing)
    neighbours, measured = adversarial_tasks.neighbours(trained, logged)
    measured |= {name: logged[-1][name] for name in ("d_real", "d_fake", "d_loss", "g_loss")}
    measured["s_per_iteration"] = logged[-1]["train_s"] / logged[-1]["step"]
    names = ("sample_distance", "test_distance", "sample_spread", "d_loss", "g_loss")
    said = ", ".join(f"{name} {number(measured[name])}" for name in names)
    print(f"step {result.step}: {said}; drawing the report", flush=True)
    sections = [
        adversarial_tasks.training(trained.drawing, logged, failures, smoothing),
        adversarial_tasks.progress(trained),
        adversarial_tasks.samples(trained.drawing, images, args.vae),
        neighbours,
        adversarial_tasks.walks(trained),
        adversarial_tasks.filters(trained),
        adversarial_tasks.arithmetic(trained),
        *further,
    ]
    page = results.write(args, session, result, measured, title, model, sections)
    return Shown(trained, measured, failures, page)
