"""Gaussian visible units against integration, enumeration and closed forms, in RBM and DBN."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbn as truth
from support import reference_gaussian as gaussian
from support.helpers import one_line, same
from support.reference_dbn import float32

from jaxgen import models
from jaxgen.errors import NonFiniteError, SettingError
from jaxgen.learner import Learner, unlabelled
from jaxgen.models import dbn, rbm, wake_sleep
from jaxgen.training import Schedule, fit

PARAMS64 = gaussian.small_rbm()
PARAMS = float32(PARAMS64)
POINTS = np.random.default_rng(0).normal(0.0, 2.0, (20, 2))
HIDDEN = reference.states(3)
SHAPE = (2, 3, 3)
CONFIG = rbm.Config(num_hidden=4, visible="gaussian", learning_rate=0.01)


def images(num: int = 9, seed: int = 0) -> np.ndarray:
    """Colour images; one channel of one pixel is always the same."""
    found = np.random.default_rng(seed).integers(0, 256, (num, *SHAPE), dtype=np.uint8)
    found[:, 0, 0, 0] = 200
    return found


def learner(config: rbm.Config = CONFIG) -> Any:
    return rbm.learner(config, SHAPE, rbm.pixel_statistics(images()))


# ---- the mathematics


def test_energy_free_energy_and_conditionals() -> None:
    """F by the integral's parts: -log sum_h exp(-E), and p(h|v) from the same sums."""
    table = np.array([[-gaussian.energy(PARAMS64, v, h) for h in HIDDEN] for v in POINTS])
    for row, hidden in enumerate(HIDDEN):
        found = rbm.energy(PARAMS, float32(POINTS), jnp.broadcast_to(hidden, (20, 3)))
        np.testing.assert_allclose(found, -table[:, row], rtol=1e-5, atol=1e-4)
    sums = np.exp(table).sum(axis=1)
    found = rbm.free_energy(PARAMS, float32(POINTS))
    np.testing.assert_allclose(found, -np.log(sums), rtol=1e-5, atol=1e-4)
    on = (np.exp(table) / sums[:, None]) @ HIDDEN
    probs = jax.nn.sigmoid(rbm.hidden_logits(PARAMS, float32(POINTS)))
    np.testing.assert_allclose(probs, on, atol=1e-5)


