"""The fully connected GANs: shapes, start, dropout, and that a small one learns."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from support.helpers import one_line

from experiments import gan as experiment
from jaxgen.data import Split
from jaxgen.errors import SettingError
from jaxgen.learner import unlabelled
from jaxgen.models import gan
from jaxgen.training import Schedule, fit

DEEP = experiment.PRESETS["deep"].model
SMALL = experiment.PRESETS["small"].model
TINY = gan.Config(latent_size=3, generator_sizes=(5, 4), discriminator_sizes=(6, 5), dropout=0.4)
SHAPE = (3, 2, 1)


def shapes(config, image_shape=(28, 28, 1)):
    """Shapes of all parameters, by net and path."""
    state = jax.eval_shape(gan.learner(config, image_shape).init, jax.random.key(0))
    return {
        net: {k: v.shape for k, v in flatten_dict(variables["params"], sep=".").items()}
        for net, variables in state.params.items()
    }


def dense(*sizes):
    """Shapes of the dense layers between consecutive sizes."""
    expected = {}
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        expected[f"Dense_{index}.dense.kernel"] = (before, after)
        expected[f"Dense_{index}.dense.bias"] = (after,)
    return expected


def test_sizes() -> None:
    """The lab's deep and small nets; images with three channels have three times the pixels."""
    assert shapes(DEEP) == {
        "generator": dense(100, 256, 512, 1024, 784),
        "discriminator": dense(784, 1024, 512, 256, 1),
    }
    assert shapes(SMALL) == {
        "generator": dense(64, 256, 256, 784),
        "discriminator": dense(784, 256, 256, 1),
    }
    assert shapes(TINY, (3, 2, 3)) == {
        "generator": dense(3, 5, 4, 18),
        "discriminator": dense(18, 6, 5, 1),
    }
    assert (DEEP.learning_rate, DEEP.beta1, DEEP.dropout) == (2e-4, 0.9, 0.3)
    assert (SMALL.learning_rate, SMALL.beta1, SMALL.dropout) == (2e-4, 0.9, 0.0)
    assert (DEEP.generator_activation, SMALL.generator_activation) == ("leaky_relu", "relu")
    assert (DEEP.fresh_noise, SMALL.fresh_noise) == (True, True)
    for preset in experiment.PRESETS.values():
        assert (preset.batch_size, preset.epochs, preset.log_every) == (100, 200, 100)


@pytest.mark.parametrize("fan", ["in", "out"])
def test_initial_weights_are_uniform_within_the_inverse_root_of_the_fan(fan: Any) -> None:
    """Drawn by XLA's own generator, which compiles faster than JAX's."""
    sizes: dict[str, Any] = {"generator_sizes": (256,), "discriminator_sizes": (256,)}
    config = dataclasses.replace(SMALL, init_fan=fan, **sizes)
    state = jax.jit(gan.learner(config).init)(jax.random.key(0, impl="rbg"))
    for variables in state.params.values():
        flat = flatten_dict(variables["params"], sep=".")
        for name, value in flat.items():
            inputs, outputs = flat[name.replace("bias", "kernel")].shape
            bound, num = 1 / np.sqrt(inputs if fan == "in" else outputs), value.size
            assert np.abs(value).max() <= bound
            if num > 100:
                assert np.abs(value).max() > 0.95 * bound
                assert abs(float(value.std()) / bound * np.sqrt(3) - 1) < 5 / np.sqrt(num)
                assert abs(float(value.mean())) < 5 * bound / np.sqrt(3 * num)


# ---- what the nets compute


@functools.cache
def weights():
    """Parameters of the tiny nets, all different, and their nets."""
    rng = np.random.default_rng(0)
    state = jax.eval_shape(gan.learner(TINY, SHAPE).init, jax.random.key(0))
    return {
        net: jax.tree.map(
            lambda x: rng.normal(0.0, 0.7, x.shape).astype(np.float32), variables["params"]
        )
        for net, variables in state.params.items()
    }


def layered(params, x, activation, keep=()):
    """Dense layers in float64; hidden units times the factors `keep`, if there are any."""
    for index in range(len(params)):
        layer = params[f"Dense_{index}"]["dense"]
        x = x @ layer["kernel"].astype(np.float64) + layer["bias"]
        if index < len(params) - 1:
            x = activation(x) * (keep[index] if keep else 1.0)
    return x


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


