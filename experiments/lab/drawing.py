"""Figures of a run: where they go, the data they show, and the curve of a training."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.samples import GROUP, Looks
from experiments.running.seeds_page import series
from jaxgen.data import Dataset
from jaxgen.evaluation.sample_quality import pixel_variance
from jaxgen.files import make_folder
from jaxgen.learner import Images, PRNGKey, task_key
from jaxgen.report import figures
from jaxgen.report.page import Figure, Headline, Section, Width, number
from jaxgen.runs import metrics_log
from jaxgen.runs.files import FIGURES, LOG

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

NUM_SHOWN = 20
"""Test images shown in a figure: always the first ones."""
NUM_ROWS, NUM_PER_CLASS = 20, 10
"""Classes, and samples of each, in the sheet of asked classes."""


STILL_ERROR = 0.02
"""An error that changes by more than this part in the last quarter of the epochs still moves."""
LEAST_MEASURES = 4
"""Measures of a curve whose last quarter is looked at."""


def mean_image_error(dataset: Dataset) -> float:
    """Mean squared error per pixel of the test images' mean: no model should exceed it."""
    return pixel_variance(dataset.test.images)


def against_mean(error: float, dataset: Dataset) -> str:
    """The part of test images that a reconstruction keeps, beside their mean image, in words."""
    chance = mean_image_error(dataset)
    found = f"a mean squared error of {number(error)} per pixel over the whole test set"
    if error >= chance:
        return (
            f"Reconstructions are no better than the mean image: {found}, and the mean image of "
            f"the test set has {number(chance, 3)}."
        )
    return (
        f"Reconstructions keep {1 - error / chance:.0%} of what tells test images apart: {found}, "
        f"where their mean image has {number(chance, 3)}."
    )


def file_name(title: str) -> str:
    """A title as the name of a file: 2.3 DBN is 2_3_DBN."""
    return re.sub(r"\W+", "_", title)


class Drawing(NamedTuple):
    """Where the figures of a run go, and the data they show."""

    dataset: Dataset
    folder: Path
    """Figures go to its folder `figures`."""

    def save(
        self, name: str, figure: "Drawn", title: str, alt: str = "", width: Width | None = None
    ) -> Figure:
        """Writes a figure, and returns it as a page shows it.

        Args:
            name: of the file, without its ending.
            figure: without a title of its own.
            title: the caption.
            alt: what is to be seen; that of the figure itself where none is given.
            width: in the grid of the page; None is that of the figure itself.
        """
        folder = self.folder / FIGURES
        make_folder(folder)
        path = figures.save(figure, folder / f"{name}.png")
        own: Width = "half" if figure.get_figwidth() <= figures.HALF else "full"
        return Figure(path, title, alt or str(figure.get_label()), width or own)

    def images(self, visible: Any) -> np.ndarray:
        """Visible units [N, V] as images [N, H, W, C]."""
        return np.asarray(visible).reshape(-1, *self.dataset.test.images.shape[1:])

    def save_curves(
        self,
        name: str,
        lines: Sequence[Mapping[str, Any]],
        title: str,
        unit: str,
        measures: Mapping[str, str],
    ) -> Figure:
        """Writes measures of a log over the epochs, each by the name of its curve."""
        curves = {label: series(lines, measure) for label, measure in measures.items()}
        return self.save(name, figures.curves(curves, x="epoch", y=unit), title)


def class_sheet(
    drawing: Drawing, sample: Callable[[PRNGKey, int, jax.Array], Images], words: str
) -> Section:
    """Samples of classes that were asked for, a row a class, in the order in which they came.

    The rows are the first `NUM_ROWS` classes that have training images.

    Args:
        drawing: where the figure goes.
        sample: ``(key, num, labels) -> images``, of a trained conditional model.
        words: how the model is asked.
    """
    dataset = drawing.dataset
    learned = np.unique(dataset.train.labels)
    asked = learned[:NUM_ROWS]
    names = [dataset.class_names[label] for label in asked]
    labels = jnp.repeat(jnp.asarray(asked), NUM_PER_CLASS)
    images = np.asarray(sample(task_key("class sheet"), len(labels), labels))
    rows = dict(
        zip(names, images.reshape(len(names), NUM_PER_CLASS, *images.shape[1:]), strict=True)
    )
    figure = drawing.save(
        "classes", figures.rows_of(rows), f"The first {NUM_PER_CLASS} samples of each class"
    )
    more, unknown = len(learned) - len(asked), dataset.num_classes - len(learned)
    answer = [words]
    answer += [f"{more} more classes are not shown."] if more else []
    if unknown:
        answer.append(
            f"Classes without training images have no row: {unknown} of {dataset.num_classes}."
        )
    return Section(
        "classes",
        "Classes asked for",
        answer,
        [figure],
        question="What does the model draw when it is asked for a class?",
        part="pictures",
    )


