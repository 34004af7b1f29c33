"""Convolutions and their gradients against loops in NumPy, XLA's own, and PyTorch."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support import reference_conv
from support.helpers import FIXTURES
from support.reference_conv import Maps

from jaxgen.nn import conv_direct, conv_spec, conv_winograd
from jaxgen.nn.conv import ALGORITHMS, choose_algorithm, conv, conv_transpose
from jaxgen.nn.conv_spec import ConvSpec, size_of

HALVING, WHOLE = ConvSpec((4, 4), 2, 1), ConvSpec((4, 4), 1, 0)
SHAPES = {
    # [H, W], channels, outputs; the larger images come first
    "halving": (HALVING, (8, 12), 3, 5),
    "halving one channel": (HALVING, (12, 4), 1, 2),
    "halving rows left over": (HALVING, (9, 6), 5, 1),
    "whole image": (WHOLE, (4, 4), 3, 5),
    "whole image of another shape": (ConvSpec((3, 5), 2, 0), (3, 5), 5, 3),
    "narrow kernel": (ConvSpec((3, 2), 1, 0), (5, 7), 3, 1),
    "pixels that no tap reads": (ConvSpec((2, 1), 3, 1), (7, 6), 1, 3),
    "windows of nothing but zeros": (ConvSpec((2, 3), 1, 2), (4, 3), 2, 3),
    "wide kernel": (ConvSpec((5, 3), 2, 2), (6, 7), 5, 1),
    "wide stride": (ConvSpec((2, 4), 3, 2), (8, 5), 3, 5),
}


def applies(name, spec, size):
    """Whether a algorithm can compute a convolution."""
    if name == "dense":
        return spec.kernel == size and spec.padding == 0
    return name != "winograd" or conv_winograd.applies(spec, size)


CASES = [
    pytest.param(name, *shape, id=f"{name}: {kind}")
    for kind, shape in SHAPES.items()
    for name in ALGORITHMS
    if applies(name, *shape[:2])
]


def drawn(spec, size, channels, outputs, num=5):
    """Images, a kernel and the images' gradient: multiples of 1/128, so that sums are exact."""
    rng = np.random.default_rng(0)
    out = reference_conv.output_size(size, *spec[:3])
    shapes = ((num, *size, channels), (*spec.kernel, channels, outputs), (num, *out, outputs))
    return [np.round(128 * rng.normal(size=shape)).astype(np.float32) / 128 for shape in shapes]


def double(*arrays):
    return [np.asarray(array, np.float64) for array in arrays]


def expected_maps(x, kernel, dy, spec):
    return reference_conv.convolution(*double(x, kernel, dy), spec.stride, spec.padding)


def found_maps(name, spec):
    """All three maps of a algorithm, of (x, kernel, dy)."""
    chosen = ALGORITHMS[name]

    def maps(x, kernel, dy):
        return Maps(
            chosen.forward(x, kernel, spec),
            chosen.input_gradient(dy, kernel, spec, size_of(x)),
            chosen.kernel_gradient(x, dy, spec),
        )

    return jax.jit(maps)


def assert_close(found, expected, tolerance=1e-5):
    """Equal shapes, and values up to `tolerance` of the largest one."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize(("name", "spec", "size", "channels", "outputs"), CASES)
def test_formulations(name: Any, spec: Any, size: Any, channels: Any, outputs: Any) -> None:
    arrays = drawn(spec, size, channels, outputs)
    assert_close(found_maps(name, spec)(*arrays), expected_maps(*arrays, spec))


@pytest.mark.parametrize(("num", "taken"), [(9, 3), (5, 3)])
@pytest.mark.parametrize("name", ["im2col", "winograd"])
def test_formulations_in_blocks(
    name: str, num: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 4 images: 9 are taken by threes, and 5, a prime number, with one of zeros."""
    spec, size, *channels = SHAPES["halving"]
    monkeypatch.setattr(conv_direct, "PATCHES_PER_BLOCK", 4 * 4 * 6 + 1)
    monkeypatch.setattr(conv_winograd, "TILES_PER_BLOCK", 4 * 2 * 3 + 1)
    arrays = drawn(spec, size, *channels, num)
    maps = found_maps(name, spec)
    assert f"[{taken},8,12,3]" in str(jax.make_jaxpr(maps)(*arrays))
    assert_close(maps(*arrays), expected_maps(*arrays, spec))


