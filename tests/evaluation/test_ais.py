"""AIS from both sides against enumeration: of log Z, and of a short chain's every step."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import reference
from support.helpers import one_line, same
from support.reference_dbn import float32

from jaxgen.errors import SettingError
from jaxgen.evaluation.ais import LEAST_EFFECTIVE, ais, inverse_temperatures, reverse_ais
from jaxgen.evaluation.likelihood import rbm_log_z
from jaxgen.learner import unlabelled
from jaxgen.models import rbm, tempering

# ---- schedule and start


def test_published_schedule() -> None:
    betas = inverse_temperatures()
    assert len(betas) == 14_501
    assert (betas[0], betas[-1]) == (0.0, 1.0)
    assert (np.diff(betas) > 0).all()
    counts = np.histogram(betas[1:], [0.0, 0.5 + 1e-6, 0.9 + 1e-6, 1.0 + 1e-6])[0]
    np.testing.assert_array_equal(counts, [500, 4_000, 10_000])
    np.testing.assert_allclose(np.diff(betas)[[100, 2_000, 9_000]], [1e-3, 1e-4, 1e-5], rtol=0.01)
    np.testing.assert_allclose(inverse_temperatures(29)[[0, 1, 9, 29]], [0.0, 0.5, 0.9, 1.0])
    np.testing.assert_array_equal(inverse_temperatures(1), [0.0, 1.0])


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "4", None, float("nan"), 10**11, 2**70])
def test_chains_and_temperatures_are_whole_numbers(number: Any) -> None:
    """Of no chain, for example, the mean weight would be NaN."""
    params = {"w": jnp.zeros((3, 2)), "b_visible": jnp.zeros(3), "b_hidden": jnp.zeros(2)}
    for name in ("num_chains", "num_temperatures"):
        with pytest.raises(SettingError, match=f"from 1 to 1,000,000 for {name}") as error:
            ais(params, jax.random.key(0), jnp.zeros(3), **{name: number})
        one_line(error)


def test_base_logits_are_one_for_each_visible_unit() -> None:
    params = {"w": jnp.zeros((3, 2)), "b_visible": jnp.zeros(3), "b_hidden": jnp.zeros(2)}
    with pytest.raises(SettingError, match=r"base_logits \[3\].*found \[4\]") as error:
        ais(params, jax.random.key(0), jnp.zeros(4))
    one_line(error)
    with pytest.raises(SettingError, match=r"base_logits \[3\].*found \[1\]"):
        reverse_ais(params, jax.random.key(0), jnp.zeros(1), jnp.zeros((2, 3)))
    with pytest.raises(SettingError, match=r"base_logits \[3\].*found \[\]"):
        tempering.parallel_tempering(params, jax.random.key(0), 1, 1, base_logits=jnp.zeros(()))


# ---- the truth


def mixed_log_probs(params, base, beta):
    """Log p*_beta(v) of all visible states, summed over all hidden states one by one."""
    visible, hidden = (reference.states(n) for n in params["w"].shape)
    table = visible @ (beta * params["w"]) @ hidden.T + beta * hidden @ params["b_hidden"]
    linear = visible @ ((1 - beta) * base + beta * params["b_visible"])
    return special.logsumexp(table, axis=1) + linear


def kernel(params, base, beta):
    """The Gibbs step v -> h -> v' at one temperature [2^V, 2^V]."""
    mixed = {name: beta * value for name, value in params.items()}
    mixed["b_visible"] = mixed["b_visible"] + (1 - beta) * base
    return reference.gibbs_kernel(mixed)


def probs_of(log_probs):
    return np.exp(log_probs - special.logsumexp(log_probs))


def drawn_visible(params, num, seed=0):
    """Exact draws from the target, by enumeration."""
    zeros = np.zeros(len(params["w"]))
    probs = probs_of(mixed_log_probs(params, zeros, 1.0))
    rows = np.random.default_rng(seed).choice(len(probs), num, p=probs)
    return jnp.asarray(reference.states(len(zeros))[rows], jnp.float32)


