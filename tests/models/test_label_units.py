"""Label units against enumeration of visible units, labels and hidden units; or integration."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbn as truth
from support import reference_gaussian as gaussian
from support.reference_dbn import float32

from jaxgen.errors import SettingError
from jaxgen.learner import Batch
from jaxgen.models import dbn, label_units, rbm

PARAMS = reference.labelled_rbm()
NUM_VISIBLE, NUM_HIDDEN, NUM_CLASSES = 4, 3, 3
JOINT, LOG_Z = reference.labelled_joint(PARAMS)
"""p(v, y, h) [16, 3, 8]."""
VISIBLE = jnp.asarray(reference.states(NUM_VISIBLE), jnp.float32)

generate = jax.jit(label_units.generate, static_argnums=(3, 4))
gibbs = jax.jit(label_units.gibbs, static_argnums=4)


def given(label: int, gain: float) -> np.ndarray:
    """p(v, h|y) [16, 8] with `gain` times the label's weights, from the joint by enumeration."""
    more = np.exp((gain - 1.0) * reference.states(NUM_HIDDEN) @ PARAMS["w_labels"][label])
    table: np.ndarray = JOINT[:, label] * more
    return table / table.sum()


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


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_given_its_label_it_is_an_rbm(gain: float) -> None:
    for label in range(NUM_CLASSES):
        rest = label_units.condition(float32(PARAMS), label, gain)
        assert set(rest) == {"w", "b_visible", "b_hidden"}
        table, _ = reference.joint({name: np.asarray(x, np.float64) for name, x in rest.items()})
        np.testing.assert_allclose(table, given(label, gain), rtol=1e-5)


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


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_a_clamped_chain_has_the_distribution_given_its_label(gain: float) -> None:
    num = 10_000
    labels = jnp.repeat(jnp.arange(NUM_CLASSES), num)
    start = jnp.zeros((len(labels), NUM_HIDDEN))
    hidden, probs = generate(float32(PARAMS), jax.random.key(1), start, 20, 1.0, labels, gain)
    for label, rows, means in zip(
        range(NUM_CLASSES),
        truth.state_numbers(hidden).reshape(-1, num),
        np.asarray(probs, np.float64).reshape(-1, num, NUM_VISIBLE),
        strict=True,
    ):
        table = given(label, gain)
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
CHAINS = np.array([3, 11, 40, 47])
"""Where persistent chains are."""


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


