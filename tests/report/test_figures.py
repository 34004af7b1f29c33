"""Figures: what is drawn where, and that files are whole."""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from support.helpers import one_line, run_python

from jaxgen.errors import SettingError
from jaxgen.report import figures


def test_tile_puts_each_image_in_its_place() -> None:
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3, 1) / 30.0
    sheet = figures.tile(images, columns=3)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1)
    np.testing.assert_array_equal(sheet[1:3, 5:8], images[1, :, :, 0])
    np.testing.assert_array_equal(sheet[4:6, 5:8], images[4, :, :, 0])
    assert np.isnan(sheet[4:6, 9:12]).all()
    assert np.isfinite(sheet).sum() == images.size


def test_colour_images_keep_their_colours_in_a_sheet_and_in_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(size=(5, 4, 3, 3))
    sheet = figures.tile(images, columns=2)
    assert sheet.shape == (3 * 5 + 1, 2 * 4 + 1, 3)
    np.testing.assert_array_equal(sheet[6:10, 1:4], images[2])
    assert np.isnan(sheet[0]).all()
    with Image.open(figures.save_pixels(images, tmp_path / "pixels.png")) as picture:
        assert picture.mode == "RGB"
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[1:5, 5:8], np.rint(255 * images[1]))
    (drawn,) = figures.image_sheet(images, "images", 2).axes[0].images
    shown = np.asarray(drawn.get_array())
    np.testing.assert_array_equal(shown[6:10, 1:4], images[2])
    np.testing.assert_allclose(shown[0, 0], [0x8F / 255, 0xA3 / 255, 0xB5 / 255])  # the paper
    figures.rows_of({"colour": images, "grey": images[..., :1]}, "both")


def test_names_of_classes_are_drawn_as_they_are() -> None:
    """Dollar signs would make a formula, and this one none that can be drawn."""
    images = np.zeros((1, 2, 2, 1))
    for name in (r"$\frac$", "日本", "a name that is so long that no picture would be left"):
        rows = figures.rows_of({f"{name} - b": images}, f"the mean of {name}")
        for figure in (rows, figures.image_sheet(images, name)):
            assert figures.as_png(figure).startswith(b"\x89PNG")
        texts = {text.get_text().replace("\n", " "): text for text in rows.findobj(Text)}
        assert not texts[f"{name} - b"].get_parse_math()


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4, 5), (2, 4, 4, 2), (1, 2, 3, 4, 3)])
def test_what_are_no_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError, match="one channel or three at the end") as error:
        figures.tile(np.zeros(shape), 2)
    one_line(error)


RAW = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 1), dtype=np.uint8)
WITH_NAN = (RAW / 255.0).astype(np.float32)
WITH_NAN[1, 2, 3] = np.nan


def drawn(figure: Any) -> np.ndarray:
    """The sheet in a figure's first panel, with NaN for the lines."""
    return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)


def test_raw_images_are_drawn_as_numbers_in_the_unit_range(tmp_path: Path) -> None:
    unit = RAW / np.float32(255)
    for draw in (
        lambda x: figures.image_sheet(x, "images"),
        lambda x: figures.rows_of({"a": x}, "images"),
    ):
        expected = drawn(draw(unit))
        np.testing.assert_array_equal(drawn(draw(RAW)), expected)
        np.testing.assert_array_equal(drawn(draw(RAW[..., 0])), expected)
        assert np.isnan(drawn(draw(WITH_NAN))).sum() == np.isnan(expected).sum() + 1  # a gap
    raw, same = (figures.save_pixels(x, tmp_path / f"{i}.png") for i, x in enumerate((RAW, unit)))
    assert raw.read_bytes() == same.read_bytes()


def test_binary_units_are_strips() -> None:
    units = np.random.default_rng(0).uniform(size=(3, 7)) < 0.5
    expected = drawn(figures.rows_of({"h": units.astype(np.float32)}, "units"))
    for states in (units, units.astype(np.uint8), units.astype(np.int64)):
        np.testing.assert_array_equal(drawn(figures.rows_of({"h": states}, "units")), expected)


