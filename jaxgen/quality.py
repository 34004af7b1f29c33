"""What can be said of samples from images alone; every function names what it compares with.

Here so far: the nearest training images, and how much images differ from each other.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

_BLOCK = 100


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
        others = squares - 2.0 * block @ training.T
        squared = jnp.min(others, axis=1) + jnp.sum(jnp.square(block), axis=1)
        return jnp.sqrt(jnp.maximum(squared, 0.0)), jnp.argmin(others, axis=1)

    found: tuple[Array, Array] = jax.lax.map(of_block, images)
    return found


def nearest(
    images: Float[np.ndarray | Array, "num ..."],
    training: UInt8[np.ndarray | Array, "examples ..."],
) -> Nearest:
    """The training image nearest to each image in [0, 1], and how far away it is.

    d(x) = min_t |x - t / 255|, the Euclidean distance, over all training images t; the index is the
    least one that attains it. Copies lie at 0, up to 0.01 of rounding; strokes that no image has
    lie far away; but a blur lies near to many images. The distances of real test images, which are
    neither, are what to set beside them.
    """
    flat = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
    blocks = jnp.pad(flat, ((0, -len(flat) % _BLOCK), (0, 0))).reshape(-1, _BLOCK, flat.shape[1])
    rows = jnp.asarray(training).reshape(len(training), -1).astype(jnp.float32) / 255.0
    found = (np.asarray(each).reshape(-1)[: len(flat)] for each in _nearest(blocks, rows))
    return Nearest(*found)


def nearest_distance(
    images: Float[np.ndarray | Array, "num ..."],
    training: UInt8[np.ndarray | Array, "examples ..."],
) -> Float[np.ndarray, " num"]:
    """The distances of `nearest` alone."""
    return nearest(images, training).distances


def pixel_variance(images: Float[np.ndarray | Array, "num ..."]) -> float:
    """Mean over the pixels of their variance over the images; it falls when images are alike."""
    return float(np.mean(np.var(np.asarray(images, np.float64), axis=0)))
