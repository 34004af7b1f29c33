"""The page of one trained VAE, and the page that sets 2 and 20 latent variables side by side."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.lab.vae import space as vae_space
from experiments.lab.vae import tasks as vae_tasks
from experiments.lab.vae import training as vae_training
from experiments.lab.vae.tasks import Trained
from experiments.running import artifacts as results
from experiments.running.artifacts import NUM_SHOWN
from experiments.running.session import Session, variant
from jaxgen.data import Dataset
from jaxgen.models import vae
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Result

SIZES = (2, 20)
"""Latent variables of the two VAEs that the study compares (task 4.4)."""
PUBLISHED = (
    "Published for MNIST, sampled anew at every visit, after 3,280 epochs at batch 20, with 50 "
    "latent variables, 2x200 tanh units and 5,000 codes per test image: -86.76 trained by the "
    "ELBO, -84.78 by the IWAE bound with k=50 (Burda et al. 2016, table 1)."
)
COLUMNS = {
    "test_elbo": "ELBO",
    "test_reconstruction": "reconstruction",
    "test_kl": "KL",
    "test_bound": "importance-weighted bound",
    "test_bound_error": "its standard error",
    "test_active_units": "active latent variables",
}


class Shown(NamedTuple):
    """A VAE whose page is written."""

    trained: Trained
    measured: dict[str, float]
    page: Path


def described(args: Any, dataset: Dataset, plain: vae.Config) -> str:
    """The model in a line, with every setting that changes it."""
    config = vae_training.scheduled(args, dataset, plain)
    codes = "one code" if config.num_samples == 1 else f"{config.num_samples} codes"
    said = [
        f"{config.latent_size} latent variables",
        f"hidden layers {'-'.join(map(str, config.hidden_sizes))} ({config.activation})",
        f"{config.likelihood} decoder",
        f"{config.objective.upper()} with {codes} per image, KL weight {config.kl_weight:g}",
        f"Adam {config.learning_rate:g}, beta2 {config.beta2:g}, epsilon {config.epsilon:g}",
        f"binarisation {config.binarize}",
    ]
    if config.likelihood == "gaussian":
        said.append(f"log variances of at least {config.min_log_var:g}")
    if config.kl_warmup_steps:
        said.append(f"KL weight rising over {config.kl_warmup_steps} steps")
    if config.first_stage_steps:
        said.append(f"rate falling in stages, the first of {config.first_stage_steps} steps")
    return ", ".join(said)


def show(args: Any, config: vae.Config, session: Session, result: Result) -> Shown:
    """Measures a trained VAE and writes everything its run folder holds."""
    params, drawing = result.state.params, results.Drawing(session.dataset, session.folder)
    trained = vae_tasks.examined(config, jax.device_get(params), drawing)
    num_samples = args.bound_samples
    measured = vae_training.likelihoods(config, params, trained.visible, num_samples)
    said = f"test_elbo {number(measured['test_elbo'])}, test_bound {number(measured['test_bound'])}"
    print(f"step {result.step}: {said}; drawing the report", flush=True)
    learner = vae.learner(config, session.dataset.train.images.shape[1:])
    samples = results.write_samples(args, session, learner, result)
    lines = metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)
    found = sections(trained, lines, measured, num_samples, samples)
    if args.preset == "burda" and session.dataset.name == "mnist":
        found[1].answer.append(PUBLISHED)
    title, model = f"VAE on {session.dataset.name}", described(args, session.dataset, config)
    page = results.write(args, session, result, measured, title, model, found)
    return Shown(trained, measured, page)


def sections(
    trained: Trained,
    lines: Sequence[Mapping[str, Any]],
    measured: Mapping[str, float],
    num_samples: int,
    samples: np.ndarray,
) -> list[Section]:
    """The tasks that concern one model, in the lab's order."""
    sheet = figures.image_sheet(samples, f"First {len(samples)} samples: codes from the prior")
    path = trained.drawing.save("samples", sheet)
    what = "E[x|z] for codes drawn from the prior N(0, I)."
    return [
        vae_tasks.training(trained.drawing, lines, measured),
        vae_tasks.likelihood(trained.config, measured, num_samples),
        vae_tasks.reconstructions(trained, measured),
        vae_tasks.latent_boxes(trained),
        vae_space.scatter(trained),
        vae_space.grids(trained),
        Section("samples", "Samples", [what], [path]),
        vae_space.walks(trained),
    ]