@pytest.mark.parametrize(
    "images", [2 * WITH_NAN - 1, RAW * 1.0, RAW // 128, RAW > 9, RAW[:0] / 255.0, np.full(3, "a")]
)
def test_images_of_another_range_are_not_drawn(images: np.ndarray, tmp_path: Path) -> None:
    for draw in (
        lambda x: figures.image_sheet(x, "images"),
        lambda x: figures.rows_of({"a": x}, "images"),
        lambda x: figures.save_pixels(x, tmp_path / "pixels.png"),
    ):
        with pytest.raises(SettingError) as error:
            draw(images)
        one_line(error)
    with pytest.raises(SettingError, match="NaN or infinity in 1 of 4 images"):
        figures.save_pixels(WITH_NAN, tmp_path / "pixels.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, True])
def test_filters_without_numbers(value: Any) -> None:
    with pytest.raises(SettingError, match="filters of finite numbers") as error:
        figures.filter_sheet(np.full((3, 4, 4), value), "filters")
    one_line(error)


def test_a_notebook_shows_a_figure_as_a_picture() -> None:
    """By the protocol of rich display: IPython calls `_repr_png_` of a cell's last value."""
    figure = figures.curves({"a": ([0, 1], [2, 3])}, "title", "x", "y")
    shown: Any = figure
    with Image.open(io.BytesIO(shown._repr_png_())) as picture:
        assert picture.format == "PNG"
        assert np.asarray(picture.convert("L")).std() > 0
    assert figures.as_png(figure) == shown._repr_png_()


def test_ipython_shows_a_figure_as_a_picture() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    figure = figures.image_sheet(np.zeros((2, 3, 3)), "images")
    data, _ = formatters.DisplayFormatter().format(figure)
    assert data["image/png"].startswith(b"\x89PNG")


def test_units_as_square() -> None:
    squares = figures.as_square(np.arange(14.0).reshape(2, 7))
    assert squares.shape == (2, 3, 3)
    np.testing.assert_array_equal(squares[1, 0], [7, 8, 9])
    assert np.isnan(squares[1, 2, 1:]).all()


def test_missing_places_do_not_set_the_colour_scale() -> None:
    units = np.linspace(-2.0, 2.0, 14).reshape(2, 7)
    figure = figures.filter_sheet(figures.as_square(units), "units")
    low, high = figure.axes[0].images[0].get_clim()
    assert -low == high == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: figures.image_sheet(x, "images"),
        lambda x: figures.filter_sheet(x - 0.5, "filters"),
        lambda x: figures.filter_sheet(x * 0, "dead filters"),
        lambda x: figures.heat_map(x[:, 0, 0, 0], "heat", "share"),
        lambda x: figures.rows_of({"a": x, "units": x.reshape(12, -1)}, "rows"),
        lambda x: figures.box_plots({"a": x[:, :, 0, 0], "b": x[:, :, 1, 0]}, "boxes"),
        lambda x: figures.bars(x[:, 0, 0, 0], [True] + [False] * 11, "bars", "height", "dead"),
        lambda x: figures.scatter(x[:, :2, 0, 0], [0, 1, 2] * 4, "points", "x", "y"),
        lambda x: figures.curves(
            {"a": ([0, 1], list(x[:2, 0, 0, 0])), "b": ([0], [3])}, "t", "x", "y"
        ),
    ],
)
def test_every_figure_becomes_a_picture(make: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(size=(12, 4, 4, 1))
    path = figures.save(make(images), tmp_path / "figure.png")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.std() > 0
    assert list(tmp_path.iterdir()) == [path]


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(size=(4, 4, 4, 1))
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        figures.save(figures.image_sheet(images, "images"), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_figures_have_their_own_style(tmp_path: Path) -> None:
    """Settings that a user has made for other figures change nothing and end nothing."""
    images = np.random.default_rng(0).uniform(size=(4, 5, 4, 1))

    def draw(path: Path) -> bytes:
        parts = {"a": ([0.0, 1.0], [2.0, 3.0]), "b": ([0.0], [3.0])}
        figures.save(figures.image_sheet(images, "images"), path)
        return (
            path.read_bytes()
            + figures.save(figures.curves(parts, "title", "x", "y"), path).read_bytes()
        )

    expected = draw(tmp_path / "own.png")
    users = {
        "text.usetex": True,  # without TeX this ends in an error
        "image.origin": "lower",
        "backend": "module://nowhere",
        "savefig.facecolor": "red",
        "font.size": 30,
    }
    with matplotlib.rc_context(users):
        assert draw(tmp_path / "users.png") == expected
        assert matplotlib.rcParams["image.origin"] == "lower"


def test_a_backend_and_a_cache_that_are_none_end_nothing(tmp_path: Path) -> None:
    """Both are looked at when Matplotlib is imported, which is after a training."""
    (loop := tmp_path / "loop").symlink_to(loop)
    draw = (
        "from pathlib import Path; from jaxgen.report import figures; import os\n"
        "figures.save(figures.curves({'a': ([0], [1])}, 't', 'x', 'y'), Path('figure.png'))\n"
        "print(os.environ['MPLBACKEND'])"
    )
    done = run_python("-c", draw, cwd=tmp_path, MPLBACKEND="nonsense", XDG_CACHE_HOME=str(loop))
    assert (done.stdout, done.stderr) == ("nonsense\n", "")
    assert (tmp_path / "figure.png").exists()


def test_filters_of_colour_images_have_their_channels_and_grey_for_zero() -> None:
    filters = np.zeros((1, 2, 2, 3))
    filters[0, 0, 0], filters[0, 1, 1] = [0.5, 0.0, -0.5], [9.0, 0.25, 0.0]
    figure = figures.filter_sheet(filters, "filters", bound=0.5)
    shown = np.asarray(figure.axes[0].images[0].get_array())[1:3, 1:3]
    np.testing.assert_allclose(shown[0, 0], [1.0, 0.5, 0.0])
    np.testing.assert_allclose(shown[1, 1], [1.0, 0.75, 0.5])
    np.testing.assert_allclose(shown[0, 1], 0.5)


NAMES = ("0", "1", "ankle boot WWW", "T-shirt/top")
IMAGES = np.full((4, 6, 6), 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: figures.rows_of({"final state": IMAGES, "WWWWWWWWWWWW": IMAGES}, heads=NAMES),
        lambda: figures.rows_of({f"{name} - {NAMES[2]} + mean": IMAGES for name in NAMES}, "title"),
        lambda: figures.rows_of({"a": np.full((20, 28, 28), 0.5)}, heads=list("0123456789")),
        lambda: figures.bars(np.arange(4.0), label="images of each class", x="class", names=NAMES),
        lambda: figures.scatter(np.eye(2)[[0, 1, 0, 1]], [0, 1, 2, 3], "", "a", "b", NAMES),
        lambda: figures.box_plots({"weights into the decoder": np.eye(20)}),
        lambda: figures.filter_sheet(IMAGES - 0.25),
        lambda: figures.curves({"a": ([0, 1], [1e-4, 2e4])}, x="epoch", y="nats per image"),
    ],
)
def test_no_letter_is_cut_off_or_too_small(make: Any) -> None:
    figure = make()
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.01
    assert drawn.y0 > -0.01
    assert drawn.x1 < width + 0.01
    assert drawn.y1 < height + 0.01
    assert width in (figures.HALF, figures.FULL)
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 9


def test_a_class_whose_name_begins_with_an_underscore_is_in_the_legend() -> None:
    figure = figures.scatter(np.eye(2)[[0, 1]], [0, 1], "", "a", "b", ["_other", "cats"])
    (legend,) = figure.legends
    shown = [text.get_text().strip("\u200b") for text in legend.get_texts()]
    assert shown == ["_other", "cats"]


def test_names_of_curves_are_drawn_as_they_are() -> None:
    line = ([1, 2], [3.0, 4.0])
    (axes,) = figures.curves({"_a": line, r"$\frac$": line}, *[r"$\frac$"] * 3).axes
    texts = axes.get_legend().get_texts()
    assert [text.get_text().strip("\u200b") for text in texts] == ["_a", r"$\frac$"]
    others = (axes.title, axes.xaxis.label, axes.yaxis.label)
    assert not any(text.get_parse_math() for text in (*texts, *others))


def test_no_strips() -> None:
    with pytest.raises(SettingError, match="one strip of images or more") as error:
        figures.rows_of({})
    one_line(error)


@pytest.mark.parametrize("shape", [(4, 12), (12, 4)])
def test_examples_stand_in_line_in_strips_of_different_shapes(shape: tuple[int, int]) -> None:
    """Panels of one figure are as long as each other along the examples."""
    strips = {"images": np.full((9, *shape, 3), 0.5), "units": np.ones((9, 16))}
    figure = figures.rows_of(strips, "strips")
    figure.draw_without_rendering()
    lengths = [axes.get_window_extent().width for axes in figure.axes]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)


