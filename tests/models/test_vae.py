"""The VAE's bounds against NumPy, its gradient against differences, its update against PyTorch."""

import dataclasses
import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from scipy import special
from support import reference, reference_conv
from support.helpers import FIXTURES

from jaxgen.errors import SettingError
from jaxgen.learner import Batch, Learner, unlabelled
from jaxgen.models import vae

SHAPE = (3, 2, 1)
SMALL = vae.Config(hidden_sizes=(5, 4), latent_size=3, binarize="threshold", learning_rate=0.01)
IWAE = dataclasses.replace(SMALL, objective="iwae", num_samples=3)
GAUSSIAN = dataclasses.replace(
    SMALL, likelihood="gaussian", binarize="none", num_samples=2, min_log_var=-3.0
)
SCHEDULED = dataclasses.replace(
    SMALL, num_samples=2, first_stage_steps=10, kl_warmup_steps=5, kl_weight=2.0
)
VISIBLE = np.random.default_rng(1).integers(0, 2, (4, 6)).astype(np.float32)


@partial(jax.jit, static_argnums=(1, 4))
def terms(params, config, *given):
    """Of a VAE for images of SHAPE."""
    return vae.terms(params, vae.nets(config, SHAPE), *given)


@partial(jax.jit, static_argnums=(1, 4))
def log_weights(params, config, *given):
    return vae.log_weights(params, vae.nets(config, SHAPE), *given)


@functools.cache
def compiled(config):
    """The learner with jitted functions, made once per setting."""
    plain = vae.learner(config, SHAPE)
    sample = jax.jit(plain.sample, static_argnums=2)
    return Learner(init=jax.jit(plain.init), step=jax.jit(plain.step), sample=sample)


@functools.cache
def weights(config):
    """Weights and biases of a small net that are all different, in float64, by path."""
    rng = np.random.default_rng(2)
    params = jax.eval_shape(vae.learner(config, SHAPE).init, jax.random.key(0)).params
    flat = flatten_dict(params, sep=".")
    return {name: rng.normal(0.0, 0.6, value.shape) for name, value in sorted(flat.items())}


def single(flat):
    """A tree of float32 parameters from float64 arrays by path."""
    return unflatten_dict({name: x.astype(np.float32) for name, x in flat.items()}, sep=".")


def images(num=8):
    """Grey uint8 images of SHAPE."""
    return np.random.default_rng(0).integers(0, 256, (num, *SHAPE), dtype=np.uint8)


def expected_terms(config, flat, key, num):
    noise = np.asarray(jax.random.normal(key, (num, len(VISIBLE), config.latent_size)), np.float64)
    floor = config.min_log_var if config.likelihood == "gaussian" else None
    return reference.vae_terms(flat, VISIBLE.astype(np.float64), noise, floor)


def expected_objective(config, flat, key, kl_weight):
    reconstruction, log_weights, kl, _ = expected_terms(config, flat, key, config.num_samples)
    if config.objective == "iwae":
        return np.log(np.exp(log_weights).mean(axis=0)).mean()
    return (reconstruction.mean(axis=0) - kl_weight * kl).mean()


@pytest.mark.parametrize("config", [SMALL, GAUSSIAN], ids=["bernoulli", "gaussian"])
def test_terms(config: Any) -> None:
    flat, key = weights(config), jax.random.key(5)
    found = terms(single(flat), config, key, VISIBLE, 3)
    for value, expected in zip(found, expected_terms(config, flat, key, 3), strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=2e-5)
    alone = log_weights(single(flat), config, key, VISIBLE, 3)
    np.testing.assert_allclose(alone, found.log_weights, rtol=1e-5)


@pytest.mark.parametrize("config", [SMALL, IWAE, GAUSSIAN], ids=["elbo", "iwae", "gaussian"])
def test_gradient_equals_differences(config: Any) -> None:
    """Central differences of the NumPy objective in float64, for every parameter."""
    flat, key, weight = weights(config), jax.random.key(6), 1.0 if config is IWAE else 0.7

    @jax.jit
    @jax.grad
    def gradient(params):
        found = vae.terms(params, vae.nets(config, SHAPE), key, VISIBLE, config.num_samples)
        return jnp.mean(vae.objective(config, found, weight))

    found = flatten_dict(gradient(single(flat)), sep=".")
    assert found.keys() == flat.keys()
    for name, value in flat.items():
        for place in np.ndindex(value.shape):
            ends = []
            for change in (1e-5, -1e-5):
                moved = value.copy()
                moved[place] += change
                ends.append(expected_objective(config, flat | {name: moved}, key, weight))
            difference = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(found[name][place], difference, rtol=1e-3, atol=2e-5)


