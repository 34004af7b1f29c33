"""Intervals of a mean, whose spread is known, and of a measure that depends on the set's size."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from jaxgen.errors import SettingError
from jaxgen.evaluation import precision_recall, resampling, sample_quality


def mean(values: np.ndarray) -> float:
    return float(np.mean(values))


@pytest.mark.parametrize("way", [resampling.bootstrap, resampling.resample_halves])
def test_the_interval_of_a_mean_has_its_known_width(way: Any) -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = way(mean, [values], np.random.default_rng(1), 1000)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.15 * reach)
    assert (found.num_samples, found.num_resamples) == (400, 1000)


@pytest.mark.parametrize("way", [resampling.bootstrap, resampling.resample_halves])
def test_sets_are_resampled_apart(way: Any) -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 200))

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return mean(a) - mean(b)

    found = way(difference, [a, b], np.random.default_rng(3), 1000)
    reach = 1.96 * np.sqrt(a.var() / 200 + b.var() / 200)
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.15)


def test_halves_hold_no_copies_and_the_value_lies_in_the_middle() -> None:
    values = np.arange(100.0)

    def num_different(values: np.ndarray) -> float:
        return float(len(np.unique(values)))

    found = resampling.resample_halves(num_different, [values], np.random.default_rng(4), 5)
    assert found == (100.0, 100.0, 100.0, 100, 5)
    assert resampling.bootstrap(num_different, [values], np.random.default_rng(4)).high < 80


@pytest.mark.parametrize(
    ("statistic", "apart", "widest"),
    [
        (sample_quality.frechet_distance, 1.0, 1.3),
        (sample_quality.frechet_distance, 0.0, 2.2),
        (lambda a, b: precision_recall.density_coverage(a, b)[0], 0.5, 1.6),
        (lambda a, b: precision_recall.density_coverage(a, b)[1], 0.5, 1.6),
    ],
    ids=["distance", "least distance", "density", "coverage"],
)
def test_halves_scatter_as_new_sets_do_or_more(statistic: Any, apart: float, widest: float) -> None:
    """The spread over sets that are drawn anew, each with its own interval."""
    rng = np.random.default_rng(6)

    def drawn() -> list[np.ndarray]:
        return [rng.normal(size=(150, 3)) + shift for shift in (apart, 0.0)]

    found = [resampling.resample_halves(statistic, drawn(), rng, 20) for _ in range(60)]
    spread = np.std([each.value for each in found], ddof=1)
    reach = np.mean([(each.high - each.low) / 2 for each in found]) / stats.t.ppf(0.975, 19)
    assert 0.8 < reach / spread < widest


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.2, 1.3)])
def test_the_extrapolated_distance_is_that_of_the_distributions(shift: float, scale: float) -> None:
    """Gaussians whose distance is known: the plain number is too large, its interval misses it."""
    rng, size, num = np.random.default_rng(7), 20, 300
    exact = size * (shift**2 + (scale - 1) ** 2)
    found, plain = [], []
    for _ in range(30):
        sets = [shift + scale * rng.normal(size=(num, size)), rng.normal(size=(num, size))]
        for way, extrapolate in ((found, True), (plain, False)):
            statistic = sample_quality.frechet_distance
            way.append(
                resampling.resample_halves(statistic, sets, rng, 20, extrapolate=extrapolate)
            )
    values = np.array([each.value for each in found])
    assert abs(values.mean() - exact) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    too_large = np.mean([each.value for each in plain]) - exact
    if exact == 0.0:
        assert too_large == pytest.approx((size + size * (size + 1) / 4) * 2 / num, rel=0.1)
    assert too_large > 10 * abs(values.mean() - exact)
    assert values.std() < 1.3 * np.std([each.value for each in plain])
    covered, missed = (
        np.mean([each.low <= exact <= each.high for each in way]) for way in (found, plain)
    )
    assert covered > 0.85
    assert missed < 0.2


@pytest.mark.parametrize("sizes", [(40,), (41,), (5,), (5, 40), (7, 9)])
def test_a_line_through_both_sizes_ends_at_the_value_of_infinitely_many(
    sizes: tuple[int, ...],
) -> None:
    """Of the statistic 3 + 5 / n, or 3 + 5 / n + 5 / m, whatever the halves."""
    found = resampling.resample_halves(
        lambda *sets: 3.0 + sum(5.0 / len(each) for each in sets),
        *([np.arange(float(size)) for size in sizes], np.random.default_rng(0), 4),
        extrapolate=True,
    )
    assert found.value == pytest.approx(3.0)


def test_an_interval_ends_where_the_statistic_does() -> None:
    values = np.array([0.0] * 39 + [1.0])
    free, kept = (
        resampling.resample_halves(mean, [values], np.random.default_rng(5), within=within)
        for within in ((-np.inf, np.inf), (0.0, 1.0))
    )
    assert free.low < 0.0
    assert kept == free._replace(low=0.0)


@pytest.mark.parametrize("way", [resampling.bootstrap, resampling.resample_halves])
@pytest.mark.parametrize("num", [0, 1, 2.0, None])
def test_too_few_resamples(way: Any, num: Any) -> None:
    with pytest.raises(SettingError, match="a whole number of resamples, 2 or more"):
        way(mean, [np.ones(5)], np.random.default_rng(0), num)


def test_too_few_samples() -> None:
    with pytest.raises(SettingError, match="at least 1 samples"):
        resampling.bootstrap(mean, [np.ones(0)], np.random.default_rng(0))
    with pytest.raises(SettingError, match="at least 4 samples"):
        resampling.resample_halves(mean, [np.ones(3)], np.random.default_rng(0))
