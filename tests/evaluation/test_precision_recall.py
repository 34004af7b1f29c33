"""Precision, recall, density and coverage, counted by hand on a line and at their ends."""

from typing import Any

import numpy as np
import pytest
from support.helpers import one_line

from jaxgen.errors import SettingError
from jaxgen.evaluation import precision_recall, sample_quality

REAL = np.array([[0.0], [1.0], [3.0], [7.0]])
"""Radii to the nearest other: 1, 1, 2, 4. Balls: [-1, 1], [0, 2], [1, 5], [3, 11]."""
SAMPLES = np.array([[0.5], [4.0], [12.0], [13.0]])
"""Radii: 3.5, 3.5, 1, 1. Balls: [-3, 4], [0.5, 7.5], [11, 13], [12, 14]."""


def test_radii_by_hand() -> None:
    np.testing.assert_allclose(precision_recall.squared_radii(REAL, 1), [1, 1, 4, 16])
    np.testing.assert_allclose(precision_recall.squared_radii(REAL, 2), [9, 4, 9, 36])


def test_precision_and_recall_by_hand() -> None:
    # 0.5 and 4 lie in balls of real points; all real points lie in balls of samples.
    assert precision_recall.precision_recall(SAMPLES, REAL, 1) == (0.5, 1.0)
    # With the roles exchanged, so are the numbers.
    assert precision_recall.precision_recall(REAL, SAMPLES, 1) == (1.0, 0.5)
    assert precision_recall.precision_recall(np.array([[20.0], [21.0]]), REAL, 1) == (0.0, 0.0)


def test_density_and_coverage_by_hand() -> None:
    # Balls without their boundaries. 0.5 lies in two, 4 in two, 12 and 13 in none; each holds one.
    assert precision_recall.density_coverage(SAMPLES, REAL, 1) == (1.0, 1.0)
    # Balls for k = 2: (-3, 3), (-1, 3), (0, 6), (1, 13); 0.5 lies in 3, 4 in 2, 12 in 1, 13 in 0.
    assert precision_recall.density_coverage(SAMPLES, REAL, 2) == (6 / 8, 1.0)
    # 2 lies in the third ball alone, and on the boundary of the second.
    assert precision_recall.density_coverage(np.array([[2.0]]), REAL, 1) == (1.0, 0.25)


@pytest.mark.parametrize(("num", "size"), [(300, 1), (611, 84), (40, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_copies_of_the_real_points_have_the_density_of_the_published_code(
    num: int, size: int, offset: float
) -> None:
    """A copy lies in its own ball and in k - 1 others on average: the k-th is on the boundary."""
    rows = np.random.default_rng(3).normal(size=(num, size)) + offset
    assert precision_recall.density_coverage(rows, rows) == (1.0, 1.0)
    assert precision_recall.density_coverage(rows[::-1].copy(), rows) == (1.0, 1.0)
    # A closed ball holds the k-th as well.
    found = precision_recall.membership(rows[::-1].copy(), rows, 5, closed=True)
    assert found.num_balls.mean() == 6.0


def test_equal_and_disjoint_sets() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(700, 6)).astype(np.float32)  # more than a block
    assert precision_recall.precision_recall(rows, rows) == (1.0, 1.0)
    assert precision_recall.density_coverage(rows, rows).variety == 1.0
    assert precision_recall.precision_recall(rows + 100, rows) == (0.0, 0.0)
    assert precision_recall.density_coverage(rows + 100, rows) == (0.0, 0.0)


def test_sets_of_one_distribution_have_density_one_and_the_coverage_of_theory() -> None:
    rng = np.random.default_rng(1)
    pairs = [
        precision_recall.density_coverage(rng.normal(size=(200, 2)), rng.normal(size=(200, 2)))
        for _ in range(50)
    ]
    density, coverage = np.mean(pairs, axis=0)
    errors = np.std(pairs, axis=0) / np.sqrt(len(pairs))
    assert abs(density - 1) < 4 * errors[0]
    # Of the k + 1 nearest of all 2 N - 1 others to a point, k real ones come first: (1/2)^k or so.
    missed = np.prod([(199 - i) / (399 - i) for i in range(5)])
    assert abs(coverage - (1 - missed)) < 4 * errors[1]


def test_many_points_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    real, samples = rng.normal(size=(61, 3)), rng.normal(size=(53, 3)) * 1.3
    between = np.linalg.norm(samples[:, None] - real[None], axis=2)
    radii = [np.sort(np.linalg.norm(real - point, axis=1))[4] for point in real]  # itself is first
    inside = between <= np.array(radii)
    found = precision_recall.membership(samples, real, 4, closed=True)
    assert found.num_balls.tolist() == inside.sum(axis=1).tolist()
    assert found.reached.tolist() == inside.any(axis=0).tolist()


@pytest.mark.parametrize(
    "measure",
    [
        precision_recall.precision_recall,
        precision_recall.density_coverage,
        sample_quality.frechet_distance,
        sample_quality.squared_mmd,
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_counted_and_refused(measure: Any, value: float) -> None:
    real = np.random.default_rng(0).normal(size=(1000, 4))
    samples = real[:900].copy()
    samples[[3, 5], [1, 2]] = value
    for pair in ((samples, real), (real, samples)):
        with pytest.raises(SettingError, match="NaN or infinity in 2 of 900 rows") as error:
            measure(*pair)
        one_line(error)
    with pytest.raises(SettingError, match="of the same units in every set"):
        measure(real, real[:, :3])
    with pytest.raises(SettingError, match=r"found .0, 4. and .1000, 4."):
        measure(real[:0], real)
    with pytest.raises(SettingError, match=r"numbers beyond 1e.15 in 1,000 of 1,000 rows"):
        measure(real, real * 1e200)


@pytest.mark.parametrize("num", [0, 1.5, True, None, 1000])
def test_numbers_of_neighbours(num: Any) -> None:
    for measure in (precision_recall.precision_recall, precision_recall.density_coverage):
        with pytest.raises(SettingError, match="neighbours") as error:
            measure(SAMPLES, REAL, num)
        one_line(error)


def test_equal_points_have_no_open_ball() -> None:
    """The k-th nearest other one is at 0, and nothing is nearer than that."""
    for value in (0.0, 0.1, 7.0):
        rows = np.full((9, 2), value)
        assert precision_recall.density_coverage(rows, rows) == (0.0, 0.0)
        assert precision_recall.precision_recall(rows, rows) == (1.0, 1.0)


def test_too_few_points() -> None:
    with pytest.raises(SettingError, match="more than 3 samples"):
        precision_recall.precision_recall(SAMPLES, REAL[:3], 3)
