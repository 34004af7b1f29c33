"""The convolution with a 4x4 kernel, stride 2 and padding 1 by 9/16 of its multiplications.

Two rows of the padded image and two columns make a cell of 4 C values; on cells the convolution has
a 2x2 kernel of matrices [4 C, O] and stride 1. In one dimension, two outputs y (vectors of O) of a
kernel (g0, g1) read three cells d (vectors of 4 C), each product being one of vector and matrix:

    y0 = d0 g0 + d1 g1 = m0 + m1        m0 = (d0 - d1) g0
    y1 = d1 g0 + d2 g1 = m1 - m2        m1 = d1 (g0 + g1)        m2 = (d1 - d2) g1

three products instead of four, and nine instead of sixteen in two dimensions, for tiles of 2x2
outputs. With B the map d -> (d0 - d1, d1, d1 - d2), G the map g -> (g0, g0 + g1, g1) and A' the map
m -> (m0 + m1, m1 - m2), a convolution is A'((G g) * (B d)); the gradients are the transposed maps:

    dx = B'((G g) * (A dy))             dg = G'((A dy) * (B d))

All coefficients are 0, 1 or -1, so the rounding is that of a few more additions. Images are taken a
block at a time, so that what is made of them stays in the cache.
Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for
convolutional neural networks", 2016, section 4.1 (F(2x2, 2x2) in their notation).
"""

from typing import TypeAlias

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.nn.conv_spec import ConvAlgorithm, ConvSpec, blockwise, blockwise_sum, product, size_of

Feature: TypeAlias = Float[Array, "batch height width channels"]
Kernel: TypeAlias = Float[Array, "4 4 inputs outputs"]
Nine: TypeAlias = list[Array]
"""One matrix for each of the nine products, the row's index varying slowest."""

TILES_PER_BLOCK = 512
"""Tiles that are made at a time: few enough for the cache, enough for fast products."""


def applies(spec: ConvSpec, size: tuple[int, int]) -> bool:
    """Whether images of `size` [H, W] divide into tiles and the kernel is the one above."""
    shape = spec.kernel == (4, 4) and spec.stride == 2 and spec.padding == 1
    return shape and size[0] % 4 == 0 and size[1] % 4 == 0


def _images_per_block(height: int, width: int) -> int:
    """How many images of [H, W] are transformed at a time."""
    return TILES_PER_BLOCK * 16 // (height * width)


def _image_tiles(x: Feature) -> Nine:
    """B d along both axes: nine matrices [tiles, 4 C]."""
    batch, height, width, channels = x.shape
    rows, columns = height // 4, width // 4
    padded = jnp.pad(x, ((0, 0), (1, 3), (1, 3), (0, 0)))
    cells = padded.reshape(batch, 2 * rows + 2, 2, 2 * columns + 2, 2, channels).swapaxes(2, 3)
    cells = cells.reshape(batch, rows + 1, 2, columns + 1, 2, 4 * channels)

    def transformed(cells: Array, axis: int, num: int) -> tuple[Array, Array, Array]:
        cells = cells.astype(jnp.float32)
        these = lax.slice_in_dim(cells, 0, num, axis=axis)
        first = lax.index_in_dim(these, 0, axis + 1, keepdims=False)
        second = lax.index_in_dim(these, 1, axis + 1, keepdims=False)
        following = lax.slice_in_dim(cells, 1, num + 1, axis=axis)
        third = lax.index_in_dim(following, 0, axis + 1, keepdims=False)
        return first - second, second, second - third

    return [
        tile.reshape(batch * rows * columns, 4 * channels)
        for strip in transformed(cells, 1, rows)  # [batch, rows, columns + 1, 2, 4 channels]
        for tile in transformed(strip, 2, columns)
    ]


def _kernel_tiles(kernel: Kernel) -> Nine:
    """G g along both axes: nine matrices [4 C, O]."""
    inputs, outputs = kernel.shape[2:]
    cells = kernel.reshape(2, 2, 2, 2, inputs, outputs)
    return [
        tile.reshape(4 * inputs, outputs)
        for row in (cells[0], cells[0] + cells[1], cells[1])
        for tile in (row[:, 0], row[:, 0] + row[:, 1], row[:, 1])
    ]


def _output_sums(pairs: Array, axis: int) -> tuple[Array, Array, Array]:
    """A along one axis of two values: (dy0, dy0 + dy1, -dy1)."""
    first, second = (lax.index_in_dim(pairs, index, axis, keepdims=False) for index in (0, 1))
    return first, first + second, -second


