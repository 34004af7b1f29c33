"""A model read back from its parameters alone is the model that was trained."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax.traverse_util import unflatten_dict

from experiments import dbn, dcgan, gan, rbm, vae, wake_sleep
from experiments.comparison import examined, examined_gan, examined_net
from experiments.running.cli import parse
from experiments.running.finished import Finished
from jaxgen import data
from jaxgen.evaluation.likelihood import rbm_log_likelihood, rbm_log_z
from jaxgen.export import safetensors
from jaxgen.models import adversarial
from jaxgen.models import dbn as dbn_model
from jaxgen.models import dcgan as dcgan_model
from jaxgen.models import gan as gan_model
from jaxgen.models import rbm as rbm_model
from jaxgen.models import vae as vae_model
from jaxgen.models import wake_sleep as wake_sleep_model

STACK = ("--hidden-sizes", "6", "5", "--num-sampling-steps", "4")
EFFORT = examined.Effort(num_chains=50, num_temperatures=1000, num_weights=200)


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    whole = data.load("digits", digits_root)
    train, test = (split._replace(images=split.images[:40]) for split in (whole.train, whole.test))
    return whole._replace(train=train, test=test)


def run_of(
    module: Any, flags: tuple[str, ...], params: Any, metrics: dict | None = None
) -> Finished:
    """A finished run with these parameters, as `finished.read` would give it."""
    name = module.__name__.rpartition(".")[2]
    stored = unflatten_dict(safetensors.host_arrays(params), sep=".")
    args = parse(module.PRESETS, module.QUICK, flags)
    return Finished(Path(), name, args, stored, {"metrics": metrics or {}})


def same_samples(model: examined.Examined, learner: Any, state: Any) -> None:
    """Both draw the same images from the same key."""
    drawn = (jax.jit(f, static_argnums=1)(jax.random.key(2), 3) for f in (model.sample,))
    wanted = jax.jit(learner.sample, static_argnums=2)(state, jax.random.key(2), 3)
    np.testing.assert_allclose(*drawn, wanted, atol=1e-6)


def layers(*sizes: int) -> dbn_model.Layers:
    """Random layers with weights that matter."""
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    configs = [rbm_model.Config(num_hidden=above, init_scale=0.2) for above in sizes[1:]]
    found = zip(configs, sizes, keys, strict=False)
    return tuple(rbm_model.init(config, below, key).params for config, below, key in found)


def test_an_rbm_samples_its_features_and_has_its_exact_likelihood(digits: data.Dataset) -> None:
    (params,) = layers(784, 6)
    run = run_of(rbm, ("--num-hidden", "6", "--num-sampling-steps", "4"), params)
    model = rbm.examined(run, digits)
    (features,) = model.features.values()
    grey = digits.test.images.reshape(40, -1) / 255.0
    probs = 1 / (1 + np.exp(-(grey @ np.asarray(params["w"], np.float64))))
    np.testing.assert_allclose(features(jnp.asarray(digits.test.images)), probs, rtol=1e-4)
    reverse, forward, exact = model.likelihoods(EFFORT)
    visible = examined.binary_input(digits.test.images, "sample")
    wanted = rbm_log_likelihood(params, rbm_log_z(params), visible).mean()
    assert exact.value == pytest.approx(float(wanted), rel=1e-5)
    assert forward.value == pytest.approx(exact.value, abs=1.0)
    assert reverse.value == pytest.approx(exact.value, abs=1.0)
    assert [each.kind for each in (reverse, forward, exact)] == ["reverse AIS", "AIS", "exact"]


def test_grey_pixels_have_no_likelihood_under_a_binary_model(digits: data.Dataset) -> None:
    (params,) = layers(784, 6)
    run = run_of(rbm, ("--num-hidden", "6", "--binarize", "none"), params)
    assert rbm.examined(run, digits).likelihoods(EFFORT) == []


def test_a_dbn_and_its_untied_net_are_the_same_before_up_down(digits: data.Dataset) -> None:
    stack = layers(784, 6, 5)
    as_dbn = dbn.examined(run_of(dbn, STACK, stack), digits)
    config = wake_sleep_model.Config(hidden_sizes=(6, 5), num_sampling_steps=4)
    learner = wake_sleep_model.learner(config, (28, 28, 1), stack)
    state = jax.jit(learner.init)(jax.random.key(1))
    as_net = wake_sleep.examined(run_of(wake_sleep, STACK, state.params), digits)
    same_samples(as_dbn, learner, state)
    same_samples(as_net, learner, state)
    assert list(as_dbn.features) == ["hidden units 1", "top units"]
    for name, features in as_dbn.features.items():
        batch = jnp.asarray(digits.test.images)
        np.testing.assert_allclose(features(batch), as_net.features[name](batch), rtol=1e-5)
    one, many = as_dbn.likelihoods(EFFORT)
    assert one.value < many.value  # the second bound is tighter
    found = as_net.likelihoods(EFFORT)
    assert [each.value for each in found] == pytest.approx([one.value, many.value], rel=1e-5)


def test_a_dbn_whose_top_is_annealed_has_the_bounds_of_the_exact_one(
    digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dbn.examined(run_of(dbn, STACK, layers(784, 6, 5)), digits)
    exact = model.likelihoods(EFFORT)
    monkeypatch.setattr(examined_net, "MAX_ENUMERATED", 4)
    annealed = model.likelihoods(EFFORT)
    assert [each.kind.rpartition(", ")[2] for each in exact] == ["exact log Z on top"] * 2
    assert [each.kind.rpartition(", ")[2] for each in annealed] == ["AIS on top"] * 2
    for ours, wanted in zip(annealed, exact, strict=True):
        assert ours.value == pytest.approx(wanted.value, abs=0.1)
        assert wanted.log_z_gap == 0.0 < ours.log_z_gap < 0.2
        assert ours.standard_error > wanted.standard_error
        assert "50 chains effective; from the other side" in ours.note


def test_the_error_of_a_mean_holds_that_of_log_z() -> None:
    values = np.random.default_rng(0).normal(size=50)
    alone = examined.mean_of(jnp.asarray(values), "exact")
    assert alone.standard_error == pytest.approx(scipy.stats.sem(values), rel=1e-5)
    both = examined.mean_of(jnp.asarray(values), "AIS", 0.3)
    assert both.standard_error**2 == pytest.approx(alone.standard_error**2 + 0.09)


def test_likelihoods_say_of_which_pixels_they_are(digits: data.Dataset) -> None:
    (params,) = layers(784, 6)
    for binary in ("sample", "threshold"):
        run = run_of(rbm, ("--num-hidden", "6", "--binarize", binary), params)
        found = rbm.examined(run, digits).likelihoods(EFFORT._replace(num_temperatures=10))
        assert {each.binary for each in found} == {binary}


def test_a_vae_gives_its_mean_codes_and_the_bounds_of_its_run(digits: data.Dataset) -> None:
    config = vae_model.Config(hidden_sizes=(6,), latent_size=3)
    learner = vae_model.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    flags = ("--hidden-sizes", "6", "--latent-size", "3", "--bound-samples", "7")
    names = ("test_elbo", "test_elbo_error", "test_bound", "test_bound_error")
    metrics = dict(zip(names, (-110.0, 0.5, -100.0, 0.4), strict=True))
    model = vae.examined(run_of(vae, flags, state.params, metrics), digits)
    same_samples(model, learner, state)
    codes = model.features["mean codes"](jnp.asarray(digits.test.images))
    grey = jnp.asarray(digits.test.images.reshape(40, -1) / np.float32(255))
    np.testing.assert_allclose(codes, vae_model.encode(state.params, config, grey)[0], rtol=1e-5)
    elbo, bound = model.likelihoods(EFFORT)
    assert (elbo.value, bound.value) == (-110.0, -100.0)
    assert bound.kind == "importance-weighted bound, 7 codes"


@pytest.mark.parametrize("average", ["0", "0.5"])
def test_a_gan_draws_from_the_generator_that_samples(average: str, digits: data.Dataset) -> None:
    flags = ("--generator-sizes", "6", "--discriminator-sizes", "8", "7", "--latent-size", "3")
    flags = (*flags, "--ema-decay", average)
    config = parse(gan.PRESETS, gan.QUICK, flags).model
    learner = gan_model.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    if state.average is not None:
        state = state._replace(average=jax.tree.map(lambda leaf: leaf + 0.1, state.average))
    model = gan.examined(run_of(gan, flags, state.params), digits)
    same_samples(model, learner, state)
    batch = jnp.asarray(digits.test.images)
    (features,) = model.features.values()
    wanted = adversarial.features(gan_model.nets(config, (28, 28, 1)), state, batch)["layer_1"]
    np.testing.assert_allclose(features(batch), wanted, rtol=1e-5)


def test_a_dcgan_keeps_its_batch_statistics(digits: data.Dataset) -> None:
    flags = ("--width", "0.02", "--latent-size", "3")
    config = parse(dcgan.PRESETS, dcgan.QUICK, flags).model
    learner = dcgan_model.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    shifted = jax.tree.map(lambda leaf: leaf + 0.3, state.generator.variables)
    state = state._replace(generator=state.generator._replace(variables=shifted))
    model = dcgan.examined(run_of(dcgan, flags, state.params), digits)
    same_samples(model, learner, state)
    (features,) = model.features.values()
    assert features(jnp.asarray(digits.test.images)).shape == (
        40,
        16 * dcgan_model.channels(config, 8),
    )


def test_pooling_takes_the_largest_of_each_patch_until_few_are_left() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 4, 4, 200)).astype(np.float32)
    rows = np.asarray(examined_gan.pooled(jnp.asarray(maps)))
    patches = [maps[:, i : i + 2, j : j + 2].max(axis=(1, 2)) for i in (0, 2) for j in (0, 2)]
    np.testing.assert_array_equal(rows, np.concatenate(patches, axis=1))
    assert math.prod(rows.shape[1:]) <= examined_gan.MAX_FEATURES
    small = jnp.asarray(maps[..., :5])
    np.testing.assert_array_equal(examined_gan.pooled(small), small.reshape(2, -1))


def test_fewer_samples_are_the_first_of_more_and_take_the_size_asked_for() -> None:
    def sample(key: Any, num: int) -> jax.Array:
        return jax.random.uniform(key, (num, 8, 8, 1))

    model = examined.Examined(sample, {}, lambda _: [])
    few, many = (examined.samples(model, jax.random.key(0), num, (8, 8)) for num in (30, 700))
    np.testing.assert_array_equal(few, many[:30])
    assert len(np.unique(many.reshape(700, -1), axis=0)) == 700
    assert examined.samples(model, jax.random.key(0), 3, (4, 4)).shape == (3, 4, 4, 1)