@pytest.mark.parametrize("activation", ["leaky_relu", "relu"])
def test_generator(activation: str) -> None:
    config = dataclasses.replace(TINY, generator_activation=activation)
    net, params = gan.nets(config, SHAPE).generator, weights()["generator"]
    codes = np.random.default_rng(1).normal(size=(4, 3))
    function = leaky if activation == "leaky_relu" else functools.partial(np.maximum, 0.0)
    expected = np.tanh(layered(params, codes, function)).reshape(4, *SHAPE)
    for train in (True, False):
        found = net.apply({"params": params}, jnp.asarray(codes, jnp.float32), train)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_discriminator_and_its_features() -> None:
    net, params = gan.nets(TINY, SHAPE).discriminator, weights()["discriminator"]
    pixels = np.random.default_rng(1).normal(size=(4, *SHAPE))
    found, made = net.apply(
        {"params": params}, jnp.asarray(pixels, jnp.float32), False, mutable="features"
    )
    flat = pixels.reshape(4, -1)
    np.testing.assert_allclose(found, layered(params, flat, leaky)[:, 0], atol=1e-5)
    (first,), (second,) = (made["features"][f"layer_{index}"] for index in range(2))
    part = {"Dense_0": params["Dense_0"]}
    np.testing.assert_allclose(first, leaky(layered(part, flat, leaky)), atol=1e-5)
    part |= {"Dense_1": params["Dense_1"]}
    np.testing.assert_allclose(second, leaky(layered(part, flat, leaky)), atol=1e-5)


def test_dropout_is_in_training_alone() -> None:
    """It leaves out 40 % of the units and divides the others by 0.6, so the mean stays."""
    config = dataclasses.replace(TINY, discriminator_sizes=(500,))
    net = gan.nets(config, SHAPE).discriminator
    pixels = jnp.ones((200, *SHAPE))
    one = {"kernel": jnp.full((6, 500), 1 / 6), "bias": jnp.zeros(500)}
    last = {"kernel": jnp.full((500, 1), 1 / 500), "bias": jnp.zeros(1)}
    params = {"Dense_0": {"dense": one}, "Dense_1": {"dense": last}}

    @functools.partial(jax.jit, static_argnums=1)
    def logits(key, train):
        return net.apply({"params": params}, pixels, train, rngs={"dropout": key})

    np.testing.assert_allclose(logits(jax.random.key(0), False), 1.0, rtol=1e-5)
    found = np.asarray(logits(jax.random.key(0), True), np.float64)
    kept = found * 500 * 0.6  # a number of units, binomial
    np.testing.assert_allclose(kept, np.round(kept), atol=0.01)
    deviation = np.sqrt(500 * 0.6 * 0.4)
    assert abs(kept.mean() - 300) < 5 * deviation / np.sqrt(200)
    assert 0.75 < kept.std() / deviation < 1.25
    assert not np.allclose(found, logits(jax.random.key(1), True))


# ---- learning

PATTERNS = np.zeros((2, 4, 4, 1), np.uint8)
PATTERNS[0, :, :2] = 255
PATTERNS[1, :2] = 255
LEARNING = gan.Config(
    latent_size=4,
    generator_sizes=(32,),
    discriminator_sizes=(32,),
    dropout=0.0,
    learning_rate=2e-3,
    beta1=0.5,
)


def distances(images):
    """Root mean square difference of each image from each pattern [num, 2]."""
    difference = np.asarray(images)[:, None] - PATTERNS / 255.0
    return np.sqrt(np.mean(difference**2, axis=(2, 3, 4)))


def test_a_small_gan_learns_two_patterns() -> None:
    """It draws both, clearly, and the discriminator is left guessing: its loss is near log 4."""
    learner = gan.learner(LEARNING, (4, 4, 1))

    @jax.jit
    def run(key):
        def one(state, key):
            key_images, key_step = jax.random.split(key)
            which = jax.random.randint(key_images, (32,), 0, 2)
            return learner.step(state, unlabelled(jnp.asarray(PATTERNS)[which]), key_step)

        start = learner.init(key)
        end, metrics = jax.lax.scan(one, start, jax.random.split(key, 1000))
        return metrics, [learner.sample(state, key, 64) for state in (start, end)]

    metrics, (before, after) = run(jax.random.key(0))
    assert distances(before).min(axis=1).mean() > 0.4
    assert distances(after).min(axis=1).mean() < 0.05
    assert np.bincount(distances(after).argmin(axis=1), minlength=2).min() >= 16  # of 64
    last = {name: float(value[-100:].mean()) for name, value in metrics.items()}
    assert abs(last["d_real"] - 0.5) < 0.05
    assert abs(last["d_fake"] - 0.5) < 0.05
    assert abs(last["d_loss"] - np.log(4)) < 0.1
    assert abs(last["g_loss"] - np.log(2)) < 0.15
    assert metrics["spread"][0] < 0.2
    assert last["spread"] > 0.8