def _output_tiles(dy: Feature) -> Nine:
    """A dy along both axes: nine matrices [tiles, O]."""
    batch, height, width, outputs = dy.shape
    pairs = dy.astype(jnp.float32).reshape(batch, height // 2, 2, width // 2, 2, outputs)
    return [
        tile.reshape(-1, outputs) for row in _output_sums(pairs, 2) for tile in _output_sums(row, 3)
    ]


def _transposed_output_tiles(dy: Feature) -> Nine:
    """The transposes [O, tiles] of the nine matrices, from one transposition of dy."""
    batch, height, width, outputs = dy.shape
    turned = lax.optimization_barrier(dy.reshape(-1, outputs).T).astype(jnp.float32)
    pairs = turned.reshape(outputs, batch, height // 2, 2, width // 2, 2)
    return [
        tile.reshape(outputs, -1) for row in _output_sums(pairs, 3) for tile in _output_sums(row, 4)
    ]


def forward(x: Feature, kernel: Kernel, spec: ConvSpec) -> Feature:
    """The convolution: [B, H, W, C] -> [B, H/2, W/2, O]."""
    tiles = _kernel_tiles(kernel)

    def of_block(x: Feature) -> Feature:
        batch, rows, columns = x.shape[0], x.shape[1] // 4, x.shape[2] // 4
        products = [product(a, b, spec) for a, b in zip(_image_tiles(x), tiles, strict=True)]
        m = [each.reshape(batch, rows, columns, -1) for each in products]
        sums = [[m[j] + m[3 + j] for j in range(3)], [m[3 + j] - m[6 + j] for j in range(3)]]
        lines = [jnp.stack([row[0] + row[1], row[1] - row[2]], axis=3) for row in sums]
        y = jnp.stack(lines, axis=2).reshape(batch, 2 * rows, 2 * columns, -1)
        return y.astype(x.dtype)

    return blockwise(of_block, x, _images_per_block(*size_of(x)))


def _cells(m: tuple[Array, Array, Array], axis: int) -> Array:
    """B' along one axis, which becomes (num_tiles + 1, 2); tiles overlap by a cell.

    Cell 2t is m0[t] - m2[t - 1], and cell 2t + 1 is m1[t] + m2[t] - m0[t].
    """

    def placed(cells: Array, before: int) -> Array:
        widths = [(0, 0)] * cells.ndim
        widths[axis] = (before, 1 - before)
        return jnp.pad(cells, widths)

    even = placed(m[0], 0) - placed(m[2], 1)
    odd = placed(m[1] + m[2] - m[0], 0)
    return jnp.stack([even, odd], axis=axis + 1)


def input_gradient(dy: Feature, kernel: Kernel, spec: ConvSpec, size: tuple[int, int]) -> Feature:
    """The transposed convolution: [B, H/2, W/2, O] -> [B, H, W, C]."""
    tiles = _kernel_tiles(kernel)
    if spec.dtype == "bfloat16":  # rounded before, and not while they are transposed
        tiles = [lax.optimization_barrier(each.astype(jnp.bfloat16)) for each in tiles]
    tiles = [each.T for each in tiles]

    def of_block(dy: Feature) -> Feature:
        batch, rows, columns = dy.shape[0], dy.shape[1] // 2, dy.shape[2] // 2
        products = [product(a, b, spec) for a, b in zip(_output_tiles(dy), tiles, strict=True)]
        m = [each.reshape(batch, rows, columns, -1) for each in products]
        strips = [_cells((m[i], m[i + 1], m[i + 2]), 2) for i in (0, 3, 6)]
        cells = _cells((strips[0], strips[1], strips[2]), 1)
        cells = cells.reshape(batch, 2 * rows + 2, 2 * columns + 2, 2, 2, -1).swapaxes(2, 3)
        image = cells.reshape(batch, 4 * rows + 4, 4 * columns + 4, -1)
        return image[:, 1 : 1 + 4 * rows, 1 : 1 + 4 * columns].astype(dy.dtype)

    return blockwise(of_block, dy, _images_per_block(*size))


def kernel_gradient(x: Feature, dy: Feature, spec: ConvSpec) -> Kernel:
    """The gradient of sum(y dy) with respect to the kernel: [4, 4, C, O].

    The product of the transposed factors is the faster one. Its result must be transposed back,
    which pays where that is done once for several blocks. In bfloat16 a product is slow where it
    has to transpose a factor, so it always reads plain ones.
    """
    wanted = _images_per_block(*size_of(x))
    plain = spec.dtype == "bfloat16"
    turned = plain or len(x) > wanted

    def of_block(x: Feature, dy: Feature) -> Array:
        turned_dy = _transposed_output_tiles(dy) if plain else [b.T for b in _output_tiles(dy)]
        pairs = zip(_image_tiles(x), turned_dy, strict=True)
        m = [product(*((b, a) if turned else (a.T, b.T)), spec) for a, b in pairs]
        return jnp.stack([m[i] + m[i + 1] + m[i + 3] + m[i + 4] for i in (0, 1, 3, 4)])

    total = blockwise_sum(of_block, x, dy, wanted)
    total = total.swapaxes(1, 2) if turned else total
    cells = total.reshape(2, 2, 2, 2, x.shape[-1], dy.shape[-1])
    return cells.swapaxes(1, 2).reshape(4, 4, x.shape[-1], dy.shape[-1])


WINOGRAD = ConvAlgorithm(forward, input_gradient, kernel_gradient)
