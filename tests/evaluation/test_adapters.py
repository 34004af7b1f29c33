"""A model made of its settings and its stored parameters is the model that was trained."""

import dataclasses
import math
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from scipy.special import logsumexp
from scipy.stats import logistic, norm
from support import reference
from support.reference_dbn import float32

from jaxgen import data
from jaxgen.evaluation.adapters import adversarial as adversarial_adapter
from jaxgen.evaluation.adapters import evaluated_model, nets
from jaxgen.evaluation.ais import LEAST_EFFECTIVE
from jaxgen.evaluation.likelihood import binary_states, rbm_log_likelihood, rbm_log_z
from jaxgen.evaluation.model import EvaluatedModel, LikelihoodBudget, binary_input
from jaxgen.export import safetensors
from jaxgen.learner import Learner, task_key
from jaxgen.models import adversarial, dbn, dcgan, gan, rbm, vae, wake_sleep
from jaxgen.random import binarize

SHAPE = (28, 28, 1)
PATCH = (14, 14, 1)
"""Where chains of AIS draw pixels a thousand times."""
BUDGET = LikelihoodBudget(num_chains=50, num_temperatures=1000, num_weights=200)
LITTLE = dataclasses.replace(BUDGET, num_temperatures=10)


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    whole = data.load("digits", digits_root)
    train, test = (split._replace(images=split.images[:40]) for split in (whole.train, whole.test))
    return whole._replace(train=train, test=test)


@pytest.fixture(scope="module")
def patches(digits: data.Dataset) -> data.Dataset:
    """The middle of each digit."""
    splits = (digits.train, digits.test)
    train, test = (each._replace(images=each.images[:, 7:21, 7:21]) for each in splits)
    return digits._replace(train=train, test=test)


def stored(params: Any) -> Any:
    """Parameters as a file gives them back."""
    return unflatten_dict(safetensors.host_arrays(params), sep=".")


def same_samples(model: EvaluatedModel, learner: Learner, state: Any) -> None:
    """Both draw the same images from the same key."""
    drawn = jax.jit(model.sample, static_argnums=1)(jax.random.key(2), 3)
    wanted = jax.jit(learner.sample, static_argnums=2)(state, jax.random.key(2), 3)
    np.testing.assert_allclose(drawn, wanted, atol=1e-6)


def layers(*sizes: int) -> dbn.Layers:
    """Random layers with weights that matter."""
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    configs = [rbm.Config(num_hidden=above, init_scale=0.2) for above in sizes[1:]]
    found = zip(configs, sizes, keys, strict=False)
    return tuple(rbm.init(config, below, key).params for config, below, key in found)


def small_rbm(**settings: Any) -> tuple[rbm.Params, EvaluatedModel]:
    """An RBM of 6 hidden units on patches."""
    (params,) = layers(math.prod(PATCH), 6)
    config = rbm.Config(num_hidden=6, num_sampling_steps=4, **settings)
    return params, evaluated_model(config, PATCH, stored(params))


def likelihoods(model: EvaluatedModel, images: np.ndarray, *given: Any, **named: Any) -> Any:
    """The likelihoods of a model that has them."""
    assert model.likelihoods is not None
    return model.likelihoods(images, *given, **named)


def test_an_rbm_samples_its_features_and_has_its_exact_likelihood(patches: data.Dataset) -> None:
    params, model = small_rbm()
    (features,) = model.features.values()
    grey = patches.test.images.reshape(40, -1) / 255.0
    probs = 1 / (1 + np.exp(-(grey @ np.asarray(params["w"], np.float64))))
    np.testing.assert_allclose(features(patches.test.images), probs, rtol=1e-4)
    reverse, forward, exact = likelihoods(model, patches.test.images, BUDGET, patches.train.images)
    visible = binary_input(patches.test.images, "sample")
    wanted = rbm_log_likelihood(params, rbm_log_z(params), visible).mean()
    assert exact.value == pytest.approx(float(wanted), rel=1e-5)
    assert forward.value == pytest.approx(exact.value, abs=0.2)
    assert reverse.value == pytest.approx(exact.value, abs=0.2)
    assert [each.kind for each in (reverse, forward, exact)] == ["reverse AIS", "AIS", "exact"]


