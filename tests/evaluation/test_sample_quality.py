"""Measures of samples from images alone, against slow sums over all pairs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from support.helpers import one_line

from jaxgen.errors import SettingError
from jaxgen.evaluation import sample_quality

RNG = np.random.default_rng(0)
TRAINING = RNG.integers(0, 256, (37, 4, 5, 1), dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 100, 230])  # less than a block, a block, and some
def test_nearest_training_images(num: int) -> None:
    images = RNG.uniform(size=(num, 4, 5, 1)).astype(np.float32)
    differences = images.astype(np.float64)[:, None] - TRAINING[None] / 255.0
    distances = np.sqrt(np.sum(differences**2, axis=(2, 3, 4)))
    found = sample_quality.nearest(images, TRAINING)
    assert found.indices.tolist() == np.argmin(distances, axis=1).tolist()
    np.testing.assert_allclose(found.distances, np.min(distances, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(
        sample_quality.nearest_distance(images, TRAINING), found.distances
    )


def test_training_images_on_disk_are_in_memory_a_block_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = np.memmap(tmp_path / "images", np.uint8, "w+", shape=(90, 4, 5, 1))
    on_disk[:] = RNG.integers(0, 256, on_disk.shape)
    images = RNG.uniform(size=(7, 4, 5, 1)).astype(np.float32)
    sizes, whole = [], sample_quality._nearest

    def counting(blocks: Any, rows: Any) -> Any:
        sizes.append(len(rows))
        return whole(blocks, rows)

    monkeypatch.setattr(sample_quality, "TRAINING_BYTES", 4 * 20 * 25)
    monkeypatch.setattr(sample_quality, "_nearest", counting)
    found = sample_quality.nearest(images, on_disk)
    assert sizes == [25, 25, 25, 25]
    expected = cdist(images.reshape(7, -1), on_disk.reshape(90, -1) / 255.0)
    np.testing.assert_allclose(found.distances, expected.min(axis=1), rtol=1e-5)
    assert found.indices.tolist() == expected.argmin(axis=1).tolist()


def test_a_copy_lies_at_zero_and_the_first_of_equals_counts() -> None:
    training = np.concatenate([TRAINING, TRAINING])
    chosen = RNG.permutation(len(TRAINING))
    found = sample_quality.nearest(TRAINING[chosen] / np.float32(255.0), training)
    assert found.indices.tolist() == chosen.tolist()
    assert np.all(found.distances < 0.01)


def test_pixel_variance() -> None:
    images = RNG.uniform(size=(50, 3, 3, 1))
    expected = np.mean([[images[:, i, j, 0].var() for i in range(3)] for j in range(3)])
    assert sample_quality.pixel_variance(images) == pytest.approx(expected)
    assert sample_quality.pixel_variance(images[:1].repeat(9, axis=0)) == pytest.approx(0.0)
    raw = sample_quality.pixel_variance(TRAINING)
    assert raw == pytest.approx(sample_quality.pixel_variance(TRAINING / 255.0), rel=1e-5)
    for wrong in (images * 255.0, images[:0], images > 0.5):
        with pytest.raises(SettingError):
            sample_quality.pixel_variance(wrong)


def test_images_of_another_shape_than_the_training_images() -> None:
    for images in (TRAINING.repeat(3, axis=3), TRAINING[:0] / 255.0, TRAINING[:, :3] / 255.0):
        with pytest.raises(SettingError):
            sample_quality.nearest(images, TRAINING)


# ---- distances between sets of features


def exactly(mean: np.ndarray, covariance: np.ndarray, num: int = 50) -> np.ndarray:
    """Rows whose sample mean and covariance are the given ones."""
    rows = np.random.default_rng(1).normal(size=(num, len(mean)))
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    return rows @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_independent_features() -> None:
    a = exactly(np.array([0.0, 1.0, -2.0]), np.diag([1.0, 4.0, 0.25]))
    b = exactly(np.array([2.0, 1.0, -1.0]), np.diag([9.0, 1.0, 0.25]))
    by_hand = (4 + 0 + 1) + ((1 - 3) ** 2 + (2 - 1) ** 2 + 0)  # means, standard deviations
    assert sample_quality.frechet_distance(a, b) == pytest.approx(by_hand)
    assert sample_quality.frechet_distance(b, a) == pytest.approx(by_hand)


def test_frechet_distance_of_correlated_features() -> None:
    first = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 0.5]])
    second = np.array([[1.0, -0.5, 0.2], [-0.5, 1.5, 0.0], [0.2, 0.0, 0.7]])
    shift = np.array([0.5, 0.0, -1.0])
    # The eigenvalues of S1 S2, which is not symmetric, are those of the symmetric product.
    roots = np.sqrt(np.linalg.eigvals(first @ second).real)
    expected = shift @ shift + np.trace(first + second) - 2 * roots.sum()
    found = sample_quality.frechet_distance(exactly(np.zeros(3), first), exactly(shift, second))
    assert found == pytest.approx(expected)
    assert expected - shift @ shift > 0.5  # correlations matter here


def test_frechet_distance_of_equal_sets_is_zero() -> None:
    rows = np.random.default_rng(2).normal(size=(30, 5)).astype(np.float32)
    rows[:, 4] = 0.0  # a unit that is never on
    assert sample_quality.frechet_distance(rows, rows[::-1]) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(SettingError, match="at least 2 samples"):
        sample_quality.frechet_distance(rows[:1], rows)


def test_squared_mmd_is_its_sum_over_pairs() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.5

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
        for s in (a, b)
    ]
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert sample_quality.squared_mmd(a, b) == pytest.approx(sum(within) - 2 * between)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (1.0, 22.0)])
def test_squared_mmd_is_unbiased(shift: float, expected: float) -> None:
    # In one dimension it is 3 (difference of means)^2 + 3 (of squares)^2 + (of cubes)^2; the
    # moments of N(1, 1) are 1, 2 and 4, those of N(0, 1) are 0, 1 and 0: 3 + 3 + 16 = 22.
    rng = np.random.default_rng(4)
    found = [
        sample_quality.squared_mmd(rng.normal(size=(40, 1)) + shift, rng.normal(size=(60, 1)))
        for _ in range(400)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 4 * error
    assert error < 1.0
    assert min(found) < expected < max(found)


def test_squared_mmd_needs_two_of_each() -> None:
    with pytest.raises(SettingError, match="at least 2 samples of each kind"):
        sample_quality.squared_mmd(np.ones((1, 2)), np.ones((3, 2)))


# ---- digits


def test_shares_and_their_divergence_by_hand() -> None:
    shares = sample_quality.class_frequencies(np.array([0, 0, 2, 2, 2, 3]), num_classes=4)
    np.testing.assert_allclose(shares, [1 / 3, 0, 1 / 2, 1 / 6])
    uniform = np.full(4, 0.25)
    expected = np.log(4 / 3) / 3 + np.log(2) / 2 + np.log(4 / 6) / 6
    assert sample_quality.kl_divergence(shares, uniform) == pytest.approx(expected)
    assert sample_quality.kl_divergence(uniform, shares) == np.inf
    assert sample_quality.kl_divergence(shares, shares) == 0.0


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (
            lambda: sample_quality.class_frequencies(np.array([11]), 10),
            "from 0 to 9, found int64 .1.",
        ),
        (
            lambda: sample_quality.class_frequencies(np.array([-1, 0]), 10),
            "whole numbers from 0 to 9",
        ),
        (
            lambda: sample_quality.class_frequencies(np.array([0.0]), 10),
            "whole numbers from 0 to 9",
        ),
        (lambda: sample_quality.class_frequencies(np.array([], int), 10), "one or more labels"),
        (lambda: sample_quality.kl_divergence(np.array([np.nan, 1]), np.ones(2) / 2), "NaN or inf"),
        (lambda: sample_quality.kl_divergence(np.ones(2), np.ones(2) / 2), "whose sum is 1"),
        (lambda: sample_quality.kl_divergence(np.ones(1), np.ones(2) / 2), "the same units"),
        (lambda: sample_quality.inception_score(np.eye(5) * 50.0), "probabilities, 0 or more"),
        (lambda: sample_quality.inception_score(np.array([[-1.0, 2.0]])), "probabilities, 0 or m"),
        (lambda: sample_quality.inception_score(np.full((1, 2), np.nan)), "finite probabilities"),
        (lambda: sample_quality.inception_score(np.ones((0, 3))), "found .0, 3."),
        (lambda: sample_quality.memorisation_score(np.array([np.nan]), np.ones(2)), "finite dist"),
        (lambda: sample_quality.memorisation_score(np.ones(2), np.ones(0)), "distances .num"),
    ],
)
def test_what_measures_are_not_of(measure: Callable[[], object], words: str) -> None:
    with pytest.raises(SettingError, match=words) as error:
        measure()
    one_line(error)


def test_inception_score_at_its_ends() -> None:
    assert sample_quality.inception_score(np.full((7, 5), 0.2)) == pytest.approx(1.0)
    assert sample_quality.inception_score(np.eye(5)[[0, 0, 0]]) == pytest.approx(
        1.0
    )  # sure, but of one kind
    assert sample_quality.inception_score(np.tile(np.eye(5), (3, 1))) == pytest.approx(5.0)
    rows = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])  # marginal 1/4, 1/2, 1/4
    assert sample_quality.inception_score(rows) == pytest.approx(np.exp(0.5 * np.log(2)))


# ---- memorisation


def test_memorisation_score_counts_pairs() -> None:
    samples, tests = np.array([0.0, 2.0, 5.0]), np.array([1.0, 2.0, 3.0, 4.0])
    pairs = [(s < t) + 0.5 * (s == t) for s in samples for t in tests]
    assert sample_quality.memorisation_score(samples, tests) == pytest.approx(np.mean(pairs))
    assert sample_quality.memorisation_score(np.zeros(3), tests) == 1.0
    assert sample_quality.memorisation_score(np.full(3, 9.0), tests) == 0.0
    assert sample_quality.memorisation_score(tests, tests) == 0.5
