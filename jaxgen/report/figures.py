"""Matplotlib figures. Grids of samples show the first ones, in the order in which they came.

Every function returns a `Figure`; `save` writes it, and a notebook shows it. Images are [H, W], or
[H, W, C] with one channel or the three of a colour, in [0, 1]; black is 0. No pyplot: figures hold
no global state and need no screen. They have a style of their own, whatever a user has set for
other figures. A figure is as wide as a page shows it, half a column or a whole one, so that its
letters are of one size everywhere, and its label (`get_label`) is its content in words, for who
cannot see it. Matplotlib takes half a second to import, so it waits until the first figure.
"""

import atexit
import contextlib
import functools
import io
import math
import os
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from jaxgen.errors import SettingError
from jaxgen.files import write_atomically
from jaxgen.images import as_array, in_unit_range

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

Sheet = Float[np.ndarray, "rows columns *channels"]
"""Without an axis of channels for grey images, with one of three for colour."""

HALF, FULL = 4.2, 8.7
"""Widths in inches. A page shows an inch as a hundred of its pixels, and on a phone 85 of a half
and 70 of a full one."""
DPI = 200
"""Pixels per inch of every figure: two for each of a page's, for screens that have them."""
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
"""Changes of Matplotlib's defaults; letters of 9 points are the least that can be read."""
MANY = 12
"""Images beside each other above which a figure is a full one."""
SHORT = 12
"""Letters of a label that stands left of its row; a longer one stands above it."""
MOST_NAMES = 6
"""Curves whose names stand in the panel; those of more stand below it."""
MOST_POINTS = 400
"""Points that are drawn of a line, one per pixel or so; of a longer one they are means."""
LEAST_POINTS = 8
"""Points of the longest line where first values may be left out of sight."""
START = 0.1
"""The part of the horizontal axis in which they lie."""
SCALE = 4.0
"""They are left out if they make the vertical axis so many times as long as the rest is high."""
LEAST_FOR_PERCENTILES = 100
"""Values that have a 1st and a 99th percentile."""
PAPER = {"gray": "#8fa3b5", "RdBu_r": "#c9c9c9", "viridis": "#c9c9c9"}
"""Colour map: the colour of the lines between its panels (NaN), neither its black nor white."""


