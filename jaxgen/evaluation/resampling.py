"""How far a number computed from samples would move with other samples: two ways to resample."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jaxgen.errors import SettingError, is_whole

Statistic: TypeAlias = Callable[..., float]
"""Sets of samples, each along its first axis -> a number."""


class Estimate(NamedTuple):
    """A number, its 95% interval, and what both rest on."""

    value: float
    low: float
    high: float
    num_samples: int
    """Of the first set, that of the model."""
    num_resamples: int

    def __str__(self) -> str:
        """The number and its interval in brackets, four digits of each."""
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap(
    statistic: Statistic,
    samples: Sequence[np.ndarray],
    rng: np.random.Generator,
    num_resamples: int = 200,
) -> Estimate:
    """The statistic and its percentile interval, every set drawn again with replacement.

    Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3. It is for means
    and what is made of a few of them. A set drawn so holds copies, which makes every distance
    between samples too small, and a divergence that is nearly 0 can only grow: for those see
    `resample_halves`.

    Errors:
        SettingError: a set without samples, or fewer than 2 resamples.
    """
    _check_numbers(samples, 1, num_resamples)
    found = [
        statistic(*(each[rng.integers(0, len(each), len(each))] for each in samples))
        for _ in range(num_resamples)
    ]
    low, high = np.quantile(found, (0.025, 0.975))
    value = statistic(*samples)
    return Estimate(float(value), float(low), float(high), len(samples[0]), num_resamples)


def _check_numbers(samples: Sequence[np.ndarray], least: int, num_resamples: int) -> None:
    """Raises SettingError for sets of fewer samples, and for fewer than 2 resamples."""
    if (num := min(map(len, samples))) < least:
        raise SettingError(
            expected=f"at least {least} samples of each kind",
            found=str(num),
            remedy="measure with more",
        )
    if not is_whole(num_resamples, 2):
        raise SettingError(
            expected="a whole number of resamples, 2 or more",
            found=str(num_resamples),
            remedy="set num_resamples",
        )


def resample_halves(
    statistic: Statistic,
    samples: Sequence[np.ndarray],
    rng: np.random.Generator,
    num_resamples: int = 40,
    within: tuple[float, float] = (-np.inf, np.inf),
    *,
    extrapolate: bool = False,
) -> Estimate:
    """The statistic and value +- t s, s the spread of its values on random halves of every set.

    The t is Student's, 2.5% above it with num_resamples - 1 degrees: 2.09 for 20, 1.96 for many.

    The mean of half of a set, drawn without replacement, scatters about the set's mean by
    s^2 / m (1 - m / n) = s^2 / n for m = n / 2, as much as the mean of a new set about the true one
    (Shao and Tu, "The jackknife and bootstrap", 1995, section 2.3). No copies arise, and what the
    statistic's bias owes to the number of samples is not in the interval: it lies about the value
    on whole sets, and ends where the statistic's own range ends, `within`.

    With `extrapolate` it lies about 2 value - mean of the halves' values, the value that a straight
    line in 1 / n through both sizes has at 1 / n = 0; of an odd n, the one that it has there with
    m = (n - 1) / 2, and of several sets in the sum of their 1 / n. A bias in proportion to 1 / n is
    gone, and the spread is hardly larger, as the mean of two halves is that of the set: Quenouille,
    "Notes on bias in estimation", 1956; of the Frechet distance, Chong and Forsyth, "Effectively
    unbiased FID and inception score and where to find them", 2020. For what is no mean the
    width is an approximation. At the least value that a distance or a divergence can have, where
    it grows as a square, halves scatter too much and the interval is too wide: for the KL of label
    shares by the root of 3.

    Errors:
        SettingError: a set of fewer than 4 samples, or fewer than 2 resamples.
    """
    from scipy.special import stdtrit  # a command starts sooner without it

    _check_numbers(samples, 4, num_resamples)

    def halves() -> list[Any]:
        return [each[rng.permutation(len(each))[: len(each) // 2]] for each in samples]

    found = [statistic(*halves()) for _ in range(num_resamples)]
    value = float(statistic(*samples))
    if extrapolate:
        whole, half = (sum(1.0 / (len(each) // part) for each in samples) for part in (1, 2))
        slope = whole / (half - whole)  # 1 where every n is even
        value = (1.0 + slope) * value - slope * float(np.mean(found))
    reach = float(np.std(found, ddof=1) * stdtrit(num_resamples - 1, 0.975))
    low, high = np.clip((value - reach, value + reach), *within)
    return Estimate(value, float(low), float(high), len(samples[0]), num_resamples)
