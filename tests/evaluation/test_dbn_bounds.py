"""Bounds of a DBN's likelihood against enumeration, with tied and with untied directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbn as truth
from support.helpers import same
from support.reference_dbn import float32

from jaxgen.evaluation.ais import ais
from jaxgen.evaluation.dbn_bounds import log_joint, log_weights, top_base_logits, variational_bound
from jaxgen.evaluation.likelihood import importance_bound, mean_over_examples, rbm_log_z
from jaxgen.models import dbn

NETS = {
    "tied": dbn.tie(truth.layers(5, 4, 3)),
    "untied": dbn.Net(*truth.untied(5, 4, 3)),
    "untied, three layers": dbn.Net(*truth.untied(5, 4, 3, 2)),
}
ALL_NETS = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
VISIBLE = jnp.asarray(reference.states(5), jnp.float32)

bound_of = jax.jit(variational_bound, static_argnums=4, static_argnames="examples_at_once")
log_joint_of = jax.jit(log_joint)


def log_z_of(net):
    return rbm_log_z(float32(net.top))


def enumerated(net):
    """Log p(v) and E_q log p(v, h) - log q(h|v) of each visible state."""
    log_p, log_q = truth.log_joint_and_posterior(*net)
    latent = tuple(range(1, log_p.ndim))
    return np.log(np.exp(log_p).sum(latent)), (np.exp(log_q) * (log_p - log_q)).sum(latent)


@ALL_NETS
def test_enumeration_agrees_with_the_distribution_of_the_net(net: Any) -> None:
    expected = truth.visible_distribution(net.generative, net.top)
    np.testing.assert_allclose(np.exp(enumerated(net)[0]), expected, rtol=1e-9)


@ALL_NETS
def test_joint_of_all_states(net: Any) -> None:
    """Rows of v, h1, ... in the order of the table."""
    log_p, _ = truth.log_joint_and_posterior(*net)
    sizes = [int(np.log2(length)) for length in log_p.shape]
    rows = reference.states(sum(sizes)).astype(np.float32)
    states = tuple(np.split(rows, np.cumsum(sizes)[:-1], axis=1))
    found = log_joint_of(float32(net), log_z_of(net), states)
    np.testing.assert_allclose(found, log_p.ravel(), rtol=1e-5, atol=1e-5)


def test_joint_of_a_net_with_label_units_is_summed_over_the_labels() -> None:
    (layer,), top = truth.layers(5, 4), reference.labelled_rbm(4, 3)
    joint, log_z = reference.labelled_joint(top)
    net = float32(dbn.Net((layer,), (layer,), top))
    log_p = np.log(truth.downward(layer).T) + np.log(joint.sum(axis=(1, 2)))
    rows = reference.states(9).astype(np.float32)
    found = log_joint_of(net, jnp.float32(log_z), (rows[:, :5], rows[:, 5:]))
    np.testing.assert_allclose(found, log_p.ravel(), rtol=1e-5, atol=1e-5)


@ALL_NETS
def test_bound_has_the_enumerated_expectation_and_is_below_the_exact_value(net: Any) -> None:
    exact, expected = enumerated(net)
    assert (exact - expected > 0.01).all()
    for seed in range(3):
        found = bound_of(float32(net), log_z_of(net), jax.random.key(seed), VISIBLE, 2000)
        assert (np.abs(found.bound - expected) < 5 * found.standard_error + 1e-5).all()
        assert (found.bound < exact).all()
        assert found.standard_error.max() < 0.1
        assert mean_over_examples(found).mean < exact.mean()


def test_one_weight_has_the_expectation_of_the_bound() -> None:
    net = NETS["untied, three layers"]
    weights = jax.jit(log_weights(float32(net), log_z_of(net)), static_argnums=2)
    found = np.asarray(weights(jax.random.key(3), VISIBLE, 4000), np.float64)
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - enumerated(net)[1]) < 5 * error).all()


def test_many_weights_meet_the_exact_value() -> None:
    net = NETS["untied, three layers"]
    exact, below = enumerated(net)
    weights = log_weights(float32(net), log_z_of(net))
    found = jax.jit(lambda key: importance_bound(weights, key, VISIBLE, 3000))(jax.random.key(4))
    assert (np.abs(found.log_mean_weight - exact) < 5 * found.standard_error + 1e-5).all()
    assert (found.log_mean_weight > below).all()


def test_annealing_from_the_states_below_finds_log_z_of_the_top_pair() -> None:
    net = float32(NETS["untied, three layers"])
    base = top_base_logits(net, jax.random.key(11), VISIBLE)
    found = ais(net.top, jax.random.key(12), base, num_temperatures=500)
    assert abs(found.log_z - reference.joint(net.top)[1]) < 4 * found.standard_error
    assert found.standard_error < 0.03


def test_bound_is_exact_where_recognition_is_the_posterior() -> None:
    """A layer under itself upside down is one RBM, whose q(h|v) is the posterior."""
    below = reference.small_rbm(5, 4)
    layers = (float32(below), dbn.upside_down(float32(below)))
    net, log_z = dbn.tie(layers), rbm_log_z(layers[1])
    exact = np.log(reference.joint(below)[0].sum(axis=1))
    weights = jax.jit(log_weights(net, log_z), static_argnums=2)
    for row in weights(jax.random.key(5), VISIBLE, 10):  # none of them varies
        np.testing.assert_allclose(row, exact, atol=1e-5)
    found = bound_of(net, log_z, jax.random.key(6), VISIBLE, 2000)
    assert (np.abs(found.bound - exact) < 5 * found.standard_error + 1e-5).all()


def test_an_rbm_alone_has_its_own_likelihood() -> None:
    params = reference.small_rbm(5, 4)
    net, key = dbn.tie((float32(params),)), jax.random.key(7)
    found = bound_of(net, rbm_log_z(net.top), key, VISIBLE, 2)
    exact = np.log(reference.joint(params)[0].sum(axis=1))
    np.testing.assert_allclose(found.bound, exact, atol=1e-5)
    np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-6)


def test_an_error_of_log_z_moves_the_bound_by_as_much() -> None:
    net, key = float32(NETS["untied"]), jax.random.key(8)
    right, wrong = (bound_of(net, log_z_of(net) + x, key, VISIBLE, 2000).bound for x in (0.0, 0.5))
    np.testing.assert_allclose(right - wrong, 0.5, atol=1e-5)


def test_draws_follow_the_number_of_the_example() -> None:
    """Not what is computed at once; two examples that are equal have draws of their own."""
    net, key = float32(NETS["untied"]), jax.random.key(9)
    visible = VISIBLE[jnp.array([3, 3, 9, 20])]
    whole = bound_of(net, jnp.zeros(()), key, visible, 5)
    parts = [
        bound_of(net, jnp.zeros(()), key, rows, 5, first_example=first, examples_at_once=1)
        for first, rows in ((0, visible[:2]), (2, visible[2:]))
    ]
    joined = jax.tree.map(lambda *rows: jnp.concatenate(rows), *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, joined)
    assert whole.bound[0] != whole.bound[1]
    assert not same(whole, bound_of(net, jnp.zeros(()), jax.random.key(10), visible, 5))
