"""Label units against enumeration of all visible units, labels and hidden units."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbn as truth
from support.reference_dbn import float32

from jaxgen.models import label_units, rbm

PARAMS = reference.labelled_rbm()
NUM_VISIBLE, NUM_HIDDEN, NUM_CLASSES = 4, 3, 3
JOINT, LOG_Z = reference.labelled_joint(PARAMS)
"""p(v, y, h) [16, 3, 8]."""
VISIBLE = jnp.asarray(reference.states(NUM_VISIBLE), jnp.float32)

generate = jax.jit(label_units.generate, static_argnums=(3, 4))
gibbs = jax.jit(label_units.gibbs, static_argnums=4)


def gibbs_kernel() -> np.ndarray:
    """p(v', y'|v, y) [48, 48] of one step, from the conditionals of the joint."""
    up = JOINT / JOINT.sum(axis=2, keepdims=True)
    p_vh, p_yh = JOINT.sum(axis=1), JOINT.sum(axis=0)
    down_v, down_y = p_vh / p_vh.sum(axis=0), p_yh / p_yh.sum(axis=0)
    kernel: np.ndarray = np.einsum("vyh,wh,zh->vywz", up, down_v, down_y)
    return kernel.reshape(48, 48)


# ---- energies and conditionals


def test_free_energies_are_sums_over_the_hidden_units() -> None:
    found = label_units.free_energies(float32(PARAMS), VISIBLE)
    np.testing.assert_allclose(found, -np.log(JOINT.sum(axis=2)) - LOG_Z, rtol=1e-5, atol=1e-5)
    found = label_units.free_energy(float32(PARAMS), VISIBLE)
    np.testing.assert_allclose(found, -np.log(JOINT.sum(axis=(1, 2))) - LOG_Z, rtol=1e-5, atol=1e-5)


def test_the_posterior_of_the_label_is_that_of_bayes() -> None:
    p_vy = JOINT.sum(axis=2)
    found = np.exp(label_units.log_posterior(float32(PARAMS), VISIBLE))
    np.testing.assert_allclose(found, p_vy / p_vy.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_hidden_probabilities_are_summed_over_the_labels() -> None:
    p_vh = JOINT.sum(axis=1)
    expected = p_vh / p_vh.sum(axis=1, keepdims=True) @ reference.states(NUM_HIDDEN)
    found = label_units.hidden_probs(float32(PARAMS), VISIBLE)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_given_its_label_it_is_an_rbm() -> None:
    for label in range(NUM_CLASSES):
        rest = label_units.given(float32(PARAMS), label)
        assert set(rest) == {"w", "b_visible", "b_hidden"}
        table, _ = reference.joint({name: np.asarray(x, np.float64) for name, x in rest.items()})
        expected = JOINT[:, label] / JOINT[:, label].sum()
        np.testing.assert_allclose(table, expected, rtol=1e-5)


# ---- chains


def test_one_gibbs_step_has_the_enumerated_kernel() -> None:
    """Every (v, y) many times; the softmax group has one unit on, with its frequency."""
    num = 4_000
    visible = jnp.repeat(VISIBLE, NUM_CLASSES * num, axis=0)
    labels = jnp.tile(jnp.repeat(jnp.arange(NUM_CLASSES), num), len(VISIBLE))
    found, drawn = gibbs(float32(PARAMS), visible, labels, jax.random.key(0), 1)
    numbers = NUM_CLASSES * truth.state_numbers(found) + np.asarray(drawn)
    for rows, expected in zip(numbers.reshape(48, num), gibbs_kernel(), strict=True):
        truth.assert_drawn_from(rows, expected)


def test_a_clamped_chain_has_the_distribution_given_its_label() -> None:
    num = 10_000
    labels = jnp.repeat(jnp.arange(NUM_CLASSES), num)
    start = jnp.zeros((len(labels), NUM_HIDDEN))
    hidden, probs = generate(float32(PARAMS), jax.random.key(1), start, 20, 1.0, labels)
    for label, rows, means in zip(
        range(NUM_CLASSES),
        truth.state_numbers(hidden).reshape(-1, num),
        np.asarray(probs, np.float64).reshape(-1, num, NUM_VISIBLE),
        strict=True,
    ):
        table = JOINT[:, label] / JOINT[:, label].sum()
        truth.assert_drawn_from(rows, table.sum(axis=0))
        error = means.std(axis=0) / np.sqrt(num)
        expected = table.sum(axis=1) @ reference.states(NUM_VISIBLE)
        assert np.abs((means.mean(axis=0) - expected) / error).max() < 5.0


def test_a_free_chain_has_the_distribution_of_the_model() -> None:
    """Of visible units and labels together, from `gibbs`; of hidden units, from `generate`."""
    num, params = 20_000, float32(PARAMS)
    start = jnp.zeros((num, NUM_HIDDEN))
    hidden, _ = generate(params, jax.random.key(2), start, 20)
    truth.assert_drawn_from(truth.state_numbers(hidden), JOINT.sum(axis=(0, 1)))
    visible, labels = jnp.zeros((num, NUM_VISIBLE)), jnp.zeros(num, jnp.int32)
    visible, labels = gibbs(params, visible, labels, jax.random.key(3), 20)
    numbers = NUM_CLASSES * truth.state_numbers(visible) + np.asarray(labels)
    truth.assert_drawn_from(numbers, JOINT.sum(axis=2))


def test_reconstruction_draws_the_label_that_it_is_not_given() -> None:
    num = 20_000
    start = jnp.tile(VISIBLE[5], (num, 1))
    hidden, _ = jax.jit(label_units.reconstruct)(float32(PARAMS), jax.random.key(4), start)
    expected = JOINT[5].sum(axis=0)
    truth.assert_drawn_from(truth.state_numbers(hidden), expected / expected.sum())


# ---- learning

CELLS = np.array([0, 4, 4, 17, 21, 30, 38, 45])
"""Of the table of v and y, in the data."""


def mean_statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
    """<v h>, <y h>, <v>, <h>, <y> under p(v, y) [48] and the model's p(h|v, y)."""
    up = JOINT / JOINT.sum(axis=2, keepdims=True)
    table = weights.reshape(16, NUM_CLASSES)[..., None] * up
    v, h, y = reference.states(NUM_VISIBLE), reference.states(NUM_HIDDEN), np.eye(NUM_CLASSES)
    return {
        "w": v.T @ table.sum(axis=1) @ h,
        "w_labels": y.T @ table.sum(axis=0) @ h,
        "b_visible": v.T @ table.sum(axis=(1, 2)),
        "b_hidden": h.T @ table.sum(axis=(0, 1)),
        "b_labels": y.T @ table.sum(axis=(0, 2)),
    }


