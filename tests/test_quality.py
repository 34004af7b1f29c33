"""What is said of samples from images alone, against slow sums over all pairs."""

import numpy as np
import pytest

from jaxgen import quality

RNG = np.random.default_rng(0)
TRAINING = RNG.integers(0, 256, (37, 4, 5, 1), dtype=np.uint8)


@pytest.mark.parametrize("num", [1, 100, 230])  # less than a block, a block, and some
def test_nearest_training_images(num: int) -> None:
    images = RNG.uniform(size=(num, 4, 5, 1)).astype(np.float32)
    differences = images.astype(np.float64)[:, None] - TRAINING[None] / 255.0
    distances = np.sqrt(np.sum(differences**2, axis=(2, 3, 4)))
    found = quality.nearest(images, TRAINING)
    assert found.indices.tolist() == np.argmin(distances, axis=1).tolist()
    np.testing.assert_allclose(found.distances, np.min(distances, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(quality.nearest_distance(images, TRAINING), found.distances)


def test_a_copy_lies_at_zero_and_the_first_of_equals_counts() -> None:
    training = np.concatenate([TRAINING, TRAINING])
    chosen = RNG.permutation(len(TRAINING))
    found = quality.nearest(TRAINING[chosen] / np.float32(255.0), training)
    assert found.indices.tolist() == chosen.tolist()
    assert np.all(found.distances < 0.01)


def test_pixel_variance() -> None:
    images = RNG.uniform(size=(50, 3, 3, 1))
    expected = np.mean([[images[:, i, j, 0].var() for i in range(3)] for j in range(3)])
    assert quality.pixel_variance(images) == pytest.approx(expected)
    assert quality.pixel_variance(images[:1].repeat(9, axis=0)) == pytest.approx(0.0)