@functools.cache
def trained():
    """Parameters of a 10-6 RBM after some hundred CD steps on noisy stripes, and base rates."""
    rng = np.random.default_rng(0)
    stripes = np.repeat(rng.integers(0, 2, (200, 5)), 2, axis=1)
    images = np.where(rng.random(stripes.shape) < 0.05, 1 - stripes, stripes)
    batch = unlabelled((255 * images).astype(np.uint8).reshape(200, 10, 1, 1))
    config = rbm.Config(num_hidden=6, num_gibbs_steps=2, learning_rate=0.3)

    @jax.jit
    def train(key):
        state = rbm.init(config, 10, key)
        return jax.lax.fori_loop(
            0, 500, lambda i, s: rbm.step(config, s, batch, jax.random.fold_in(key, i))[0], state
        ).params

    params = train(jax.random.key(0))
    assert np.abs(params["w"]).max() > 1.0
    return params, rbm.base_rate_logits(jnp.asarray(images.mean(axis=0), jnp.float32))


def exact_log_z(params):
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    return special.logsumexp(mixed_log_probs(params, np.zeros(len(params["w"])), 1.0))


# ---- estimates


def test_without_weights_every_chain_is_exact() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=7)
    params = {"w": np.zeros((7, 30)), "b_visible": base, "b_hidden": rng.normal(0.0, 2.0, 30)}
    expected = np.logaddexp(0.0, base).sum() + np.logaddexp(0.0, params["b_hidden"]).sum()
    target, base = float32((params, base))
    settings, key = {"num_temperatures": 2000}, jax.random.key(0)
    for found in (
        ais(target, key, base, num_chains=12, **settings),
        reverse_ais(target, key, base, jnp.ones((12, 7)), **settings),
    ):
        np.testing.assert_allclose(found.log_z_of_chains, expected, rtol=2e-6)
        np.testing.assert_allclose(found.log_z, expected, rtol=2e-6)
        np.testing.assert_allclose(found.effective_sample_size, 12, rtol=1e-5)
        np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-5)
        np.testing.assert_allclose(found.interval, expected, atol=1e-4)
    alone = ais(target, key, base, num_chains=1, **settings)
    np.testing.assert_allclose(alone.log_z, expected, rtol=2e-6)
    assert np.isnan(alone.standard_error)


def enumerated_chain(params, base, betas):
    """E l - log Z_first of a walk through `betas` that starts in equilibrium, step by step."""
    state, total = probs_of(mixed_log_probs(params, base, betas[0])), 0.0
    for before, to in itertools.pairwise(betas):
        change = mixed_log_probs(params, base, to) - mixed_log_probs(params, base, before)
        total += state @ change
        state = state @ kernel(params, base, to)
    return total


def test_both_directions_have_the_enumerated_expectations() -> None:
    """Of l, which depends on every step of the chain, and of the weight, which is Z or 1 / Z."""
    params, num = reference.small_rbm(4, 3, scale=2.5), 60_000  # steep: wrong steps must show
    base, betas = np.array([0.5, -1.0, 0.2, 0.8]), inverse_temperatures(6).astype(np.float64)
    log_z, log_z_0 = exact_log_z(params), np.logaddexp(0.0, base).sum() + 3 * np.log(2)
    target, key, settings = float32(params), jax.random.key(2), {"num_temperatures": 6}
    visible, base32 = drawn_visible(params, num), float32(base)
    forward = ais(target, key, base32, num_chains=num, **settings)
    backward = reverse_ais(target, key, base32, visible, **settings)
    expected = log_z_0 + enumerated_chain(params, base, betas)
    expected_back = log_z_0 - enumerated_chain(params, base, betas[::-1])
    assert expected < log_z - 0.02 < log_z + 0.02 < expected_back
    for found, mean, sign in ((forward, expected, 1.0), (backward, expected_back, -1.0)):
        values = np.asarray(found.log_z_of_chains, np.float64)
        assert abs(values.mean() - mean) < 4 * values.std() / np.sqrt(num)
        weights = np.exp(sign * (values - log_z))
        assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(num)
        assert abs(found.log_z - log_z) < 4 * found.standard_error
        error = weights.std(ddof=1) / weights.mean() / np.sqrt(num)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-3)
        size = weights.sum() ** 2 / (weights**2).sum()
        np.testing.assert_allclose(found.effective_sample_size, size, rtol=1e-3)
        bounds = [np.log(weights.mean() * (1 + 3 * error * x)) for x in (-1, 1)]
        np.testing.assert_allclose(
            found.interval, log_z + np.sort(sign * np.array(bounds)), atol=1e-4
        )