def test_the_likelihood_of_a_tiny_rbm_is_that_of_enumeration() -> None:
    """Over all 2^4 images, weighed by the sums of exp(-E) over all states of both sides."""
    rng = np.random.default_rng(3)
    w, a, b = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=3)
    params = {"w": w, "b_visible": a, "b_hidden": b}
    params = {name: np.asarray(value, np.float32) for name, value in params.items()}
    visible = np.asarray(binary_states(jnp.uint32(0), 16, 4), np.float64)
    hidden = np.asarray(binary_states(jnp.uint32(0), 8, 3), np.float64)
    weights = np.exp(visible @ w @ hidden.T + (visible @ a)[:, None] + hidden @ b).sum(axis=1)
    config = rbm.Config(num_hidden=3, binarize="threshold")
    model = evaluated_model(config, (2, 2, 1), params)
    images = (255 * visible).astype(np.uint8).reshape(16, 2, 2, 1)
    found = likelihoods(model, images, LITTLE)
    assert found[-1].kind == "exact"
    assert found[-1].value == pytest.approx(np.mean(np.log(weights / weights.sum())), rel=1e-5)


def test_grey_pixels_have_no_likelihood_under_a_binary_model() -> None:
    assert small_rbm(binarize="none")[1].likelihoods is None
    config = vae.Config(hidden_sizes=(6,), latent_size=3)
    params = jax.jit(vae.learner(config).init)(jax.random.key(1)).params
    for likelihood, there in {"auto": False, "gaussian": False, "logistic": True}.items():
        grey = dataclasses.replace(config, binarize="none", likelihood=likelihood)
        assert (evaluated_model(grey, SHAPE, params).likelihoods is not None) == there


@pytest.fixture(scope="module")
def deep() -> tuple[EvaluatedModel, EvaluatedModel, Learner, wake_sleep.State]:
    """A DBN, the net that its two directions make, and the latter's learner and state."""
    stack = layers(784, 6, 5)
    settings = {"hidden_sizes": (6, 5), "num_sampling_steps": 4}
    config = wake_sleep.Config(**settings)  # type: ignore[arg-type]
    learner = wake_sleep.learner(config, SHAPE, stack)
    state = jax.jit(learner.init)(jax.random.key(1))
    as_dbn = evaluated_model(dbn.Config(**settings), SHAPE, stored(stack))  # type: ignore[arg-type]
    return as_dbn, evaluated_model(config, SHAPE, stored(state.params)), learner, state


@pytest.fixture(scope="module")
def deep_bounds(deep: Any, digits: data.Dataset) -> Any:
    return likelihoods(deep[0], digits.test.images, BUDGET, digits.train.images)


def test_a_dbn_and_its_untied_net_are_the_same_before_up_down(
    deep: Any, deep_bounds: Any, digits: data.Dataset
) -> None:
    as_dbn, as_net, learner, state = deep
    assert (as_dbn.num_classes, as_dbn.classify) == (0, None)
    same_samples(as_dbn, learner, state)
    same_samples(as_net, learner, state)
    assert list(as_dbn.features) == ["hidden units 1", "top units"]
    for name, features in as_dbn.features.items():
        batch = digits.test.images
        ours, other = (jax.jit(each)(batch) for each in (features, as_net.features[name]))
        np.testing.assert_allclose(ours, other, rtol=1e-5)
    one, many = deep_bounds
    assert one.value < many.value  # the second bound is tighter
    found = likelihoods(as_net, digits.test.images, BUDGET, digits.train.images)
    assert [each.value for each in found] == pytest.approx([one.value, many.value], rel=1e-5)
    codes = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 5)), jnp.float32)
    np.testing.assert_allclose(as_dbn.decode(codes), as_net.decode(codes), rtol=1e-6)


def test_parameters_of_a_state_and_of_a_file_make_the_same_model(deep: Any) -> None:
    _, as_net, _, state = deep
    config = wake_sleep.Config(hidden_sizes=(6, 5), num_sampling_steps=4)
    fresh = evaluated_model(config, SHAPE, state.params)
    images = (jax.jit(each.sample, static_argnums=1)(task_key("a"), 2) for each in (fresh, as_net))
    np.testing.assert_array_equal(*images)