@pytest.mark.parametrize(
    ("num", "wanted", "taken"),
    [(9, 4, 3), (5, 4, 3), (13, 4, 4), (7, 100, 7), (6, 6, 6), (4, 0, 1)],
)
def test_blocks(num: int, wanted: int, taken: int) -> None:
    """The largest number that divides them all, or zeros where that is small; order is kept."""
    images, others = (np.random.default_rng(0).integers(0, 9, (num, 2, 3)) for _ in range(2))
    seen = []

    def square(a):
        seen.append(len(a))
        return a.reshape(len(a), 6) ** 2

    found = conv_spec.blockwise(square, jnp.asarray(images), wanted)
    np.testing.assert_array_equal(found, images.reshape(num, 6) ** 2)
    assert set(seen) == {taken}

    def inner(a, b):
        assert len(a) == len(b) == taken
        return jnp.einsum("nij,nkj->ik", a, b)

    total = conv_spec.blockwise_sum(
        inner, *(jnp.asarray(a, jnp.float32) for a in (images, others)), wanted
    )
    np.testing.assert_allclose(total, np.einsum("nij,nkj->ik", images, others), rtol=1e-6)


# ---- bfloat16


def to_bfloat16(a):
    return np.asarray(jnp.asarray(a, jnp.float32).astype(jnp.bfloat16), np.float64)


def rounded_maps(name, x, kernel, dy, spec):
    """The exact maps of factors rounded to bfloat16, which Winograd transforms before."""
    if name == "winograd":
        return reference_conv.winograd(*double(x, kernel, dy), to_bfloat16)
    return expected_maps(*map(to_bfloat16, (x, kernel, dy)), spec)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("native", "halving"),
        ("dense", "whole image"),
        ("im2col", "wide kernel"),
        ("winograd", "halving"),
    ],
)
def test_bfloat16_rounds_factors_and_nothing_else(name: str, kind: str) -> None:
    spec, *shape = SHAPES[kind]
    arrays = drawn(spec, *shape)
    found = found_maps(name, spec._replace(dtype="bfloat16"))(*arrays)
    assert_close(found, rounded_maps(name, *arrays, spec), 1e-6)
    for a, b in zip(found, expected_maps(*arrays, spec), strict=True):
        error = np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2))
        assert 2e-4 < error < 2**-7  # not float32; rounding is 2^-8 of a factor at most


def test_winograd_without_rounding_is_the_convolution() -> None:
    spec, *shape = SHAPES["halving"]
    arrays = double(*drawn(spec, *shape))
    for a, b in zip(
        reference_conv.winograd(*arrays, lambda factor: factor),
        expected_maps(*arrays, spec),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-12)


# ---- the differentiable functions


