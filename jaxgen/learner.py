"""The contract every model keeps: three pure functions, explicit keys, one state.

A model file ends in ``learner(config) -> Learner``; `jaxgen.training.fit` runs any of them. Nothing
here knows a model, a data set or a file.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, UInt8, UInt32

from jaxgen.images import ImageShape

PRNGKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]
"""One JAX key, as `jax.random.key` makes it."""

RawImages: TypeAlias = UInt8[Array | np.ndarray, "batch height width channels"]
"""Raw images, 0 to 255; a step scales or binarises those of its batch on the device."""

Labels: TypeAlias = Int32[Array | np.ndarray, " batch"]
"""Classes, counted from 0."""

Images: TypeAlias = Float[Array, "batch height width channels"]
"""Images in [0, 1]; for a Bernoulli model, the probability of each pixel being on."""

Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars that describe one step. They are diagnostics: no step reads them."""

State: TypeAlias = Any
"""A NamedTuple of arrays, whatever the next step needs: parameters, optimiser state, chains."""


class Batch(NamedTuple):
    """The images and labels from which a step learns."""

    images: RawImages
    labels: Labels
    """Of the images; all 0 where the data set has none."""


def unlabelled(images: RawImages) -> Batch:
    """A batch of images without labels."""
    return Batch(images, jnp.zeros(len(images), jnp.int32))


class Learner(NamedTuple):
    """A generative model as three pure functions; every array it owns is in its state.

    Attributes:
        init: ``key -> state``. The state before the first step.
        step: ``(state, batch, key) -> (state, metrics)``. One training iteration.
        sample: ``(state, key, num, labels=None) -> images``. `num` images, float32 in [0, 1]; of
            the classes `labels` [num], or of classes that are drawn too where none are given.
        image_shape: [H, W, C] of the images that `step` takes, for whoever checks them; None where
            it takes images of any shape.
        num_classes: classes of a conditional model; 0 where labels are ignored.
        num_batches: mini-batches that a step takes: its batch has so many times the batch size.
        wide_vectors: whether a CPU's program of steps is compiled for the widest vectors it has,
            which pays where random bits are drawn. The last bits of some models depend on it.

    Example:
        >>> learner = jaxgen.models.rbm.learner(jaxgen.models.rbm.Config(num_hidden=3))
        >>> learner.init(jax.random.key(0)).params["w"].shape
        (784, 3)
    """

    init: Callable[[PRNGKey], State]
    step: Callable[[State, Batch, PRNGKey], tuple[State, Metrics]]
    sample: Callable[..., Images]
    image_shape: ImageShape | None = None
    num_classes: int = 0
    num_batches: int = 1
    wide_vectors: bool = False


def named_key(key: PRNGKey, name: str) -> PRNGKey:
    """Derives the key called `name`, for example ``named_key(key, "order")``.

    Two names never have one key (up to a 32-bit checksum collision), so another key in a program
    leaves the draws of the others as they were.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def task_key(name: str) -> PRNGKey:
    """Derives the key of a task. It is the same for every model, so models meet equal noise."""
    return named_key(jax.random.key(0), name)
