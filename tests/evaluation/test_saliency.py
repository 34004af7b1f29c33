"""Guided backpropagation against a slow transcription of its rule, one image and unit at a time."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.evaluation import saliency
from jaxgen.models import dcgan, gan

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 1)
DENSE = gan.Discriminator(gan.Config(discriminator_sizes=(7, 6, 5)))


def drawn(net: nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    """Variables of a net for images of a shape, with numbers far from 0."""
    made = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))

    def draw(path: Any, leaf: Any) -> np.ndarray:
        low = 0.5 if path[-1].key in ("var", "scale") else -1.0
        return RNG.uniform(low, 1.0, leaf.shape).astype(np.float32)

    made = {name: made[name] for name in made if name != "features"}
    return jax.tree_util.tree_map_with_path(draw, made)


def passed_on(above: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The rule for one rectifier, with the inputs it had."""
    return np.array([max(up, 0.0) if x > 0 else 0.0 for up, x in zip(above, before, strict=True)])


def slow_dense(params: dict[str, Any], image: np.ndarray, depth: int, unit: int) -> np.ndarray:
    """The guided gradient of a unit of hidden layer `depth` of `DENSE`."""
    inputs, x = [], image.reshape(-1).astype(np.float64)
    layers = [params[f"Dense_{index}"]["dense"] for index in range(depth + 1)]
    for layer in layers:
        inputs.append(x @ layer["kernel"] + layer["bias"])
        x = np.where(inputs[-1] > 0, inputs[-1], 0.2 * inputs[-1])
    above = np.eye(len(x))[unit]
    for layer, before in zip(layers[::-1], inputs[::-1], strict=True):
        above = layer["kernel"] @ passed_on(above, before)
    return above.reshape(image.shape)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_dense_layers(depth: int) -> None:
    variables, images = drawn(DENSE, SHAPE), RNG.normal(size=(30, *SHAPE)).astype(np.float32)
    units = RNG.integers(0, 5, 30)
    features_of = saliency.guided_features(DENSE, variables, f"layer_{depth}")
    found = saliency.guided_gradients(features_of, images, units)
    expected = [
        slow_dense(variables["params"], image, depth, unit)
        for image, unit in zip(images, units, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    zero = [not np.any(each) for each in expected]
    assert 3 < sum(zero) < 27  # units that are off have no picture, others have one


def test_features_are_the_net_s_own() -> None:
    variables, images = drawn(DENSE, SHAPE), RNG.normal(size=(5, *SHAPE)).astype(np.float32)
    _, sown = DENSE.apply(variables, images, train=False, mutable=["features"])
    found = saliency.guided_features(DENSE, variables, "layer_1")(images)
    np.testing.assert_array_equal(found, sown["features"]["layer_1"][0])
    assert np.min(found) < 0.0
    with pytest.raises(KeyError, match="layer_9"):
        saliency.guided_features(DENSE, variables, "layer_9")(images)


def test_relu_is_guided_too() -> None:
    guided = saliency.guided_activation(nn.relu)
    x, above = jnp.asarray([-1.0, 2.0, 3.0, -4.0, 0.0]), jnp.asarray([1.0, 5.0, -6.0, -1.0, 1.0])
    value, pullback = jax.vjp(guided, x)
    np.testing.assert_array_equal(value, [0.0, 2.0, 3.0, 0.0, 0.0])
    np.testing.assert_array_equal(pullback(above)[0], [0.0, 5.0, 0.0, 0.0, 0.0])


# --- convolutions

CONFIG = dcgan.Config(base_width=2)
CONVOLUTIONAL = dcgan.Discriminator(CONFIG)


def patch(kernel: np.ndarray, above: np.ndarray, size: int) -> np.ndarray:
    """The transpose of a k4 s2 p1 convolution, position by position."""
    padded = np.zeros((size + 2, size + 2, kernel.shape[2]))
    for i, j in np.ndindex(size // 2, size // 2):
        padded[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += kernel @ above[i, j]
    return padded[1:-1, 1:-1]


def test_convolutions() -> None:
    """A filter of the second layer: batch normalisation is between it and the first."""
    variables = drawn(CONVOLUTIONAL, (64, 64, 1))
    images = RNG.normal(size=(4, 64, 64, 1)).astype(np.float32)
    units = np.array([3, 0, 1, 3])
    params, stats = variables["params"], variables["batch_stats"]["norm_1"]
    apply = jax.jit(partial(CONVOLUTIONAL.apply, train=False, mutable=["features"]))
    _, sown = apply(variables, images)
    first, second = (np.asarray(sown["features"][f"layer_{index}"][0]) for index in (0, 1))
    scale = params["norm_1"]["scale"] / np.sqrt(stats["var"] + 1e-5)
    features_of = saliency.guided_features(CONVOLUTIONAL, variables, "layer_1")
    gradients = jax.jit(partial(saliency.guided_gradients, features_of))
    found = np.asarray(gradients(images, jnp.asarray(units)))
    for image, unit in enumerate(units):
        responses = second[image, :, :, unit]
        above = np.zeros(second.shape[1:])
        place = np.unravel_index(np.argmax(responses), responses.shape)
        assert responses[place] > 0.0
        above[(*place, unit)] = scale[unit]
        hidden = patch(params["conv_1"]["kernel"], above, 32)
        hidden = np.where((first[image] > 0) & (hidden > 0), hidden, 0.0)  # x and f(x) share signs
        expected = patch(params["conv_0"]["kernel"], hidden, 64)
        np.testing.assert_allclose(found[image], expected, rtol=1e-4, atol=1e-5)
        assert 0 < np.count_nonzero(found[image]) <= 100  # the filter sees 10x10 pixels


def test_strongest_units() -> None:
    features = RNG.normal(size=(6, 3, 2, 5)).astype(np.float32)
    features[4, 2, 1, 3], features[0, 0, 0, 1], features[5, 1, 1, 1] = 9.0, 7.0, 8.0
    found = saliency.strongest(lambda _: jnp.asarray(features), jnp.zeros((6, 8, 8, 1)), 2)
    assert found.units.tolist() == [3, 1]
    assert found.images.tolist() == [4, 5]
    assert found.responses.tolist() == [9.0, 8.0]
    every = saliency.strongest(lambda _: jnp.asarray(features), jnp.zeros((6, 8, 8, 1)), 99)
    assert sorted(every.units.tolist()) == [0, 1, 2, 3, 4]


def test_the_strongest_have_pictures() -> None:
    variables = drawn(CONVOLUTIONAL, (64, 64, 1))
    images = RNG.normal(size=(5, 64, 64, 1)).astype(np.float32)
    features_of = saliency.guided_features(CONVOLUTIONAL, variables, "layer_3")
    top = jax.jit(partial(saliency.strongest, features_of, num=3))(images)
    gradients = jax.jit(partial(saliency.guided_gradients, features_of))
    pictures = gradients(images[np.asarray(top.images)], top.units)
    assert pictures.shape == (3, 64, 64, 1)
    assert all(np.any(each) for each in np.asarray(pictures))