def native(x, kernel, spec):
    """XLA's convolution, which JAX differentiates and transposes by its own rules."""
    edge = (spec.padding, spec.padding)
    return lax.conv_general_dilated(
        x,
        kernel,
        (spec.stride, spec.stride),
        (edge, edge),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@pytest.mark.parametrize("kind", ["halving", "whole image", "windows of nothing but zeros"])
def test_conv_and_conv_transpose_with_their_gradients(kind: str) -> None:
    """Against XLA's convolution and JAX's own transpose of it; in float32, one by the other."""
    spec, size, channels, outputs = SHAPES[kind]
    x, kernel, y = drawn(spec, size, channels, outputs)

    def theirs_transposed(y, kernel):
        (x_found,) = jax.linear_transpose(lambda x: native(x, kernel, spec), x)(y)
        return x_found

    @jax.jit
    def both(x, kernel, y):
        ours = [
            (*jax.vjp(partial(conv, spec=spec), x, kernel), y),
            (*jax.vjp(partial(conv_transpose, spec=spec), y, kernel), x),
        ]
        theirs = [
            (*jax.vjp(partial(native, spec=spec), x, kernel), y),
            (*jax.vjp(theirs_transposed, y, kernel), x),
        ]
        return [[(out, back(cotangent)) for out, back, cotangent in of] for of in (ours, theirs)]

    ours, theirs = both(x, kernel, y)
    assert_close(ours, theirs)
    (convolved, _), (transposed, _) = ours
    inner = [np.vdot(*double(a, b)) for a, b in ((convolved, y), (x, transposed))]
    scale = np.linalg.norm(x) * np.linalg.norm(transposed)
    np.testing.assert_allclose(inner[0], inner[1], rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_sizes(kind: str) -> None:
    """Of an image that the stride does not divide; the transposed convolution has no remainder."""
    spec = ConvSpec((4, 3), 3, 1)
    size = (11, 7) if kind == "rows" else (10, 9)
    out = reference_conv.output_size(size, *spec[:3])
    assert spec.output_size(size) == out
    x, kernel = jnp.zeros((2, *size, 1)), jnp.zeros((4, 3, 1, 1))
    y = jax.eval_shape(partial(conv, spec=spec), x, kernel)
    assert y.shape == (2, *out, 1)
    back = jax.eval_shape(partial(conv_transpose, spec=spec), y, kernel)
    smallest = [
        min(
            n
            for n in range(1, 20)
            if reference_conv.output_size((n, n), (edge, edge), 3, 1)[0] == num
        )
        for edge, num in zip((4, 3), out, strict=True)
    ]
    assert back.shape == (2, *smallest, 1)


@pytest.mark.parametrize("kind", ["halving", "whole"])
@pytest.mark.parametrize("name", ["conv", "transpose"])
def test_layers_equal_those_of_pytorch(name: str, kind: str) -> None:
    """See fixtures/make_convolutions.py."""
    with np.load(FIXTURES / "convolutions.npz") as file:
        start = f"{name}.{kind}."
        stored = {k.removeprefix(start): v for k, v in file.items() if k.startswith(start)}
    function = conv if name == "conv" else conv_transpose
    spec = HALVING if kind == "halving" else WHOLE

    def images(name):
        return stored[name].transpose(0, 2, 3, 1)

    @jax.jit
    def results(x, kernel, bias, weighting):
        y, back = jax.vjp(lambda x, k, b: function(x, k, spec) + b, x, kernel, bias)
        return y, *back(weighting)

    kernel = stored["weight"].transpose(2, 3, 1, 0)
    found = results(images("x"), kernel, stored["bias"], images("weighting"))
    expected = images("y"), images("dx"), stored["dweight"].transpose(2, 3, 1, 0), stored["dbias"]
    assert_close(found, expected, 2e-6)


@pytest.mark.parametrize("function", [conv, conv_transpose])
def test_vmap_and_no_jit(function: Any) -> None:
    """Two nets at once, on separate and on shared images."""
    spec, *shape = SHAPES["halving"]
    x, kernel, y = drawn(spec, *shape, num=2)
    pairs = [(x, kernel, y), (2 * x[::-1], kernel[::-1], y - 1)]
    maps = [expected_maps(*pair, spec) for pair in pairs]
    if function is conv_transpose:
        pairs = [(y, kernel, x) for x, kernel, y in pairs]
        maps = [Maps(of.input_gradient, of.forward, of.kernel_gradient) for of in maps]

    def gradients(images, kernel, cotangent):
        out, back = jax.vjp(partial(function, spec=spec), images, kernel)
        return Maps(out, *back(cotangent))

    images, kernels, cotangents = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    apart = jax.jit(jax.vmap(gradients))(images, kernels, cotangents)
    assert_close(apart, Maps(*(np.stack(arrays) for arrays in zip(*maps, strict=True))))
    shared = jax.vmap(lambda kernel: function(images[0], kernel, spec))(kernels)
    assert_close(shared[0], maps[0].forward)
    assert_close(shared[1], function(images[0], kernels[1], spec))  # no jit


# ---- which algorithm computes


def test_formulations_of_the_dcgan() -> None:
    widths = [1, 64, 128, 256, 512]
    sizes = [(64, 64), (32, 32), (16, 16), (8, 8)]
    names = [choose_algorithm(HALVING, *layer) for layer in zip(sizes, widths, strict=False)]
    assert names == ["im2col", "winograd", "winograd", "winograd"]
    assert choose_algorithm(WHOLE, (4, 4), 512) == "dense"
    assert choose_algorithm(HALVING, (64, 64), 3) == "im2col"
    assert choose_algorithm(HALVING, (30, 32), 64) == "im2col"
    assert choose_algorithm(WHOLE, (5, 4), 64) == "im2col"


def test_accelerators_run_their_own_convolutions() -> None:
    x, kernel, _ = drawn(HALVING, (8, 8), 5, 3)

    def gradients(x, kernel):
        y, back = jax.vjp(partial(conv, spec=HALVING), x, kernel)
        return back(y)

    def text(platform):
        lowered = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=(platform,))
        return lowered.as_text()

    assert text("cuda").count("stablehlo.convolution") == 3
    assert "dot_general" not in text("cuda")
    assert "stablehlo.convolution" not in text("cpu")
    assert text("cpu").count("dot_general") == 27
