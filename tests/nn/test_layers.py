"""Batch normalisation against a transcription of PyTorch's in NumPy; layers with biases."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference_conv

from jaxgen.nn.conv_spec import ConvSpec
from jaxgen.nn.layers import BatchNorm, Conv, ConvTranspose, leaky_relu

RNG = np.random.default_rng(0)
BATCHES = [2.0 * RNG.normal(size=(3, 2, 5, 4)) + [0.0, 3.0, -1.0, 10.0] for _ in range(4)]
SCALE, BIAS = np.array([1.0, 0.5, -2.0, 1.5]), np.array([0.0, 1.0, -0.5, 3.0])
WEIGHTS = {"scale": jnp.asarray(SCALE), "bias": jnp.asarray(BIAS)}
START = {"mean": jnp.zeros(4), "var": jnp.ones(4)}
norm = BatchNorm(nn.initializers.ones)


def normalised(x, mean, var):
    return SCALE * (x - mean) / np.sqrt(var + 1e-5) + BIAS


@jax.jit
def train(x, stats):
    variables = {"params": WEIGHTS, "batch_stats": stats}
    y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    return y, updated["batch_stats"]


def single(x):
    return np.asarray(x, np.float32)


def test_batch_norm_as_pytorch_defines_it() -> None:
    """BatchNorm2d: normalises by the biased variance, keeps the unbiased one; momentum 0.1."""
    stats, mean, var = START, np.zeros(4), np.ones(4)
    for x in BATCHES[:3]:
        flat = x.reshape(-1, 4)
        y, stats = train(single(x), stats)
        expected = normalised(x, flat.mean(axis=0), flat.var(axis=0))
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)
        mean = 0.9 * mean + 0.1 * flat.mean(axis=0)
        var = 0.9 * var + 0.1 * flat.var(axis=0, ddof=1)
        np.testing.assert_allclose(stats["mean"], mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(stats["var"], var, rtol=1e-6)
    evaluated = norm.apply({"params": WEIGHTS, "batch_stats": stats}, single(BATCHES[3]), False)
    np.testing.assert_allclose(evaluated, normalised(BATCHES[3], mean, var), rtol=1e-5, atol=2e-5)


LABELS = np.array([2, 0, 2])
TABLES = {"scale": RNG.normal(size=(3, 4)), "bias": RNG.normal(size=(3, 4))}


def test_conditional_batch_norm() -> None:
    """One mean and variance for all, PyTorch's running ones, a scale and a bias for each class.

    The second class has no example, so no gradient either.
    """
    layer = BatchNorm(nn.initializers.ones, num_classes=3)
    weights = jax.tree.map(jnp.asarray, TABLES)
    x, dy = BATCHES[0], BATCHES[1]

    @jax.jit
    def run(weights):
        variables = {"params": weights, "batch_stats": START}
        y, updated = layer.apply(variables, single(x), True, LABELS, mutable=["batch_stats"])
        evaluated = layer.apply(variables | updated, single(x), False, LABELS)
        return jnp.sum(y * single(dy)), (y, updated["batch_stats"], evaluated)

    gradients, (y, stats, evaluated) = jax.grad(run, has_aux=True)(weights)
    flat = x.reshape(-1, 4)
    mean, var = 0.1 * flat.mean(axis=0), 0.9 + 0.1 * flat.var(axis=0, ddof=1)
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-5)
    hat = (x - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + 1e-5)
    running = (x - mean) / np.sqrt(var + 1e-5)
    wanted = {name: np.zeros((3, 4)) for name in TABLES}
    for index, label in enumerate(LABELS):
        scale, bias = TABLES["scale"][label], TABLES["bias"][label]
        np.testing.assert_allclose(y[index], scale * hat[index] + bias, rtol=1e-4, atol=1e-5)
        shown = scale * running[index] + bias
        np.testing.assert_allclose(evaluated[index], shown, rtol=1e-4, atol=1e-4)
        wanted["scale"][label] += (dy[index] * hat[index]).sum(axis=(0, 1))
        wanted["bias"][label] += dy[index].sum(axis=(0, 1))
    for name, expected in wanted.items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_starts_with_mean_0_and_variance_1() -> None:
    """And with the scales that it is told to draw; seeing a batch at the start moves nothing."""
    layer = BatchNorm(lambda key, shape: 1.0 + 0.02 * jax.random.normal(key, shape))
    for is_training in (True, False):
        made = layer.init(jax.random.key(0), single(BATCHES[0]), is_training)
        np.testing.assert_array_equal(made["batch_stats"]["mean"], np.zeros(4))
        np.testing.assert_array_equal(made["batch_stats"]["var"], np.ones(4))
        np.testing.assert_array_equal(made["params"]["bias"], np.zeros(4))
        assert len(set(np.asarray(made["params"]["scale"]).tolist())) == 4


def test_evaluation_leaves_the_statistics() -> None:
    variables = {"params": WEIGHTS, "batch_stats": START}
    _, updated = norm.apply(variables, single(BATCHES[0]), False, mutable=["batch_stats"])
    assert jax.tree.all(jax.tree.map(np.array_equal, updated["batch_stats"], START))


def test_gradient_of_batch_norm() -> None:
    """Ioffe and Szegedy, 2015, section 3: the batch's own mean and variance take part."""
    x, dy = BATCHES[0], BATCHES[1]

    @jax.jit
    def gradients(x):
        def total(x, params):
            variables = {"params": params, "batch_stats": START}
            y, _ = norm.apply(variables, x, train=True, mutable=["batch_stats"])
            return jnp.sum(y * single(dy))

        return jax.grad(total, (0, 1))(x, WEIGHTS)

    dx, weights = gradients(single(x))
    axes = (0, 1, 2)
    deviation = np.sqrt(x.var(axis=axes) + 1e-5)
    hat = (x - x.mean(axis=axes)) / deviation
    along = hat * (dy * hat).mean(axis=axes)
    expected = SCALE / deviation * (dy - dy.mean(axis=axes) - along)
    np.testing.assert_allclose(dx, expected, atol=1e-5)
    np.testing.assert_allclose(weights["scale"], (dy * hat).sum(axis=axes), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(weights["bias"], dy.sum(axis=axes), rtol=1e-5, atol=1e-4)


def test_batch_norm_of_bfloat16_images() -> None:
    """Statistics, sums and parameters are float32: y and dx alone are rounded, by at most 2^-8."""
    images, dy = (jnp.asarray(x, jnp.bfloat16) for x in BATCHES[:2])
    x = np.asarray(images, np.float64)
    variables = {"params": WEIGHTS, "batch_stats": START}

    @jax.jit
    def run(images):
        def apply(x, params):
            found = norm.apply(variables | {"params": params}, x, True, mutable=["batch_stats"])
            return found[0], found[1]["batch_stats"]

        y, back, stats = jax.vjp(apply, images, WEIGHTS, has_aux=True)
        return y, back(dy), stats, norm.apply(variables, images, False)

    y, (dx, weights), stats, evaluated = run(images)
    assert [a.dtype for a in (y, dx, evaluated)] == 3 * [jnp.bfloat16]
    axes = (0, 1, 2)
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var(axis=axes, ddof=1), 1e-5)
    hat, dy = (x - mean) / np.sqrt(var + 1e-5), np.asarray(dy, np.float64)
    expected = SCALE / np.sqrt(var + 1e-5) * (dy - dy.mean(axes) - hat * (dy * hat).mean(axes))
    for found, wanted in (
        (y, normalised(x, mean, var)),
        (dx, expected),
        (evaluated, normalised(x, 0.0, 1.0)),
    ):
        np.testing.assert_allclose(single(found), wanted, rtol=2**-8, atol=1e-5)
    np.testing.assert_allclose(weights["scale"], (dy * hat).sum(axis=axes), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(weights["bias"], dy.sum(axis=axes), rtol=1e-5, atol=1e-4)


def test_conditional_batch_norm_of_bfloat16_images_is_rounded_once() -> None:
    layer = BatchNorm(nn.initializers.ones, num_classes=3)
    images = jnp.asarray(BATCHES[0], jnp.bfloat16)
    variables = {"params": jax.tree.map(jnp.asarray, TABLES), "batch_stats": START}
    y, _ = jax.jit(partial(layer.apply, mutable=["batch_stats"]), static_argnums=2)(
        variables, images, True, LABELS
    )
    x = np.asarray(images, np.float64)
    hat = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
    scale, bias = (TABLES[name][LABELS][:, None, None] for name in ("scale", "bias"))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(single(y), scale * hat + bias, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("layer", [Conv, ConvTranspose])
def test_images_between_layers_have_the_dtype_of_the_spec(layer: Any) -> None:
    """Parameters and their gradients stay float32; the output is the float32 one, rounded."""
    spec = ConvSpec((4, 4), 2, 1, "bfloat16")
    module = layer(3, spec, nn.initializers.normal(0.1))
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    params = module.init(jax.random.key(1), x)
    params = jax.tree.map(lambda leaf: leaf + 0.01, params)
    y, back = jax.vjp(module.apply, params, x)
    gradients, dx = back(jnp.ones_like(y))
    assert y.dtype == jnp.bfloat16
    assert dx.dtype == jnp.float32
    for leaf in (*jax.tree.leaves(params), *jax.tree.leaves(gradients)):
        assert leaf.dtype == jnp.float32
    exact, exact_back = jax.vjp(
        layer(3, spec._replace(dtype="float32"), module.kernel_init).apply, params, x
    )
    wanted = (exact, *jax.tree.leaves(exact_back(jnp.ones_like(exact))))
    for found, truth in zip((y, *jax.tree.leaves((gradients, dx))), wanted, strict=True):
        error = single(found) - single(truth)
        assert np.linalg.norm(error) < 2**-7 * np.linalg.norm(truth)
    assert not np.array_equal(single(y), single(exact))


def test_variance_of_a_channel_far_from_zero() -> None:
    """E[x^2] - E[x]^2 would lose all digits in float32 here."""
    x = 1000.0 + np.random.default_rng(1).integers(-8, 9, (3, 2, 5, 4)) / 16
    y, stats = train(single(x), START)
    flat = x.reshape(-1, 4)
    np.testing.assert_allclose(
        y, normalised(x, flat.mean(axis=0), flat.var(axis=0)), rtol=0, atol=2e-3
    )
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * flat.var(axis=0, ddof=1), rtol=1e-5)


def test_one_number_per_channel_has_no_spread() -> None:
    """PyTorch refuses; here the output is the bias, and the running variance stays finite."""
    y, stats = train(jnp.ones((1, 1, 1, 4)), START)
    np.testing.assert_allclose(y, BIAS.reshape(1, 1, 1, 4))
    np.testing.assert_allclose(stats["var"], 0.9 * np.ones(4), rtol=1e-6)


def test_leaky_relu_has_the_slopes_of_pytorch() -> None:
    """At 0 too, which pixels and weights of few digits do reach."""
    x = jnp.asarray([-2.0, 0.0, 3.0])
    np.testing.assert_allclose(leaky_relu(x), [-0.4, 0.0, 3.0])
    np.testing.assert_allclose(jax.vmap(jax.grad(leaky_relu))(x), [0.2, 0.2, 1.0])


@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
@pytest.mark.parametrize("use_bias", [True, False])
def test_convolutional_layers(kind: Any, use_bias: bool) -> None:
    """The map of `jaxgen.nn.conv` with a bias per channel, or without."""
    spec, x = ConvSpec((2, 3), 1, 0), BATCHES[0][:, :2, :3]
    layer = kind(3, spec, nn.initializers.normal(0.5), use_bias)
    params = layer.init(jax.random.key(0), single(x))["params"]
    shape = (2, 3, 4, 3) if kind is Conv else (2, 3, 3, 4)
    shapes = {name: value.shape for name, value in params.items()}
    assert shapes == {"kernel": shape} | ({"bias": (3,)} if use_bias else {})
    if use_bias:
        assert not params["bias"].any()
        params |= {"bias": jnp.asarray([1.0, -2.0, 0.5])}
    kernel = np.asarray(params["kernel"], np.float64)
    if kind is Conv:
        maps = reference_conv.convolution(x, kernel, np.zeros((3, 1, 1, 3)), 1, 0)
        expected = maps.forward
    else:
        maps = reference_conv.convolution(np.zeros((3, 3, 5, 3)), kernel, x, 1, 0)
        expected = maps.input_gradient
    expected = expected + np.asarray(params.get("bias", 0.0))
    np.testing.assert_allclose(layer.apply({"params": params}, single(x)), expected, atol=1e-5)