def test_a_curve_is_seen_though_its_first_value_lies_far_off() -> None:
    epochs = np.arange(20.0)
    values = np.where(epochs == 0, -350.0, -100.0 + epochs)
    lines = {"test": (epochs.tolist(), values.tolist())}
    low, high = figures.curves(lines, x="epoch").axes[0].get_ylim()
    assert -120.0 < low < -99.0
    assert -81.0 < high < -60.0
    for others, x in (({"b": ([19.0], [-300.0])}, "epoch"), ({}, "units")):
        whole = figures.curves(lines | others, x=x)  # the end of another line is as far off
        assert whole.axes[0].get_ylim()[0] < -350.0


def test_a_long_line_is_drawn_by_means_of_neighbours() -> None:
    """Noise around a slope would be a band; the short line beside it stays as it is."""
    long = [float(step) for step in range(1003)], [step + (-1.0) ** step for step in range(1003)]
    short = [0.0, 500.0, 1000.0], [3.0, 1.0, 2.0]
    figure = figures.curves({"train": long, "test": short}, x="epoch", y="nats")
    drawn, beside = (line.get_xydata() for line in figure.axes[0].lines)
    triples = [slice(first, first + 3) for first in range(0, 1003, 3)]
    slow = [[sum(axis[part]) / len(axis[part]) for axis in long] for part in triples]
    np.testing.assert_allclose(drawn, slow, rtol=1e-12)
    np.testing.assert_array_equal(beside, np.transpose(short))
    assert figure.axes[0].get_xlabel() == "epoch, means of up to 3"
    assert "train goes from 1 at 0 to 1e+03 at 1e+03" in str(figure.get_label())