def test_a_dbn_whose_top_is_annealed_has_the_bounds_of_the_exact_one(
    deep: Any, deep_bounds: Any, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nets, "MAX_ENUMERATED", 4)
    annealed = likelihoods(deep[0], digits.test.images, BUDGET, digits.train.images)
    assert [each.kind.rpartition(", ")[2] for each in deep_bounds] == ["exact log Z on top"] * 2
    assert [each.kind.rpartition(", ")[2] for each in annealed] == ["AIS on top"] * 2
    for ours, wanted in zip(annealed, deep_bounds, strict=True):
        assert ours.value == pytest.approx(wanted.value, abs=0.1)
        assert wanted.log_z_gap == 0.0 < ours.log_z_gap < 0.2
        assert ours.standard_error > wanted.standard_error
        assert "50 chains effective; from the other side" in ours.note
        assert ours.effective_chains > LEAST_EFFECTIVE
        assert ours.num_chains == 50


def test_a_budget_of_few_chains_gives_no_error(patches: data.Dataset) -> None:
    """The estimate, how many chains carry it, and the gap between the sides are what is known."""
    few = dataclasses.replace(LITTLE, num_chains=4)
    reverse, forward, exact = likelihoods(small_rbm()[1], patches.test.images, few)
    for each in (reverse, forward):
        assert each.standard_error is None
        assert 1 <= each.effective_chains <= each.num_chains == 4
        assert each.log_z_gap == pytest.approx(abs(forward.value - reverse.value), abs=1e-3)
        assert "[" not in each.note
    assert exact.standard_error > 0
    assert exact.effective_chains is None


def test_likelihoods_name_the_pixels_that_they_are_of(patches: data.Dataset) -> None:
    for binary in ("sample", "threshold"):
        found = likelihoods(small_rbm(binarize=binary)[1], patches.test.images, LITTLE)
        assert {each.binary for each in found} == {binary}


def test_another_key_draws_other_bits(patches: data.Dataset) -> None:
    _, model = small_rbm()
    keys = (None, jax.random.key(0), jax.random.key(1))
    found = [likelihoods(model, patches.test.images, LITTLE, key=key)[-1].value for key in keys]
    assert found[0] == found[1] != found[2]


def test_the_units_of_an_rbm_decode_to_what_it_gives_of_them(patches: data.Dataset) -> None:
    params, model = small_rbm()
    hidden = jnp.eye(6)
    logits = np.asarray(params["w"]).T + np.asarray(params["b_visible"])
    decoded = np.asarray(model.decode(hidden))
    assert decoded.shape == (6, *PATCH)
    np.testing.assert_allclose(decoded.reshape(6, -1), 1 / (1 + np.exp(-logits)), rtol=1e-5)
    key = jax.random.key(3)
    key_data, key_pass = jax.random.split(key)
    visible = binarize(key_data, jnp.asarray(patches.test.images), "sample")
    _, wanted = dbn.reconstruct(dbn.tie((params,)), key_pass, visible)
    found = np.asarray(model.reconstruct(key, patches.test.images))
    np.testing.assert_allclose(found.reshape(40, -1), wanted, rtol=1e-5)


def test_a_dbn_with_certain_units_decodes_and_reconstructs_its_input() -> None:
    """Each unit copies the one below, so every pass is the identity on binary images."""
    copy = {"w": 200 * np.eye(4, dtype=np.float32)}
    copy |= {"b_visible": np.full(4, -100, np.float32), "b_hidden": np.full(4, -100, np.float32)}
    model = evaluated_model(dbn.Config(hidden_sizes=(4, 4)), (2, 2, 1), stored((copy, copy)))
    images = np.random.default_rng(0).integers(0, 2, (8, 2, 2, 1)).astype(np.uint8) * 255
    top = model.features["top units"](images)
    np.testing.assert_allclose(model.decode(top), images / 255.0, atol=1e-6)
    found = model.reconstruct(jax.random.key(0), images)
    np.testing.assert_allclose(found, images / 255.0, atol=1e-6)


