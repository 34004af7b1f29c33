"""The page of one trained VAE."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.lab.drawing import Drawing
from experiments.lab.vae import space, tasks
from experiments.lab.vae.tasks import TrainedVAE
from experiments.lab.vae.training import VAEArgs, likelihoods, scheduled
from experiments.running import artifacts
from experiments.running.console import show
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.models import vae
from jaxgen.report import figures
from jaxgen.report.page import Section, number
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Result

PUBLISHED = (
    "Published for MNIST, sampled at every visit, after 3,280 epochs at batch 20, with 50 "
    "latent variables, 2x200 tanh units and 5,000 codes per test image: -86.76 trained by the "
    "ELBO, -84.78 by the IWAE bound with k=50 (Burda et al. 2016, table 1)."
)


class VAEReport(NamedTuple):
    """A VAE whose page is written."""

    trained: TrainedVAE
    measures: dict[str, float]
    page: Path


def described(args: VAEArgs, dataset: Dataset) -> str:
    """The model in a line, with every setting that changes it."""
    config = scheduled(args, dataset)
    codes = "one code" if config.num_samples == 1 else f"{config.num_samples} codes"
    words = [
        f"{config.latent_size} latent variables",
        f"hidden layers {'-'.join(map(str, config.hidden_sizes))} ({config.activation})",
        f"{config.likelihood} decoder",
        f"{config.objective.upper()} with {codes} per image, KL weight {config.kl_weight:g}",
        f"Adam {config.learning_rate:g}, beta2 {config.beta2:g}, epsilon {config.epsilon:g}",
        f"binarisation {config.binarize}",
    ]
    if config.likelihood == "gaussian":
        words.append(f"log variances of at least {config.min_log_var:g}")
    if config.kl_warmup_steps:
        words.append(f"KL weight rising over {config.kl_warmup_steps} steps")
    if config.first_stage_steps:
        words.append(f"rate falling in stages, the first of {config.first_stage_steps} steps")
    return ", ".join(words)


def write(args: VAEArgs, session: Session, result: Result) -> VAEReport:
    """Measures a trained VAE and writes the files of its run."""
    config, params = args.model, result.state.params
    drawing = Drawing(session.dataset, session.folder)
    trained = tasks.encoded(config, jax.device_get(params), drawing)
    measures = likelihoods(config, params, trained.visible, args.bound_samples)
    elbo, bound = (number(measures[name]) for name in ("test_elbo", "test_bound"))
    show(f"step {result.step}: test_elbo {elbo}, test_bound {bound}; drawing the report")
    learner = vae.learner(config, session.image_shape)
    samples = artifacts.write_samples(args, session, learner, result)
    lines = metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)
    found = sections(args, trained, lines, measures, samples)
    title, model = f"VAE on {session.dataset.name}", described(args, session.dataset)
    page = artifacts.write(args, session, result, measures, title, model, found)
    return VAEReport(trained, measures, page)


def sections(
    args: VAEArgs,
    trained: TrainedVAE,
    lines: Sequence[Mapping[str, Any]],
    measures: Mapping[str, float],
    samples: np.ndarray,
) -> list[Section]:
    """The tasks that concern one model, in the lab's order."""
    sheet = figures.image_sheet(samples, f"First {len(samples)} samples: codes from the prior")
    path = trained.drawing.save("samples", sheet)
    answer = "E[x|z] for codes drawn from the prior N(0, I)."
    likelihood = tasks.likelihood(trained.config, measures, args.bound_samples)
    if args.preset == "burda" and trained.drawing.dataset.name == "mnist":
        likelihood = likelihood._replace(answer=[*likelihood.answer, PUBLISHED])
    return [
        tasks.training(trained.drawing, lines, measures),
        likelihood,
        tasks.reconstructions(trained, measures),
        tasks.latent_boxes(trained),
        space.scatter(trained),
        space.grids(trained),
        Section("samples", "Samples", [answer], [path]),
        space.walks(trained),
    ]
