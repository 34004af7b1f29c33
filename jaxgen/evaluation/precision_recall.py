"""How far samples reach over the data and stay within it, by balls about neighbours.

The ball of a point of a set reaches to its k-th nearest other point of the set; the union of the
balls stands for where the set lies. That other point is in the ball for precision and recall, and
not for density and coverage, as their papers have it. Points are features, one a row. On finite
sets the measures depend on the number of points: compare models at equal numbers, and beside real
test images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgen.errors import SettingError, is_whole
from jaxgen.evaluation.sample_quality import Features, check_features

_BLOCK = 500
_TOLERANCE = 1e-12
"""Nearer to a ball's boundary than this part of the largest |centre|^2 is on it: the rounding of
squared distances, with much to spare."""

Points = Features


class Pair(NamedTuple):
    """Of precision and recall, or of density and coverage."""

    fidelity: float
    """How much of what is generated lies where the data does: precision, or density."""
    variety: float
    """How much of the data lies where what is generated does: recall, or coverage."""


class Membership(NamedTuple):
    """Which points lie in which balls."""

    num_balls: Int[np.ndarray, " points"]
    """Balls that hold a point."""
    reached: Bool[np.ndarray, " centres"]
    """Whether a ball holds a point."""


def _squared_distances(a: Points, b: Points) -> Float[np.ndarray, "a b"]:
    squares = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)
    return np.asarray(np.maximum(squares - 2.0 * (a @ b.T), 0.0))


def squared_radii(centres: Points, num_neighbours: int) -> Float[np.ndarray, " num"]:
    """The squared distance from each point to its k-th nearest other one.

    Errors:
        SettingError: there are no k other points, or k is no whole number of 1 or more.
    """
    if not is_whole(num_neighbours, 1):
        raise SettingError(
            expected="a whole number of neighbours, 1 or more",
            found=str(num_neighbours),
            remedy="set num_neighbours",
        )
    (centres,) = check_features(centres)
    if not num_neighbours < len(centres):
        raise SettingError(
            expected=f"more than {num_neighbours} samples for {num_neighbours} neighbours",
            found=str(len(centres)),
            remedy="measure with more",
        )
    radii = np.empty(len(centres))
    for start in range(0, len(centres), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(centres)))
        squared = _squared_distances(centres[rows], centres)
        squared[rows - start, rows] = np.inf  # a point is no neighbour of itself
        squared.partition(num_neighbours - 1, axis=1)
        radii[rows] = squared[:, num_neighbours - 1]
    return radii


def membership(points: Points, centres: Points, num_neighbours: int, *, closed: bool) -> Membership:
    """Which points lie within the balls about the centres; closed balls hold their boundary.

    An open ball of radius 0 is empty.

    Errors:
        SettingError: there are no more centres than neighbours, or a feature is not finite.
    """
    points, centres = check_features(points, centres)
    middle = np.mean(centres, axis=0, dtype=np.float64)  # small numbers cancel less
    points, centres = points.astype(np.float64) - middle, centres.astype(np.float64) - middle
    slack = _TOLERANCE * np.max(np.sum(centres**2, axis=1))
    radii = squared_radii(centres, num_neighbours) + (slack if closed else -slack)
    within = np.less_equal if closed else np.less
    num_balls, reached = np.empty(len(points), np.int64), np.zeros(len(centres), np.bool_)
    for start in range(0, len(points), _BLOCK):
        inside = within(_squared_distances(points[start : start + _BLOCK], centres), radii)
        num_balls[start : start + _BLOCK] = np.sum(inside, axis=1)
        reached |= np.any(inside, axis=0)
    return Membership(num_balls=num_balls, reached=reached)


def precision(samples: Points, real: Points, num_neighbours: int = 3) -> float:
    """The part of samples in a closed ball about a real point; with the roles exchanged, recall.

    Errors:
        SettingError: there are no more real points than neighbours, or a feature is not finite.
    """
    found = membership(samples, real, num_neighbours, closed=True)
    return float(np.mean(found.num_balls > 0))


def precision_recall(samples: Points, real: Points, num_neighbours: int = 3) -> Pair:
    """Precision: the part of samples in a ball about real points; recall: the other way round.

    Kynkaanniemi et al., "Improved precision and recall metric for assessing generative models",
    2019, equations 1 and 2. One real outlier has a large ball and lends precision to samples that
    are nowhere near; `density_coverage` mends that.

    Errors:
        SettingError: a set has no more points than neighbours, or a feature is not finite.
    """
    return Pair(
        fidelity=precision(samples, real, num_neighbours),
        variety=precision(real, samples, num_neighbours),
    )


def density_coverage(samples: Points, real: Points, num_neighbours: int = 5) -> Pair:
    """Density: balls about real points that hold a sample, over k; coverage: balls that hold any.

        density = sum_j sum_i [y_j in B(x_i)] / (k M)    coverage = sum_i [some y_j in B(x_i)] / N

    for samples y_1..M and real points x_1..N, and open balls B. Density is 1 in expectation where
    both sets are of one distribution, 1 for copies of the real points too, and more where samples
    crowd; coverage is then nearly 1 - 2^-k where M = N, 0.97 for k = 5. Naeem et al., "Reliable
    fidelity and diversity metrics for generative models", 2020, section 3; that a boundary is
    outside is in their published code.

    Errors:
        SettingError: there are no more real points than neighbours, or a feature is not finite.
    """
    found = membership(samples, real, num_neighbours, closed=False)
    density = float(np.mean(found.num_balls)) / num_neighbours
    return Pair(density, float(np.mean(found.reached)))
