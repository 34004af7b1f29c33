"""How time and memory grow with every size: exponents, knees, and one figure of small multiples.

    t(n) = c n^a        log t = log c + a log n

The exponent a is fitted by least squares on the logarithms of the upper half of the values, because
small sizes have costs that do not grow. A knee is the value k at which a broken line,

    log t = log c + a log n + d max(0, log n - log k),

bends; k is the value with the least squares, with two behind it, and is a knee if the line bends by
at least `BEND` and the broken one leaves at most `LEFT` of the squares of the straight one. It
takes five values to find one.
"""

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np

from experiments.benchmarking.page import Columns, Row, head, megabytes, table, timing
from experiments.benchmarking.sweeps import SWEEPS, Rows
from jaxgen.errors import SettingError
from jaxgen.report import figures
from jaxgen.report.page import number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

BEND, LEFT = 0.25, 0.25
LEAST = 5
"""Values among which a knee can be found."""
WIDE = 100.0
"""Ratio of an axis's ends from which a label at every power of ten is enough."""
APART = 0.08
"""Least distance of two exponents beside a panel, as a part of its height."""
NEAR = 0.09
"""Numbers below ticks touch if they are no farther apart than this part of the axis."""
PROPORTIONAL, KNEE = "in proportion", "knee"
"""Names in the legend."""


class Line(NamedTuple):
    """One learner over the values of one setting."""

    sweep: str
    case: str
    values: tuple[int, ...]
    settings: Mapping[str, Any]
    """Of the benchmark, the same for all values."""


_SHORT: Mapping[str, Any] = {"repeats": 3, "retries": 1}
_STREAMED: Mapping[str, Any] = {"stream": True, "resident": False, "repeats": 2, "retries": 0}
HIDDEN, SIDES = (100, 200, 400, 1000, 2000, 4000), (28, 40, 56, 80, 112, 128)
SETS, BATCHES = (1_000, 10_000, 100_000, 1_000_000), (16, 64, 256, 1024, 4096)
LINES = (
    Line("hidden_size", "rbm-lab", HIDDEN, {**_SHORT, "images": 12_000}),
    Line("hidden_size", "vae-lab", HIDDEN, {**_SHORT, "images": 4_096}),
    Line("latent_size", "vae-lab", (2, 8, 32, 128, 512), {**_SHORT, "images": 12_288}),
    Line("image_size", "rbm-lab", SIDES, {**_SHORT, "images": 6_000}),
    Line("image_size", "vae-lab", SIDES, {**_SHORT, "images": 4_096}),
    Line(
        *("image_size", "dcgan-lab", (32, 64, 128)),
        {**_SHORT, "images": 64, "batch_size": 16, "hidden_size": 16},
    ),
    Line("channels", "rbm-lab", (1, 3), {**_SHORT, "images": 12_000}),
    Line("channels", "vae-lab", (1, 3), {**_SHORT, "images": 12_288}),
    Line(
        *("channels", "dcgan-lab", (1, 3)),
        {**_SHORT, "images": 64, "batch_size": 16, "hidden_size": 16},
    ),
    Line("images", "rbm-lab", SETS, _STREAMED),
    Line("images", "vae-lab", SETS, {**_STREAMED, "batch_size": 100}),
    Line("batch_size", "rbm-lab", BATCHES, {**_SHORT, "images": 16_384}),
    Line("batch_size", "vae-lab", BATCHES, {**_SHORT, "images": 16_384}),
    Line("seeds", "rbm-lab", (1, 4, 16, 64), {**_SHORT, "images": 3_000}),
    Line("seeds", "vae-lab", (1, 4, 16, 64), {**_SHORT, "images": 2_048}),
    Line("devices", "rbm-lab", (1, 2, 4), {**_SHORT, "images": 12_000}),
    Line("devices", "vae-lab", (1, 2, 4), {**_SHORT, "images": 12_288}),
)
QUICK: Mapping[str, Any] = {"repeats": 1, "retries": 0}
COLOURS = ("#4878a8", "#c44e52", "#55a868")
"""Of the learners, in the order in which they come."""


def choose_lines(only: Sequence[str], sweeps: Sequence[str], quick: bool) -> list[Line]:
    """The lines of these learners and settings, all where none is named; of `quick` few values.

    Errors:
        SettingError: there is no such line.
    """
    found = [
        line
        for line in LINES
        if (not only or line.case in only) and (not sweeps or line.sweep in sweeps)
    ]
    if not found:
        there = sorted({line.case for line in LINES if not sweeps or line.sweep in sweeps})
        raise SettingError(
            expected=f"--only to be among {', '.join(there)}",
            found=", ".join(only),
            remedy="set it to one of them",
        )
    if quick:
        found = [
            line._replace(values=line.values[:2], settings={**line.settings, **QUICK})
            for line in found
        ]
    return found


