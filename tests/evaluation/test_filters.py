"""Kinds of filters, on filters that are made to be of a kind."""

import numpy as np
import pytest

from jaxgen.errors import SettingError
from jaxgen.evaluation.filters import KINDS, Kind, classify, elongation

SHAPES = [(28, 28, 1), (16, 21, 1), (16, 24, 3)]


def bumps(shape: tuple[int, int, int], *centres: tuple[float, float]) -> np.ndarray:
    """Round bumps at parts of the height and width, the same in all channels."""
    height, width, _ = shape
    y, x = np.mgrid[:height, :width]
    radius = 0.06 * (height + width) / 2
    places = [((y - a * height) ** 2 + (x - b * width) ** 2) for a, b in centres]
    field = sum(np.exp(-place / (2 * radius**2)) for place in places)
    return np.repeat(np.asarray(field)[..., None], shape[2], axis=2)


def made(kind: Kind, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A filter of a kind with a little noise on it."""
    height, width, _ = shape
    field = np.zeros(shape)
    if kind == "stroke":
        row, column = rng.integers(3, height - 3), rng.integers(1, width // 3)
        field[row, column : column + width // 2] = -1.0
    elif kind == "blob":
        field = bumps(shape, (rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)))
    elif kind == "several":
        field = bumps(shape, (0.2, 0.2), (0.2, 0.8), (0.8, 0.5))
    elif kind == "global":
        y, x = np.mgrid[:height, :width]
        field = np.repeat(np.cos(y / 2 + rng.uniform(0, 6)) + np.sin(x / 3), shape[2]).reshape(
            shape
        )
    noise = rng.normal(size=shape)
    return field + (1.0 if kind == "dead" else 0.01) * noise


@pytest.mark.parametrize("shape", SHAPES)
def test_made_filters_are_of_their_kind(shape: tuple[int, int, int]) -> None:
    """Three of each, grey and colour; a small copy of any of them is dead, and so is noise."""
    rng = np.random.default_rng(0)
    kinds: list[Kind] = [kind for kind in KINDS for _ in range(3)]
    filters = np.stack([made(kind, shape, rng) for kind in kinds])
    filters /= np.linalg.norm(filters.reshape(len(filters), -1), axis=1)[:, None, None, None]
    found = classify(filters, np.ones(shape))
    assert found.kinds == kinds
    small = classify(np.concatenate([filters, 0.05 * filters]), np.ones(shape))
    assert small.kinds == [*kinds, *["dead"] * len(kinds)]
    light = [kind in ("blob", "several") for kind in kinds]
    shown = [kind in ("stroke", "blob", "several") for kind in kinds]
    assert [x for x, s in zip(found.excites, shown, strict=True) if s] == [
        x for x, s in zip(light, shown, strict=True) if s
    ]


def test_a_layer_that_has_learned_nothing_is_dead() -> None:
    noise = np.random.default_rng(0).normal(size=(50, 12, 10, 3))
    assert classify(noise, np.ones((12, 10, 3))).kinds.count("dead") >= 49  # 3 standard errors
    assert classify(np.zeros((4, 12, 10, 1)), np.ones((12, 10, 1))).kinds == ["dead"] * 4


def test_weights_on_pixels_that_never_change_count_nothing() -> None:
    """A blob inside a frame of large weights, where the images are black."""
    shape = (20, 20, 1)
    filters, std = bumps(shape, (0.5, 0.5))[None], np.zeros(shape)
    std[4:-4, 4:-4] = 0.3
    filters[:, :2] = filters[:, -2:] = 5.0
    assert classify(filters, std).kinds == ["blob"]
    assert classify(filters, np.ones(shape)).kinds != ["blob"]
    found = classify(filters, std)
    energy = np.sort((filters * std).ravel() ** 2)[::-1]
    assert found.core.tolist() == [int((energy.cumsum() < energy.sum() / 2).sum()) + 1]


def test_elongation() -> None:
    """Of a line about its length over its width, of a disc 1; a ring is long too."""
    y, x = np.mgrid[:61, :61]
    assert elongation((y - 30) ** 2 + (x - 30) ** 2 <= 20.5**2) == pytest.approx(1.0, abs=0.05)
    line = np.zeros((61, 61), bool)
    line[5, :40] = True
    assert elongation(line) == pytest.approx(np.pi / 4 * 40)
    ring = np.abs(np.hypot(y - 30, x - 30) - 20) <= 1
    assert elongation(ring) > 4
    assert elongation(np.eye(1, dtype=bool)) < 1


@pytest.mark.parametrize(
    "filters", [np.zeros((0, 3, 3, 1)), np.full((1, 3, 3, 1), np.nan), np.zeros((2, 9))]
)
def test_what_is_no_filter_is_refused(filters: np.ndarray) -> None:
    with pytest.raises(SettingError, match="one finite filter or more"):
        classify(filters, np.ones((3, 3, 1)))