def test_an_rbm_with_label_units_classifies_draws_and_has_its_likelihood() -> None:
    """All 2^4 images: log p(v), p(label|v) and p(h=1|v) by enumeration."""
    params = reference.labelled_rbm(4, 3)
    joint, _ = reference.labelled_joint(params)
    states, below = reference.states(4), joint.sum(axis=(1, 2))
    settings = {"hidden_sizes": (3,), "binarize": "threshold", "num_classes": 3}
    config = dbn.Config(**settings, num_sampling_steps=10)  # type: ignore[arg-type]
    model = evaluated_model(config, (2, 2, 1), stored((float32(params),)))
    images = (255 * states).astype(np.uint8).reshape(16, 2, 2, 1)
    assert model.num_classes == 3
    assert model.classify is not None
    posterior = joint.sum(axis=2) / below[:, None]
    np.testing.assert_allclose(np.exp(model.classify(images)), posterior, rtol=1e-5)
    hidden = joint.sum(axis=1) / below[:, None] @ reference.states(3)
    np.testing.assert_allclose(model.features["hidden units"](images), hidden, rtol=1e-5)
    budget = dataclasses.replace(LITTLE, num_chains=400)
    reverse, forward, exact = likelihoods(model, images, budget)
    assert exact.value == pytest.approx(np.log(below).mean(), rel=1e-5)
    assert reverse.value == pytest.approx(exact.value, abs=0.2)
    assert forward.value == pytest.approx(exact.value, abs=0.2)
    asked = jnp.repeat(jnp.arange(3), 2000)
    for gain in (1.0, 3.0):
        gained = dataclasses.replace(config, label_gain=gain)
        model = evaluated_model(gained, (2, 2, 1), stored((float32(params),)))
        drawn = jax.jit(model.sample, static_argnums=1)(jax.random.key(0), 6000, asked)
        more = np.exp((gain - 1.0) * params["w_labels"] @ reference.states(3).T)
        given = np.sum(joint * more, axis=2) / np.sum(joint * more, axis=(0, 2))
        found = np.asarray(drawn).reshape(3, 2000, 4).mean(axis=1)
        np.testing.assert_allclose(found, given.T @ states, atol=5 * 0.5 / np.sqrt(2000))


@pytest.fixture(scope="module")
def small_vae() -> tuple[vae.Config, Learner, vae.State, EvaluatedModel]:
    config = vae.Config(hidden_sizes=(6,), latent_size=3)
    learner = vae.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    return config, learner, state, evaluated_model(config, SHAPE, stored(state.params))


def test_a_vae_has_its_mean_codes_and_decodes_them(small_vae: Any, digits: data.Dataset) -> None:
    config, learner, state, model = small_vae
    nets = vae.nets(config, SHAPE)
    same_samples(model, learner, state)
    codes = model.features["mean codes"](digits.test.images)
    grey = jnp.asarray(digits.test.images.reshape(40, -1) / np.float32(255))
    np.testing.assert_allclose(codes, vae.encode(state.params, nets, grey)[0], rtol=1e-5)
    key = jax.random.key(4)
    visible = binarize(key, jnp.asarray(digits.test.images), "sample")
    mean, _ = vae.encode(state.params, nets, visible)
    found = model.reconstruct(key, digits.test.images)
    np.testing.assert_array_equal(found, model.decode(mean))
    wanted = vae.decoded_means(state.params, nets, mean)
    np.testing.assert_allclose(found.reshape(40, -1), wanted, rtol=1e-5)


def test_a_vae_has_both_bounds(small_vae: Any, digits: data.Dataset) -> None:
    """Of one code the second is the ELBO with the divergence drawn; of many it is above."""
    config, _, state, model = small_vae
    elbo, bound = likelihoods(model, digits.test.images, BUDGET)
    assert (elbo.kind, bound.kind) == ("ELBO", "importance-weighted bound, 200 codes")
    assert bound.value > elbo.value
    visible = binary_input(digits.test.images, "sample")
    terms = vae.terms(state.params, vae.nets(config, SHAPE), jax.random.key(8), visible, 400)
    drawn = np.mean(np.asarray(terms.reconstruction), axis=0) - np.asarray(terms.kl)
    assert elbo.value == pytest.approx(drawn.mean(), abs=4 * elbo.standard_error)
    log_weights = np.asarray(terms.log_weights, np.float64)
    wanted = (np.logaddexp.reduce(log_weights, axis=0) - math.log(400)).mean()
    assert bound.value == pytest.approx(wanted, abs=0.2)