# ---- what is fitted


class Measure(NamedTuple):
    """A quantity that grows."""

    name: str
    of: Callable[[Row], float]


def time_of(row: Row) -> float:
    """Seconds of a step; where the number of images grows, of an epoch."""
    seconds: float = row["step_s"] * (row["steps"] if row["sweep"] == "images" else 1)
    return seconds


def memory_of(row: Row) -> float:
    """Bytes that training added to what was held, on the device, or on the host if that is it."""
    place = "peak_device_bytes" if row["peak_device_bytes"] else "peak_rss_bytes"
    held: int = row[place] - (row[f"{place}_before"] or 0)
    return float(max(held, 1))


MEASURES = (Measure("time", time_of), Measure("memory", memory_of))


class Fit(NamedTuple):
    """How a quantity grows."""

    exponent: float
    knee: float | None
    """None where there is none, or too few values to find one."""


def fit_exponent(values: Sequence[float], found: Sequence[float]) -> Fit:
    """The exponent over the upper half of the values, in rising order, and the knee over all."""
    x, y = np.log(values), np.log(found)
    upper = slice(-max(2, -(-len(x) // 2)), None)
    exponent = float(np.polyfit(x[upper], y[upper], 1)[0])
    return Fit(exponent, _knee(x, y))


def _knee(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < LEAST:
        return None

    def squares(*columns: np.ndarray) -> tuple[float, np.ndarray]:
        design = np.stack([np.ones_like(x), *columns], axis=1)
        weights = np.linalg.lstsq(design, y, rcond=None)[0]
        return float(np.square(design @ weights - y).sum()), weights

    straight, _ = squares(x)
    broken = [(*squares(x, np.maximum(0.0, x - k)), k) for k in x[1:-2]]
    least, weights, k = min(broken, key=lambda each: each[0])
    is_knee = abs(weights[2]) >= BEND and least <= LEFT * straight
    return float(np.exp(k)) if is_knee else None


def group_rows(rows: Rows) -> list[Rows]:
    """The rows of each line, in the order in which they were measured."""
    return [
        list(group) for _, group in itertools.groupby(rows, lambda row: (row["sweep"], row["name"]))
    ]


def values_of(group: Rows) -> list[int]:
    """The values of a line."""
    return [row[SWEEPS[group[0]["sweep"]].key] for row in group]


# ---- what is shown


def kept_in_words(num: int, num_points: int, path: Path) -> str:
    """Where the rows are that an interrupted measurement leaves."""
    if not num:
        return "no row is measured yet"
    return f"{num} of {num_points} rows are in {path}; the command measures all of them again"


@figures.own_style()
def draw(rows: Rows, path: Path) -> Path:
    """One panel a setting: time and memory over its values, each over its own first value."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    groups = group_rows(rows)
    sweeps = [name for name in SWEEPS if any(group[0]["sweep"] == name for group in groups)]
    names = [*dict.fromkeys(group[0]["name"] for group in groups)]
    colours = dict(zip(names, itertools.cycle(COLOURS), strict=False))
    columns = min(2, len(sweeps))
    figure, panels = figures.panels(len(sweeps), columns)
    for axes in panels[::columns]:
        axes.set_ylabel("over the first value")
    for name, axes in zip(sweeps, panels, strict=True):
        lines = [group for group in groups if group[0]["sweep"] == name]
        exponents: dict[Line2D, str] = {}
        for group in lines:
            exponents |= _panel(axes, group, colours[group[0]["name"]])
        ticks = sorted({value for group in lines for value in values_of(group)})
        ends = np.array([ticks[0], ticks[-1]], float)
        (straight,) = axes.plot(ends, ends / ends[0], ":", color="#999999", zorder=0)
        straight.set(linewidth=0.8, label=PROPORTIONAL)
        axes.set_xscale("log")
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        steps = (1.0, 2.0, 5.0) if high < WIDE * low else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
        axes.set_xticks(ticks, _labels(ticks))
        axes.minorticks_off()
        axes.set_title(SWEEPS[name].label, loc="left")
        axes.grid(alpha=0.25)
        _name_exponents(axes, exponents)
    handles: dict[str, Artist] = {}
    for axes in panels:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    last = {name: handles.pop(name) for name in (PROPORTIONAL, KNEE) if name in handles}
    handles |= last
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=len(names), frameon=False
    )
    return figures.save(figure, path)


def _panel(axes: "Axes", group: Rows, colour: str) -> "dict[Line2D, str]":
    """A line's time, solid, and memory, dashed, with knees as rings; returns their exponents."""
    values = values_of(group)
    name = group[0]["name"].partition("-")[0].upper()
    exponents = {}
    for measure, style in zip(MEASURES, ("-", "--"), strict=True):
        found = [measure.of(row) for row in group]
        fit = fit_exponent(values, found) if len(values) > 1 else None
        label = f"{name} {measure.name}"
        (drawn,) = axes.plot(values, np.divide(found, found[0]), style, color=colour, label=label)
        drawn.set(linewidth=1.4, marker="o", markersize=3.5)
        drawn.set_markerfacecolor(colour if style == "-" else "white")
        if fit:
            exponents[drawn] = f"{measure.name} {fit.exponent:.2f}"
        if fit and fit.knee:
            at = values.index(round(fit.knee))
            (ring,) = axes.plot(values[at], found[at] / found[0], "o", ms=10, mfc="none")
            ring.set(markeredgecolor=colour, label=KNEE)
    return exponents


def _name_exponents(axes: "Axes", exponents: "Mapping[Line2D, str]") -> None:
    """Puts the exponent of each line beside its end, in its colour and none over another."""
    low, high = np.log(axes.get_ylim())
    ends = {
        line: (np.log(np.asarray(line.get_ydata())[-1]) - low) / (high - low) for line in exponents
    }
    lowest = 0.0
    for line in sorted(ends, key=ends.__getitem__):
        place = max(float(ends[line]), lowest)
        lowest = place + APART
        axes.text(
            *(1.02, place, exponents[line]),
            transform=axes.transAxes,
            color=line.get_color(),
            va="center",
            fontsize=8,
        )


def _labels(ticks: Sequence[int]) -> list[str]:
    """Numbers below ticks, but for those that would touch the one before, or the last."""
    least = NEAR * math.log(ticks[-1] / ticks[0])
    shown = [ticks[0]]
    for tick in ticks[1:-1]:
        if min(math.log(tick / shown[-1]), math.log(ticks[-1] / tick)) >= least:
            shown.append(tick)
    return [_short(tick) if tick in (*shown, ticks[-1]) else "" for tick in ticks]


def _short(value: int) -> str:
    """A number of few letters: 1k, 1M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= unit and value % unit == 0:
            return f"{value // unit}{letter}"
    return str(value)


def page(rows: Rows, picture: Path, page: Path | None) -> str:
    """The page: figure, exponents and knees, and every row; the figure as seen from the page."""
    path = os.path.relpath(picture, page.parent if page else Path())
    lines = [_line(group) for group in group_rows(rows) if len(group) > 1]
    cells: Columns = {title: itemgetter(title) for title in (lines[0] if lines else {})}
    columns: Columns = {
        "setting": lambda row: SWEEPS[row["sweep"]].label,
        "name": lambda row: row["name"],
        "value": lambda row: f"{row[SWEEPS[row['sweep']].key]:,}",
        "ms/step (range)": lambda row: timing(row, "step_s", 1e3),
        "images/s": lambda row: number(row["images_per_s"], 3),
        "training MB": lambda row: megabytes(int(memory_of(row))),
    }
    if any(row["busy"] for row in rows):
        columns["the machine was busy"] = lambda row: row["busy"]
    alt = "time and memory over each size, in logarithms"
    return (
        f"{head('Growth', rows)}\n\nOne setting changes at a time. Time is a step's, and over the "
        "images an epoch's; memory is what training added to what the process held, compilation "
        "included. An exponent is fitted by least squares on the logarithms of the upper half of "
        "the values. A knee is where a broken line fits: at least five values, a bend of at least "
        f"{BEND}, at most {LEFT} of the squares left.\n\n![{alt}]({quote(path)})\n\n"
        "Both over their first value; the exponent of each stands beside the end of its line. "
        "Where the VAE takes convolutional nets in the place of dense ones, from a side of 40 on "
        "and for colour, its line has a step, which is no knee of one net.\n\n"
        f"## Exponents\n\n{table(lines, cells) if lines else ''}\n## Rows\n\n"
        f"{table(rows, columns)}"
    )


def _line(group: Rows) -> dict[str, Any]:
    """A row of the table of exponents."""
    values = values_of(group)
    row = {
        "setting": SWEEPS[group[0]["sweep"]].label,
        "name": group[0]["name"],
        "values": f"{values[0]:,} to {values[-1]:,}",
    }
    for measure in MEASURES:
        fit = fit_exponent(values, [measure.of(each) for each in group])
        row[f"exponent of {measure.name}"] = f"{fit.exponent:.2f}"
        row[f"knee of {measure.name}"] = "" if fit.knee is None else f"{fit.knee:,.0f}"
    return row