def test_means_given_hidden_units_are_those_of_the_integral() -> None:
    table, _ = gaussian.joint(PARAMS64)
    expected = (table / table.sum(axis=0)).T @ gaussian.points()
    found = rbm.visible_mean(PARAMS, jnp.asarray(HIDDEN, jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_long_chain_has_the_moments_of_the_mixture() -> None:
    num = 40_000
    start = rbm.noise_visible(PARAMS, jax.random.key(0), num)
    after = jax.jit(rbm.gibbs, static_argnums=3)(PARAMS, start, jax.random.key(1), 40)
    rows = np.asarray(after, np.float64)
    mean, covariance = gaussian.moments(PARAMS64)
    assert np.abs(covariance - np.eye(2)).max() > 0.3  # the weights are seen in it
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(rows.mean(axis=0) - mean) < 5 * deviation / np.sqrt(num)).all()
    products = (rows - mean)[:, :, None] * (rows - mean)[:, None, :]
    error = products.std(axis=0) / np.sqrt(num)
    assert (np.abs(products.mean(axis=0) - covariance) < 5 * error).all()


def test_the_update_descends_the_free_energy() -> None:
    """Central differences of mean F(v_data) - mean F(v_model) in float64."""
    rng = np.random.default_rng(3)
    data, model = rng.normal(size=(2, 6, 2))
    config = rbm.Config(num_hidden=3, visible="gaussian", learning_rate=1.0)
    pixels = rbm.Pixels(PARAMS64["pixel_mean"], PARAMS64["pixel_std"])
    init = jax.jit(functools.partial(rbm.init, config, 2, pixels=float32(pixels)))
    state = init(jax.random.key(0))._replace(params=PARAMS)
    learn = jax.jit(functools.partial(rbm.learn, config))
    new, _ = learn(state, float32(data), float32(model))

    def free_energy(params: gaussian.Params, visible: np.ndarray) -> np.floating:
        logits = visible @ params["w"] + params["b_hidden"]
        bowl = ((visible - params["b_visible"]) ** 2).sum(axis=1) / 2
        return np.mean(bowl - np.logaddexp(0.0, logits).sum(axis=1))

    for name in ("w", "b_visible", "b_hidden"):
        for index in np.ndindex(PARAMS64[name].shape):
            sides = []
            for step in (-1e-5, 1e-5):
                moved = PARAMS64 | {name: PARAMS64[name].copy()}
                moved[name][index] += step
                sides.append(free_energy(moved, data) - free_energy(moved, model))
            slope = (sides[1] - sides[0]) / 2e-5
            moved_by = new.params[name][index] - PARAMS[name][index]
            np.testing.assert_allclose(moved_by, -slope, atol=2e-5)
    for name in ("pixel_mean", "pixel_std"):
        np.testing.assert_array_equal(new.params[name], PARAMS[name])


# ---- pixels


def test_statistics_of_pixels_are_those_of_numpy_and_have_a_floor() -> None:
    many = np.concatenate([images(1500), images(700, seed=1) // 4])
    mean, std = rbm.pixel_statistics(many)
    flat = many.reshape(len(many), -1) / 255.0
    np.testing.assert_allclose(mean, flat.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std[1:], flat.std(axis=0)[1:], rtol=1e-5)
    constant = rbm.pixel_statistics(images())
    assert (constant.std[0], constant.mean[0]) == pytest.approx((rbm.LEAST_STD, 200 / 255))


def test_units_are_standardised_and_come_back_as_pixels() -> None:
    params = jax.jit(learner().init)(jax.random.key(0)).params
    visible = rbm.to_visible(params, jax.random.key(1), images(), "sample")
    varied = np.asarray(visible)[:, 1:]
    np.testing.assert_allclose(varied.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(varied.std(axis=0), 1.0, atol=1e-5)
    np.testing.assert_allclose(visible[:, 0], 0.0, atol=1e-5)
    np.testing.assert_allclose(
        rbm.to_pixels(params, visible), images().reshape(9, -1) / 255.0, atol=1e-6
    )
    np.testing.assert_array_equal(rbm.to_pixels(params, jnp.full(18, 99.0)), 1.0)


def test_training_on_colour_keeps_the_statistics_and_draws_images() -> None:
    """With every option that adds to the state."""
    options = {"persistent": True, "num_chains": 5, "centred": True, "momentum": 0.5}
    config = dataclasses.replace(CONFIG, num_sampling_steps=3, weight_decay=0.1, **options)
    trained = fit(learner(config), images(), Schedule(2, 3), (0,)).state
    pixels = rbm.pixel_statistics(images())
    np.testing.assert_array_equal(trained.params["pixel_mean"], pixels.mean)
    np.testing.assert_array_equal(trained.params["pixel_std"], pixels.std)
    assert trained.params["b_visible"].any()
    sample = jax.jit(rbm.learner(config, SHAPE).sample, static_argnums=2)
    drawn = sample(trained, jax.random.key(1), 4)
    assert drawn.shape == (4, *SHAPE)
    assert 0.0 <= drawn.min() < drawn.max() <= 1.0
    again = models.state_of("rbm", config, SHAPE, trained.params)
    assert same(again.params, trained.params)


def test_centred_means_start_at_those_of_standardised_pixels() -> None:
    state = jax.jit(learner(dataclasses.replace(CONFIG, centred=True)).init)(jax.random.key(0))
    np.testing.assert_array_equal(state.means[0], 0.0)
    assert rbm.at_base_rates(state, rbm.mean_pixels(images(), "none")) is state


def test_a_rate_that_is_too_high_ends_in_one_line() -> None:
    config = dataclasses.replace(CONFIG, learning_rate=30.0)
    with pytest.raises(NonFiniteError, match="lower --learning-rate") as error:
        fit(learner(config), images(), Schedule(40, 3), (0,))
    one_line(error)


@pytest.mark.parametrize("module", [rbm, dbn, wake_sleep])
def test_statistics_are_asked_for(module: Any) -> None:
    other = rbm.pixel_statistics(images()[:, :1])
    for pixels, found in ((None, "none"), (other, r"those of \(9,\)")):
        learner = module.learner(module.Config(visible="gaussian"), SHAPE, pixels=pixels)
        wanted = rf"of 18 pixels.*found {found}; give the learner pixels=rbm\.pixel_statistics"
        with pytest.raises(SettingError, match=wanted) as error:
            learner.init(jax.random.key(0))
        one_line(error)


# ---- a first layer of a DBN, and both directions of it

SIZES = {"hidden_sizes": (4, 3), "visible": "gaussian", "init_scale": 0.5}


@functools.cache
def stack() -> dbn.Layers:
    pixels = rbm.pixel_statistics(images())
    config = dbn.Config(**SIZES)  # type: ignore[arg-type]
    return jax.jit(lambda key: dbn.init_layers(config, 18, key, pixels))(jax.random.key(2))


def test_the_first_layer_is_the_rbm_and_the_second_is_binary() -> None:
    config = dbn.Config(**SIZES, gaussian_learning_rate=0.01)  # type: ignore[arg-type]
    alone = dataclasses.replace(CONFIG, init_scale=0.5)
    batch, key, pixels = unlabelled(images()), jax.random.key(3), rbm.pixel_statistics(images())

    def after_a_step(learner: Learner) -> Any:
        return jax.jit(lambda: learner.step(learner.init(key), batch, key)[0])()

    first = after_a_step(dbn.learner(config, SHAPE, pixels=pixels))
    assert same(first.params[0], after_a_step(rbm.learner(alone, SHAPE, pixels)).params)
    second = after_a_step(dbn.learner(config, SHAPE, first.params))
    assert same(second.params[0], first.params[0])
    assert [*map(rbm.is_gaussian, second.params)] == [True, False]
    assert dbn.rbm_config(config, 1).learning_rate == config.learning_rate
    shapes = jax.tree.map(jnp.shape, models.params_shape("dbn", config, SHAPE))
    assert shapes == jax.tree.map(jnp.shape, second.params)


def test_down_pass_ends_in_the_mean_of_the_lowest_layer() -> None:
    net, hidden = dbn.tie(stack()), jnp.asarray(reference.states(4), jnp.float32)
    mean, below = jax.jit(dbn.down)(net.generative, jax.random.key(0), hidden)
    assert same(below, hidden)
    layer = jax.tree.map(np.asarray, net.bottom)
    expected = np.asarray(hidden) @ layer["w"].T + layer["b_visible"]
    np.testing.assert_allclose(mean, expected, atol=1e-5)
    visible = rbm.to_visible(net.bottom, jax.random.key(0), images(), "sample")
    _, pixels = jax.jit(dbn.reconstruct)(net, jax.random.key(1), visible)
    assert pixels.shape == (9, 18)
    assert 0.0 <= pixels.min() < pixels.max() <= 1.0


def test_delta_rule_of_the_lowest_layer_is_the_gradient_of_its_log_density() -> None:
    """Of -mean log N(v; W h + a, 1), in closed form: (W h + a - v) h' and W h + a - v, means."""
    rng = np.random.default_rng(5)
    hidden, visible = rng.integers(0, 2, (7, 3)).astype(float), rng.normal(size=(7, 2))
    arguments = float32(((PARAMS64,), [hidden], [visible]))
    ((found,), error) = wake_sleep.delta_rule(rbm.visible_logits, *arguments, None)
    off = hidden @ PARAMS64["w"].T + PARAMS64["b_visible"] - visible
    np.testing.assert_allclose(found["w"], off.T @ hidden / 7, atol=1e-5)
    np.testing.assert_allclose(found["b_visible"], off.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(error, np.mean(off**2), rtol=1e-5)
    assert not found["pixel_mean"].any()
    assert not found["pixel_std"].any()


def test_up_down_moves_both_directions_of_the_lowest_layer() -> None:
    config = wake_sleep.Config((4, 3), visible="gaussian", prediction="samples")
    learner = wake_sleep.learner(config, SHAPE, stack())
    start = jax.jit(learner.init)(jax.random.key(0))
    new, metrics = jax.jit(learner.step)(start, unlabelled(images()), jax.random.key(1))
    assert all(np.isfinite(float(value)) for value in metrics.values())
    before, after = start.generative[0], new.generative[0]
    assert same(*({n: x[n] for n in ("pixel_mean", "pixel_std")} for x in (before, after)))
    assert not same(before["w"], after["w"])
    assert not same(start.recognition[0]["w"], new.recognition[0]["w"])
    assert models.params_shape("wake_sleep", config, SHAPE).generative[0].keys() == after.keys()
    drawn = jax.eval_shape(lambda state: learner.sample(state, jax.random.key(2), 2), new)
    assert drawn.shape == (2, *SHAPE)


def test_layers_of_other_units_are_refused() -> None:
    layers = stack()
    for module, given in ((dbn, layers[:1]), (wake_sleep, layers)):
        init = functools.partial(module.init, module.Config((4, 3)), 18, given)
        with pytest.raises(SettingError, match="--visible gaussian, those of the given") as error:
            init(jax.random.key(0))
        one_line(error)
    with pytest.raises(SettingError, match="--transposed-start off beside --visible gaussian"):
        dbn.Config((4, 18), visible="gaussian", transposed_start=True)


def test_reference_is_a_distribution() -> None:
    """The grid's sums meet the mixture's closed form, so the truth above is one."""
    table, _ = gaussian.joint(PARAMS64)
    mean, _ = gaussian.moments(PARAMS64)
    np.testing.assert_allclose(table.sum(axis=1) @ gaussian.points(), mean, atol=1e-8)
    assert truth.table(np.array([0.5])).sum() == 1.0
