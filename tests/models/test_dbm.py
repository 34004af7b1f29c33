"""The deep Boltzmann machine against enumeration, and its gradients against finite differences."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbm as truth
from support.helpers import one_line, same
from support.reference_dbn import assert_drawn_from, float32, sigmoid, state_numbers

from jaxgen.errors import SettingError
from jaxgen.learner import unlabelled
from jaxgen.models import dbm, rbm
from jaxgen.training.loop import Schedule, fit

PARAMS = truth.machine()
V, H1, H2 = 5, 4, 3
SHAPE = (5, 1, 1)
STATES = reference.states(V)
TOGETHER = reference.states(V + H2)
"""All states of (v, h2), those of h2 counting fastest."""
IMAGES = (255 * STATES).astype(np.uint8).reshape(-1, *SHAPE)
MACHINES = {"coupled": PARAMS, "decoupled": truth.decoupled(PARAMS)}


def state_with(config: dbm.Config, params: truth.Params) -> dbm.State:
    start = jax.jit(partial(dbm.init, config, V, None))(jax.random.key(0))
    return start._replace(params=float32(params))


# ---- the energy, and the RBM that it is


def test_energies_and_free_energies_are_the_enumerated_ones() -> None:
    exponents, params = truth.exponents(PARAMS), float32(PARAMS)
    v, h1, h2 = np.unravel_index(np.arange(exponents.size), exponents.shape)
    units = (STATES[v], reference.states(H1)[h1], reference.states(H2)[h2])
    np.testing.assert_allclose(-dbm.energy(params, *units), exponents.ravel(), atol=1e-5)
    expected = -np.log(np.exp(exponents).sum(axis=1)).ravel()
    visible, second = TOGETHER[:, :V], TOGETHER[:, V:]
    np.testing.assert_allclose(dbm.free_energy(params, visible, second), expected, atol=1e-5)
    pair = dbm.as_rbm(params)
    np.testing.assert_allclose(rbm.free_energy(pair, TOGETHER), expected, atol=1e-5)
    assert same(dbm.from_rbm(pair, V), params)


def test_conditionals_are_those_of_the_joint() -> None:
    joint = np.exp(truth.exponents(PARAMS)).transpose(0, 2, 1).reshape(2 ** (V + H2), 2**H1)
    pair = dbm.as_rbm(float32(PARAMS))
    given = joint / joint.sum(axis=1, keepdims=True) @ reference.states(H1)
    found = sigmoid(rbm.hidden_logits(pair, jnp.asarray(TOGETHER)))
    np.testing.assert_allclose(found, given, rtol=1e-5)
    given = (joint / joint.sum(axis=0)).T @ TOGETHER
    found = rbm.visible_mean(pair, jnp.asarray(reference.states(H1)))
    np.testing.assert_allclose(found, given, rtol=1e-5)


def test_the_chains_have_the_distribution_of_the_machine() -> None:
    """Of (v, h2), after the Gibbs steps of a few updates at rate 0, from independent units."""
    config = dbm.Config((H1, H2), 1, num_gibbs_steps=40, num_chains=40_000, learning_rate=1e-30)
    state, batch = state_with(config, PARAMS), unlabelled(IMAGES)
    new, _ = jax.jit(partial(dbm.step, config))(state, batch, jax.random.key(1))
    assert_drawn_from(state_numbers(state.chains), np.full(2 ** (V + H2), 2.0 ** -(V + H2)))
    probs = np.exp(truth.exponents(PARAMS) - truth.log_z(PARAMS)).sum(axis=1)
    assert_drawn_from(state_numbers(new.chains), probs.ravel())


def test_samples_are_probabilities_given_units_of_the_machine() -> None:
    """Their mean is that of v, from random h1."""
    config = dbm.Config((H1, H2), num_sampling_steps=40)
    sample = jax.jit(partial(dbm.sample, config, SHAPE), static_argnums=2)
    images = sample(state_with(config, PARAMS), jax.random.key(2), 20_000)
    found = np.asarray(images).reshape(-1, V)
    mean = np.exp(truth.log_likelihoods(PARAMS)) @ STATES
    assert np.abs((found.mean(axis=0) - mean) / (found.std(axis=0) / 141)).max() < 5


# ---- mean field


def test_mean_field_ends_in_its_fixed_point() -> None:
    first, second = dbm.mean_field(float32(PARAMS), jnp.asarray(STATES), 200)
    below = STATES @ PARAMS["w1"] + PARAMS["b_hidden1"]
    expected = sigmoid(below + np.asarray(second) @ PARAMS["w2"].T)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    expected = sigmoid(np.asarray(first) @ PARAMS["w2"] + PARAMS["b_hidden2"])
    np.testing.assert_allclose(second, expected, atol=1e-6)


def test_mean_field_begins_with_doubled_weights_and_never_lowers_the_bound() -> None:
    values = []
    for num_steps in (0, 1, 2, 4, 20):
        first, second = dbm.mean_field(float32(PARAMS), jnp.asarray(STATES), num_steps)
        if num_steps == 0:
            start = sigmoid(2 * STATES @ PARAMS["w1"] + PARAMS["b_hidden1"])
            expected = sigmoid(start @ PARAMS["w2"] + PARAMS["b_hidden2"])
            np.testing.assert_allclose(second, expected, atol=1e-6)
        values.append(truth.bounds(PARAMS, np.float64(first), np.float64(second)))
    assert (np.diff(values, axis=0) > -1e-6).all()
    assert (values[1] - values[0]).max() > 1e-3
    assert (values[-1] < truth.log_likelihoods(PARAMS)).all()


# ---- learning


@pytest.mark.parametrize("name", MACHINES)
def test_an_update_is_the_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bound at a given q, which is that of the log likelihood where h2 is independent.

    The chains are all states of (v, h2), each as often as it is probable.
    """
    params = MACHINES[name]
    joint = np.exp(truth.exponents(params) - truth.log_z(params)).sum(axis=1)
    chains = jnp.asarray(truth.in_proportion(TOGETHER, joint), jnp.float32)
    monkeypatch.setattr(rbm, "negative_phase", lambda *_: chains)
    config = dbm.Config((H1, H2), 200, learning_rate=1.0, binarize="none")
    weights = np.random.default_rng(3).dirichlet(np.ones(2**V))
    batch = unlabelled(truth.in_proportion(IMAGES, weights, 2000))
    weights = np.unique(batch.images.reshape(-1, V), axis=0, return_counts=True)[1] / len(
        batch.images
    )
    seen = np.unique(batch.images.reshape(-1, V) // 255, axis=0)
    rows = state_numbers(seen)
    state = state_with(config, params)
    new, metrics = jax.jit(partial(dbm.step, config))(state, batch, jax.random.key(0))
    assert metrics["mean_field_change"] < 1e-6
    found = jax.tree.map(lambda a, b: np.asarray(a - b), new.params, state.params)
    first, second = map(np.float64, dbm.mean_field(float32(params), jnp.asarray(STATES), 200))

    def bound(moved: truth.Params) -> float:
        return float(weights @ truth.bounds(moved, first, second)[rows])

    def log_likelihood(moved: truth.Params) -> float:
        return float(weights @ truth.log_likelihoods(moved)[rows])

    targets = [bound] if name == "coupled" else [bound, log_likelihood]
    for target in targets:
        for part, expected in truth.gradient(target, params).items():
            np.testing.assert_allclose(found[part], expected, atol=2e-3, err_msg=part)
    assert np.abs(found["w2"]).max() > 0.02


def test_a_rate_that_decays_moves_by_a_share_and_no_less_than_a_tenth() -> None:
    config = dbm.Config((H1, H2), num_chains=7, decay=0.5)
    step, batch = jax.jit(partial(dbm.step, config)), unlabelled(IMAGES[:4])
    start, changes = state_with(config, PARAMS), []
    for number in (0, 1, 3, 40):
        state = start._replace(step=jnp.int32(number))
        new, _ = step(state, batch, jax.random.key(5))
        changes.append(np.asarray(new.params["w1"] - start.params["w1"]))
    first, *others = changes
    for change, share in zip(others, (1 / 1.5, 1.5**-3, 0.1), strict=True):
        np.testing.assert_allclose(change, share * first, rtol=1e-3, atol=2e-7)
    assert np.abs(first).max() > 1e-3


# ---- pretraining


def test_copies_double_the_input_of_the_first_layer() -> None:
    """The paper's formula, with the doubled bias of h1 in the public code."""
    lower, upper = reference.small_rbm(V, H1, seed=2), reference.small_rbm(H1, H2, seed=3)
    h1, h2 = reference.states(H1), reference.states(H2)
    pair = dbm.twice(float32(lower), "visible")
    up = rbm.hidden_logits(pair, jnp.asarray(np.hstack([STATES, STATES])))
    np.testing.assert_allclose(up, 2 * (STATES @ lower["w"] + lower["b_hidden"]), atol=1e-5)
    down = h1 @ lower["w"].T + lower["b_visible"]
    found = rbm.visible_logits(pair, jnp.asarray(h1))
    np.testing.assert_allclose(found, np.hstack([down, down]), atol=1e-5)
    top = dbm.twice(float32(upper), "hidden")
    back = rbm.visible_logits(top, jnp.asarray(np.hstack([h2, h2])))
    np.testing.assert_allclose(back, 2 * (h2 @ upper["w"].T + upper["b_visible"]), atol=1e-5)
    above = h1 @ upper["w"] + upper["b_hidden"]
    found = rbm.hidden_logits(top, jnp.asarray(h1))
    np.testing.assert_allclose(found, np.hstack([above, above]), atol=1e-5)
    composed = dbm.as_rbm(dbm.compose((float32(lower), float32(upper))))
    given = rbm.hidden_logits(composed, jnp.asarray(TOGETHER)).reshape(2**V, 2**H2, H1)
    np.testing.assert_allclose(given, (up[:, None] + back) / 2, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_pretraining_climbs_the_likelihood_of_the_rbm_with_copies(
    layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By half its gradient; the chain ends in all states, each as often as it is probable.

    The second RBM learns from h1 = 1 with p = sigmoid(2 (b1' + v'W1)).
    """
    lower, upper = reference.small_rbm(4, 3, seed=4), reference.small_rbm(3, 2, seed=5)
    params, num_below = (upper, 3) if layer else (lower, 4)
    axis, side = (1, "b_hidden") if layer else (0, "b_visible")

    def with_copies(params: truth.Params) -> truth.Params:
        other = "b_visible" if layer else "b_hidden"
        return {
            "w": np.concatenate([params["w"]] * 2, axis=axis),
            side: np.tile(params[side], 2),
            other: 2 * params[other],
        }

    table = reference.joint(with_copies(params))[0].sum(axis=1)
    num_units = num_below if layer else 2 * num_below
    chains = truth.in_proportion(reference.states(num_units), table, 1 << 15)
    given: list[jax.Array] = []

    def gibbs(_: Any, start: jax.Array, *__: Any) -> jax.Array:
        given.append(start)
        return jnp.asarray(np.resize(chains, start.shape), jnp.float32)

    monkeypatch.setattr(rbm, "gibbs", gibbs)
    config = dbm.Config((3, 2), pretraining_rate=1.0, binarize="threshold")
    below = (float32(lower),) if layer else ()
    learner = dbm.pretraining(config, (4, 1, 1), below)
    state = learner.init(jax.random.key(0))
    state = state._replace(top=state.top._replace(params=float32(params)))
    visible = truth.in_proportion(reference.states(4), np.full(16, 1 / 16), len(chains))
    images = (255 * visible).astype(np.uint8).reshape(-1, 4, 1, 1)
    step = jax.jit(lambda *arguments: (*learner.step(*arguments), given[0]))
    new, metrics, data = step(state, unlabelled(images), jax.random.key(1))
    if layer:
        on = sigmoid(2 * (visible @ lower["w"] + lower["b_hidden"]))
        bits = reference.states(3)[:, None]
        q = np.prod(bits * on + (1 - bits) * (1 - on), axis=-1).mean(axis=1)
        assert_drawn_from(state_numbers(data), q)
    else:
        np.testing.assert_array_equal(data, np.hstack([visible, visible]))
    rows, counts = np.unique(state_numbers(data), return_counts=True)

    def log_likelihood(params: truth.Params) -> float:
        probs = reference.joint(with_copies(params))[0].sum(axis=1)
        return float(counts / len(data) @ np.log(probs[rows]))

    for name, expected in truth.gradient(log_likelihood, params).items():
        moved = np.asarray(new.top.params[name] - state.top.params[name])
        np.testing.assert_allclose(moved, expected / 2, atol=5e-3, err_msg=name)
    assert same(new.lower, state.lower)
    assert np.isfinite(metrics["free_energy_contrast"])


# ---- settings, and the whole way


def test_bad_settings_and_layers_of_other_sizes_are_refused() -> None:
    for sizes in ((4,), (4, 3, 2)):
        with pytest.raises(SettingError) as error:
            dbm.Config(sizes)
        assert "--hidden-sizes of " in one_line(error)
    layers = (float32(reference.small_rbm(V, 6)), float32(reference.small_rbm(6, H2)))
    with pytest.raises(SettingError) as error:
        dbm.learner(dbm.Config((H1, H2)), SHAPE, layers).init(jax.random.key(0))
    assert "--hidden-sizes 6 3, those of the given layers, found 4 3" in one_line(error)
    standardised = {"pixel_mean": jnp.zeros(V), "pixel_std": jnp.ones(V)}
    layers = (
        float32(reference.small_rbm(V, H1)) | standardised,
        float32(reference.small_rbm(H1, H2)),
    )
    with pytest.raises(SettingError) as error:
        dbm.learner(dbm.Config((H1, H2)), SHAPE, layers).init(jax.random.key(0))
    assert "--visible gaussian, those of the given layers, found binary" in one_line(error)


@pytest.mark.parametrize("centred", [False, True])
def test_small_weights_start_at_the_base_rates(centred: bool) -> None:
    """Without weights every pixel is on as often as in the images, nearly; h2 stays as it was."""
    mean = np.array([0.1, 0.9, 0.5, 0.0, 0.3], np.float32)
    plain = dbm.init(dbm.Config((H1, H2), centred=centred), V, None, jax.random.key(0))
    state = dbm.at_base_rates(plain, mean)
    shown = jax.nn.sigmoid(state.params["b_visible"])
    np.testing.assert_allclose(shown, (mean + 0.005) / 1.01, rtol=1e-5)
    assert same(state.params | {"b_visible": plain.params["b_visible"]}, plain.params)
    if not centred:
        assert state.means is None
        return
    np.testing.assert_array_equal(state.means[0], [*mean, *np.full(H2, 0.5)])
    np.testing.assert_array_equal(state.means[1], np.full(H1, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_trained_machine_is_better_than_independent_pixels(pretrained: bool) -> None:
    """Exact log likelihoods of three patterns with a pixel in ten turned over."""
    rng = np.random.default_rng(0)
    patterns = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 1]])
    chosen = patterns[rng.integers(0, 3, 400)]
    pixels = np.where(rng.uniform(size=chosen.shape) < 0.1, 1 - chosen, chosen)
    images = (255 * pixels).astype(np.uint8).reshape(-1, *SHAPE)
    config = dbm.Config((H1, H2), learning_rate=0.05, centred=True)
    schedule, layers = Schedule(20, 20), ()
    for _ in range(2 if pretrained else 0):
        layers = fit(dbm.pretraining(config, SHAPE, layers), images, schedule, (0,)).state.params
    learner = dbm.learner(config, SHAPE, layers)
    start = learner.init(jax.random.key(0)).params
    state = fit(learner, images, Schedule(60 if pretrained else 200, 20), (0,)).state
    rows = state_numbers(pixels)
    before, after = (
        truth.log_likelihoods(jax.tree.map(np.float64, each))[rows].mean()
        for each in (start, state.params)
    )
    mean = pixels.mean(axis=0)
    independent = (mean * np.log(mean) + (1 - mean) * np.log(1 - mean)).sum()
    entropy = np.log(np.unique(rows, return_counts=True)[1] / 400)
    best = (np.exp(entropy) * entropy).sum()
    assert before < after < best
    assert after > independent + 0.7 * (best - independent)