def _import_matplotlib() -> None:
    """Imports Matplotlib also where $MPLBACKEND names none, which ends a plain import.

    Where its folders cannot be used, such as a loop of links, which ends the import of its fonts,
    it gets one that is gone at the end of the process.
    """
    homes = {"XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config"}
    own = os.environ.get("MPLCONFIGDIR")
    places = [own] if own else [os.environ.get(x) or f"~/{home}" for x, home in homes.items()]
    if sys.platform.startswith("linux") and not all(map(_is_usable, places)):
        place = tempfile.mkdtemp(prefix="matplotlib-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = place
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
            with contextlib.suppress(ValueError, NameError):
                matplotlib.rcParams["backend"] = backend


def _is_usable(place: str) -> bool:
    """Whether Matplotlib can write in its folder at that place."""
    folder = Path(place, "matplotlib")
    try:
        folder = folder.expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a loop of links; no home
        return False
    return os.access(folder, os.W_OK)


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Inside the `with` block Matplotlib's settings are ours; a backend is not needed.

    Text, axes and images look at the settings when they are made, and others when they are drawn.
    """
    if "matplotlib" not in sys.modules:
        _import_matplotlib()
    from matplotlib import style

    with style.context(["default", STYLE]):
        yield


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that lays itself out, for Matplotlib's own renderer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _shown_figure()(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@functools.cache
def _shown_figure() -> "type[Figure]":
    """The class of a figure that a notebook shows as a picture where it is a cell's last line.

    IPython knows a plain `Figure` only once pyplot is in use.
    """
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return as_png(self)

    return ShownFigure


@own_style()
def as_png(figure: "Figure") -> bytes:
    """A figure as the bytes of a PNG file, without a date in it.

    A box stands for a letter that Matplotlib's font lacks, as names of classes may have.
    """
    buffer, metadata = io.BytesIO(), {"Software": None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def save(figure: "Figure", path: Path) -> Path:
    """Writes a figure as PNG, whole or not at all."""
    write_atomically(path, as_png(figure))
    return path


def tile(images: Float[np.ndarray, "num ..."], columns: int, gap: float = np.nan) -> Sheet:
    """Lays images [num, H, W] or [num, H, W, C] side by side, one pixel of `gap` between them.

    Errors:
        SettingError: there are no images, or C is neither 1 nor 3.
    """
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise SettingError(
            expected="images [num, height, width], or with one channel or three at the end",
            found=str([*images.shape]),
            remedy="give an axis of images first, and channels last",
        )
    _, height, width, num_channels = images.shape
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, num_channels), gap)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = image
    return sheet[..., 0] if num_channels == 1 else sheet


def _shades(images: Shaped[np.ndarray, "num ..."]) -> Float[np.ndarray, "num ..."]:
    """Images, raw or in [0, 1], as numbers in [0, 1]; units [num, units] laid out as squares.

    Binary units may be booleans or whole numbers. NaN is a gap.

    Errors:
        SettingError: they are neither.
    """
    found = np.asarray(as_array(images))
    if found.ndim == 2:
        return _shades(as_square(found))
    if found.dtype == np.uint8:
        return in_unit_range(found[..., None] if found.ndim == 3 else found)
    in_unit_range(np.where(np.isnan(found), 0.0, found) if found.dtype.kind == "f" else found)
    return found


def save_pixels(images: Shaped[np.ndarray, "num ..."], path: Path) -> Path:
    """Writes images, raw or in [0, 1], as a PNG, as near a square as they go; in milliseconds.

    Errors:
        SettingError: they are neither, or there are none.
    """
    from PIL import Image

    shades = in_unit_range(images)
    sheet = tile(shades, math.ceil(math.sqrt(len(shades))), gap=0.5)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255.0 * sheet).astype(np.uint8)).save(buffer, format="png")
    write_atomically(path, buffer.getvalue())
    return path


def as_square(units: Float[np.ndarray, "num units"]) -> Float[np.ndarray, "num rows columns"]:
    """Lays the units of each row out as near a square as they go; missing places are NaN."""
    columns = math.ceil(math.sqrt(units.shape[-1]))
    rows = math.ceil(units.shape[-1] / columns)
    padded = np.full((len(units), rows * columns), np.nan)
    padded[:, : units.shape[-1]] = units
    return padded.reshape(len(units), rows, columns)


def _show(
    axes: "Axes",
    sheet: Sheet,
    colours: Literal["gray", "RdBu_r", "viridis"],
    limits: tuple[float, float],
) -> "ScalarMappable":
    """Draws a sheet without ticks and frame; one of colours as it is."""
    from matplotlib import colormaps, colors

    if sheet.ndim == 3:
        sheet = np.where(np.isnan(sheet), colors.to_rgb(PAPER[colours]), sheet)
    cmap = colormaps[colours].with_extremes(bad=PAPER[colours])
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
    return axes.imshow(sheet, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")


def _canvas(
    sheet: Sheet, title: str, width: float = HALF, right: float = 0.0, below: float = 0.0
) -> tuple["Figure", "Axes"]:
    """A figure with one panel in the proportions of the sheet; room for a bar and for a label."""
    height = (width - right) * sheet.shape[0] / sheet.shape[1] + below
    figure = _figure(width, height + (0.3 if title else 0.0))
    axes = figure.add_subplot()
    axes.set_title(title, parse_math=False)
    return figure, axes


@own_style()
def image_sheet(
    images: Shaped[np.ndarray, "num ..."], title: str = "", columns: int = 10
) -> "Figure":
    """Images, raw or in [0, 1], in a grid, in the order in which they come.

    Errors:
        SettingError: they are neither, or there are none.
    """
    sheet = tile(_shades(images), columns)
    figure, axes = _canvas(sheet, title)
    _show(axes, sheet, "gray", (0.0, 1.0))
    figure.set_label(f"a grid of {len(images)} images, {min(columns, len(images))} a row")
    return figure


def colour_bound(filters: Float[np.ndarray, "num ..."]) -> float:
    """The 99.5th percentile of |filter|, so that single pixels do not set a colour scale."""
    return float(np.nanquantile(np.abs(filters), 0.995)) or 1.0


@own_style()
def filter_sheet(
    filters: Float[np.ndarray, "num ..."], title: str = "", columns: int = 0, bound: float = 0.0
) -> "Figure":
    """Signed filters in a grid on one scale: blue is negative, white zero, red positive.

    Of colour images each channel is that of the filter: grey is zero, and a channel is bright where
    it is positive. The scale ends at `bound`, or where `colour_bound` puts it; NaN is no part of a
    filter.

    Errors:
        SettingError: there are no numbers in them, or some are infinite.
    """
    filters = np.asarray(as_array(filters))
    if (
        filters.dtype.kind not in "iuf"
        or not filters.ndim
        or np.isinf(filters).any()
        or np.isnan(filters).all()
    ):
        raise SettingError(
            expected="filters of finite numbers, or NaN for gaps between them",
            found=f"{filters.dtype} {[*filters.shape]}",
            remedy="look at the weights",
        )
    sheet = tile(filters, columns or math.ceil(math.sqrt(len(filters))))
    bound = bound or colour_bound(filters)
    width = HALF if len(filters) <= MANY**2 else FULL
    words = f"a grid of {len(filters)} filters"
    if sheet.ndim == 3:
        figure, axes = _canvas(sheet, title, width, below=0.3)
        figure.set_label(f"{words}, grey where a weight is 0, bright where it is positive")
        _show(axes, np.clip(0.5 + 0.5 * sheet / bound, 0.0, 1.0), "RdBu_r", (0.0, 1.0))
        axes.set_xlabel(f"grey 0, full {bound:.2g}, dark -{bound:.2g}")
        return figure
    figure, axes = _canvas(sheet, title, width, right=0.65)
    figure.set_label(f"{words}, white where a weight is 0, to red at {bound:.2g}, to blue below 0")
    shown = _show(axes, sheet, "RdBu_r", (-bound, bound))
    signed = bool(np.nanmin(filters) < 0)
    extend = "both" if signed else "max"
    bar = figure.colorbar(shown, ax=axes, shrink=0.7, aspect=30, extend=extend, label="weight")
    if not signed:
        bar.ax.set_ylim(0.0, bound)
    return figure


@own_style()
def heat_map(values: Float[np.ndarray, " units"], title: str = "", label: str = "") -> "Figure":
    """One number in [0, 1] per unit as a square map with a colour bar."""
    sheet = as_square(np.asarray(values)[None])[0]
    figure, axes = _canvas(sheet, title, right=0.65)
    shown = _show(axes, sheet, "viridis", (0.0, 1.0))
    figure.colorbar(shown, ax=axes, shrink=0.7, aspect=30, label=label)
    low, middle, high = np.quantile(values, [0.0, 0.5, 1.0])
    found = f"from {low:.2g} to {high:.2g}, the median {middle:.2g}"
    figure.set_label(f"a square for each of {len(values)} units, coloured by its value: {found}")
    return figure


@own_style()
def rows_of(
    strips: Mapping[str, Shaped[np.ndarray, "num ..."]], title: str = "", heads: Sequence[str] = ()
) -> "Figure":
    """Strips of images or of unit states, one named row each, column i about example i.

    `heads` names the columns. Dollar signs in names, such as those of classes, are dollar signs and
    begin no formula.

    Errors:
        SettingError: no strips, images that are neither raw nor in [0, 1], or units that are not in
            [0, 1].
    """
    if not strips:
        raise SettingError(expected="one strip of images or more", found="none", remedy="name some")
    num = max(map(len, strips.values()))
    sheets = [tile(_shades(strip), num) for strip in strips.values()]
    width = HALF if num <= MANY else FULL
    left = all(len(name) <= SHORT for name in strips)
    labels = [*strips] if left else [textwrap.fill(name, int(13 * width)) for name in strips]
    gutter = 0.1 + max(map(_length, labels)) if left else 0.0
    line = 0.18  # inches, as all lengths here
    above = [0.05 if left else line * (1.4 + label.count("\n")) for label in labels]
    heights = [(width - gutter) * sheet.shape[0] / sheet.shape[1] for sheet in sheets]
    longest = max(map(_length, heads), default=0.0)
    upright = longest > (width - gutter) / num
    above[0] += (longest + 0.05 if upright else line) * bool(heads)
    head = 1.5 * line * (1 + title.count("\n")) if title else 0.0
    height = head + sum(above) + sum(heights)
    figure, top = _figure(width, height), height - head
    figure.set_layout_engine("none")
    if title:
        figure.suptitle(title, y=1.0 - 0.25 * line / height, fontsize=10, parse_math=False)
    for label, sheet, space, size in zip(labels, sheets, above, heights, strict=True):
        top -= space + size
        axes = figure.add_axes((gutter / width, top / height, 1.0 - gutter / width, size / height))
        _show(axes, sheet, "gray", (0.0, 1.0))
        if left:
            axes.set_ylabel(label, rotation=0, ha="right", va="center", parse_math=False)
        else:
            axes.set_title(label, loc="left", pad=2.5, parse_math=False)
    if heads:
        step = sheets[0].shape[1] / num
        axes = figure.axes[0]
        axes.set_xticks([step * (index + 0.5) for index in range(len(heads))], heads)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelrotation=90.0 * upright, pad=1.0)
        for text in axes.get_xticklabels():
            text.set_parse_math(False)
    columns = f", its columns {', '.join(heads)}" if heads else ""
    names = "; ".join(f"{name} ({len(strip)})" for name, strip in strips.items())
    figure.set_label(f"{len(strips)} rows of images, one below the other{columns}: {names}")
    return figure


def _length(text: str, size: float = 10.0) -> float:
    """The length of a text in inches, its dollar signs as they are."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        lines = text.split("\n")
        font = FontProperties(size=size)
        return (
            max(text_to_path.get_text_width_height_descent(x, font, False)[0] for x in lines) / 72
        )


def _legend(
    owner: "Axes | Figure", drawn: Sequence["Artist"], names: Sequence[str], **style: Any
) -> None:
    """A legend with the names as they are: dollar signs begin no formula.

    Matplotlib leaves out names that begin with an underscore.
    """
    shown = [f"\u200b{name}" if name.startswith("_") else name for name in map(str, names)]
    for text in owner.legend(drawn, shown, **style).get_texts():
        text.set_parse_math(False)


@own_style()
def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str = "",
    x: str = "",
    y: str = "",
) -> "Figure":
    """Named lines (x values, y values) in one panel.

    Epochs have ticks at whole numbers, and first values that are far off lie outside. Of a line
    with more than `MOST_POINTS` values means of neighbours are drawn; the x axis has of how many.
    """
    from matplotlib.ticker import MaxNLocator

    below = len(lines) > MOST_NAMES
    columns = int(HALF / (0.6 + max(map(_length, lines)))) or 1 if below else 1
    figure = _figure(HALF, 2.8 + 0.2 * math.ceil(len(lines) / columns) * below)
    axes = figure.add_subplot()
    if below:
        from matplotlib import colormaps

        axes.set_prop_cycle(color=colormaps["viridis"](np.linspace(0.0, 0.9, len(lines))))
    points = {name: _means(*line) for name, line in lines.items()}
    drawn = [axes.plot(*line, label=name, linewidth=1.5)[0] for name, line in points.items()]
    longest = max((len(line[0]) for line in lines.values()), default=0)
    means = f"means of up to {math.ceil(longest / MOST_POINTS):,}"
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(f"{x}, {means}" if longest > MOST_POINTS else x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    limits = _without_the_start([*points.values()]) if x == "epoch" else None
    if limits:
        axes.set_ylim(limits.low, limits.high)
        place, side = ((0.98, 0.03), "right") if limits.rises else ((0.02, 0.03), "left")
        axes.annotate("the first values lie outside", place, xycoords="axes fraction", ha=side)
    if below:
        _legend(figure, drawn, [*lines], loc="outside lower center", ncols=columns)
    elif len(lines) > 1:
        _legend(axes, drawn, [*lines])
    ends = [
        f"{name} goes from {b[0]:.3g} at {a[0]:.3g} to {b[-1]:.3g} at {a[-1]:.3g}"
        for name, (a, b) in lines.items()
        if len(a)
    ]
    figure.set_label(f"curves of {y or 'values'} by {x or 'place'}: {'; '.join(ends) or 'none'}")
    return figure


def _means(x: Sequence[float], y: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Means of as few neighbours each as leave at most `MOST_POINTS` points, the last of fewer.

    Values that are not finite are left out, and where no neighbour is finite the line has a gap.
    """
    num = math.ceil(len(x) / MOST_POINTS)
    if num <= 1 or len(x) != len(y):
        return x, y
    both = np.array([x, y], np.float64)
    finite = np.isfinite(both).all(axis=0)
    starts = np.arange(0, len(x), num)
    counts = np.add.reduceat(finite, starts, dtype=np.float64)
    sums = np.add.reduceat(np.where(finite, both, 0.0), starts, axis=1)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return means[0].tolist(), means[1].tolist()


class _Limits(NamedTuple):
    """Of a vertical axis without the first values."""

    low: float
    high: float
    rises: bool
    """Whether the first values lie below."""


def _without_the_start(
    lines: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> _Limits | None:
    """Limits that show what comes after the first part of the lines; None where all is to be seen.

    The first values of a training may be so far off that the rest would be a straight line. A line
    that is nowhere else is to be seen.
    """
    points = [np.array([*zip(x, y, strict=True)], np.float64).reshape(-1, 2) for x, y in lines]
    points = [each[np.isfinite(each).all(axis=1)] for each in points]
    x, y = np.concatenate([np.empty((0, 2)), *points]).T
    if max(map(len, points), default=0) < LEAST_POINTS:
        return None
    start = x.min() + START * np.ptp(x)
    rest, height = y[x >= start], float(np.ptp(y[x >= start]))
    hidden = any(len(each) and each[-1, 0] < start for each in points)
    if hidden or not 0.0 < SCALE * height < np.ptp(y):
        return None
    low, high = float(rest.min()) - height / 2, float(rest.max()) + height / 2
    return _Limits(low, high, float(y[np.argmin(x)]) < low)


def _range(values: Float[np.ndarray, " num"]) -> str:
    return f"from {np.min(values):.3g} to {np.max(values):.3g}"


@own_style()
def panels(num: int, columns: int, height: float = 2.6) -> "tuple[Figure, list[Axes]]":
    """An empty figure of so many panels in rows, each `height` inches high."""
    rows = math.ceil(num / columns)
    figure = _figure(FULL if columns > 1 else HALF, height * rows)
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(num)]


def _along(num: int) -> tuple[float, list[int]]:
    """The width in inches of a figure with so many places along its axis, and those with a tick."""
    width = HALF if num <= 2 * MANY else FULL
    return width, [*range(0, num, math.ceil(num / (4 * width)))]


@own_style()
def box_plots(panels: Mapping[str, Float[np.ndarray, "num groups"]], title: str = "") -> "Figure":
    """One panel below the other, with one box per column of its values.

    A box spans the quartiles with the median in it, whiskers the 1st to the 99th percentile, or
    all where a panel has fewer than `LEAST_FOR_PERCENTILES` values.
    """
    width, ticks = _along(max(values.shape[1] for values in panels.values()))
    figure = _figure(width, 1.7 * len(panels) + 0.4)
    figure.suptitle(title, fontsize=10)
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    whiskers = (1, 99) if min(map(len, panels.values())) >= LEAST_FOR_PERCENTILES else (0, 100)
    for axes, (name, values) in zip(rows, panels.items(), strict=True):
        places = [*range(values.shape[1])]
        axes.boxplot(
            np.asarray(values), positions=places, whis=whiskers, showfliers=False, widths=0.6
        )
        axes.set_ylabel(textwrap.fill(name, 20))
        axes.grid(axis="y", alpha=0.3)
        axes.set_xticks(ticks, map(str, ticks))
    rows[-1].set_xlabel("latent variable")
    medians = [f"{name}, medians {_range(np.median(each, 0))}" for name, each in panels.items()]
    figure.set_label(f"boxes, one a latent variable: {'; '.join(medians)}")
    return figure


@own_style()
def bars(
    values: Float[np.ndarray, " num"],
    marked: Sequence[bool] = (),
    title: str = "",
    label: str = "",
    note: str = "",
    x: str = "latent variable",
    names: Sequence[str] = (),
    others: str = "others",
) -> "Figure":
    """One bar per value at its index, or above its name.

    Marked ones are red, with a cross below the axis where they may be too low to be seen; the
    legend calls them `note`, and the rest `others`.
    """
    width, ticks = _along(len(values))
    upright = max(map(len, names), default=0) * len(ticks) > 10 * width
    figure = _figure(width, 2.8 + upright * max(map(_length, names), default=0.0))
    axes = figure.add_subplot()
    places, red = np.arange(len(values)), np.resize(np.asarray([*marked, False]), len(values))
    for chosen, colour, name in ((False, "#4878a8", others), (True, "#c44e52", note)):
        which = red == chosen
        if which.any():
            axes.bar(places[which], np.asarray(values)[which], color=colour, label=name)
    if red.any():
        below = axes.get_xaxis_transform()
        (crosses,) = axes.plot(places[red], np.full(red.sum(), -0.02), "x", transform=below)
        crosses.set(color="#c44e52", markersize=4, clip_on=False)
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(label, parse_math=False)
    axes.set_xticks(ticks, [names[tick] if names else str(tick) for tick in ticks])
    if upright:
        axes.tick_params(axis="x", labelrotation=90.0)
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    if any(marked):
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.2 * (high - low))  # room for the legend above the bars
        axes.legend(loc="upper right", ncols=2)
    called = f"{label or 'values'} of {len(values)}: {_range(values)}"
    figure.set_label(f"bars, {called}{f'; {sum(map(bool, marked))} {note}' if any(marked) else ''}")
    return figure


@own_style()
def scatter(
    points: Float[np.ndarray, "num 2"],
    labels: Sequence[int],
    title: str = "",
    x: str = "",
    y: str = "",
    names: Sequence[str] = (),
) -> "Figure":
    """Points in the plane, drawn in the order they come, coloured by label.

    Few points are larger than many. A legend has the labels, or their names, where there are
    several.
    """
    from matplotlib import colormaps

    there = sorted(set(labels))
    palette = colormaps["tab10" if len(there) <= 10 else "tab20"]
    colours = {label: palette(i % palette.N) for i, label in enumerate(there)}
    called = {label: str(names[label] if names else label) for label in there}
    columns = max(1, min(5, 35 // (4 + max(map(len, called.values()), default=0))))
    rows = math.ceil(len(there) / columns) if len(there) > 1 else 0
    figure = _figure(HALF, HALF + 0.2 * rows)
    axes = figure.add_subplot()
    x_values, y_values = np.asarray(points).T
    area = float(np.clip(12_000 / max(1, len(points)), 3.0, 24.0))  # in square points
    axes.scatter(x_values, y_values, s=area, c=[colours[label] for label in labels], linewidths=0)
    dots = [axes.scatter([], [], s=30, color=colour) for colour in colours.values()]
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    groups = f" in {len(there)} colours: {', '.join(called.values())}" if rows else ""
    figure.set_label(f"{len(points)} points in the plane{groups}")
    if rows:
        below = "outside lower center"
        _legend(figure, dots, [*called.values()], loc=below, ncols=columns, frameon=False)
    return figure