def test_a_mean_leaves_out_what_is_not_finite() -> None:
    y = np.arange(1200.0)
    y[[0, 4]] = np.nan, np.inf
    y[6:9] = np.nan
    drawn = figures.curves({"a": (np.arange(1200.0), y)}).axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(drawn[:2], [[1.5, 1.5], [4.0, 4.0]])
    assert np.isnan(drawn[2]).all()
    np.testing.assert_allclose(drawn[3], [10.0, 10.0])


@pytest.mark.parametrize("what", ["seed", "learning rate of the first layer, as set"])
def test_many_names_stand_below_the_panel(what: str) -> None:
    lines = {f"{what} {value}": ([0.0, 1.0], [0.0, float(value)]) for value in range(12)}
    figure = figures.curves(lines, x="epoch")
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert axes.get_legend() is None
    assert [text.get_text() for text in legend.get_texts()] == [*lines]
    place = legend.get_window_extent()
    assert place.y1 <= axes.get_window_extent().y0
    assert 0 <= place.x0 < place.x1 <= figure.bbox.x1
    assert len({tuple(line.get_color()) for line in axes.lines}) == 12


def test_a_marked_bar_of_no_height_is_seen() -> None:
    axes = figures.bars(np.array([3.0, 0.0, 2.0]), [False, True, False], note="dead").axes[0]
    (crosses,) = axes.lines
    assert crosses.get_xdata().tolist() == [1]
    assert not figures.bars(np.ones(3), note="dead").axes[0].lines


@pytest.mark.parametrize(("num", "whiskers"), [(5, (0.0, 4.0)), (1000, (9.99, 989.01))])
def test_whiskers_of_a_few_values_reach_the_last_one(
    num: int, whiskers: tuple[float, float]
) -> None:
    lines = figures.box_plots({"a": np.arange(float(num))[:, None]}).axes[0].lines
    ends = [line.get_ydata() for line in lines[1:3]]
    assert [float(ends[0][1]), float(ends[1][1])] == pytest.approx(whiskers, abs=0.1)


@pytest.mark.parametrize("last", [1.0, 3.0])
def test_epochs_have_ticks_at_whole_numbers(last: float) -> None:
    figure = figures.curves({"loss": ([0.1, last], [1.0, 2.0])}, x="epoch")
    ticks = figure.axes[0].get_xticks()
    assert [float(tick) for tick in ticks] == [int(tick) for tick in ticks]
