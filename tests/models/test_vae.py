"""The VAE's bounds against NumPy, its gradient against differences, its update against PyTorch."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from support import reference
from support.helpers import FIXTURES

from jaxgen.errors import SettingError
from jaxgen.learner import Learner, unlabelled
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
terms = jax.jit(vae.terms, static_argnums=(1, 4))
log_weights = jax.jit(vae.log_weights, static_argnums=(1, 4))


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
        found = vae.terms(params, config, key, VISIBLE, config.num_samples)
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
            found = vae.terms(params, config, jax.random.key(0), stored["images"], 1)
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


def test_gaussian_decoder() -> None:
    """Its variance has a floor, its images are clipped."""
    flat = {name: 20 * value for name, value in weights(GAUSSIAN).items()}
    codes = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    mean, log_var, shown = jax.jit(
        lambda params: (
            *vae.decode(params, GAUSSIAN, codes),
            vae.decoded_means(params, GAUSSIAN, codes),
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
        ("binarize", {"likelihood": "gaussian"}),
        ("binarize", {"likelihood": "gaussian", "binarize": "threshold"}),
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
    assert vae.Config(binarize="none").likelihood == "bernoulli"