def test_both_directions_meet_the_exact_value_of_a_trained_rbm() -> None:
    params, base = trained()
    log_z = exact_log_z(params)
    visible = drawn_visible(jax.tree.map(np.asarray, params), 100)
    for found in (
        ais(params, jax.random.key(3), base, num_temperatures=3000),
        reverse_ais(params, jax.random.key(3), base, visible, num_temperatures=3000),
    ):
        assert found.log_z_of_chains.shape == (100,)
        assert found.standard_error < 0.02
        assert found.effective_sample_size > 90
        assert abs(found.log_z - log_z) < 4 * found.standard_error
        assert found.interval[0] < log_z < found.interval[1]


REPEATS = 400


@functools.cache
def repeated(num_temperatures, num_chains):
    """Estimates of the trained RBM with REPEATS keys: forward, and backward from exact draws."""
    params, base = trained()
    keys = jax.random.split(jax.random.key(num_temperatures), REPEATS)
    visible = drawn_visible(jax.tree.map(np.asarray, params), REPEATS * num_chains)
    settings = {"num_temperatures": num_temperatures}
    forward = jax.vmap(lambda key: ais(params, key, base, num_chains=num_chains, **settings))
    backward = jax.vmap(lambda key, start: reverse_ais(params, key, base, start, **settings))
    starts = visible.reshape(REPEATS, num_chains, -1)
    return jax.tree.map(np.asarray, (forward(keys), backward(keys, starts)))


def test_few_chains_bracket_the_exact_value_and_temperatures_close_the_bracket() -> None:
    """Two chains, so that Jensen's gap shows, by more than four standard errors of the mean."""
    log_z, widths = exact_log_z(trained()[0]), []
    for num_temperatures in (3, 20):
        below, above = (e.log_z.astype(np.float64) for e in repeated(num_temperatures, 2))
        error = max(below.std(), above.std()) / np.sqrt(REPEATS)
        assert below.mean() + 4 * error < log_z < above.mean() - 4 * error
        widths.append(above.mean() - below.mean())
    assert widths[0] > 2 * widths[1]


def test_standard_error_is_that_of_repeats() -> None:
    """The spread of a standard deviation over 400 repeats is 3.5 % of itself."""
    for found in repeated(100, 30):
        np.testing.assert_allclose(found.standard_error.mean(), found.log_z.std(), rtol=0.2)


def test_three_errors_hold_the_exact_value_where_chains_are_enough() -> None:
    """Over 400 keys: of one, two and three errors about as many as of a normal distribution."""
    log_z = exact_log_z(trained()[0])
    for found in repeated(100, 30):
        assert (found.effective_sample_size > LEAST_EFFECTIVE).all()
        away = np.abs(found.log_z - log_z) / found.standard_error
        shares = [np.mean(away < errors) for errors in (1, 2, 3)]
        np.testing.assert_allclose(shares, [0.68, 0.95, 0.997], atol=0.08)
        inside = (found.interval[:, 0] < log_z) & (log_z < found.interval[:, 1])
        assert inside.mean() > 0.95


