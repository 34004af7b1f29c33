"""The RBM's mathematics against enumeration, and its updates against NumPy statistics."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import reference
from support.helpers import same

from jaxgen.errors import SettingError
from jaxgen.learner import Learner, unlabelled
from jaxgen.models import rbm

PARAMS64 = reference.small_rbm()
PARAMS = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS64)
VISIBLE, HIDDEN = reference.states(5), reference.states(4)
SHAPE = (2, 3, 1)


@functools.cache
def compiled(config, shape=SHAPE):
    """The learner with jitted functions, made once per setting."""
    plain = rbm.learner(config, shape)
    sample = jax.jit(plain.sample, static_argnums=2)
    return Learner(init=jax.jit(plain.init), step=jax.jit(plain.step), sample=sample)


gibbs = jax.jit(rbm.gibbs, static_argnums=3)
generate = jax.jit(rbm.generate, static_argnums=(3, 4))
reconstruct = jax.jit(rbm.reconstruct)


def images(num=8, seed=0):
    """Grey uint8 images of SHAPE."""
    return np.random.default_rng(seed).integers(0, 256, (num, *SHAPE), dtype=np.uint8)


def test_energy_of_every_state() -> None:
    for h in HIDDEN:
        expected = [reference.energy(PARAMS64, v, h) for v in VISIBLE]
        hidden = jnp.broadcast_to(h, (len(VISIBLE), 4))
        np.testing.assert_allclose(rbm.energy(PARAMS, VISIBLE, hidden), expected, atol=1e-5)


def test_free_energy_of_every_state() -> None:
    table, log_z = reference.joint(PARAMS64)
    expected = -np.log(table.sum(axis=1)) - log_z
    np.testing.assert_allclose(rbm.free_energy(PARAMS, VISIBLE), expected, atol=1e-5)


def test_conditionals_of_every_state() -> None:
    table, _ = reference.joint(PARAMS64)
    hidden = (table / table.sum(axis=1, keepdims=True)) @ HIDDEN
    visible = (table / table.sum(axis=0, keepdims=True)).T @ VISIBLE
    found_hidden = jax.nn.sigmoid(rbm.hidden_logits(PARAMS, VISIBLE))
    found_visible = jax.nn.sigmoid(rbm.visible_logits(PARAMS, HIDDEN))
    np.testing.assert_allclose(found_hidden, hidden, atol=1e-5)
    np.testing.assert_allclose(found_visible, visible, atol=1e-5)


def test_module_owns_the_parameters_and_returns_the_free_energy() -> None:
    module = rbm.RBM(num_visible=784, num_hidden=100)
    params = module.init(jax.random.key(0), jnp.zeros((1, 784)))["params"]
    assert {name: value.shape for name, value in params.items()} == {
        "w": (784, 100),
        "b_visible": (784,),
        "b_hidden": (100,),
    }
    assert abs(float(params["w"].std()) - 0.1) < 0.1 * 5 / np.sqrt(2 * 78400)
    assert not params["b_visible"].any()
    assert not params["b_hidden"].any()
    found = rbm.RBM(5, 4).apply({"params": PARAMS}, VISIBLE)
    np.testing.assert_array_equal(found, rbm.free_energy(PARAMS, VISIBLE))


def test_gibbs_step_has_the_enumerated_kernel() -> None:
    """One step from each visible state, many times: frequencies within 5 standard errors."""
    num = 20_000
    start = jnp.repeat(jnp.asarray(VISIBLE, jnp.float32), num, axis=0)
    after = np.asarray(gibbs(PARAMS, start, jax.random.key(1), 1)).reshape(32, num, 5)
    rows = (after @ 2.0 ** np.arange(4, -1, -1)).astype(int)
    frequency = np.array([np.bincount(row, minlength=32) for row in rows]) / num
    expected = reference.gibbs_kernel(PARAMS64)
    error = np.sqrt(expected * (1 - expected) / num) + 1e-6
    assert np.abs((frequency - expected) / error).max() < 5.0


def test_long_chain_has_the_model_distribution() -> None:
    num = 100_000
    after = gibbs(PARAMS, jnp.zeros((num, 5)), jax.random.key(2), 60)
    rows = (np.asarray(after) @ 2.0 ** np.arange(4, -1, -1)).astype(int)
    expected = reference.joint(PARAMS64)[0].sum(axis=1)
    error = np.sqrt(expected * (1 - expected) / num)
    assert np.abs((np.bincount(rows, minlength=32) / num - expected) / error).max() < 5.0


def mean_cd_gradient(params, num_gibbs_steps, data, num=200_000):
    """The CD-k update of many copies of the data, per unit of learning rate."""
    start = jnp.tile(data, (num // len(data), 1))
    model = gibbs(params, start, jax.random.key(3), num_gibbs_steps)

    def contrast(params):
        return rbm.free_energy(params, data).mean() - rbm.free_energy(params, model).mean()

    return jax.tree.map(jnp.negative, jax.jit(jax.grad(contrast))(params))


def test_cd_gradient_approaches_the_exact_gradient_as_k_grows() -> None:
    """Strong weights make the chain slow, so that the bias of a small k is seen."""
    params64 = reference.small_rbm(scale=2.0)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params64)
    data = jnp.asarray(VISIBLE[[3, 3, 9, 17, 30]], jnp.float32)
    exact = reference.log_likelihood_gradient(params64, np.asarray(data))
    distance = {}
    for k in (1, 2, 60):
        found = mean_cd_gradient(params, k, data)
        distance[k] = max(np.abs(found[name] - exact[name]).max() for name in exact)
    noise = 5 * 0.5 / np.sqrt(200_000)  # five standard errors of a mean of binary draws
    assert distance[60] < noise
    assert distance[2] > 2 * noise
    assert distance[1] > distance[2] + noise


@pytest.mark.parametrize("binarize", ["sample", "threshold", "none"])
def test_update_equals_numpy_statistics(binarize: str) -> None:
    """W += lr (<v h>_data - <v h>_model), and the biases likewise, from the step's own draws."""
    config = rbm.Config(num_hidden=4, learning_rate=0.3, binarize=binarize)
    learner = compiled(config, SHAPE)
    state, key = learner.init(jax.random.key(0)), jax.random.key(9)
    new, _ = learner.step(state, unlabelled(images()), key)

    key_data, key_gibbs = jax.random.split(key)
    data = np.asarray(rbm.binarize(key_data, images(), binarize), np.float64)
    model = np.asarray(gibbs(state.params, data.astype(np.float32), key_gibbs, 1), np.float64)
    w, a, b = (
        np.asarray(state.params[name], np.float64) for name in ("w", "b_visible", "b_hidden")
    )
    hidden_data, hidden_model = (1 / (1 + np.exp(-(v @ w + b))) for v in (data, model))
    expected = {
        "w": w + 0.3 * (data.T @ hidden_data - model.T @ hidden_model) / 8,
        "b_visible": a + 0.3 * (data - model).mean(axis=0),
        "b_hidden": b + 0.3 * (hidden_data - hidden_model).mean(axis=0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(new.params[name], value, atol=1e-6)
    assert int(new.step) == 1


def test_momentum_and_weight_decay() -> None:
    config = rbm.Config(num_hidden=4, learning_rate=0.5, momentum=0.9, weight_decay=0.1)
    plain = dataclasses.replace(config, momentum=0.0, weight_decay=0.0)
    state = compiled(config, SHAPE).init(jax.random.key(0))
    plain_state = compiled(plain, SHAPE).init(jax.random.key(0))
    key = jax.random.key(4)
    first, _ = compiled(config, SHAPE).step(state, unlabelled(images()), key)
    gradient = {
        name: (
            compiled(plain, SHAPE).step(plain_state, unlabelled(images()), key)[0].params[name]
            - value
        )
        / 0.5
        for name, value in state.params.items()
    }
    decay = {"w": 0.1, "b_visible": 0.0, "b_hidden": 0.0}
    velocity = {n: gradient[n] - decay[n] * state.params[n] for n in gradient}
    for name, value in state.params.items():
        np.testing.assert_allclose(first.params[name], value + 0.5 * velocity[name], atol=1e-5)
    second, _ = compiled(config, SHAPE).step(first, unlabelled(images()), key)
    # The bias of unit 0 moves by the new gradient and 0.9 of the old velocity.
    moved = (
        compiled(plain, SHAPE)
        .step(plain_state._replace(params=first.params), unlabelled(images()), key)[0]
        .params["b_visible"]
    )
    again = (moved - first.params["b_visible"]) + 0.5 * 0.9 * velocity["b_visible"]
    np.testing.assert_allclose(
        second.params["b_visible"] - first.params["b_visible"], again, atol=1e-5
    )


@pytest.mark.parametrize(
    ("step", "share"), [(0, 1.0), (5, 1.0), (6, 0.8), (9, 0.2), (10, 0.0), (400, 0.0)]
)
def test_a_falling_rate_follows_the_step(step: int, share: float) -> None:
    """Constant for half of ten updates, then linearly to 0; momentum is of the full gradient."""
    config = rbm.Config(num_hidden=4, momentum=0.5, weight_decay=0.1)
    falling = dataclasses.replace(config, decay_steps=10)
    state, key = compiled(config, SHAPE).init(jax.random.key(0)), jax.random.key(1)
    state, _ = compiled(config, SHAPE).step(state, unlabelled(images()), key)
    state = state._replace(step=jnp.int32(step))
    full, _ = compiled(config, SHAPE).step(state, unlabelled(images()), key)
    found, _ = compiled(falling, SHAPE).step(state, unlabelled(images()), key)
    for name, before in state.params.items():
        moved = share * (full.params[name] - before)
        np.testing.assert_allclose(found.params[name] - before, moved, atol=1e-6)
    assert same(found.opt_state, full.opt_state)


def test_centred_gradient_equals_centred_statistics() -> None:
    """centre() of the plain difference is the difference of centred products, in NumPy."""
    rng = np.random.default_rng(0)
    v_data, v_model = rng.uniform(size=(2, 50, 5))
    h_data, h_model = rng.uniform(size=(2, 50, 4))
    mu, lam = rng.uniform(size=5), rng.uniform(size=4)
    plain = {
        "w": (v_data.T @ h_data - v_model.T @ h_model) / 50,
        "b_visible": (v_data - v_model).mean(axis=0),
        "b_hidden": (h_data - h_model).mean(axis=0),
    }
    w = ((v_data - mu).T @ (h_data - lam) - (v_model - mu).T @ (h_model - lam)) / 50
    found = rbm.centre(jax.tree.map(jnp.asarray, plain), jnp.asarray(mu), jnp.asarray(lam))
    np.testing.assert_allclose(found["w"], w, atol=1e-6)
    np.testing.assert_allclose(found["b_visible"], plain["b_visible"] - w @ lam, atol=1e-6)
    np.testing.assert_allclose(found["b_hidden"], plain["b_hidden"] - mu @ w, atol=1e-6)


def test_centred_running_means_follow_the_data() -> None:
    config = rbm.Config(num_hidden=4, centred=True, binarize="threshold", learning_rate=1e-9)
    learner = compiled(config, SHAPE)
    state = learner.init(jax.random.key(0))
    for index in range(600):
        state, _ = learner.step(state, unlabelled(images()), jax.random.key(index))
    expected = (images() >= 127.5).reshape(8, -1).mean(axis=0)
    np.testing.assert_allclose(state.means[0], expected, atol=0.01)


def test_persistent_chains_go_on_from_where_they_were() -> None:
    config = rbm.Config(num_hidden=4, persistent=True, num_chains=7, num_gibbs_steps=2)
    learner = compiled(config, SHAPE)
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    assert state.chains.shape == (7, 6)
    new, metrics = learner.step(state, unlabelled(images()), key)
    _, key_gibbs = jax.random.split(key)
    np.testing.assert_array_equal(new.chains, gibbs(state.params, state.chains, key_gibbs, 2))
    assert "pixel_change" not in metrics


def test_rates_in_the_state_share_one_program() -> None:
    """Two learners that differ in their rate alone, vmapped, equal the two alone."""
    rates = (0.05, 0.4)
    learners = [compiled(rbm.Config(num_hidden=4, learning_rate=rate), SHAPE) for rate in rates]
    key = jax.random.key(2)
    states = [learner.init(key) for learner in learners]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    step = jax.vmap(learners[0].step, in_axes=(0, None, None))
    together, _ = step(stacked, unlabelled(images()), key)
    for index, (learner, state) in enumerate(zip(learners, states, strict=True)):
        alone, _ = learner.step(state, unlabelled(images()), key)
        np.testing.assert_allclose(together.params["w"][index], alone.params["w"], atol=1e-6)


def test_reconstruct_and_generate() -> None:
    hidden, probs = reconstruct(PARAMS, jax.random.key(0), jnp.asarray(VISIBLE, jnp.float32))
    below = jax.jit(lambda params, hidden: jax.nn.sigmoid(rbm.visible_logits(params, hidden)))
    np.testing.assert_array_equal(probs, below(PARAMS, hidden))
    start = jnp.zeros((50_000, 4)).at[:, 0].set(1.0)
    final, _ = generate(PARAMS, jax.random.key(1), start, 60)
    expected_on = reference.joint(PARAMS64)[0].sum(axis=0) @ HIDDEN
    assert np.abs(final.mean(axis=0) - expected_on).max() < 5 * 0.5 / np.sqrt(50_000)


def test_gain_multiplies_the_start_alone() -> None:
    """One step h -> v -> h with gain 3: p(v|3h) enumerated, then p(h|v)."""
    start = jnp.zeros((100_000, 4)).at[:, 1].set(1.0)
    final, _ = generate(PARAMS, jax.random.key(5), start, 1, 3.0)
    logits = PARAMS64["b_visible"] + 3.0 * PARAMS64["w"][:, 1]
    prob = np.prod(
        np.where(VISIBLE == 1, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))), axis=1
    )
    expected = prob @ (1 / (1 + np.exp(-(VISIBLE @ PARAMS64["w"] + PARAMS64["b_hidden"]))))
    assert np.abs(final.mean(axis=0) - expected).max() < 5 * 0.5 / np.sqrt(100_000)


def test_sample_contract() -> None:
    learner = compiled(rbm.Config(num_hidden=4, num_sampling_steps=3), SHAPE)
    drawn = learner.sample(learner.init(jax.random.key(0)), jax.random.key(1), 5)
    assert drawn.shape == (5, *SHAPE)
    assert drawn.dtype == jnp.float32
    assert 0.0 <= float(drawn.min()) <= float(drawn.max()) <= 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"num_hidden": 0},
        {"num_gibbs_steps": 0},
        {"num_chains": -1},
        {"momentum": 1.0},
        {"decay_steps": -1},
        {"binarize": "sampled"},
    ],
)
def test_impossible_settings(bad: dict[str, Any]) -> None:
    flag = next(iter(bad)).replace("_", "-")
    with pytest.raises(SettingError, match=f"--{flag}"):
        rbm.Config(**bad)


# ---- base rates


def test_base_rates_of_units_that_never_change_are_finite() -> None:
    found = rbm.base_rate_logits(jnp.array([0.0, 0.3, 1.0]), smoothing=0.1)
    np.testing.assert_allclose(found, special.logit([1 / 12, 1 / 3, 11 / 12]), rtol=1e-5)