@pytest.mark.parametrize("k", [1, 20])
def test_an_update_is_the_difference_of_the_enumerated_statistics(k: int) -> None:
    """Of data and of k steps from it; after many steps that is the gradient of log p(v, y)."""
    num = 5_000
    config = rbm.Config(num_hidden=NUM_HIDDEN, num_gibbs_steps=k, learning_rate=1.0)
    state = rbm.init(config, NUM_VISIBLE, jax.random.key(0))._replace(params=float32(PARAMS))
    cells = np.repeat(CELLS, num)
    data, labels = VISIBLE[cells // NUM_CLASSES], jnp.asarray(cells % NUM_CLASSES)
    step = jax.jit(partial(label_units.contrastive_divergence, config))
    new, metrics, _ = step(state, data, labels, jax.random.key(5))
    assert int(new.step) == 1
    start = np.bincount(CELLS, minlength=48) / len(CELLS)
    end = start @ np.linalg.matrix_power(gibbs_kernel(), k)
    before, after, exact = map(mean_statistics, (start, end, JOINT.sum(axis=2).ravel()))
    for name, value in PARAMS.items():
        found = np.asarray(new.params[name], np.float64) - np.float32(value)
        atol = 5 * 0.5 / np.sqrt(len(cells))  # of a mean of numbers in [0, 1]
        np.testing.assert_allclose(found, before[name] - after[name], atol=atol)
        if k > 1:
            np.testing.assert_allclose(after[name], exact[name], atol=1e-3)
    log_p = np.log(JOINT.sum(axis=2)).ravel()
    error = 5 * log_p.std() / np.sqrt(len(cells))
    assert metrics["free_energy_contrast"] == pytest.approx((end - start) @ log_p, abs=error)


def test_new_label_units_leave_the_rest_of_the_state() -> None:
    config = rbm.Config(num_hidden=500, init_scale=0.2)
    state = rbm.init(config, 3, jax.random.key(0))
    assert label_units.add_units(config, state, 0, jax.random.key(0)) is state
    params = label_units.add_units(config, state, 4, jax.random.key(0)).params
    for name, value in state.params.items():
        np.testing.assert_array_equal(params[name], value)
    assert params["w_labels"].shape == (4, 500)
    assert np.std(params["w_labels"]) == pytest.approx(0.2, rel=0.1)
    assert np.isin(params["w_labels"], state.params["w"]).mean() < 0.01
    np.testing.assert_array_equal(params["b_labels"], np.zeros(4))