def study(args: Any, session: Session, main: Shown) -> Path:
    """Trains what the main run is not of 2 and 20 latent variables, and compares all."""
    shown = {args.model.latent_size: main}
    for size in SIZES:
        if size not in shown:
            config = dataclasses.replace(args.model, latent_size=size)
            changed = dataclasses.replace(args, model=config, study=False)
            own = variant(session, changed, f"latent{size}")
            shown[size] = show(changed, config, own, vae_training.train(changed, config, own))
    shown = dict(sorted(shown.items()))
    drawing = results.Drawing(session.dataset, session.folder)
    rows = [{"name": f"{size} latent variables", **each.measured} for size, each in shown.items()]
    cells = [[row["name"], *(number(row[key]) for key in COLUMNS)] for row in rows]
    table = Table(["nats per test image", *COLUMNS.values()], cells)
    compared = [comparison(drawing, shown, table), planes(shown)]
    title = f"VAE study on {session.dataset.name}: the number of latent variables"
    facts = {
        "command": run_manifest.command(),
        "model": described(args, session.dataset, args.model),
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed} each",
        "bound": f"{args.bound_samples} codes per test image, all test images",
        "spread": "one seed",
    }
    return results.write_study(session.folder, title, facts, compared, table, rows)


def comparison(drawing: results.Drawing, shown: dict[int, Shown], table: Table) -> Section:
    """Reconstructions and samples of all sizes, from the same images and keys."""
    strips = {"test image": drawing.dataset.test.images[:NUM_SHOWN] / 255.0}
    samples = {}
    for size, each in shown.items():
        trained = each.trained
        strips[f"{size} latents"] = trained.images(trained.mean[:NUM_SHOWN])
        codes = jax.random.normal(results.task_key("study samples"), (NUM_SHOWN, size))
        samples[f"{size} latents"] = trained.images(codes)
    low, *_, high = shown.values()
    gain = high.measured["test_bound"] - low.measured["test_bound"]
    answer = (
        f"{high.trained.config.latent_size} latent variables bound the log likelihood "
        f"{number(gain, 3)} nats per image higher than {low.trained.config.latent_size}: "
        f"reconstruction {number(low.measured['test_reconstruction'])} becomes "
        f"{number(high.measured['test_reconstruction'])}, divergence "
        f"{number(low.measured['test_kl'])} becomes {number(high.measured['test_kl'])}."
    )
    reconstructed = figures.rows_of(strips, "The first test images, decoded from their mean codes")
    drawn = figures.rows_of(samples, "Samples: codes drawn from the prior")
    paths = [
        drawing.save("study_reconstructions", reconstructed),
        drawing.save("study_samples", drawn),
    ]
    return Section("4.4", "Few and many latent variables", [answer], paths, table)


def planes(shown: dict[int, Shown]) -> Section:
    """The scatter and the decoded planes of all sizes, one size after the other."""
    paths = [
        each.trained.drawing.folder / "figures" / f"{name}.png"
        for each in shown.values()
        for name in ("4_3", "4_4_grid_15", "4_4_grid_20")
    ]
    answer = (
        "In the order of the table: the test images in two latent variables, and what that plane "
        "decodes to. With two variables the plane is the space itself; with more it is a slice in "
        "which the other variables are 0."
    )
    return Section("4.3, 4.4", "Latent planes", [answer], paths)
