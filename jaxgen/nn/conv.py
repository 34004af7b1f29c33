"""Strided and transposed convolution by an algorithm for the backend, forward and backward.

With x [B, H, W, C], a kernel w [kh, kw, C, O], stride s and padding p,

    conv(x, w)[b, i, j, o] = sum over u, v, c of x[b, s i + u - p, s j + v - p, c] w[u, v, c, o]

with zeros outside the image (a cross-correlation, as in PyTorch). `conv_transpose` is the transpose
of that linear map: images [B, H', W', O] become [B, H, W, C] with H = s (H' - 1) + kh - 2 p. Both
and their gradients are three maps, linear in each argument, with the roles exchanged:

    forward(x, w) -> y        input_gradient(dy, w) -> x        kernel_gradient(x, dy) -> w

Images come out in the dtype in which they came in, kernels and their gradients are float32.
On accelerators all three are XLA's own convolutions; none was at hand to measure them on. On the
CPU those are mostly slower, and the kernel gradient that JAX derives for a transposed convolution
is far slower; `choose_algorithm` names what takes their place.
`experiments.benchmarking.convolutions` measures the choice on the lab's four halving layers, at
three widths and in both precisions: docs/results/convolutions.md.
"""

from functools import partial
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.mesh import on_own_images, sum_over_own_images
from jaxgen.nn import conv_winograd
from jaxgen.nn.conv_direct import DENSE, IM2COL, NATIVE
from jaxgen.nn.conv_spec import ConvAlgorithm, ConvSpec, size_of
from jaxgen.nn.conv_winograd import WINOGRAD

Feature: TypeAlias = Float[Array, "batch height width channels"]
Kernel: TypeAlias = Float[Array, "rows columns inputs outputs"]
Direction: TypeAlias = Literal["forward", "input_gradient", "kernel_gradient"]

ALGORITHMS = {"native": NATIVE, "dense": DENSE, "im2col": IM2COL, "winograd": WINOGRAD}
FEW_CHANNELS = 4
"""Up to so many image channels, patches are smaller than what Winograd's tiles cost."""


def choose_algorithm(spec: ConvSpec, size: tuple[int, int], channels: int) -> str:
    """The name of the algorithm that the CPU takes for a layer, one for all three directions.

    On every layer of docs/results/convolutions.md, at three widths and in both precisions, it is
    the fastest in the sum of the three. In one direction another may be faster, as native is
    forward from one channel, which changes an update by no more than the noise. Sizes and numbers
    of channels between those layers' are not measured there, nor is `dense`.

    Args:
        spec: of the layer.
        size: [H, W] of x, the larger images.
        channels: C, of x.
    """
    if spec.kernel == size and spec.padding == 0:
        return "dense"
    if conv_winograd.applies(spec, size) and channels > FEW_CHANNELS:
        return "winograd"
    return "im2col"


@partial(jax.jit, static_argnums=(0, 1, 2), inline=True)  # traced once, not once for each pass
def _compute(
    direction: Direction,
    spec: ConvSpec,
    size: tuple[int, int],
    a: Array,
    b: Array,
) -> Array:
    """One of the three maps, x being [B, *size, C], by the algorithm for the platform."""
    backward = direction == "input_gradient"
    channels, extra = (b.shape[2], (size,)) if backward else (a.shape[-1], ())

    def by(chosen: ConvAlgorithm) -> Any:
        made = jnp.float32 if direction == "kernel_gradient" else a.dtype
        return lambda a, b: getattr(chosen, direction)(a, b, spec, *extra).astype(made)

    over_devices = sum_over_own_images if direction == "kernel_gradient" else on_own_images
    ours = over_devices(by(ALGORITHMS[choose_algorithm(spec, size, channels)]))
    return lax.platform_dependent(a, b, cpu=ours, default=by(NATIVE))  # type: ignore[no-any-return]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: Feature, kernel: Kernel, spec: ConvSpec) -> Feature:
    """The convolution above: x [B, H, W, C] and a kernel [kh, kw, C, O] give [B, H', W', O].

    H' = floor((H + 2 p - kh) / s) + 1, and W' likewise. PyTorch's Conv2d has the same output for
    the weight w.transpose(3, 2, 0, 1), [O, C, kh, kw].
    """
    y: Array = _compute("forward", spec, size_of(x), x, kernel)
    return y


def _conv_forward(x: Array, kernel: Array, spec: ConvSpec) -> tuple[Array, tuple[Array, Array]]:
    return conv(x, kernel, spec), (x, kernel)


def _conv_backward(spec: ConvSpec, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _compute("input_gradient", spec, size_of(x), dy, kernel)
    return dx, _compute("kernel_gradient", spec, size_of(x), x, dy)


conv.defvjp(_conv_forward, _conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_transpose(y: Feature, kernel: Kernel, spec: ConvSpec) -> Feature:
    """The transposed convolution: y [B, H', W', O], a kernel [kh, kw, C, O] give [B, H, W, C].

    H = s (H' - 1) + kh - 2 p, and W likewise. The kernel's axes are those of the convolution that
    it transposes, so the layer's inputs come last. PyTorch's ConvTranspose2d has the same output
    for the weight w.transpose(3, 2, 0, 1), [O, C, kh, kw].
    """
    size = spec.input_size(size_of(y))
    x: Array = _compute("input_gradient", spec, size, y, kernel)
    return x


def _transpose_forward(
    y: Array, kernel: Array, spec: ConvSpec
) -> tuple[Array, tuple[Array, Array]]:
    return conv_transpose(y, kernel, spec), (y, kernel)


def _transpose_backward(
    spec: ConvSpec, saved: tuple[Array, Array], dx: Array
) -> tuple[Array, Array]:
    y, kernel = saved
    dy = _compute("forward", spec, size_of(dx), dx, kernel)
    return dy, _compute("kernel_gradient", spec, size_of(dx), dx, y)


conv_transpose.defvjp(_transpose_forward, _transpose_backward)
