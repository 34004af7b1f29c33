"""Names the failures of a GAN's training from the run's own log.

A log is cut into intervals, one line each, of means over some steps. A criterion is checked in
every interval, so that a run that failed early and recovered differs from one that ends failed; it
holds for the run if it does in at least half of the last quarter of the intervals.

What goes on within an interval is not seen, nor are the images: numbers of a log show that
something is wrong, hardly ever that all is well. Metrics are those of
`jaxgen.models.adversarial.step`. The failures are those of Goodfellow, "NIPS 2016 tutorial:
generative adversarial networks", 2016, sections 3.2.3, 5.1 and 5.1.1; the thresholds are ours.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

LEAST_INTERVALS = 4
"""With fewer, every finding is open."""
LEAST_FOR_OSCILLATION = 8
"""With fewer, oscillation is open."""
SWING = 0.4
"""A move of d_real - d_fake between two turning points that counts as a swing."""
SWINGS = 4
"""So many swings in a row are two full periods."""
COLLAPSED = 0.5
"""Fakes differ less than this part of what real images do."""
SURE_REAL, SURE_FAKE = 0.85, 0.05
"""D is sure beyond these. With labels smoothed by s the first is a part of 1 - s, for the best D(x)
is at most that: Salimans et al., "Improved techniques for training GANs", 2016, section 3.4."""
VANISHED = 0.01
"""The generator's gradient norm, as a part of its largest mean over an interval of the run."""
CHANCE = 0.1
"""D is at chance if d_real and d_fake are nearer to each other than this."""
LIKE_REAL = (0.8, 1.25)
"""Spreads between which fakes may pass for real by their spread."""

METRICS = ("epoch", "d_loss", "d_real", "d_fake", "g_grad_norm", "spread")


class Finding(NamedTuple):
    """Whether a run fails in one way, with the numbers for it."""

    name: str
    holds: bool | None
    """Whether the run ends so; None if the numbers leave it open."""
    measured: dict[str, float]
    """The numbers of the criterion, in the last quarter of the intervals; empty without any."""
    criterion: str
    """When it holds in an interval, in words."""
    share: float | None
    """Part of all intervals in which the criterion holds; None if there are too few."""
    first_epoch: float | None
    """Where the first of them ends; None without one."""


Columns = dict[str, Float[np.ndarray, " intervals"]]
Flags = Bool[np.ndarray, " intervals"]


def _columns(lines: Sequence[Mapping[str, float]]) -> Columns:
    """The metrics of the lines that have them all, finite."""
    rows = [[line[name] for name in METRICS] for line in lines if set(METRICS) <= line.keys()]
    kept = np.array([row for row in rows if all(map(math.isfinite, row))], np.float64)
    return dict(zip(METRICS, kept.reshape(-1, len(METRICS)).T, strict=True))


def _at_end(values: np.ndarray) -> np.ndarray:
    """The last quarter, rounded up."""
    return values[len(values) - math.ceil(len(values) / 4) :]


def _mostly(flags: Flags) -> bool:
    """Whether a criterion holds in at least half of the last quarter."""
    return bool(np.mean(_at_end(flags)) >= 0.5)


def _finding(
    name: str, criterion: str, epochs: np.ndarray, flags: Flags, measured: Mapping[str, float]
) -> Finding:
    """A criterion that has been checked in every interval."""
    return Finding(
        name=name,
        holds=_mostly(flags),
        measured={each: float(value) for each, value in measured.items()},
        criterion=criterion,
        share=float(np.mean(flags)),
        first_epoch=float(epochs[np.argmax(flags)]) if flags.any() else None,
    )


def turning_points(values: Float[np.ndarray, " num"], least: float) -> list[int]:
    """Indices of the highs and lows, in turn, between which values move by at least `least`.

    Smaller moves to and fro are passed over. The first and last extreme count, so n points are
    n - 1 swings; there are none where values never move that far.
    """
    points: list[int] = []
    high = low = direction = 0
    for index, value in enumerate(values):
        high = index if value > values[high] else high
        low = index if value < values[low] else low
        if direction >= 0 and values[high] - value >= least:
            points.append(high)
            low, direction = index, -1
        elif direction <= 0 and value - values[low] >= least:
            points.append(low)
            high, direction = index, 1
    return [*points, high if direction > 0 else low] if points else []


def _oscillation(columns: Columns) -> Finding:
    """Swings of D's lead over the generator, back and forth."""
    gap = columns["d_real"] - columns["d_fake"]
    points = turning_points(gap, SWING)
    flags = np.zeros(len(gap), bool)
    quick = [b - a <= len(gap) / 4 for a, b in itertools.pairwise(points)]
    for first in range(len(quick) - SWINGS + 1):
        if all(quick[first : first + SWINGS]):
            flags[points[first] : points[first + SWINGS] + 1] = True
    end = len(gap) - len(_at_end(gap))
    measured = {
        "swings": sum(point >= end for point in points[1:]),
        "range of d_real - d_fake": np.ptp(_at_end(gap)),
    }
    criterion = (
        f"d_real - d_fake swings back and forth by {SWING} or more, {SWINGS} times in a row or"
        " oftener, each time within a quarter of the run; swings within an interval are not seen"
    )
    finding = _finding("oscillation", criterion, columns["epoch"], flags, measured)
    if len(gap) < LEAST_FOR_OSCILLATION:
        return finding._replace(holds=None, share=None, first_epoch=None)
    return finding


