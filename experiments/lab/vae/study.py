"""The lab's task 4.4: 2 and 20 latent variables side by side; each is a whole run of its own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from experiments.lab.drawing import NUM_SHOWN, Drawing
from experiments.lab.study import Study, Variant, as_own_run, run, variant
from experiments.lab.vae import tasks
from experiments.lab.vae.training import TrainedVAE, VAEArgs
from experiments.running.session import Session
from jaxgen.learner import task_key
from jaxgen.report import figures
from jaxgen.report.page import Figure, Section, Table, number
from jaxgen.runs.files import FIGURES
from jaxgen.training.loop import Result

SIZES = (2, 20)
"""Latent variables of the two VAEs that the study compares (task 4.4)."""
COLUMNS = {
    "test_elbo": "ELBO",
    "test_reconstruction": "reconstruction",
    "test_kl": "KL",
    "test_bound": "importance-weighted bound",
    "test_bound_error": "its standard error",
    "test_active_units": "active latent variables",
}

A = TypeVar("A", bound=VAEArgs)


def variants(args: A) -> list[Variant[A]]:
    """The sizes that the run itself does not have."""
    others = [size for size in SIZES if size != args.model.latent_size]
    return [variant(args, name_of(n), f"latent{n}", latent_size=n) for n in others]


def name_of(latent_size: int) -> str:
    """The name of a row."""
    return f"{latent_size} latent variables"


def compare(
    args: A, session: Session, main: TrainedVAE, train: Callable[[A, Session], Result]
) -> Path:
    """Trains the variants by `train`, compares all sizes and returns the page."""
    drawing = Drawing(session.dataset, session.folder)
    study = Study(
        title=f"VAE study on {session.dataset.name}: the number of latent variables",
        facts={
            "model": tasks.describe(args, session.dataset),
            "bound": f"{args.bound_samples} codes per test image, all test images",
        },
        variants=variants(args),
        train=as_own_run(train, tasks.write),
        sections=lambda rows, table: [comparison(drawing, rows, table), planes(rows)],
        columns=COLUMNS,
        heading="nats per test image",
        order=lambda each: each.config.latent_size,
    )
    return run(study, args, session, {name_of(args.model.latent_size): main})


def comparison(drawing: Drawing, rows: Mapping[str, TrainedVAE], table: Table) -> Section:
    """Reconstructions and samples of all sizes, from the same images and keys."""
    strips = {"test image": drawing.dataset.test.images[:NUM_SHOWN] / 255.0}
    labels = np.arange(NUM_SHOWN) % max(1, drawing.dataset.num_classes)
    samples = {}
    for each in rows.values():
        size = each.config.latent_size
        strips[f"{size} latents"] = each.decoded_means(NUM_SHOWN)
        codes = jax.random.normal(task_key("study samples"), (NUM_SHOWN, size))
        samples[f"{size} latents"] = each.images(codes, labels)
    low, *_, high = rows.values()
    gain = high.measures["test_bound"] - low.measures["test_bound"]
    errors = [each.measures.get("test_bound_error", 0.0) for each in (low, high)]
    answer = [
        sizes_in_words(gain, errors, low.config.latent_size, high.config.latent_size),
        f"Reconstruction {number(low.measures['test_reconstruction'])} becomes "
        f"{number(high.measures['test_reconstruction'])}, divergence "
        f"{number(low.measures['test_kl'])} becomes {number(high.measures['test_kl'])}.",
    ]
    title = "The first test images, decoded from their mean codes"
    sampled = "Samples: codes drawn from the prior"
    shown = [
        drawing.save("study_reconstructions", figures.rows_of(strips), title),
        drawing.save("study_samples", figures.rows_of(samples), sampled),
    ]
    return Section(
        "4.4",
        "Few and many latent variables",
        answer,
        shown,
        table,
        question="What do more latent variables gain, and what do they cost?",
    )


def sizes_in_words(gain: float, errors: Sequence[float], few: int, many: int) -> str:
    """Whether more latent variables have the higher bound, beyond the standard errors of both."""
    error = float(np.sqrt(np.sum(np.square(errors))))
    if abs(gain) <= 3 * error:
        return (
            f"{few} and {many} latent variables cannot be told apart by their bounds, which differ "
            f"by {number(gain, 2)} nats per image with a standard error of {number(error, 2)}."
        )
    return (
        f"{many} latent variables bound the log likelihood {number(abs(gain), 3)} nats per image "
        f"{'higher' if gain > 0 else 'lower'} than {few}. One seed of each; the bounds' standard "
        f"errors together are {number(error, 2)} nats."
    )


def planes(rows: Mapping[str, TrainedVAE]) -> Section:
    """The scatter and the decoded planes of all sizes, one size after the other."""
    titles = {
        "4_3": "test images in two of them",
        "4_4_grid_15": "decoded from [-1.5, 1.5]^2",
        "4_4_grid_20": "decoded from [-3, 3]^2",
    }
    shown = [
        Figure(each.drawing.folder / FIGURES / f"{file}.png", f"{name}: {title}", title, "third")
        for name, each in rows.items()
        for file, title in titles.items()
    ]
    answer = (
        "With two variables the plane is the space itself; with more it is a slice in which the "
        "other variables are 0. In the order of the table: the test images in two latent "
        "variables, and what that plane decodes to."
    )
    return Section("4.3, 4.4", "Latent planes", [answer], shown)