def test_two_updates_equal_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights, images and noise; see fixtures/make_vae_update.py."""
    with np.load(FIXTURES / "vae_update.npz") as file:
        stored = dict(file)

    def tree(name):
        start = f"{name}."
        return single({k.removeprefix(start): v for k, v in stored.items() if k.startswith(start)})

    config = dataclasses.replace(SMALL, beta2=0.99, epsilon=1e-4)
    learner = vae.learner(config, SHAPE)
    state = learner.init(jax.random.key(0))._replace(params=tree("start"))
    batch = (255 * stored["images"]).astype(np.uint8).reshape(-1, *SHAPE)

    def one(state, noise):
        monkeypatch.setattr(vae, "normal", lambda _, shape: noise.reshape(shape))

        def objective(params):
            nets = vae.nets(config, SHAPE)
            found = vae.terms(params, nets, jax.random.key(0), stored["images"], 1)
            return -jnp.mean(vae.objective(config, found, 1.0))

        return learner.step(state, unlabelled(batch), jax.random.key(0)), jax.grad(objective)(
            state.params
        )

    update = jax.jit(one)
    for index, loss in enumerate(stored["losses"]):
        (state, metrics), gradient = update(state, stored["noise"][index])
        np.testing.assert_allclose(metrics["objective"], -loss, rtol=1e-6)
        if index == 0:
            jax.tree.map(partial_close, gradient, tree("gradient"))
    jax.tree.map(partial_close, state.params, tree("end"))


def partial_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_estimate_the_same_bound_as_the_closed_form() -> None:
    """E[log w] for one code is the ELBO: the IWAE bound with K = 1, up to its noise."""
    num = 50_000
    found = terms(single(weights(SMALL)), SMALL, jax.random.key(7), VISIBLE, num)
    log_weights, reconstruction, kl = map(
        np.asarray, (found.log_weights, found.reconstruction, found.kl)
    )
    difference = log_weights - (reconstruction - kl)
    error = difference.std(axis=0) / np.sqrt(num)
    assert (np.abs(difference.mean(axis=0)) < 5 * error).all()
    one = dataclasses.replace(IWAE, num_samples=1)
    first = vae.Terms(reconstruction[:1], log_weights[:1], kl, found.mean)
    np.testing.assert_allclose(vae.objective(one, first, 1.0), log_weights[0], rtol=1e-6)


def test_more_samples_tighten_the_iwae_bound() -> None:
    found = terms(single(weights(SMALL)), SMALL, jax.random.key(8), VISIBLE, 30_000)
    bounds = []
    for num in (1, 5, 30_000):
        groups = np.asarray(found.log_weights, np.float64).reshape(num, -1, len(VISIBLE))
        bounds.append(np.log(np.exp(groups).mean(axis=0)).mean())
    assert bounds[0] < bounds[1] < bounds[2]


def test_metrics_of_a_step() -> None:
    """The terms of the step's own draws; K = 2 codes are averaged."""
    learner = compiled(SCHEDULED)
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    _, metrics = learner.step(state._replace(step=np.int32(3)), unlabelled(images(4)), key)
    visible = (images(4).reshape(4, 6) >= 127.5).astype(np.float32)
    found = terms(state.params, SCHEDULED, jax.random.split(key)[1], visible, 2)
    expected = {name: np.mean(getattr(found, name)) for name in ("reconstruction", "kl")}
    expected["elbo"] = expected["reconstruction"] - expected["kl"]
    expected["objective"] = expected["reconstruction"] - 1.2 * expected["kl"]
    expected |= {"kl_weight": 1.2, "learning_rate": 0.01}
    expected["active_units"] = (found.mean.var(axis=0) > 0.01).sum()
    assert metrics.keys() == expected.keys()
    plain = jax.eval_shape(vae.learner(SMALL, SHAPE).step, state, unlabelled(images(4)), key)[1]
    assert plain.keys() == expected.keys() - {"kl_weight", "learning_rate"}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)


