"""Rows are found in the picture of a comparison by the lines between its panels."""

import io

import numpy as np
import pytest
from PIL import Image
from support.helpers import ROOT

from experiments.comparison import cut_picture
from jaxgen.errors import DataError
from jaxgen.report import figures


def drawn(names: tuple[str, ...], num_samples: int) -> np.ndarray:
    strips = {name: np.zeros((num_samples, 8, 8)) for name in names}
    with Image.open(io.BytesIO(figures.as_png(figures.rows_of(strips)))) as image:
        return np.asarray(image.convert("RGB"))


def test_names_left_of_the_rows_are_cut_out_with_them() -> None:
    picture = drawn(tuple(f"model-{i}" for i in range(12)), num_samples=20)
    gap, shapes = cut_picture.MARGIN, []
    for num in (1, 8):
        found = cut_picture.cut(picture, num)
        assert (found[:gap] == 255).all()
        assert (found[gap : gap + 2, -gap - 1] != 255).all()  # the end of the first line
        assert (found[gap:-gap, gap : gap + 50] < 128).any()  # letters, left of the first panel
        shapes.append(found.shape)
    assert shapes[1][0] - 2 * gap > 7 * (shapes[0][0] - 2 * gap)
    assert shapes[1][1] < 0.6 * picture.shape[1]  # ten samples of twenty


def test_names_above_the_rows_are_cut_out_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DPI", 100)
    names = tuple(f"a name that is too long to stand left, {i}" for i in range(3))
    picture = drawn(names, num_samples=20)
    gap = cut_picture.MARGIN
    heights = []
    for num in (1, 2):
        found = cut_picture.cut(picture, num)
        dark = (found[gap:-gap] < 64).any(axis=2).mean(axis=1)
        assert dark[: int(np.argmax(dark > 0.5))].sum() > 0  # letters, above the first panel
        heights.append(len(found) - 2 * gap)
    assert heights[1] == pytest.approx(2 * heights[0], abs=3)


def test_the_page_s_own_picture_is_cut() -> None:
    with Image.open(ROOT / "docs" / "results" / "compare.png") as image:
        picture = np.asarray(image.convert("RGB"))
    heights = [len(cut_picture.cut(picture, num)) - 2 * cut_picture.MARGIN for num in (1, 8)]
    assert heights[1] > 7 * heights[0]


def test_a_picture_without_enough_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="found 0 rows of 0"):
        cut_picture.cut(np.full((20, 20, 3), 255, np.uint8), 1)
