"""Measures of samples from images alone; every function names what it compares with.

Of images themselves: the nearest training images, whether samples are copies, and how much images
differ. Of features and class probabilities, which a classifier trained here gives
(`jaxgen.evaluation.classifier`): distances between two sets, and the classes drawn.
`jaxgen.evaluation.resampling` has the uncertainty of a number; `precision_recall` and `parzen`
beside this file hold the measures that need more code.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from jaxgen.errors import SettingError
from jaxgen.images import check_images, in_unit_range

LARGEST = 1e15
"""Of features: their squares, and sums of many of these, are then finite in float32 too."""
_BLOCK = 100
TRAINING_BYTES = 1 << 28
"""Of training images as float32 in memory at once, for distances."""

Features = Float[np.ndarray, "num features"]


class Nearest(NamedTuple):
    """For each image, the nearest of the training images."""

    distances: Float[np.ndarray, " num"]
    indices: Int[np.ndarray, " num"]


@jax.jit
def _nearest(
    images: Float[Array, "blocks block pixels"], training: Float[Array, "examples pixels"]
) -> tuple[Float[Array, "blocks block"], Int[Array, "blocks block"]]:
    squares = jnp.sum(jnp.square(training), axis=1)

    def of_block(block: Array) -> tuple[Array, Array]:
        products = jnp.matmul(block, training.T, precision=jax.lax.Precision.HIGHEST)
        others = squares - 2.0 * products
        squared = jnp.min(others, axis=1) + jnp.sum(jnp.square(block), axis=1)
        return jnp.sqrt(jnp.maximum(squared, 0.0)), jnp.argmin(others, axis=1)

    found: tuple[Array, Array] = jax.lax.map(of_block, images)
    return found


def nearest(
    images: Float[np.ndarray | Array, "num ..."],
    training: UInt8[np.ndarray | Array, "examples ..."],
) -> Nearest:
    """The training image nearest to each image, in [0, 1] or raw, and how far away it is.

    d(x) = min_t |x - t / 255|, the Euclidean distance, over all training images t, a block of them
    at a time; the index is the least one that attains it. Copies lie at 0, up to 0.01 of rounding;
    strokes that no image has lie far away; but a blur lies near to many images. The distances of
    real test images, which are neither, are what to set beside them.

    Errors:
        SettingError: the images are neither in [0, 1] nor raw, or the training images are not raw,
            or of another shape.
    """
    training, found = check_images(training), in_unit_range(images)
    if not found.size or found.shape[1:] != training.shape[1:]:
        raise SettingError(
            expected=f"images of the training images' shape, {[*training.shape[1:]]}",
            found=str([*found.shape]),
            remedy="scale them",
        )
    flat = found.reshape(len(found), -1)
    blocks = jnp.pad(flat, ((0, -len(flat) % _BLOCK), (0, 0))).reshape(-1, _BLOCK, flat.shape[1])
    size = min(len(training), max(1, TRAINING_BYTES // (4 * flat.shape[1])))
    best: list[np.ndarray] = []
    for start in range(0, len(training), size):
        raw = jnp.asarray(training[start : start + size]).reshape(-1, flat.shape[1])
        raw = jnp.pad(raw, ((0, size - len(raw)), (0, 0)), "edge")  # of equal ones the first counts
        rows = raw.astype(jnp.float32) / 255.0
        distances, indices = map(np.asarray, _nearest(blocks, rows))
        if best:
            nearer = distances < best[0]
            distances = np.where(nearer, distances, best[0])
            indices = np.where(nearer, indices + start, best[1])
        best = [distances, indices]
    return Nearest(*(each.reshape(-1)[: len(flat)] for each in best))


def nearest_distance(
    images: Float[np.ndarray | Array, "num ..."],
    training: UInt8[np.ndarray | Array, "examples ..."],
) -> Float[np.ndarray, " num"]:
    """The distances of `nearest` alone."""
    return nearest(images, training).distances


def pixel_variance(images: Float[np.ndarray | Array, "num ..."]) -> float:
    """Mean over the pixels of their variance over the images; it falls when images are alike.

    Of pixels in [0, 1], whether the images are so or raw.

    Errors:
        SettingError: they are neither, or there are none.
    """
    found = in_unit_range(images)
    if not found.size:
        raise SettingError(expected="one or more images", found="none", remedy="give some")
    return float(np.mean(np.var(found.astype(np.float64), axis=0)))


def largest_group(
    images: Float[np.ndarray | Array, "num ..."], real: Float[np.ndarray | Array, "examples ..."]
) -> float:
    """The largest share of images that are alike; images in [0, 1] or raw, of one shape.

    max_i mean_j [ |x_i - x_j| <= m / 2 ], the Euclidean distance, m the median distance of two real
    images. Of images that end in one state it is near 1, also if their pixels vary a little; of the
    real images themselves it is what to set beside it.

    Errors:
        SettingError: images are neither in [0, 1] nor raw, of another shape than the real ones, or
            fewer than two.
    """
    from scipy.spatial.distance import cdist, pdist  # a command starts sooner without it

    found, reference = (in_unit_range(each) for each in (images, real))
    if min(len(found), len(reference)) < 2 or found.shape[1:] != reference.shape[1:]:
        raise SettingError(
            expected=f"two images or more of the real images' shape, {[*reference.shape[1:]]}",
            found=str([*found.shape]),
            remedy="scale them, or give more",
        )
    rows, others = (each.reshape(len(each), -1).astype(np.float64) for each in (found, reference))
    near = cdist(rows, rows) <= np.median(pdist(others)) / 2
    return float(near.mean(axis=1).max())


def check_features(*sets: Any, name: str = "features") -> list[np.ndarray]:
    """Raises SettingError unless all sets are finite features [num, units] of the same units.

    Of one row that is not finite, distances to all others, and means, are not numbers either. Nor
    are they beyond `LARGEST`, whose squares may overflow.

    Args:
        sets: to check; each has a row or more.
        name: of the numbers, in the error.

    Returns:
        The sets, as arrays.
    """
    found = [as_numbers(each) for each in sets]
    shapes = [each.shape for each in found]
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or len({*(s[1] for s in shapes)}) > 1:
        raise SettingError(
            expected=f"{name} [num, units], of the same units in every set",
            found=" and ".join(str([*shape]) for shape in shapes),
            remedy="give a row for each image",
        )
    for each in found:
        if num := int(np.sum(~np.all(np.abs(each) <= np.float64(LARGEST), axis=1))):
            kind = f"numbers beyond {LARGEST:g}" if np.all(np.isfinite(each)) else "NaN or infinity"
            raise SettingError(
                expected=f"finite {name}",
                found=f"{kind} in {num:,} of {len(each):,} rows",
                remedy="look at the images of these rows, or leave them out",
            )
    return found


def check_probs(*sets: Any) -> list[np.ndarray]:
    """Raises SettingError unless every row of the sets [num, classes] is of probabilities."""
    found = check_features(*sets, name="probabilities")
    for each in found:
        wrong = np.any(each < 0, axis=1) | (np.abs(np.sum(each, axis=1) - 1.0) > 1e-3)
        if num := int(np.sum(wrong)):
            raise SettingError(
                expected="probabilities, 0 or more, whose sum is 1",
                found=f"others in {num:,} of {len(each):,} rows",
                remedy="take the softmax of logits, for example",
            )
    return found


def check_labels(labels: Any, num_classes: int, num: int | None = None) -> np.ndarray:
    """Raises SettingError unless labels are whole numbers from 0 to num_classes - 1.

    Returns:
        They, as an array; `num` of them where a number is given.
    """
    found = as_numbers(labels)
    kind = found.dtype.kind in "iu" and found.ndim == 1 and found.size > 0
    inside = kind and found.min() >= 0 and found.max() < num_classes
    if not inside or num not in (None, len(found)):
        many = "one or more" if num is None else f"{num:,}"
        there = f" from {found.min()} to {found.max()}" if kind else ""
        raise SettingError(
            expected=f"{many} labels [num], whole numbers from 0 to {num_classes - 1}",
            found=f"{found.dtype} {[*found.shape]}{there}",
            remedy="number the classes from 0, and set num_classes",
        )
    return found


def as_numbers(values: Any) -> np.ndarray:
    """Numbers as NumPy has them; of rows of several lengths, masked numbers or texts, no array."""
    nothing = np.empty(0, np.object_)
    try:
        found = nothing if np.ma.is_masked(values) else np.asarray(values)
    except (ValueError, TypeError):
        return nothing
    return found if found.dtype.kind in "biuf" else nothing


def _moments(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """The mean and a root of the covariance: R with R R = S, from S's eigenvectors."""
    if len(features) < 2:
        raise SettingError(
            expected="at least 2 samples", found=str(len(features)), remedy="measure with more"
        )
    rows = features.astype(np.float64)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows, rowvar=False)))
    return rows.mean(axis=0), (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet_distance(samples: Features, real: Features) -> float:
    """The squared Frechet distance of two Gaussians with the sets' means and covariances.

        d^2 = |m1 - m2|^2 + Tr S1 + Tr S2 - 2 Tr (S1^(1/2) S2 S1^(1/2))^(1/2)

    Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982. The
    last trace is the sum of the singular values of S1^(1/2) S2^(1/2), which keeps twice the digits
    of a square root of eigenvalues. With Inception's features the number is the FID; with others it
    is not, and cannot be compared to one. It is biased upward, in proportion to 1 / m + 1 / n for
    m and n samples: where both are standard normal in d dimensions, by (d + d (d + 1) / 4) times
    that. `jaxgen.evaluation.resampling.resample_halves` extrapolates to infinitely many.

    Errors:
        SettingError: a set of fewer than 2 samples, or a feature is not finite.
    """
    samples, real = check_features(samples, real)
    (mean_a, root_a), (mean_b, root_b) = _moments(samples), _moments(real)
    traces = np.sum(root_a**2) + np.sum(root_b**2)  # Tr R R = sum of squares of a symmetric R
    cross = np.sum(np.linalg.svd(root_a @ root_b, compute_uv=False))
    return float(np.sum((mean_a - mean_b) ** 2) + traces - 2.0 * cross)


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    """Sum over all pairs of (a.b / d + 1)^3, a block of rows at a time."""
    total = 0.0
    for start in range(0, len(a), 500):
        linear = a[start : start + 500] @ b.T / a.shape[1] + 1.0
        total += float(np.sum(linear * linear * linear))  # a power costs ten times as much
    return total


def squared_mmd(samples: Features, real: Features) -> float:
    """The squared maximum mean discrepancy with the kernel k(x, y) = (x.y / d + 1)^3; unbiased.

        sum_{i != j} k(x_i, x_j) / m (m - 1) + the same of y - 2 sum_{i, j} k(x_i, y_j) / m n

    Gretton et al., "A kernel two-sample test", 2012, lemma 6, with the kernel of Binkowski et al.,
    "Demystifying MMD GANs", 2018, section 4. Its expectation does not depend on the numbers of
    samples and is 0 where the first three moments agree, so it is also negative at times.

    Errors:
        SettingError: a set of fewer than 2 samples, or a feature is not finite.
    """
    samples, real = check_features(samples, real)
    if min(len(samples), len(real)) < 2:
        raise SettingError(
            expected="at least 2 samples of each kind",
            found=f"{len(samples)} and {len(real)}",
            remedy="measure with more",
        )

    def within(rows: np.ndarray) -> float:
        itself = np.sum((np.sum(rows**2, axis=1) / rows.shape[1] + 1.0) ** 3)
        return (_kernel_sum(rows, rows) - float(itself)) / (len(rows) * (len(rows) - 1))

    a, b = samples.astype(np.float64), real.astype(np.float64)
    return within(a) + within(b) - 2.0 * _kernel_sum(a, b) / (len(a) * len(b))


def class_frequencies(
    labels: Int[np.ndarray, " num"], num_classes: int
) -> Float[np.ndarray, " classes"]:
    """The part of the labels that each class has.

    Errors:
        SettingError: there are no labels, or one is not from 0 to num_classes - 1.
    """
    found = check_labels(labels, num_classes)
    return np.bincount(found, minlength=num_classes) / len(found)


def kl_divergence(
    shares: Float[np.ndarray, " classes"], reference: Float[np.ndarray, " classes"]
) -> float:
    """KL(p || q) = sum_i p_i log(p_i / q_i) in nats; infinite where q lacks what p has.

    With p the samples' shares and q the data's a digit that is never drawn costs a finite amount.
    From samples it is too large by (classes - 1) / 2 num, about, as p is estimated.

    Errors:
        SettingError: either is no distribution over the same classes.
    """
    (shares,), (reference,) = check_probs([shares], [reference])
    held = shares > 0
    if np.any(reference[held] == 0):
        return float("inf")
    return float(np.sum(shares[held] * np.log(shares[held] / reference[held])))


def inception_score(probs: Float[np.ndarray, "num classes"]) -> float:
    """exp(mean_x KL(p(y|x) || p(y))), p(y) the mean over the samples x: from 1 to classes.

    The inception score of Salimans et al., "Improved techniques for training GANs", 2016, section
    4, with the classifier that gave the probabilities. It rises where each sample is surely one
    digit and all digits occur; one image for each digit attains the maximum.

    Errors:
        SettingError: a row is not of probabilities.
    """
    (found,) = check_probs(probs)
    rows = found.astype(np.float64)
    marginal = np.mean(rows, axis=0)
    ratios = np.log(np.where(rows > 0, rows, 1.0)) - np.log(np.where(marginal > 0, marginal, 1.0))
    return float(np.exp(np.mean(np.sum(rows * ratios, axis=1))))


def memorisation_score(
    distances: Float[np.ndarray, " num"], test_distances: Float[np.ndarray, " tests"]
) -> float:
    """P(d of a sample < d of a test image) + P(=) / 2, d the distance to the training images.

    One half where samples lie as near to training images as unseen ones do, towards 1 where they
    are copies, towards 0 where they are far from any digit (or test images are nearer): the
    statistic of Meehan, Chaudhuri and Dasgupta, "A non-parametric test to detect data-copying in
    generative models", 2020, without its cells. Smooth images lie near to all others, so
    it is to be read beside the figure of nearest images.

    Errors:
        SettingError: a distance is not finite, or there are none.
    """
    columns = (as_numbers(each)[..., None] for each in (distances, test_distances))
    distances, test_distances = (x[:, 0] for x in check_features(*columns, name="distances"))
    ordered = np.sort(test_distances)
    not_below = len(ordered) - np.searchsorted(ordered, distances, side="left")
    above = len(ordered) - np.searchsorted(ordered, distances, side="right")
    return float(np.mean(not_below + above) / (2 * len(ordered)))