def test_schedules() -> None:
    """The rate falls after 1, 4, 13, ... first stages; the KL's weight rises from 0 to 2."""
    learner = compiled(SCHEDULED)
    start = learner.init(jax.random.key(0))
    begins = [10 * (3**stage - 1) // 2 for stage in range(8)]
    for count in sorted({4, 5, *begins, *(begin - 1 for begin in begins[1:]), 32_800, 10**9}):
        now = np.int32(count)
        clocks = jax.tree.map(lambda _, now=now: now, start.opt_state.hyperparams_states)
        at = start._replace(opt_state=start.opt_state._replace(hyperparams_states=clocks), step=now)
        state, metrics = learner.step(at, unlabelled(images(4)), jax.random.key(1))
        stage = sum(count >= begin for begin in begins) - 1
        np.testing.assert_allclose(metrics["learning_rate"], 0.01 * 10 ** (-stage / 7), rtol=1e-5)
        np.testing.assert_allclose(metrics["kl_weight"], 2 * min(count / 5, 1), rtol=1e-6)
        weighted = metrics["reconstruction"] - metrics["kl_weight"] * metrics["kl"]
        np.testing.assert_allclose(metrics["objective"], weighted, rtol=1e-5)
        # Adam's first update moves every parameter by the rate, whatever the gradient.
        after, before = (s.params["decoder"]["dense_2"]["bias"] for s in (state, at))
        moved = np.asarray(after) - np.asarray(before)
        np.testing.assert_allclose(np.abs(moved), metrics["learning_rate"], rtol=1e-2, atol=1e-7)
    assert sum(3**stage for stage in range(8)) == 3280


def test_training_raises_the_bound() -> None:
    learner = compiled(SCHEDULED)
    state, values = learner.init(jax.random.key(0)), []
    for index in range(300):
        state, metrics = learner.step(state, unlabelled(images(4)), jax.random.key(index))
        values.append(float(metrics["elbo"]))
    assert np.mean(values[-20:]) > np.mean(values[:20]) + 0.5


def test_initial_weights_are_glorot_and_biases_zero() -> None:
    params = jax.jit(vae.learner(vae.Config()).init)(jax.random.key(0)).params
    shapes = {name: value.shape for name, value in flatten_dict(params, sep=".").items()}
    assert shapes["encoder.dense_0.kernel"] == (784, 200)
    assert shapes["encoder.dense_2.kernel"] == (200, 40)
    assert shapes["decoder.dense_2.kernel"] == (200, 784)
    for name, value in flatten_dict(params, sep=".").items():
        if name.endswith("bias"):
            assert not value.any()
        else:
            bound = np.sqrt(6 / sum(value.shape))
            assert 0.95 * bound < float(jnp.abs(value).max()) <= bound
            np.testing.assert_allclose(value.std(), bound / np.sqrt(3), rtol=0.05)


def test_a_decoder_starts_at_the_base_rates() -> None:
    """Code 0 gives tanh units of 0, so the image is the mean one, of no pixel 0 or 1."""
    config = dataclasses.replace(SMALL, activation="tanh")
    nets, start = vae.nets(config, SHAPE), compiled(config).init(jax.random.key(0))
    mean = np.array([0.0, 0.2, 0.5, 0.9, 1.0, 0.001], np.float32)
    state = vae.at_base_rates(nets, start, mean)
    decoded = vae.decoded_means(state.params, nets, jnp.zeros((1, 3)))[0]
    np.testing.assert_allclose(decoded, np.clip(mean, 0.001, 0.999), rtol=1e-4)
    assert state.params["encoder"] is start.params["encoder"]
    for wrong in (mean[:5], 255.0 * mean, np.full(6, np.nan), np.zeros((3, 2, 1)), np.zeros(0)):
        with pytest.raises(SettingError, match="the mean of each of 6 pixels, from 0 to 1, found"):
            vae.at_base_rates(nets, start, wrong)
    changed = dict(flatten_dict(state.params["decoder"], sep="."))
    for name, value in flatten_dict(start.params["decoder"], sep=".").items():
        assert (changed[name] is value) == (name != "dense_2.bias")


def test_base_rates_of_channels_and_of_pixels_that_are_not_binary() -> None:
    shape = (4, 4, 3)
    config = vae.Config(latent_size=2, architecture="conv", channels=(3, 4), likelihood="bernoulli")
    nets = vae.nets(config, shape)
    start = jax.jit(vae.learner(config, shape).init)(jax.random.key(0))
    mean = np.tile([0.2, 0.5, 0.9], 16)
    bias = vae.at_base_rates(nets, start, mean).params["decoder"]["conv_1"]["bias"]
    np.testing.assert_allclose(special.expit(bias), [0.2, 0.5, 0.9], rtol=1e-5)
    state = compiled(GAUSSIAN).init(jax.random.key(0))
    assert vae.at_base_rates(vae.nets(GAUSSIAN, SHAPE), state, np.full(6, 0.3)) is state


def test_gaussian_decoder() -> None:
    """Its variance has a floor, its images are clipped."""
    flat = {name: 20 * value for name, value in weights(GAUSSIAN).items()}
    codes = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    mean, log_var, shown = jax.jit(
        lambda params: (
            *vae.decode(params, vae.nets(GAUSSIAN, SHAPE), codes),
            vae.decoded_means(params, vae.nets(GAUSSIAN, SHAPE), codes),
        )
    )(single(flat))
    assert float(log_var.min()) >= -3.0
    np.testing.assert_array_equal(shown, np.clip(mean, 0.0, 1.0))
    assert float(mean.min()) < 0.0 < 1.0 < float(mean.max())


def test_samples_are_decoded_codes_from_the_prior() -> None:
    state = compiled(SCHEDULED).init(jax.random.key(0))
    drawn = compiled(SCHEDULED).sample(state, jax.random.key(1), 5)
    codes = jax.random.normal(jax.random.key(1), (5, 3))
    flat = {name: np.asarray(x) for name, x in flatten_dict(state.params, sep=".").items()}
    logits = reference.dense_layers(flat, "decoder", np.asarray(codes, np.float64))
    np.testing.assert_allclose(drawn.reshape(5, 6), 1 / (1 + np.exp(-logits)), atol=1e-6)


COLOUR = (3, 5, 2)
CONV = vae.Config(
    architecture="conv",
    channels=(2, 3),
    latent_size=3,
    num_classes=4,
    likelihood="logistic",
    activation="tanh",
    num_samples=2,
)


def halved(flat, name, x):
    """A layer of the encoder, one tap at a time."""
    kernel = flat[f"{name}.kernel"]
    size = reference_conv.output_size(x.shape[1:3], (4, 4), 2, 1)
    dy = np.zeros((len(x), *size, kernel.shape[-1]))
    return reference_conv.convolution(x, kernel, dy, 2, 1).forward + flat[f"{name}.bias"]


def doubled(flat, name, y):
    """A layer of the decoder: the transposed map."""
    kernel = flat[f"{name}.kernel"]
    x = np.zeros((len(y), 2 * y.shape[1], 2 * y.shape[2], kernel.shape[2]))
    return reference_conv.convolution(x, kernel, y, 2, 1).input_gradient + flat[f"{name}.bias"]


def conv_terms(flat, visible, noise, labels):
    """The terms of CONV in float64: images of 3x5 in the middle of 4x8."""
    image = np.zeros((len(visible), 4, 8, 2))
    image[:, :3, 1:6] = visible.reshape(-1, *COLOUR)
    first = halved(flat, "encoder.conv_0", image)
    x = np.tanh(first + flat["encoder.label.embedding"][labels][:, None, None])
    x = np.tanh(halved(flat, "encoder.conv_1", x)).reshape(len(visible), -1)
    moments = x @ flat["encoder.dense_0.kernel"] + flat["encoder.dense_0.bias"]
    mean, log_var = np.split(moments, 2, axis=-1)
    reconstruction, codes = [], mean + np.exp(log_var / 2) * noise
    for code in codes:
        y = code @ flat["decoder.dense_0.kernel"] + flat["decoder.dense_0.bias"]
        y = np.tanh(y + flat["decoder.label.embedding"][labels]).reshape(-1, 1, 2, 3)
        y = np.tanh(doubled(flat, "decoder.conv_0", y))
        y = doubled(flat, "decoder.conv_1", y)[:, :3, 1:6].reshape(-1, *COLOUR[:2], 2, 2)
        location, free = (y[..., i, :].reshape(len(visible), -1) for i in (0, 1))
        location, scale = location + 0.5, np.exp(-7 + np.logaddexp(0.0, free - 2 + 7))
        levels = np.rint(255 * visible)
        ends = [
            np.where(levels == k, inf, levels + s)
            for k, inf, s in ((255, np.inf, 0.5), (0, -np.inf, -0.5))
        ]
        above, below = ((end / 255 - location) / scale for end in ends)
        small = np.where(above + below > 0, -1, 1)  # the side on which a sigmoid is no 1 - tiny
        probs = np.abs(special.expit(small * above) - special.expit(small * below))
        reconstruction.append(np.log(probs).sum(axis=-1))
    ratio = 0.5 * (noise**2 + log_var - codes**2).sum(axis=-1)
    kl = 0.5 * (mean**2 + np.exp(log_var) - log_var - 1.0).sum(axis=-1)
    return np.array(reconstruction), np.array(reconstruction) + ratio, kl, mean


@functools.cache
def conv_weights():
    rng = np.random.default_rng(3)
    params = jax.eval_shape(vae.learner(CONV, COLOUR).init, jax.random.key(0)).params
    flat = flatten_dict(params, sep=".")
    return {name: rng.normal(0.0, 0.4, value.shape) for name, value in sorted(flat.items())}


def test_convolutions_with_classes_and_their_gradient() -> None:
    """Against NumPy in float64, one tap at a time; the gradient against its differences."""
    rng, flat, key = np.random.default_rng(4), conv_weights(), jax.random.key(9)
    visible, labels = rng.integers(0, 256, (5, 30)) / 255.0, np.array([0, 3, 1, 2, 3])
    visible[0, :2] = 0.0, 1.0
    noise = np.asarray(jax.random.normal(key, (2, 5, 3)), np.float64)

    @jax.jit
    def both(params):
        def objective(params):
            found = vae.terms(params, vae.nets(CONV, COLOUR), key, jnp.float32(visible), 2, labels)
            return jnp.mean(vae.objective(CONV, found, 1.0)), found

        return jax.grad(objective, has_aux=True)(params)

    gradient, found = both(single(flat))
    for value, expected in zip(found, conv_terms(flat, visible, noise, labels), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)

    def objective(flat):
        reconstruction, _, kl, _ = conv_terms(flat, visible, noise, labels)
        return (reconstruction.mean(axis=0) - kl).mean()

    gradient = flatten_dict(gradient, sep=".")
    assert gradient.keys() == flat.keys()
    for name, value in flat.items():
        place = tuple(rng.integers(0, length) for length in value.shape)
        ends = []
        for change in (1e-5, -1e-5):
            moved = value.copy()
            moved[place] += change
            ends.append(objective(flat | {name: moved}))
        difference = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradient[name][place], difference, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 2, 3), (33, 20, 1), (8, 16, 2)])