def of_cells(cells: np.ndarray) -> tuple[np.ndarray, jax.Array]:
    """The v and y of cells of the table."""
    return VISIBLE[cells // NUM_CLASSES], jnp.asarray(cells % NUM_CLASSES)


@pytest.mark.parametrize(("k", "persistent"), [(1, False), (20, False), (1, True)])
def test_an_update_is_the_difference_of_the_enumerated_statistics(k: int, persistent: bool) -> None:
    """Of data and of k steps from it, or from the persistent chains.

    After many steps that is the gradient of log p(v, y).
    """
    num = 5_000
    config = rbm.Config(num_hidden=NUM_HIDDEN, num_gibbs_steps=k, learning_rate=1.0)
    state = rbm.init(config, NUM_VISIBLE, jax.random.key(0))._replace(params=float32(PARAMS))
    cells, begin = np.repeat(CELLS, num), CHAINS if persistent else CELLS
    if persistent:
        chains, labels = of_cells(np.repeat(CHAINS, 2 * num))
        state = state._replace(chains=jnp.asarray(chains), chain_labels=labels)
    step = jax.jit(partial(label_units.contrastive_divergence, config))
    new, metrics, model = step(state, *of_cells(cells), jax.random.key(5))
    assert int(new.step) == 1
    start, first = (np.bincount(each, minlength=48) / len(each) for each in (CELLS, begin))
    end = first @ np.linalg.matrix_power(gibbs_kernel(), k)
    before, after, exact = map(mean_statistics, (start, end, JOINT.sum(axis=2).ravel()))
    assert ("pixel_change" in metrics) == (not persistent)
    if persistent:
        np.testing.assert_array_equal(new.chains, model)
        numbers = NUM_CLASSES * truth.state_numbers(model) + np.asarray(new.chain_labels)
        truth.assert_drawn_from(numbers, end)
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


def test_a_centred_rbm_takes_no_label_units() -> None:
    config = rbm.Config(num_hidden=3, centred=True)
    state = jax.jit(rbm.learner(config, (2, 2, 1)).init)(jax.random.key(0))
    with pytest.raises(SettingError, match="that is not centred, for label units"):
        label_units.add_units(config, state, 4, jax.random.key(0))


def test_new_label_units_have_persistent_chains_of_every_label() -> None:
    config = rbm.Config(num_hidden=5, persistent=True, num_chains=4_000)
    state = rbm.init(config, 3, jax.random.key(0))
    new = label_units.add_units(config, state, 4, jax.random.key(1))
    np.testing.assert_array_equal(new.chains, state.chains)
    truth.assert_drawn_from(np.asarray(new.chain_labels), np.full(4, 0.25))


# ---- beside Gaussian visible units, as a DBN of one layer

OVER_PIXELS = gaussian.labelled_rbm()
NET = dbn.tie((float32(OVER_PIXELS),))
INTEGRATED, _ = gaussian.labelled_joint(OVER_PIXELS)
"""p(v, y, h) [141^2, 3, 8]."""
SHOWN = [7, 9_500, 10_030, 12_000]
"""Of the points of the grid."""
POINTS = gaussian.points()[SHOWN]
MEAN_PIXELS = np.clip(
    OVER_PIXELS["pixel_mean"]
    + OVER_PIXELS["pixel_std"]
    * (OVER_PIXELS["b_visible"] + reference.states(NUM_HIDDEN) @ OVER_PIXELS["w"].T),
    0.0,
    1.0,
)
"""Pixels [8, 2] that each hidden state gives."""


def test_the_label_of_real_valued_pixels_is_that_of_the_integral() -> None:
    p_vy = INTEGRATED.sum(axis=2)[SHOWN]
    found = np.exp(dbn.classify(NET, float32(POINTS)))
    np.testing.assert_allclose(found, p_vy / p_vy.sum(axis=1, keepdims=True), rtol=1e-4)
    expected = INTEGRATED.sum(axis=1)[SHOWN] / p_vy.sum(axis=1, keepdims=True)
    found = label_units.hidden_probs(NET.top, float32(POINTS))
    np.testing.assert_allclose(found, expected @ reference.states(NUM_HIDDEN), rtol=1e-4)


def test_real_valued_pixels_of_a_class_have_its_distribution() -> None:
    """Of clamped labels, and of free ones; each hidden state gives its mean as pixels."""
    num = 5_000
    p_yh = INTEGRATED.sum(axis=0)
    sample = jax.jit(dbn.generate, static_argnums=(3, 4))
    for labels in (None, jnp.repeat(jnp.arange(NUM_CLASSES), num)):
        start = jnp.zeros((NUM_CLASSES * num, NUM_HIDDEN))
        hidden, pixels = sample(NET, jax.random.key(6), start, 30, 1.0, labels)
        numbers = truth.state_numbers(hidden)
        np.testing.assert_allclose(pixels, MEAN_PIXELS[numbers], atol=1e-5)
        if labels is None:
            truth.assert_drawn_from(numbers, p_yh.sum(axis=0))
            continue
        for rows, expected in zip(numbers.reshape(-1, num), p_yh, strict=True):
            truth.assert_drawn_from(rows, expected / expected.sum())


def test_real_valued_pixels_are_reconstructed_as_pixels() -> None:
    num = 5_000
    visible = jnp.repeat(float32(POINTS), num, axis=0)
    hidden, pixels = jax.jit(dbn.reconstruct)(NET, jax.random.key(7), visible)
    numbers = truth.state_numbers(hidden)
    np.testing.assert_allclose(pixels, MEAN_PIXELS[numbers], atol=1e-5)
    for rows, expected in zip(numbers.reshape(-1, num), INTEGRATED.sum(axis=1)[SHOWN], strict=True):
        truth.assert_drawn_from(rows, expected / expected.sum())


def test_a_step_from_images_moves_all_but_the_statistics_of_the_pixels() -> None:
    config = dbn.Config(hidden_sizes=(3,), visible="gaussian", num_classes=3)
    pixels = rbm.Pixels(OVER_PIXELS["pixel_mean"], OVER_PIXELS["pixel_std"])
    learner = dbn.learner(config, (1, 2, 1), pixels=float32(pixels))
    state = jax.jit(learner.init)(jax.random.key(8))
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 2, 1), dtype=np.uint8)
    batch = Batch(jnp.asarray(images), jnp.zeros(6, jnp.int32))
    new, metrics = jax.jit(learner.step)(state, batch, jax.random.key(9))
    assert "label_change" in metrics
    for name, before in state.top.params.items():
        same = np.array_equal(before, new.top.params[name])
        assert same == name.startswith("pixel_"), name
