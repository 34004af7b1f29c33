"""The page of one trained GAN."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from experiments.lab.drawing import Drawing
from experiments.lab.gan import tasks
from experiments.lab.gan.training import GANArgs, TrainedGAN
from experiments.running import artifacts
from experiments.running.console import show
from experiments.running.session import Session
from jaxgen.evaluation import gan_diagnostics
from jaxgen.evaluation.gan_diagnostics import Finding
from jaxgen.models.adversarial import Game
from jaxgen.report.page import Section, number
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Result


class GANReport(NamedTuple):
    """A GAN whose page is written."""

    trained: TrainedGAN
    measures: dict[str, float]
    failures: list[Finding]
    page: Path


def write(
    args: GANArgs,
    session: Session,
    result: Result,
    game: Game,
    title: str,
    model: str,
    further: Sequence[Section] = (),
) -> GANReport:
    """Measures a trained GAN and writes the files of its run."""
    state, drawing = jax.device_get(result.state), Drawing(session.dataset, session.folder)
    trained = TrainedGAN(game.nets, state, drawing, args.model.latent_size)
    images = artifacts.write_samples(args, session, game.learner, result)
    log = metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)
    smoothing = args.model.label_smoothing
    failures = gan_diagnostics.diagnose(log, smoothing)
    neighbours, measures = tasks.neighbours(trained, log)
    measures |= {name: log[-1][name] for name in ("d_real", "d_fake", "d_loss", "g_loss")}
    measures["s_per_iteration"] = log[-1]["train_s"] / log[-1]["step"]
    names = ("sample_distance", "test_distance", "sample_spread", "d_loss", "g_loss")
    numbers = ", ".join(f"{name} {number(measures[name])}" for name in names)
    show(f"step {result.step}: {numbers}; drawing the report")
    sections = [
        tasks.training(drawing, log, failures, smoothing),
        tasks.progress(trained),
        tasks.samples(drawing, images, args.vae),
        neighbours,
        tasks.walks(trained),
        tasks.filters(trained),
        tasks.arithmetic(trained),
        *further,
    ]
    page = artifacts.write(args, session, result, measures, title, model, sections)
    return GANReport(trained, measures, failures, page)