def test_any_size_has_its_own_size(shape: tuple[int, int, int]) -> None:
    nets = vae.nets(vae.Config(architecture="conv", channels=(2, 2, 3), num_classes=2), shape)
    state = jax.eval_shape(partial(vae.init, nets), jax.random.key(0))
    images = jax.ShapeDtypeStruct((4, *shape), jnp.uint8)
    batch = Batch(images, jax.ShapeDtypeStruct((4,), jnp.int32))
    after, _ = jax.eval_shape(partial(vae.step, nets), state, batch, jax.random.key(0))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    draw = partial(vae.sample, nets, num=3)
    assert jax.eval_shape(draw, state, jax.random.key(0)).shape == (3, *shape)


def test_many_images_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside convolutions images are taken a few at a time, with their labels."""
    params, nets = single(conv_weights()), vae.nets(CONV, COLOUR)
    visible, labels = np.float32(np.random.default_rng(5).random((7, 30))), np.arange(7) % 4
    codes = np.float32(np.random.default_rng(6).normal(size=(7, 3)))

    def both(labels):
        encoded = vae.encode(params, nets, visible, labels)
        return encoded, vae.decode(params, nets, codes, labels)

    whole = jax.jit(both)(labels)
    monkeypatch.setattr(vae, "IMAGES_AT_ONCE", 3)
    jax.tree.map(partial_close, jax.jit(lambda labels: both(labels))(labels), whole)


def test_what_the_images_decide() -> None:
    auto = vae.Config()
    decided = {
        (28, 28, 1): ("dense", "bernoulli", "sample"),
        (32, 20, 1): ("dense", "bernoulli", "sample"),
        (33, 20, 1): ("conv", "bernoulli", "sample"),
        (28, 28, 3): ("conv", "logistic", "none"),
    }
    for shape, wanted in decided.items():
        found = vae.decide(auto, shape)
        assert (found.architecture, found.likelihood, found.binarize) == wanted
        assert vae.decide(found, (1, 1, 1)) == found  # nothing is left to decide
    assert vae.decide(vae.Config(likelihood="bernoulli"), (28, 28, 3)).binarize == "sample"
    with pytest.raises(SettingError, match="--binarize none for a logistic decoder"):
        vae.decide(vae.Config(binarize="threshold"), (28, 28, 3))


def test_a_conditional_vae_draws_the_classes_asked_for() -> None:
    """A class decides the image here: only its vector has weight in the decoder."""
    config = dataclasses.replace(SMALL, num_classes=3)
    learner = vae.learner(config, SHAPE)
    state = jax.jit(learner.init)(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, state.params["decoder"])
    ones = jnp.full_like(zeros["dense_0"]["kernel"][0], 0.0)
    vectors = jnp.stack([ones - 30.0, ones, ones + 30.0])  # softplus: 0, log 2, 30
    zeros |= {"label": {"embedding": vectors}}
    zeros |= {
        name: {**zeros[name], "kernel": jnp.ones_like(zeros[name]["kernel"]) / 40}
        for name in ("dense_1", "dense_2")
    }
    state = state._replace(params=state.params | {"decoder": zeros})
    draw = jax.jit(learner.sample, static_argnums=2)
    labels = jnp.array([2, 0, 0, 1, 2])
    shades = np.asarray(draw(state, jax.random.key(1), 5, labels)).mean(axis=(1, 2, 3))
    by_class = [shades[1], shades[3], shades[0]]
    assert by_class == sorted(by_class)
    assert by_class[0] < by_class[1] < by_class[2]
    np.testing.assert_allclose(shades, np.take(by_class, labels))
    drawn = np.asarray(draw(state, jax.random.key(1), 300)).mean(axis=(1, 2, 3))
    counts = [np.sum(np.isclose(drawn, shade)) for shade in by_class]
    assert sum(counts) == 300
    assert min(counts) > 60  # of 100; 60 is five standard deviations below
    assert learner.num_classes == 3


@pytest.mark.parametrize(
    ("flag", "settings"),
    [
        ("latent-size", {"latent_size": 0}),
        ("num-samples", {"num_samples": 0}),
        ("hidden-sizes", {"hidden_sizes": ()}),
        ("hidden-sizes", {"hidden_sizes": (200, 0)}),
        ("kl-weight", {"kl_weight": -1.0}),
        ("kl-warmup-steps", {"kl_warmup_steps": -1}),
        ("first-stage-steps", {"first_stage_steps": -1}),
        ("binarize", {"likelihood": "gaussian", "binarize": "threshold"}),
        ("binarize", {"likelihood": "logistic", "binarize": "threshold"}),
        ("channels", {"channels": ()}),
        ("channels", {"channels": (8, 0)}),
        ("num-classes", {"num_classes": -1}),
        ("architecture", {"architecture": "convolutional"}),
        ("kl-weight", {"objective": "iwae", "kl_weight": 0.5}),
        ("activation", {"activation": "Tanh"}),
        ("likelihood", {"likelihood": "normal"}),
        ("binarize", {"binarize": "samples"}),
        ("objective", {"objective": "IWAE"}),
        ("kl-warmup-steps", {"objective": "iwae", "kl_warmup_steps": 10}),
    ],
)
def test_impossible_settings(flag: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"--{flag}"):
        vae.Config(**settings)


def test_possible_combinations() -> None:
    grey = {"likelihood": "gaussian", "binarize": "none", "objective": "iwae", "num_samples": 5}
    assert dataclasses.asdict(vae.Config(**grey)).items() >= grey.items()
    decided = vae.decide(vae.Config(binarize="none"), SHAPE)
    assert (decided.likelihood, decided.binarize) == ("bernoulli", "none")