@pytest.mark.parametrize(
    ("flag", "settings"),
    [
        ("generator-sizes", {"generator_sizes": ()}),
        ("generator-sizes", {"generator_sizes": (256, 0)}),
        ("discriminator-sizes", {"discriminator_sizes": (-1,)}),
        ("dropout", {"dropout": 1.0}),
        ("dropout", {"dropout": -0.1}),
        ("g-steps", {"g_steps": 0}),
        ("generator-activation one of leaky_relu, relu", {"generator_activation": "tanh"}),
        ("init-fan one of in, out", {"init_fan": "inputs"}),
        ("loss", {"loss": "non-saturating"}),
    ],
)
def test_impossible_settings(flag: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"--{flag}") as error:
        gan.Config(**settings)
    one_line(error)


# ---- conditional nets

CLASSES = dataclasses.replace(TINY, num_classes=3)


def conditional_variables(config, image_shape):
    """Both nets and their variables, every number of which is drawn."""
    rng = np.random.default_rng(3)
    state = jax.eval_shape(gan.learner(config, image_shape).init, jax.random.key(0))
    params = jax.tree.map(lambda x: rng.normal(0.0, 0.7, x.shape).astype(np.float32), state.params)
    return gan.nets(config, image_shape), params


def test_conditional_nets() -> None:
    """In float64: G of [z, e_y]; D's last layer and the row of y on its last hidden layer."""
    nets, params = conditional_variables(CLASSES, SHAPE)
    rng, labels = np.random.default_rng(4), np.array([2, 0, 1, 2], np.int32)
    layers = {net: dict(variables["params"]) for net, variables in params.items()}
    embedding = layers["generator"].pop("embedding")["embedding"]
    rows = layers["discriminator"].pop("projection")["embedding"]
    assert (embedding.shape, rows.shape) == ((3, 3), (3, 5))
    codes, pixels = rng.normal(size=(4, 3)), rng.normal(size=(4, *SHAPE))
    inputs = np.concatenate([codes, embedding[labels]], axis=1)
    expected = np.tanh(layered(layers["generator"], inputs, leaky)).reshape(4, *SHAPE)
    found = nets.generator.apply(
        params["generator"], jnp.asarray(codes, jnp.float32), False, labels
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    psi = layered(layers["discriminator"], pixels.reshape(4, 6), leaky)[:, 0]
    hidden = {f"Dense_{i}": layers["discriminator"][f"Dense_{i}"] for i in range(2)}
    phi = leaky(layered(hidden, pixels.reshape(4, 6), leaky))
    for given, wanted in ((labels, psi + (rows[labels] * phi).sum(axis=1)), (None, psi)):
        found = nets.discriminator.apply(
            params["discriminator"], jnp.asarray(pixels, jnp.float32), False, given
        )
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_classes_change_no_name_that_was_there() -> None:
    """They add the tables and G's inputs for the class."""
    plain, more = shapes(TINY, SHAPE), shapes(CLASSES, SHAPE)
    assert {*more["generator"]} - {*plain["generator"]} == {"embedding.embedding"}
    assert {*more["discriminator"]} - {*plain["discriminator"]} == {"projection.embedding"}
    assert more["generator"]["Dense_0.dense.kernel"] == (6, 5)


def test_a_conditional_gan_draws_what_it_is_asked_for() -> None:
    """Two classes, bright above and bright below, three times as many of the first."""
    rng, num = np.random.default_rng(5), 400
    labels = (rng.random(num) < 0.25).astype(np.int32)
    shades = np.array([[230, 20], [20, 230]])[labels][:, :, None, None]
    noise = rng.integers(-20, 20, (num, 2, 2, 1))
    images = np.clip(shades + noise, 0, 255).astype(np.uint8)
    config = gan.Config(
        latent_size=2,
        generator_sizes=(16,),
        discriminator_sizes=(16,),
        learning_rate=5e-3,
        beta1=0.5,
        dropout=0.0,
        num_classes=2,
    )
    learner = gan.learner(config, (2, 2, 1))
    schedule = Schedule(num_epochs=40, batch_size=50)
    state = fit(learner, Split(images, labels), schedule, (0,)).state
    asked = jnp.asarray([0, 1, 1, 0] * 50)
    drawn = np.asarray(learner.sample(state, jax.random.key(6), 200, asked))
    above = (drawn[:, 0].mean(axis=(1, 2)) > drawn[:, 1].mean(axis=(1, 2))).astype(int)
    assert np.mean(above == 1 - np.asarray(asked)) > 0.95
