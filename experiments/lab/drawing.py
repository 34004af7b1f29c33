"""Figures of a run: where they go, the data they show, and the curve of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxgen.data import Dataset
from jaxgen.files import make_folder
from jaxgen.report import figures
from jaxgen.report.page import Section, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_SHOWN = 20
"""Test images shown in a figure: always the first ones."""


class Drawing(NamedTuple):
    """Where the figures of a run go, and the data they show."""

    dataset: Dataset
    folder: Path
    """Figures go to its folder `figures`."""

    def save(self, name: str, figure: "Figure") -> Path:
        """Writes a figure."""
        folder = self.folder / "figures"
        make_folder(folder)
        return figures.save(figure, folder / f"{name}.png")

    def images(self, visible: Any) -> np.ndarray:
        """Visible units [N, V] as images [N, H, W, C]."""
        return np.asarray(visible).reshape(-1, *self.dataset.test.images.shape[1:])


def training_curve(
    drawing: Drawing,
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
    measure: str,
    meaning: str,
    file: str = "training",
) -> Section:
    """A measure over the epochs, one curve per log.

    Args:
        drawing: where the figure goes.
        logs: the lines of each `metrics.jsonl`, by the name of its curve.
        measure: the name of the measure in the lines; not every line has it.
        meaning: the measure in words.
        file: the name of the figure.
    """
    curves, ends = {}, []
    for name, log in logs.items():
        evaluated = [line for line in log if measure in line]
        if not evaluated:
            ends.append(f"{name}: not in the log.")
            continue
        epochs = [line["epoch"] for line in evaluated]
        values = [line[measure] for line in evaluated]
        curves[name] = (epochs, values)
        ends.append(
            f"{name}: {number(values[0])} after epoch {epochs[0]:.0f}, "
            f"{number(values[-1])} after epoch {epochs[-1]:.0f}."
        )
    title = measure.replace("_", " ").capitalize()
    paths = []
    if curves:
        figure = figures.curves(curves, title, "epoch", measure.replace("_", " "))
        paths.append(drawing.save(file, figure))
    return Section("training", title, [f"{title}: {meaning}.", *ends], paths)
