"""Augmentation for small sets: random flips of real images, random transforms before D.

A discriminator soon knows a few hundred images by heart. Zhao, Liu, Lin, Zhu and Han,
"Differentiable augmentation for data-efficient GAN training", 2020, show it random transforms T of
real images and fakes alike, D(T(x)) and D(T(G(z))), in the updates of both nets; T is
differentiable, so G learns through it and need not make transformed images. The transforms and
their ranges are those of the paper's code. They take pixels in [-1, 1], where 0 is a middle grey.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.learner import Batch, Learner, Metrics, PRNGKey, State, named_key
from jaxgen.random import bernoulli

Policy: TypeAlias = Literal["colour", "translation", "cutout"]
"""A transform; the policies of Zhao et al. are one, two or all three of them, in this order."""
Pixels: TypeAlias = Float[Array, "batch height width channels"]
"""Images in [-1, 1]; transforms of colour may leave the range."""

TRANSLATION = 1 / 8
"""Farthest translation, as a part of the image's side."""
CUTOUT = 1 / 2
"""Sides of the part that is cut out, as a part of the image's."""


def flip_batches(learner: Learner) -> Learner:
    """The learner with every image mirrored left to right with probability 1/2 at every visit.

    Its step has the key that it had, and the flips a stream of their own.
    """

    def step(state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        heads = bernoulli(named_key(key, "flip"), jnp.full(len(batch.images), 0.5))
        chosen = (heads == 1.0)[:, None, None, None]
        images = jnp.where(chosen, batch.images[:, :, ::-1], batch.images)
        return learner.step(state, batch._replace(images=images), key)

    return learner._replace(step=step)


def colour(key: PRNGKey, pixels: Pixels) -> Pixels:
    """Changes brightness, saturation and contrast of each image, in this order.

    x + b,        (x - m) s + m,        (x - M) c + M,

    with b from -1/2 to 1/2, s from 0 to 2 and c from 1/2 to 3/2, all uniform; m is the mean of a
    pixel over its channels, M that of the image.
    """
    drawn = jax.random.uniform(key, (3, len(pixels), 1, 1, 1))
    brightness, saturation, contrast = drawn[0] - 0.5, 2.0 * drawn[1], drawn[2] + 0.5
    x = pixels + brightness
    grey = jnp.mean(x, axis=3, keepdims=True)
    x = (x - grey) * saturation + grey
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return (x - mean) * contrast + mean


def translation(key: PRNGKey, pixels: Pixels) -> Pixels:
    """Moves each image by whole pixels, by up to an eighth of each side; 0 comes in."""
    num, height, width, num_channels = pixels.shape
    margins = [int(TRANSLATION * side + 0.5) for side in (height, width)]
    wider = jnp.pad(pixels, [(0, 0), *((margin, margin) for margin in margins), (0, 0)])
    corners = [
        jax.random.randint(key_side, (num,), 0, 2 * margin + 1)
        for key_side, margin in zip(jax.random.split(key), margins, strict=True)
    ]

    def window(image: Array, top: Array, left: Array) -> Array:
        return jax.lax.dynamic_slice(image, (top, left, 0), (height, width, num_channels))

    return jax.vmap(window)(wider, *corners)


def cutout(key: PRNGKey, pixels: Pixels) -> Pixels:
    """Sets a rectangle of half of each side to 0; its centre is any pixel, so parts fall outside.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017.
    """
    num, height, width, _ = pixels.shape
    keys = jax.random.split(key)
    cut = _spans(keys[0], num, height)[:, :, None] & _spans(keys[1], num, width)[:, None]
    return jnp.where(cut[..., None], 0.0, pixels)


def _spans(key: PRNGKey, num: int, side: int) -> Array:
    """Whether each place [num, side] lies in the span that is cut out of a side."""
    length = int(CUTOUT * side + 0.5)
    centres = jax.random.randint(key, (num, 1), 0, side + 1 - length % 2)
    begin = centres - length // 2
    index = jnp.arange(side)
    return (begin <= index) & (index < begin + length)


TRANSFORMS: dict[Policy, Callable[[PRNGKey, Pixels], Pixels]] = {
    "colour": colour,
    "translation": translation,
    "cutout": cutout,
}


def augment(policies: tuple[Policy, ...], key: PRNGKey, pixels: Pixels) -> Pixels:
    """The images after transforms, one after the other; as they are without any."""
    for policy in policies:
        pixels = TRANSFORMS[policy](named_key(key, policy), pixels)
    return pixels
