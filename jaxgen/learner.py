"""The contract every model keeps: three pure functions, explicit keys, one state.

A model file ends in ``learner(config) -> Learner``; `jaxgen.training.fit` runs any of them. Nothing
here knows a model, a data set or a file.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
from jaxtyping import Array, Float, Key, UInt8, UInt32

PRNGKey: TypeAlias = Key[Array, ""] | UInt32[Array, "2"]
"""One JAX key, as `jax.random.key` makes it."""

Batch: TypeAlias = UInt8[Array, "batch height width channels"]
"""Raw images, 0 to 255, as they lie on the device; `Learner.step` scales and binarises them."""

Images: TypeAlias = Float[Array, "batch height width channels"]
"""Images in [0, 1]; for a Bernoulli model, the probability of each pixel being on."""

Metrics: TypeAlias = dict[str, Float[Array, ""]]
"""Scalars that describe one step. They are diagnostics: no step reads them."""

State: TypeAlias = Any
"""A NamedTuple of arrays, whatever the next step needs: parameters, optimiser state, chains."""


class Learner(NamedTuple):
    """A generative model as three pure functions; every array it owns is in its state.

    Attributes:
        init: ``key -> state``. The state before the first step.
        step: ``(state, batch, key) -> (state, metrics)``. One training iteration.
        sample: ``(state, key, num) -> images``. `num` images, float32 in [0, 1].
        image_shape: [H, W, C] of the images that `step` takes, for whoever checks them; None where
            it takes images of any shape.
    """

    init: Callable[[PRNGKey], State]
    step: Callable[[State, Batch, PRNGKey], tuple[State, Metrics]]
    sample: Callable[[State, PRNGKey, int], Images]
    image_shape: tuple[int, int, int] | None = None


def named_key(key: PRNGKey, name: str) -> PRNGKey:
    """Derives the key of the stream called `name`, for example ``named_key(key, "order")``.

    Two names never share a stream (up to a 32-bit checksum collision), so adding a stream to a
    program leaves the others as they were.
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def task_key(name: str) -> PRNGKey:
    """Derives the key of a task. It is the same for every model, so models meet equal noise."""
    return named_key(jax.random.key(0), name)