def test_few_effective_chains_have_no_error() -> None:
    """Of a steep RBM at five temperatures: what would be three errors misses log Z at most keys."""
    params, base = trained()
    steep = jax.tree.map(lambda x: 4.0 * x, params)
    keys = jax.random.split(jax.random.key(0), 200)
    settings = {"num_chains": 20, "num_temperatures": 5}
    found = jax.tree.map(np.asarray, jax.vmap(lambda key: ais(steep, key, base, **settings))(keys))
    few = found.effective_sample_size < LEAST_EFFECTIVE
    assert few.mean() > 0.95
    assert np.isnan(found.standard_error[few]).all()
    assert np.isinf(found.interval[few]).all()
    weights = np.exp(found.log_z_of_chains - found.log_z[:, None])
    errors = weights.std(axis=1, ddof=1) / np.sqrt(20)
    away = np.abs(found.log_z - exact_log_z(steep))
    assert np.mean(away < 3 * errors) < 0.8
    assert (found.log_z - exact_log_z(steep)).mean() < -1.0
    one = ais(params, jax.random.key(0), base, num_chains=1, num_temperatures=5)
    assert np.isnan(one.standard_error)
    assert one.effective_sample_size == 1.0


def test_reverse_chains_that_miss_a_mode_lie_below_the_exact_value() -> None:
    """One hidden unit that holds ten pixels together: all off, or, 150 times as likely, all on.

    No Gibbs chain goes from one to the other. Chains that start at draws lie right; chains that
    all start at the lesser mode lie below, by nats, with many effective chains and a small error.
    """
    num = 10
    params = {"w": np.full((num, 1), 8.0), "b_visible": np.full(num, -4.0), "b_hidden": [-35.0]}
    params = {name: np.asarray(value) for name, value in params.items()}
    lesser, other = num * np.log1p(np.exp(-4.0)), -35.0 + num * np.log1p(np.exp(4.0))
    log_z = np.logaddexp(lesser, other)
    assert log_z == pytest.approx(exact_log_z(params))
    target, base, settings = float32(params), jnp.zeros(num), {"num_temperatures": 500}
    forward = ais(target, jax.random.key(0), base, num_chains=200, **settings)
    assert abs(forward.log_z - log_z) < 4 * forward.standard_error
    off = jnp.zeros((200, num))
    assert float(rbm.gibbs(target, off, jax.random.key(1), 1000).mean()) < 0.1  # none crosses
    stuck = reverse_ais(target, jax.random.key(2), base, off, **settings)
    assert stuck.log_z < log_z - 2.0
    assert stuck.log_z < forward.log_z - 2.0
    assert stuck.effective_sample_size > 50
    assert stuck.interval[1] < log_z - 2.0
    drawn = reverse_ais(target, jax.random.key(3), base, drawn_visible(params, 200), **settings)
    assert abs(drawn.log_z - log_z) < 4 * drawn.standard_error


def test_with_label_units_both_directions_meet_the_exact_value() -> None:
    """Its classes are of unequal probability, so the labels of chains change on their way."""
    target = reference.labelled_rbm(5, 4)
    joint, exact = reference.labelled_joint(target)
    params, base = float32((target, target["b_visible"]))
    assert abs(rbm_log_z(params) - exact) < 1e-5
    wide = float32(reference.labelled_rbm(3, 5))
    assert abs(rbm_log_z(wide) - reference.labelled_joint(wide)[1]) < 1e-5
    below = joint.sum(axis=2)
    cells = np.random.default_rng(0).choice(below.size, 1000, p=below.ravel())
    rows, labels = np.unravel_index(cells, below.shape)
    start = jnp.asarray(reference.states(5)[rows], jnp.float32)
    options = {"num_temperatures": 60}
    found = [
        ais(params, jax.random.key(0), base, num_chains=1000, **options),
        reverse_ais(params, jax.random.key(1), base, start, jnp.asarray(labels), **options),
    ]
    for each in found:
        assert abs(each.log_z - exact) < 4 * each.standard_error < 0.2
    few = jax.vmap(lambda key: ais(params, key, base, num_chains=1, **options).log_z)
    weights = np.exp(np.asarray(few(jax.random.split(jax.random.key(2), 2000)), np.float64) - exact)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(len(weights))


def test_estimates_follow_their_key() -> None:
    params, base = trained()
    settings = {"num_chains": 2, "num_temperatures": 5}
    found = ais(params, jax.random.key(0), base, **settings)
    assert same(found, ais(params, jax.random.key(0), base, **settings))
    assert not same(found, ais(params, jax.random.key(1), base, **settings))
    assert found.log_z_of_chains[0] != found.log_z_of_chains[1]
