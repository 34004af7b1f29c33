"""Bounds and log Z of a deep Boltzmann machine against enumeration."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbm as truth
from support.reference_dbn import float32, sigmoid

from jaxgen.evaluation.adapters import evaluated_model, nets
from jaxgen.evaluation.ais import ais, reverse_ais
from jaxgen.evaluation.dbm_bounds import log_weights, posterior_logits, variational_bound
from jaxgen.evaluation.likelihood import importance_bound, rbm_log_z
from jaxgen.evaluation.model import LikelihoodBudget
from jaxgen.models import dbm

PARAMS = truth.machine(seed=2)
VISIBLE = jnp.asarray(reference.states(5), jnp.float32)
LOG_Z = jnp.float32(truth.log_z(PARAMS))
logits_of = jax.jit(posterior_logits, static_argnums=2)


def test_the_variational_bound_is_the_enumerated_one_and_below_the_likelihood() -> None:
    """For any q(h2|v), with the best q(h1|v) given it; here of mean field after one update."""
    logits = logits_of(float32(PARAMS), VISIBLE, 1)
    second = sigmoid(np.float64(logits))
    below = reference.states(5) @ PARAMS["w1"] + PARAMS["b_hidden1"]
    first = sigmoid(below + second @ PARAMS["w2"].T)
    found = variational_bound(float32(PARAMS), LOG_Z, VISIBLE, logits)
    np.testing.assert_allclose(found, truth.bounds(PARAMS, first, second), atol=1e-5)
    gaps = truth.log_likelihoods(PARAMS) - found
    assert gaps.min() > 0.05  # what units that depend on each other cost


def test_it_is_tight_where_the_second_layer_is_independent() -> None:
    params = truth.decoupled(PARAMS)
    logits = logits_of(float32(params), VISIBLE, 1)
    found = variational_bound(float32(params), jnp.float32(truth.log_z(params)), VISIBLE, logits)
    np.testing.assert_allclose(found, truth.log_likelihoods(params), atol=1e-5)


def test_draws_of_the_second_layer_find_the_likelihood() -> None:
    logits, params = logits_of(float32(PARAMS), VISIBLE, 20), float32(PARAMS)
    weights = log_weights(params, LOG_Z)
    many = jax.jit(lambda key: importance_bound(weights, key, (VISIBLE, logits), 3000))
    found, exact = many(jax.random.key(0)), truth.log_likelihoods(PARAMS)
    assert (np.abs(found.log_mean_weight - exact) < 5 * found.standard_error + 1e-5).all()
    one = variational_bound(params, LOG_Z, VISIBLE, logits)
    assert (found.log_mean_weight > one - 3 * found.standard_error).all()


def test_log_z_from_both_sides_is_the_enumerated_one() -> None:
    pair, joint = dbm.as_rbm(float32(PARAMS)), truth.exponents(PARAMS)
    np.testing.assert_allclose(rbm_log_z(pair), LOG_Z, rtol=1e-6)
    probs = np.exp(joint - truth.log_z(PARAMS)).sum(axis=1).ravel()
    rows = np.random.default_rng(0).choice(len(probs), 400, p=probs)
    start = jnp.asarray(reference.states(8)[rows], jnp.float32)
    base, settings = pair["b_visible"], {"num_temperatures": 200}
    forward = ais(pair, jax.random.key(1), base, num_chains=400, **settings)
    backward = reverse_ais(pair, jax.random.key(2), base, start, **settings)
    for found in (forward, backward):
        assert abs(found.log_z - LOG_Z) < 4 * found.standard_error < 0.2


def test_a_machine_as_the_evaluation_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All images of 2x2 pixels: exact where it is enumerated, and near to that where it is not."""
    params = truth.machine(4, 3, 2, seed=6)
    config = dbm.Config((3, 2), binarize="threshold")
    images = (255 * reference.states(4)).astype(np.uint8).reshape(16, 2, 2, 1)
    model = evaluated_model(config, (2, 2, 1), float32(params))
    budget = LikelihoodBudget(num_chains=100, num_temperatures=100, num_weights=300)
    likelihoods: Any = partial(model.likelihoods, images, budget)  # type: ignore[arg-type]
    exact = truth.log_likelihoods(params).mean()
    one, many = likelihoods()
    assert [one.kind, many.kind] == [
        "variational bound, exact log Z",
        "importance-weighted bound, 300 draws, exact log Z",
    ]
    assert one.value < exact
    assert many.value == pytest.approx(exact, abs=0.02)
    monkeypatch.setattr(nets, "MAX_ENUMERATED", 1)
    found = likelihoods()
    assert [each.kind.partition(",")[2] for each in found] == [
        " reverse AIS",
        " AIS",
        " 300 draws, AIS",
    ]
    for each, wanted in zip(found, (one, one, many), strict=True):
        assert each.value == pytest.approx(wanted.value, abs=0.1)
        assert 0 < each.log_z_gap < 0.2
        assert "from the other side" in each.note
    second = jnp.asarray(reference.states(2), jnp.float32)
    first = sigmoid(2 * reference.states(2) @ params["w2"].T + params["b_hidden1"])
    down = sigmoid(first @ params["w1"].T + params["b_visible"])
    assert model.decode is not None
    np.testing.assert_allclose(model.decode(second).reshape(4, 4), down, rtol=1e-5)
    mean = dbm.mean_field(float32(params), jnp.asarray(reference.states(4)), 10)
    for name, expected in zip(model.features, mean, strict=True):
        np.testing.assert_allclose(model.features[name](images), expected, atol=1e-6)
    assert evaluated_model(dbm.Config((3, 2), binarize="none"), (2, 2, 1), {}).likelihoods is None