def test_a_bound_of_many_images_is_that_of_its_blocks(
    small_vae: Any, digits: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, few = small_vae[-1], dataclasses.replace(BUDGET, num_weights=3)
    whole = likelihoods(model, digits.test.images, few)
    monkeypatch.setattr("jaxgen.evaluation.adapters.vae.BLOCK", 15)
    in_blocks = likelihoods(model, digits.test.images, few)
    assert [each.value for each in in_blocks] == pytest.approx([each.value for each in whole])


def integrated(params: Any, images: np.ndarray, label: int) -> np.ndarray:
    """Log p(x|y) of bytes under a VAE with one latent variable, over a grid of its values.

    Its decoder is one hidden layer of softplus units and discretised logistic pixels.
    """
    (z, step), decoder = np.linspace(-8, 8, 4001, retstep=True), params["decoder"]
    first, second = (decoder[name] for name in ("dense_0", "dense_1"))
    hidden = z[:, None] @ first["kernel"] + first["bias"] + decoder["label"]["embedding"][label]
    outputs = np.logaddexp(0.0, hidden) @ second["kernel"] + second["bias"]
    location, free = np.split(np.float64(outputs), 2, axis=1)
    pixels = logistic(location + 0.5, np.exp(-7 + np.logaddexp(0.0, free - 2 + 7)))
    below = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    levels = images.reshape(len(images), -1).astype(int)
    probs = [pixels.cdf(below[row + 1]) - pixels.cdf(below[row]) for row in levels]
    with np.errstate(divide="ignore"):
        logs = np.log(probs).sum(axis=-1)
    return logsumexp(logs + norm.logpdf(z), axis=1) + np.log(step)


def test_a_conditional_vae_knows_images_by_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """p(x) is the mean of p(x|y) over y, and p(y|x) its share, against integration over z."""
    shape, images = (1, 2, 3), np.random.default_rng(0).integers(60, 200, (4, 1, 2, 3), np.uint8)
    config = vae.Config(architecture="dense", hidden_sizes=(4,), latent_size=1, num_classes=3)
    params = jax.jit(vae.learner(config, shape).init)(jax.random.key(1)).params
    model = evaluated_model(config, shape, stored(params))
    by_class = np.array([integrated(params, images, label) for label in range(3)])
    (found,) = likelihoods(model, images, dataclasses.replace(BUDGET, num_weights=2000))
    assert found.kind == "importance-weighted bound, 2,000 codes for each of 3 classes"
    assert found.binary == model.binary == "none"
    bits = f"{-found.value / 6 / math.log(2):.4g}"
    assert found.note == f"a probability of bytes, {bits} bits per dimension"
    wanted = logsumexp(by_class, axis=0) - math.log(3)
    assert found.value == pytest.approx(wanted.mean(), abs=0.05)
    assert model.num_classes == 3
    assert model.classify is not None
    monkeypatch.setattr("jaxgen.evaluation.adapters.vae.NUM_CODES", 2000)
    shares = model.classify(images)
    np.testing.assert_allclose(np.exp(shares).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(shares, (by_class - logsumexp(by_class, axis=0)).T, atol=0.2)
    assert model.reconstruct is not None
    assert model.reconstruct(jax.random.key(0), images).shape == images.shape
    assert (model.features, model.decode) == ({}, None)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_a_gan_draws_from_the_generator_that_samples(average: float, digits: data.Dataset) -> None:
    sizes = {"generator_sizes": (6,), "discriminator_sizes": (8, 7)}
    config = gan.Config(**sizes, latent_size=3, ema_decay=average)  # type: ignore[arg-type]
    learner = gan.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    if state.average is not None:
        state = state._replace(average=jax.tree.map(lambda leaf: leaf + 0.1, state.average))
    model = evaluated_model(config, SHAPE, stored(state.params))
    same_samples(model, learner, state)
    batch = jnp.asarray(digits.test.images)
    (features,) = model.features.values()
    both = gan.nets(config, SHAPE)
    wanted = jax.jit(adversarial.features, static_argnums=0)(both, state, batch)["layer_1"]
    np.testing.assert_allclose(jax.jit(features)(batch), wanted, rtol=1e-5)
    codes = jax.random.normal(jax.random.key(5), (2, 3))
    decoded = jax.jit(adversarial.images_of, static_argnums=0)(both, state, codes)
    np.testing.assert_allclose(jax.jit(model.decode)(codes), decoded, rtol=1e-5)
    assert (model.likelihoods, model.reconstruct) == (None, None)


def test_a_dcgan_keeps_its_batch_statistics(digits: data.Dataset) -> None:
    config = dcgan.Config(width=0.02, latent_size=3)
    learner = dcgan.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    shifted = jax.tree.map(lambda leaf: leaf + 0.3, state.generator.variables)
    state = state._replace(generator=state.generator._replace(variables=shifted))
    model = evaluated_model(config, SHAPE, stored(state.params))
    same_samples(model, learner, state)
    (features,) = model.features.values()
    found = jax.jit(features)(jnp.asarray(digits.test.images))
    assert found.shape == (40, 16 * dcgan.channels(config, 8))


def test_a_conditional_game_is_asked_for_classes(digits: data.Dataset) -> None:
    """Codes alone are decoded as the first class; images need no class for D's features."""
    config = gan.Config(
        generator_sizes=(6,), discriminator_sizes=(8, 7), latent_size=3, num_classes=4
    )
    learner = gan.learner(config)
    state = jax.jit(learner.init)(jax.random.key(1))
    model = evaluated_model(config, SHAPE, stored(state.params))
    same_samples(model, learner, state)
    assert (model.num_classes, model.classify) == (4, None)
    labels = jnp.asarray([3, 0, 2])
    wanted = learner.sample(state, jax.random.key(2), 3, labels)
    np.testing.assert_allclose(model.sample(jax.random.key(2), 3, labels), wanted, atol=1e-6)
    codes = jax.random.normal(jax.random.key(2), (3, 3))
    assert model.decode is not None
    decode: Any = model.decode
    np.testing.assert_allclose(decode(codes, labels), wanted, atol=1e-6)
    np.testing.assert_array_equal(decode(codes), decode(codes, jnp.zeros(3, jnp.int32)))
    assert np.abs(decode(codes) - wanted)[[0, 2]].max() > 1e-3
    (features,) = model.features.values()
    assert features(jnp.asarray(digits.test.images)).shape == (40, 7)


def test_pooling_takes_the_largest_of_each_patch_until_few_are_left() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 4, 4, 200)).astype(np.float32)
    rows = np.asarray(adversarial_adapter.pool_to_rows(jnp.asarray(maps)))
    patches = [maps[:, i : i + 2, j : j + 2].max(axis=(1, 2)) for i in (0, 2) for j in (0, 2)]
    np.testing.assert_array_equal(rows, np.concatenate(patches, axis=1))
    assert math.prod(rows.shape[1:]) <= adversarial_adapter.MAX_FEATURES
    odd = adversarial_adapter.pool_to_rows(jnp.tile(maps[:, :3, :1], (1, 1, 2, 4)))
    np.testing.assert_array_equal(odd, np.tile(maps[:, :2, 0].max(axis=1), 4))
    column = jnp.tile(maps[:, :, :1], (1, 1, 1, 4))
    assert adversarial_adapter.pool_to_rows(column).shape == (2, 4 * 800)  # no block fits
    small = jnp.asarray(maps[..., :5])
    np.testing.assert_array_equal(adversarial_adapter.pool_to_rows(small), small.reshape(2, -1))


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a model that no adapter is for."""

    shade: float = 0.25


class State(NamedTuple):
    """Of that model."""

    params: dict[str, Any]
    step: jax.Array


def learner(config: Config, image_shape: tuple[int, int, int]) -> Learner:
    """Images of one shade, brighter by a parameter, with noise."""

    def sample(state: State, key: Any, num: int) -> jax.Array:
        noise = 0.1 * jax.random.uniform(key, (num, *image_shape))
        return config.shade + state.params["light"] + noise

    def init(key: Any) -> State:
        return State({"light": jnp.zeros(())}, jnp.int32(0))

    return Learner(init=init, step=lambda state, *_: (state, {}), sample=sample)


def test_a_model_without_an_adapter_samples_through_its_own_learner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("a_new_model")
    module.learner = partial(learner)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_new_model", module)
    monkeypatch.setattr(Config, "__module__", "a_new_model")
    model = evaluated_model(Config(), (4, 5, 1), {"light": np.float32(0.5)})
    images = np.asarray(jax.jit(model.sample, static_argnums=1)(jax.random.key(0), 3))
    assert images.shape == (3, 4, 5, 1)
    assert 0.75 <= images.min() < images.max() <= 0.85
    assert model == EvaluatedModel(model.sample)