def sample_sheet(drawing: Drawing, images: np.ndarray, looks: Looks, words: str) -> Section:
    """The first samples of a run, in the order in which they came, and what they look like.

    Args:
        drawing: where the figure goes.
        images: the samples.
        looks: of them beside test images.
        words: how they are drawn.
    """
    sheet, title = figures.image_sheet(images), f"The first {len(images)} samples"
    return Section(
        "samples",
        "Samples",
        [f"The samples are {looks.in_words()}.", f"{words} {looks.rule}"],
        [drawing.save("samples", sheet, title)],
        question="What does the model draw?",
        part="pictures",
    )


def with_samples(numbers: Sequence[Headline], looks: Looks, place: int) -> list[Headline]:
    """The numbers at the top of a page, with that of the samples at a place among them.

    Samples that are alike come first: the distance of one image to the data is no success.
    """
    found = Headline(
        "samples' distance to training images",
        f"{looks.distance:.2g}x",
        f"1x is that of test images; {looks.group:.0%} of the samples lie near one of them (of "
        f"test images {looks.test_group:.0%})",
    )
    if looks.alike:
        place = 0
        share = f"{looks.group:.0%}" if looks.group > GROUP else "-"
        found = Headline("samples that are alike", share, f"the samples are {looks.in_words()}")
    return [*numbers[:place], found, *numbers[place:]]


def too_short(why: str) -> Section:
    """The section of a training that is too short for a finding, after the samples."""
    title, question = "Trained too short for a finding", "Why are the samples no better?"
    return Section("short", title, [why], question=question, part="pictures")


def error_curve(
    drawing: Drawing,
    folders: Mapping[str, Path],
    meaning: str,
    file: str = "training",
    last_step: int | None = None,
) -> Section:
    """The test reconstruction error over the epochs, one curve per run.

    Args:
        drawing: where the figure goes.
        folders: those with the runs' logs, by the names of their curves.
        meaning: the error in words.
        file: the name of the figure.
        last_step: of the logs' lines that count; None is all.
    """
    curves = {}
    for name, folder in folders.items():
        lines = metrics_log.read_lines(folder / LOG, last_step)
        curves[name] = series(lines, "test_reconstruction_error")
    known = {name: curve for name, curve in curves.items() if curve[0]}
    title = "Test reconstruction error"
    figure = drawing.save(
        file, figures.curves(known, x="epoch", y=title.lower()), f"{title} over the epochs"
    )
    return Section(
        "training",
        title,
        [curves_in_words(curves), f"{title}: {meaning}."],
        [figure],
        question="Has the training ended, or does the error still fall?",
        part="pictures",
    )


def last_change(epochs: Sequence[float], values: Sequence[float]) -> float | None:
    """By what part an error changes in the last quarter of its curve.

    None of fewer than `LEAST_MEASURES`, which show too little of a curve.
    """
    if len(values) < LEAST_MEASURES:
        return None
    quarter = epochs[-1] - (epochs[-1] - epochs[0]) / 4
    earlier = [value for epoch, value in zip(epochs, values, strict=True) if epoch <= quarter]
    return values[-1] / earlier[-1] - 1 if earlier[-1] else 0.0


def curves_in_words(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Whether errors still move in the last quarter of their curves, and where these begin and end.

    The name of a curve counts where there are several.
    """
    sentences = []
    for name, (epochs, values) in curves.items():
        error = f"the error of {name}" if len(curves) > 1 else "the error"
        if not epochs:
            sentences.append(f"{error} is not in the log")
            continue
        end = f"{number(values[-1])} after epoch {epochs[-1]:.0f}"
        path = f"from {number(values[0])} after epoch {epochs[0]:.0f} to {end}"
        if (change := last_change(epochs, values)) is None:
            found = f"it went {path}" if len(epochs) > 1 else f"it was {end}"
            few = "has too few measures to show whether it still falls"
            sentences.append(f"{error} {few}: {found}")
            continue
        least = min(values)
        if values[-1] > (1.0 + STILL_ERROR) * least:
            above = f"{values[-1] / least - 1:.1%}" if least else number(values[-1])
            when = f"{number(least)} after epoch {epochs[values.index(least)]:.0f}"
            sentences.append(f"{error} ends {above} above its least, {when}: it went {path}")
            continue
        moves = "still falls" if change < -STILL_ERROR else "has settled"
        sentences.append(
            f"{error} {moves} in the last quarter of the epochs ({change:+.1%}): it went {path}"
        )
    return " ".join(f"{each[:1].upper()}{each[1:]}." for each in sentences)