def _collapse(columns: Columns) -> Finding:
    """Fakes that are alike."""
    criterion = (
        f"the variance of fakes over a batch is below {COLLAPSED} of that of real images, be they"
        " images of one kind or the noise of a generator that has learned nothing; fakes of a few"
        " kinds that differ much, or that lack one kind, are not seen by it"
    )
    measured = {"spread": np.median(_at_end(columns["spread"]))}
    flags = columns["spread"] < COLLAPSED
    return _finding("mode collapse", criterion, columns["epoch"], flags, measured)


def _wins(columns: Columns, smoothing: float) -> Finding:
    """A discriminator that is sure."""
    real, fake, sure = columns["d_real"], columns["d_fake"], SURE_REAL * (1.0 - smoothing)
    criterion = f"d_real is above {sure:.3g} and d_fake below {SURE_FAKE}: D is hardly ever wrong"
    measured = {"d_real": np.median(_at_end(real)), "d_fake": np.median(_at_end(fake))}
    flags = (real > sure) & (fake < SURE_FAKE)
    return _finding("discriminator too strong", criterion, columns["epoch"], flags, measured)


def _vanishes(columns: Columns, smoothing: float) -> Finding:
    """A discriminator that is sure, and a generator that learns nothing from it.

    Being sure is enough with the minimax loss, whose gradient at the logit is -D(G(z)), but not
    with the non-saturating one, D(G(z)) - 1. So the gradient that reached the generator is measured
    with either. It vanishes with the second one too, where the generator's tanh has saturated.
    """
    real, fake, norm = (columns[name] for name in ("d_real", "d_fake", "g_grad_norm"))
    relative = norm / max(float(np.max(norm)), np.finfo(np.float64).tiny)
    sure = SURE_REAL * (1.0 - smoothing)
    flags = (real > sure) & (fake < SURE_FAKE) & (relative < VANISHED)
    criterion = (
        f"d_real is above {sure:.3g}, d_fake below {SURE_FAKE}, and the norm of the generator's"
        f" gradient below {VANISHED} of its largest mean over an interval"
    )
    measured = {
        "d_real": np.median(_at_end(real)),
        "d_fake": np.median(_at_end(fake)),
        "relative gradient norm": np.median(_at_end(relative)),
    }
    return _finding("vanishing gradient", criterion, columns["epoch"], flags, measured)


def _too_weak(columns: Columns) -> Finding:
    """A discriminator at chance though fakes differ from real images in their spread alone.

    Without smoothed labels D's loss is then at least -log(d_real (1 - d_fake)) > -2 log 0.55 = 1.2
    nats, by Jensen's inequality; a coin has 2 log 2 = 1.386. A perfect generator also leaves D at
    chance.
    """
    gap, spread = columns["d_real"] - columns["d_fake"], columns["spread"]
    chance = np.abs(gap) < CHANCE
    flags = chance & ((spread < LIKE_REAL[0]) | (spread > LIKE_REAL[1]))
    criterion = (
        f"d_real and d_fake are less than {CHANCE} apart though the spread is not within"
        f" {LIKE_REAL[0]} and {LIKE_REAL[1]}; within, these numbers alone cannot tell a weak D from"
        " a perfect generator, which leaves D at chance too"
    )
    measured = {
        "d_real - d_fake": np.median(_at_end(gap)),
        "d_loss": np.median(_at_end(columns["d_loss"])),
        "spread": np.median(_at_end(spread)),
    }
    finding = _finding("discriminator too weak", criterion, columns["epoch"], flags, measured)
    undecided = _mostly(chance) and not finding.holds
    return finding._replace(holds=None) if undecided else finding


def diagnose(lines: Sequence[Mapping[str, float]], smoothing: float = 0.0) -> list[Finding]:
    """Oscillation, mode collapse, D too strong, vanishing gradient, D too weak, in this order.

    Args:
        lines: of a log, in order, each with the epoch at which its interval ends and the means
            over it of the metrics of a GAN. Lines without them, or where one is not finite, are
            left out.
        smoothing: s, where the discriminator's target for real images is 1 - s.

    With fewer than `LEAST_INTERVALS` lines `holds` is None in every finding.
    No number in a finding is NaN.
    """
    columns = _columns(lines)
    num = len(columns["epoch"])
    checks: list[Callable[[Columns], Finding]] = [
        _oscillation,
        _collapse,
        partial(_wins, smoothing=smoothing),
        partial(_vanishes, smoothing=smoothing),
        _too_weak,
    ]
    if num >= LEAST_INTERVALS:
        return [check(columns) for check in checks]
    blank = {name: np.zeros(1) for name in METRICS}
    return [
        check(blank)._replace(holds=None, measured={}, share=None, first_epoch=None)
        for check in checks
    ]


def verdict_in_words(finding: Finding) -> str:
    """Whether the run ends so."""
    return {True: "yes", False: "no", None: "cannot be told"}[finding.holds]


def numbers_in_words(finding: Finding) -> str:
    """The numbers at the end of the run; none of too few intervals."""
    if finding.share is None:
        return ""
    return ", ".join(f"{name} {value:.3g}" for name, value in finding.measured.items())


def intervals_in_words(finding: Finding) -> str:
    """When the criterion held."""
    if finding.share is None:
        return "the run has too few intervals"
    if finding.first_epoch is None:
        return "in no interval"
    return f"in {finding.share:.0%} of the intervals, first by epoch {finding.first_epoch:.4g}"


def in_words(finding: Finding) -> str:
    """One sentence: the verdict, the numbers at the end of the run, and when it held."""
    parts = [verdict_in_words(finding), numbers_in_words(finding), intervals_in_words(finding)]
    return f"{finding.name}: {'; '.join(filter(None, parts))}."
