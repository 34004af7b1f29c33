"""Three plain ways to compute a convolution: XLA's own, one matrix product, and patches."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxgen.nn.conv_spec import ConvAlgorithm, ConvSpec, blockwise, blockwise_sum, product, size_of

PATCHES_PER_BLOCK = 8192
"""Patches built at a time: with 16 values each, 0.5 MB of them."""


def _native(
    a: Array,
    b: Array,
    spec: ConvSpec,
    padding: list[tuple[int, int]],
    numbers: tuple[str, str, str] = ("NHWC", "HWIO", "NHWC"),
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[tuple[int, int], tuple[int, int]] = ((1, 1), (1, 1)),
) -> Array:
    """XLA's convolution of factors rounded to the spec's dtype, summed in float32."""
    dtype = jnp.dtype(spec.dtype)
    return lax.conv_general_dilated(
        a.astype(dtype),
        b.astype(dtype),
        strides,
        padding,
        *dilations,
        dimension_numbers=numbers,
        preferred_element_type=jnp.float32,
    )


def _native_forward(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    padding = [(spec.padding, spec.padding)] * 2
    return _native(x, kernel, spec, padding, strides=(spec.stride, spec.stride))


def _native_input_gradient(
    dy: Array, kernel: Array, spec: ConvSpec, size: tuple[int, int]
) -> Array:
    """Images with zeros between their pixels, convolved with the kernel turned by 180 degrees."""
    padding = []
    for length, width, edge in zip(size, size_of(dy), spec.kernel, strict=True):
        before = edge - 1 - spec.padding
        padding.append((before, length - spec.stride * (width - 1) - 2 - before + edge))
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    dilations = ((spec.stride, spec.stride), (1, 1))
    return _native(dy, turned, spec, padding, dilations=dilations)


def _native_kernel_gradient(x: Array, dy: Array, spec: ConvSpec) -> Array:
    """The images convolved with dy, channels and examples with their roles exchanged."""
    padding = []
    for length, width, edge in zip(size_of(x), size_of(dy), spec.kernel, strict=True):
        used = spec.stride * (width - 1) + edge
        padding.append((spec.padding, used - length - spec.padding))
    numbers = ("CHWN", "IHWO", "HWNC")
    dilations = ((1, 1), (spec.stride, spec.stride))
    return _native(x, dy, spec, padding, numbers, dilations=dilations)


NATIVE = ConvAlgorithm(_native_forward, _native_input_gradient, _native_kernel_gradient)
"""XLA's own convolutions: cuDNN's on a GPU."""


def _dense_forward(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    rows = kernel.reshape(-1, kernel.shape[-1])
    return product(x.reshape(len(x), -1), rows, spec)[:, None, None]


def _dense_input_gradient(dy: Array, kernel: Array, spec: ConvSpec, size: tuple[int, int]) -> Array:
    rows = kernel.reshape(-1, kernel.shape[-1])
    flat = product(dy.reshape(len(dy), -1), rows.T, spec)
    return flat.reshape(len(dy), *size, -1)


def _dense_kernel_gradient(x: Array, dy: Array, spec: ConvSpec) -> Array:
    flat = product(x.reshape(len(x), -1).T, dy.reshape(len(dy), -1), spec)
    return flat.reshape(*spec.kernel, x.shape[-1], dy.shape[-1])


DENSE = ConvAlgorithm(_dense_forward, _dense_input_gradient, _dense_kernel_gradient)
"""One matrix product, where the kernel covers the whole image and leaves one pixel."""


def _im2col(x: Array, spec: ConvSpec) -> Array:
    """The values under the kernel at every place: [B H' W', kh kw C]."""
    height, width = spec.output_size(size_of(x))
    edge, stride = spec.padding, spec.stride
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    shifted = [
        padded[
            :, u : u + stride * (height - 1) + 1 : stride, v : v + stride * (width - 1) + 1 : stride
        ]
        for u in range(spec.kernel[0])
        for v in range(spec.kernel[1])
    ]
    return jnp.concatenate(shifted, axis=-1).reshape(len(x) * height * width, -1)


def _images_per_block(size: tuple[int, int]) -> int:
    """How many images with an output of `size` have their patches built at a time."""
    return PATCHES_PER_BLOCK // (size[0] * size[1])


def _im2col_forward(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    size, rows = spec.output_size(size_of(x)), kernel.reshape(-1, kernel.shape[-1])

    def of_block(x: Array) -> Array:
        return product(_im2col(x, spec), rows, spec).reshape(len(x), *size, -1)

    return blockwise(of_block, x, _images_per_block(size))


def _im2col_kernel_gradient(x: Array, dy: Array, spec: ConvSpec) -> Array:
    def of_block(x: Array, dy: Array) -> Array:
        rows = _im2col(x, spec)
        return product(rows.T, dy.reshape(len(rows), -1), spec)

    total = blockwise_sum(of_block, x, dy, _images_per_block(size_of(dy)))
    return total.reshape(*spec.kernel, x.shape[-1], dy.shape[-1])


IM2COL = ConvAlgorithm(_im2col_forward, _native_input_gradient, _im2col_kernel_gradient)
"""One product with all patches of a block of images; the input's gradient is XLA's."""
