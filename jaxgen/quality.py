"""What can be said of samples from images alone; every function names what it compares with.

Here so far: distances to the nearest training image, and how much images differ from each other.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

_BLOCK = 100


@jax.jit
def _nearest(
    images: Float[Array, "blocks block pixels"], training: Float[Array, "examples pixels"]
) -> Float[Array, "blocks block"]:
    squares = jnp.sum(jnp.square(training), axis=1)

    def of_block(block: Array) -> Array:
        least = jnp.min(squares - 2.0 * block @ training.T, axis=1)
        return jnp.sqrt(jnp.maximum(least + jnp.sum(jnp.square(block), axis=1), 0.0))

    distances: Array = jax.lax.map(of_block, images)
    return distances


def nearest_distance(
    images: Float[np.ndarray | Array, "num ..."],
    training: UInt8[np.ndarray | Array, "examples ..."],
) -> Float[np.ndarray, " num"]:
    """Euclidean distance of each image in [0, 1] to the nearest training image.

    d(x) = min_t |x - t / 255|, over all training images t. Copies lie at 0, up to 0.01 of rounding;
    strokes that no image has lie far away; but a blur lies near to many images. The distances of
    real test images, which are neither, are what to set beside it.
    """
    flat = jnp.asarray(images, jnp.float32).reshape(len(images), -1)
    blocks = jnp.pad(flat, ((0, -len(flat) % _BLOCK), (0, 0))).reshape(-1, _BLOCK, flat.shape[1])
    rows = jnp.asarray(training).reshape(len(training), -1).astype(jnp.float32) / 255.0
    return np.asarray(_nearest(blocks, rows)).reshape(-1)[: len(flat)]


def pixel_variance(images: Float[np.ndarray | Array, "num ..."]) -> float:
    """Mean over the pixels of their variance over the images; it falls when images are alike."""
    return float(np.mean(np.var(np.asarray(images, np.float64), axis=0)))
