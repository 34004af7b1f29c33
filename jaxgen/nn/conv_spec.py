"""The common parts of a convolution's algorithms: its spec, products and blocks of images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class ConvSpec(NamedTuple):
    """The shape of a convolution, and the precision of what its products read."""

    kernel: tuple[int, int]
    stride: int
    padding: int
    """Rows and columns of zeros on every side of the image."""
    dtype: str = "float32"
    """float32; or bfloat16, which both factors of a product are rounded to. Sums are float32."""

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """[H, W] of what the convolution makes of images of `size`."""
        height, width = (
            (length + 2 * self.padding - kernel) // self.stride + 1
            for length, kernel in zip(size, self.kernel, strict=True)
        )
        return height, width

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """[H, W] of what the transposed convolution makes of images of `size`."""
        height, width = (
            (length - 1) * self.stride + kernel - 2 * self.padding
            for length, kernel in zip(size, self.kernel, strict=True)
        )
        return height, width


def size_of(images: Array) -> tuple[int, int]:
    """[H, W] of images [B, H, W, C]."""
    return images.shape[1], images.shape[2]


class ConvAlgorithm(NamedTuple):
    """One way to compute a convolution and, as its transposed maps, both its gradients."""

    forward: Callable[[Array, Array, ConvSpec], Array]
    """(x, kernel, spec) -> y."""
    input_gradient: Callable[[Array, Array, ConvSpec, tuple[int, int]], Array]
    """(dy, kernel, spec, [H, W] of x) -> the gradient of sum(y dy) with respect to x."""
    kernel_gradient: Callable[[Array, Array, ConvSpec], Array]
    """(x, dy, spec) -> the gradient of sum(y dy) with respect to the kernel."""


def product(
    a: Float[Array, "rows inner"], b: Float[Array, "inner columns"], spec: ConvSpec
) -> Float[Array, "rows columns"]:
    """The matrix product a b of factors rounded to the spec's dtype, summed in float32."""
    dtype = jnp.dtype(spec.dtype)
    return jnp.dot(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def _blocks(images: Array, wanted: int) -> Array:
    """Images [B, ...] as blocks [N, size, ...] of at most `wanted`, followed by zeros where needed.

    Blocks divide B as it is, unless that makes them less than half as large as they may be.
    """
    num, wanted = len(images), max(1, min(wanted, len(images)))
    size = max(n for n in range(1, wanted + 1) if num % n == 0)
    if 2 * size < wanted:
        size = -(-num // -(-num // wanted))
        padding = [(0, -num % size)] + [(0, 0)] * (images.ndim - 1)
        images = jnp.pad(images, padding)
    return images.reshape(-1, size, *images.shape[1:])


def blockwise(function: Callable[[Any], Array], images: Any, wanted: int) -> Array:
    """`function` of images [B, ...], or of a tree of such arrays, at most `wanted` at a time."""
    blocks = jax.tree.map(lambda each: _blocks(each, wanted), images)
    if len(jax.tree.leaves(blocks)[0]) == 1:
        return function(images)
    done: Array = lax.map(function, blocks)
    return done.reshape(-1, *done.shape[2:])[: len(jax.tree.leaves(images)[0])]


def blockwise_sum(
    function: Callable[[Array, Array], Array], a: Array, b: Array, wanted: int
) -> Array:
    """The sum of `function` over blocks of the images a and b, at most `wanted` at a time.

    It is linear in either, so zeros add nothing.
    """
    blocks = _blocks(a, wanted), _blocks(b, wanted)
    if len(blocks[0]) == 1:
        return function(a, b)
    shape = jax.eval_shape(function, blocks[0][0], blocks[1][0]).shape

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        return total + function(*block), None

    total, _ = lax.scan(add, jnp.zeros(shape, jnp.float32), blocks)
    return total
