"""The benchmark's sweeps: which values, what they are drawn against, and their page."""

import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import numpy as np

from experiments.benchmarking.page import Columns, Row, head, measures, name_of, table
from jaxgen.report import figures
from jaxgen.report.page import number

Rows = list[dict[str, Any]]
SweepName = Literal[
    "batch_size",
    "hidden_size",
    "latent_size",
    "image_size",
    "channels",
    "images",
    "seeds",
    "devices",
]
"""Settings that can take several values: fields of the benchmark's."""

WIDE = 8.0
"""Ratio of the fastest to the slowest rate from which their axis is logarithmic."""
THOUSAND = 1000.0
"""Images in the unit of a plot's rate axis."""


class Sweep(NamedTuple):
    """One setting that takes several values."""

    values: tuple[int, ...]
    key: str
    """Where a row has the value."""
    label: str
    """The unit of the value."""
    ideal: str
    """The ideal that the measured rate is drawn against."""
    ideal_rate: Callable[[Row, Row], float]
    """That in images/s, from a row and the first one."""


_AT_PEAK = (
    "all operations at the peak",
    lambda row, _: row["images_per_s"] / (row["share_of_peak"] or float("nan")),
)
SWEEPS: dict[str, Sweep] = {
    "batch_size": Sweep(
        (25, 50, 100, 200, 400, 800, 1600), "batch_size", "images per update", *_AT_PEAK
    ),
    "hidden_size": Sweep(
        (50, 100, 200, 400, 800, 1600), "hidden_size", "units per hidden layer", *_AT_PEAK
    ),
    "latent_size": Sweep(*((2, 8, 32, 128, 512), "latent_size", "numbers of a code"), *_AT_PEAK),
    "image_size": Sweep(
        *((28, 40, 56, 80, 112, 128), "image_size", "pixels along a side"), *_AT_PEAK
    ),
    "channels": Sweep((1, 3), "channels", "channels of an image", *_AT_PEAK),
    "images": Sweep(
        *((1_000, 10_000, 100_000, 1_000_000), "images", "images of the set", "as with the fewest"),
        lambda _, first: first["images_per_s"],
    ),
    "seeds": Sweep(
        *((1, 2, 4, 8, 16), "num_seeds", "seeds in one program"),
        *("one after the other", lambda _, first: first["images_per_s"]),
    ),
    "devices": Sweep(
        *((1, 2), "num_devices", "devices", "in proportion"),
        lambda row, first: first["images_per_s"] * row["num_devices"] / first["num_devices"],
    ),
}


def group_rows(rows: Rows) -> list[Rows]:
    """The rows of each sweep of each case, in the order of the sweeps."""
    order = list(SWEEPS)
    rows = sorted(rows, key=lambda row: order.index(row["sweep"]))  # keeps the order of cases
    return [list(group) for _, group in groupby(rows, lambda row: (row["sweep"], name_of(row)))]


@figures.own_style()
def plot(rows: Rows, folder: Path) -> list[Path]:
    """Draws images/s over the values, with the range over the epochs; a file per sweep and case."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    paths = []
    for group in group_rows(rows):
        first, sweep = group[0], SWEEPS[group[0]["sweep"]]
        values = [row[sweep.key] for row in group]
        rates = np.array([row["images_per_s"] for row in group]) / THOUSAND
        ideal = np.array([sweep.ideal_rate(row, first) for row in group]) / THOUSAND
        times = np.array([[row["step_s"], *row["step_s_range"]] for row in group])
        slowest, fastest = rates * times[:, 0] / times[:, 2], rates * times[:, 0] / times[:, 1]
        lines = {"measured": (values, rates.tolist()), sweep.ideal: (values, ideal.tolist())}
        figure = figures.curves(lines, name_of(first), sweep.label, "thousand images/s")
        axes = figure.axes[0]
        axes.set_xscale("log", base=2)
        axes.set_xticks(values, [f"{value:,}" for value in values])
        measured, ideally = axes.lines
        off = np.maximum((rates - slowest, fastest - rates), 0.0)  # rates are rounded
        axes.errorbar(values, rates, off, fmt="none", ecolor=measured.get_color(), capsize=3)
        measured.set_marker("o")
        ideally.set_linestyle("--")
        if rates.max() < WIDE * rates.min():
            axes.set_ylim(0.0, 1.1 * max(rates.max(), ideal.max()))
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)
        name = f"{first['sweep']}-{first['name']}-{first['precision']}.png"
        paths.append(figures.save(figure, folder / name))
    return paths


def section(group: Rows, path: str) -> str:
    """One sweep of one case, with its plot."""
    first, sweep = group[0], SWEEPS[group[0]["sweep"]]
    columns: Columns = {
        sweep.label: lambda row: str(row[sweep.key]),
        "an image's time, first row 1": lambda row: number(
            first["images_per_s"] / row["images_per_s"], 3
        ),
    }
    title = f"{name_of(first)}: {sweep.label}"
    picture = f"![{title}]({quote(path)})"
    return f"## {title}\n\n{picture}\n\n{table(group, columns | measures(group))}"


def sweep_page(rows: Rows, plots: list[Path], page: Path | None) -> str:
    """The page of all sweeps; plots are named as seen from the page, or from here without one."""
    seen_from = page.parent if page else Path()
    names = [os.path.relpath(path, seen_from) for path in plots]
    sections = [section(*pair) for pair in zip(group_rows(rows), names, strict=True)]
    return (
        f"{head('Sweeps', rows)}\n\nOne setting changes at a time; the others are the preset's. "
        "images/s counts those of all seeds together, so that an image's time is, over seeds, the "
        "cost of a seed against that of a run of its own. The rows are measured one after the "
        "other, each in a process of its own: a slow spell of the machine is a dent in a curve.\n\n"
        + "\n".join(sections)
    )
