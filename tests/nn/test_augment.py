"""Flips and transforms, by what they leave of images: no test knows a key's draws."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import same

from jaxgen.learner import Batch, Learner
from jaxgen.nn import augment

NUM, HEIGHT, WIDTH = 400, 8, 13
"""Of the images; odd and even sides are cut differently."""


def pixels(num_channels: int = 3, num: int = NUM) -> np.ndarray:
    """Images of independent pixels, none of them 0."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.1, 1.0, (num, HEIGHT, WIDTH, num_channels)).astype(np.float32)


def transformed(policy: augment.Policy, images: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.asarray(jax.jit(augment.TRANSFORMS[policy])(jax.random.key(seed), images))


def assert_uniform(values: Any, low: float, high: float) -> None:
    """Mean and variance, each within five standard errors, and the ends."""
    values, num, width = np.asarray(values, np.float64), len(values), high - low
    assert low <= values.min() < low + 0.05 * width
    assert high - 0.05 * width < values.max() <= high
    assert abs(values.mean() - (low + high) / 2) < 5 * width / np.sqrt(12 * num)
    assert abs(values.var() / (width**2 / 12) - 1) < 5 * np.sqrt(0.8 / num)


def assert_as_often(counts: np.ndarray) -> None:
    """All outcomes equally likely: chi-squared within five standard deviations."""
    expected = counts.sum() / counts.size
    chi, free = float(((counts - expected) ** 2 / expected).sum()), counts.size - 1
    assert chi < free + 5 * np.sqrt(2 * free)


# ---- flips


class Seen(NamedTuple):
    """The batch of the last step."""

    images: jax.Array
    labels: jax.Array
    noise: jax.Array


def recording() -> Learner:
    """A learner whose state is its batch and a draw from its key."""

    def step(state: Any, batch: Batch, key: Any) -> tuple[Seen, dict[str, jax.Array]]:
        del state
        return Seen(*batch, jax.random.normal(key)), {}

    return Learner(lambda _: None, step, lambda *_: jnp.zeros(()))


def test_flips() -> None:
    """Half of the images are mirrored, rows in place; labels and the key are as they were."""
    images = np.random.default_rng(0).integers(0, 256, (NUM, 2, 3, 3), dtype=np.uint8)
    batch, plain = Batch(images, np.arange(NUM, dtype=np.int32)), recording()
    step = jax.jit(augment.flip_batches(plain).step)
    found, _ = step(None, batch, jax.random.key(1))
    expected, _ = plain.step(None, batch, jax.random.key(1))
    assert same((found.labels, found.noise), (expected.labels, expected.noise))
    assert found.images.dtype == jnp.uint8
    mirrored = images[:, :, [2, 1, 0]]
    kept, turned = (
        (np.asarray(found.images) == each).all(axis=(1, 2, 3)) for each in (images, mirrored)
    )
    assert (kept ^ turned).all()
    assert abs(turned.sum() - NUM / 2) < 5 * np.sqrt(NUM) / 2
    assert not same(step(None, batch, jax.random.key(2))[0].images, found.images)


# ---- colour


def test_colour() -> None:
    """Three numbers of each image explain all that changed; they are read off its parts.

    The mean of the image moves by b. What is left of its grey image is c times what it was, and
    what is left of the colours about the grey c s times.
    """
    images = pixels().astype(np.float64)
    found = transformed("colour", pixels()).astype(np.float64)

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, grey = x.mean(axis=(1, 2, 3), keepdims=True), x.mean(axis=3, keepdims=True)
        return mean, grey - mean, x - grey

    (mean, grey, colours), (new_mean, new_grey, new_colours) = parts(images), parts(found)
    brightness = new_mean - mean

    def slope(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        axes = (1, 2, 3)
        return (new * old).sum(axis=axes, keepdims=True) / (old**2).sum(axis=axes, keepdims=True)

    contrast = slope(new_grey, grey)
    saturation = slope(new_colours, colours) / contrast
    shown = images + brightness
    middle = shown.mean(axis=3, keepdims=True)
    shown = (shown - middle) * saturation + middle
    middle = shown.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, (shown - middle) * contrast + middle, atol=1e-5)
    for values, low, high in ((brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)):
        assert_uniform(values.ravel(), low, high)
    drawn = np.stack([brightness, saturation, contrast]).reshape(3, NUM)
    correlations = np.corrcoef(drawn)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(NUM)


def test_grey_images_have_no_saturation() -> None:
    images = pixels(1)
    found = transformed("colour", images)
    slopes = (found - found.mean(axis=(1, 2, 3), keepdims=True)) / (
        images - images.mean(axis=(1, 2, 3), keepdims=True)
    )
    assert_uniform(np.median(slopes, axis=(1, 2, 3)), 0.5, 1.5)


# ---- places


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image moved over zeros, by slices of an array with a margin."""
    margin = np.zeros((3 * HEIGHT, 3 * WIDTH, image.shape[-1]), np.float32)
    margin[HEIGHT + down : 2 * HEIGHT + down, WIDTH + right : 2 * WIDTH + right] = image
    return margin[HEIGHT : 2 * HEIGHT, WIDTH : 2 * WIDTH]


def without(image: np.ndarray, top: int, left: int) -> np.ndarray:
    """An image with zeros in a rectangle of half its sides, of which a part may be outside."""
    rows, columns = HEIGHT // 2, (WIDTH + 1) // 2
    cut = image.copy()
    cut[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)] = 0.0
    return cut


@pytest.mark.parametrize(
    ("policy", "by_hand", "rows", "columns"),
    [
        # An eighth of 8 is 1, of 13 it is 1.625, so 2 places.
        ("translation", moved, range(-1, 2), range(-2, 3)),
        # The centre of four rows lies on one of 9 lines, that of seven columns in one of 13 places.
        ("cutout", without, range(-2, 7), range(-3, 10)),
    ],
)
def test_places(
    policy: augment.Policy, by_hand: Callable[..., np.ndarray], rows: range, columns: range
) -> None:
    """Each image is one of all that can be made by hand, each of them as often as the others."""
    images = np.repeat(pixels(num=1), 2000, axis=0)
    found = transformed(policy, images)
    places = list(itertools.product(rows, columns))
    made = np.stack([by_hand(images[0], *place) for place in places])
    which = (found[:, None, :, :, 0] == made[None, ..., 0]).all(axis=(2, 3))
    assert (which.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(found, made[which.argmax(axis=1)])
    assert_as_often(np.bincount(which.argmax(axis=1), minlength=len(places)))


# ---- gradients, and several

ALL: tuple[augment.Policy, ...] = ("colour", "translation", "cutout")


def test_gradients() -> None:
    """Of a weighted sum of the result, against central differences along five directions."""
    rng, images = np.random.default_rng(1), pixels(num=4)
    weights = rng.normal(size=images.shape).astype(np.float32)

    @jax.jit
    def value(x: jax.Array) -> jax.Array:
        shown = augment.augment(ALL, jax.random.key(3), x)
        return jnp.sum(weights * jnp.square(shown))

    gradient = np.asarray(jax.jit(jax.grad(value))(images), np.float64)
    assert np.abs(gradient).max() > 0.1
    for _ in range(5):
        direction = rng.normal(size=images.shape).astype(np.float32)
        difference = (value(images + 0.05 * direction) - value(images - 0.05 * direction)) / 0.1
        np.testing.assert_allclose((gradient * direction).sum(), difference, rtol=2e-3, atol=0.05)


def test_transforms_follow_each_other_with_draws_of_their_own() -> None:
    images, key = pixels(num=3), jax.random.key(0)
    assert augment.augment((), key, images) is images
    several = jax.jit(augment.augment, static_argnums=0)
    moved_alone = several(("translation",), key, images)
    both = several(("translation", "cutout"), key, images)
    assert not same(both, moved_alone)
    assert same(both, several(("cutout",), key, moved_alone))
