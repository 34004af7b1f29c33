"""Fast Bernoulli sampling, and JAX's normal numbers; nothing else in jaxgen invents randomness.

More than half of an RBM's training time goes into random numbers, for two reasons that this file
removes. `jax.random.bernoulli` spends a 64-bit Threefry block on every unit; here a block serves
four units, 16 bits each. And on the CPU JAX runs Threefry's rounds as a loop of small kernels;
written out, the compiler fuses them with the comparison into one pass.

The bits are those of JAX's own generator, Threefry-2x32 with 20 rounds: Salmon, Moraes, Dror and
Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3. A test compares them
with `jax.random.bits` word for word.
"""

import functools
import logging
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt16, UInt32

from jaxgen.errors import SettingError
from jaxgen.images import check_images
from jaxgen.learner import Labels, PRNGKey, RawImages, named_key

logger = logging.getLogger("jaxgen")

Binarize: TypeAlias = Literal["sample", "threshold", "none"]
"""How grey pixels become units: drawn again at every visit, >= 0.5, or used as they are. Of colour
each channel of a pixel is a unit."""

RESOLUTION = 2.0**-16
"""Distance between the probabilities that `bernoulli` can realise."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA


def threefry2x32(
    key_words: UInt32[Array, "2"], counters: UInt32[Array, " n"]
) -> tuple[UInt32[Array, " n"], UInt32[Array, " n"]]:
    """Encrypts the 64-bit blocks (0, counter) with Threefry-2x32-20; returns both output words."""
    first, second = key_words[0], key_words[1]
    schedule = (first, second, first ^ second ^ jnp.uint32(_KEY_PARITY))
    x, y = jnp.broadcast_to(first, counters.shape), counters + second
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << distance) | (y >> (32 - distance))) ^ x
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def bits16(key: PRNGKey, shape: tuple[int, ...]) -> UInt16[Array, "..."]:
    """Draws independent uniform 16-bit integers of the given shape, four from each block.

    Errors:
        ValueError: the key is not of JAX's default implementation (``threefry2x32``).
    """
    key_words = jax.random.key_data(key)
    if key_words.shape != (2,):
        raise ValueError(
            f"expected a threefry2x32 key of two words, found words of shape {key_words.shape}; "
            "make the key with jax.random.key(seed, impl='threefry2x32')"
        )
    size = 1
    for length in shape:
        size *= length
    blocks = jax.lax.iota(jnp.uint32, -(-size // 4))
    words = jnp.concatenate(threefry2x32(key_words, blocks))
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)
    return halves[:size].reshape(shape)


def bernoulli(key: PRNGKey, probs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Draws 0.0 or 1.0 for every entry of `probs`, independently.

    A 16-bit integer u is uniform; the draw is 1 where u + 1/2 < 65536 p. So P(1) is p rounded to
    the nearest multiple of `RESOLUTION` = 2^-16: the bias is at most 2^-17, about 7.63e-6, and is
    zero at p = 0, 1/2 and 1. That is of p in float32; a number that float32 rounds, by up to 2^-25,
    has a bias of up to 2^-17 + 2^-25, below 7.66e-6. An average over n draws resolves it only when
    n exceeds p (1 - p) 2^34, about 4e9 at p = 1/2; a grey level of 1/255 is off by at most 0.2% of
    itself.

    Args:
        key: used once.
        probs: probabilities in [0, 1]; values outside act as 0 or 1, NaN acts as 0.
    """
    threshold = probs * 65536.0 - 0.5
    return (bits16(key, probs.shape).astype(jnp.float32) < threshold).astype(jnp.float32)


def normal(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws independent standard normal numbers, float32, as `jax.random.normal` does.

    A 23-bit uniform integer goes through the normal quantile, so no draw is beyond 5.42.
    """
    return jax.random.normal(key, shape, jnp.float32)


@functools.cache
def explain_colour(num_channels: int) -> None:
    """Logs, once, what binary units make of colours."""
    logger.warning(
        "each of the %d channels of a colour pixel becomes a binary unit of its own, so samples "
        "are probabilities of each channel apart",
        num_channels,
    )


def asked_or_drawn(
    key: PRNGKey, labels: Labels | None, num: int, num_classes: int
) -> Int32[Array, " num"]:
    """Labels that were asked for, or as many that are drawn, each class with equal probability.

    Errors:
        SettingError: there are not `num` of them, or one is no class; see `as_labels`.
    """
    if labels is None:
        return jax.random.randint(named_key(key, "labels"), (num,), 0, num_classes)
    return as_labels(labels, num, num_classes)


def as_labels(labels: Labels, num: int, num_classes: int) -> Int32[Array, " num"]:
    """Labels as an array of JAX.

    Errors:
        SettingError: there are not `num` of them, or one is no class from 0 on. Inside a program
            that is compiled their values are not known, and not checked.
    """
    found: Any = labels if isinstance(labels, jax.Array) else np.asarray(labels)
    if found.shape != (num,) or found.dtype.kind not in "iu":
        raise SettingError(
            expected=f"{num} labels, whole numbers",
            found=f"{found.dtype} {[*found.shape]}",
            remedy="give one for each image that is drawn",
        )
    if not isinstance(found, jax.core.Tracer):
        values = np.asarray(found)
        if (wrong := (values < 0) | (values >= num_classes)).any():
            raise SettingError(
                expected=f"labels from 0 to {num_classes - 1}",
                found=str(values[wrong][0]),
                remedy="give classes of the model",
            )
    return jnp.asarray(found, jnp.int32)


def binarize(key: PRNGKey, images: RawImages, method: Binarize) -> Float[Array, "batch pixels"]:
    """Flattens raw images [B, H, W, C] to units [B, H W C] in [0, 1]; see `Binarize`.

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    raw: Array = check_images(images)
    if raw.shape[-1] > 1 and method != "none":
        explain_colour(raw.shape[-1])
    pixels = raw.reshape(len(raw), -1).astype(jnp.float32) / 255.0
    if method == "sample":
        return bernoulli(key, pixels)
    if method == "threshold":
        return (pixels >= 0.5).astype(jnp.float32)
    return pixels
