"""What the formulations of a convolution share: its geometry, products and blocks of images."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Geometry(NamedTuple):
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


class Formulation(NamedTuple):
    """One way to compute a convolution and, as its transposed maps, both its gradients."""

    forward: Callable[[Array, Array, Geometry], Array]
    """(x, kernel, geometry) -> y."""
    input_gradient: Callable[[Array, Array, Geometry, tuple[int, int]], Array]
    """(dy, kernel, geometry, [H, W] of x) -> the gradient of sum(y dy) with respect to x."""
    kernel_gradient: Callable[[Array, Array, Geometry], Array]
    """(x, dy, geometry) -> the gradient of sum(y dy) with respect to the kernel."""


def product(
    a: Float[Array, "rows inner"], b: Float[Array, "inner columns"], geometry: Geometry
) -> Float[Array, "rows columns"]:
    """The matrix product a b of factors rounded to the geometry's dtype, summed in float32."""
    dtype = jnp.dtype(geometry.dtype)
    return jnp.dot(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def _block_size(num_images: int, wanted: int) -> int:
    """The largest number of images, at most `wanted`, that divides them all."""
    return max(n for n in range(1, max(1, min(wanted, num_images)) + 1) if num_images % n == 0)


def blockwise(function: Callable[[Array], Array], images: Array, wanted: int) -> Array:
    """`function` of the images [B, ...], at most `wanted` of them at a time.

    Blocks are of one size, which divides B: a batch whose size is prime goes image by image.
    """
    num = _block_size(len(images), wanted)
    if num == len(images):
        return function(images)
    blocks: Array = lax.map(function, images.reshape(-1, num, *images.shape[1:]))
    return blocks.reshape(-1, *blocks.shape[2:])


def blockwise_sum(
    function: Callable[[Array, Array], Array], a: Array, b: Array, wanted: int
) -> Array:
    """The sum of `function` over blocks of the images a and b, at most `wanted` at a time."""
    num = _block_size(len(a), wanted)
    if num == len(a):
        return function(a, b)
    blocks = a.reshape(-1, num, *a.shape[1:]), b.reshape(-1, num, *b.shape[1:])
    shape = jax.eval_shape(function, blocks[0][0], blocks[1][0]).shape

    def add(total: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        return total + function(*block), None

    total, _ = lax.scan(add, jnp.zeros(shape, jnp.float32), blocks)
    return total
