"""Likelihoods and their bounds against enumeration and closed forms."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from support import reference
from support.helpers import one_line

from jaxgen.errors import SettingError
from jaxgen.evaluation.likelihood import (
    ImportanceBound,
    binary_states,
    importance_bound,
    mean_over_examples,
    pseudo_log_likelihood,
    rbm_log_likelihood,
    rbm_log_z,
    stochastic_pseudo_log_likelihood,
)


def float32(params):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


@pytest.mark.parametrize(("num_visible", "num_hidden"), [(5, 4), (3, 7), (6, 6), (1, 1)])
def test_log_z_from_either_side(num_visible: int, num_hidden: int) -> None:
    params = reference.small_rbm(num_visible, num_hidden)
    found = rbm_log_z(float32(params))
    np.testing.assert_allclose(found, reference.joint(params)[1], rtol=1e-6, atol=1e-5)


def test_log_z_in_several_blocks() -> None:
    """14 hidden units are summed in four blocks; independent units have a closed form."""
    rng = np.random.default_rng(0)
    params = {
        "w": np.zeros((30, 14)),
        "b_visible": rng.normal(size=30),
        "b_hidden": rng.normal(size=14),
    }
    expected = sum(np.log1p(np.exp(params[name])).sum() for name in ("b_visible", "b_hidden"))
    np.testing.assert_allclose(rbm_log_z(float32(params)), expected, rtol=1e-6)


def test_likelihoods_sum_to_one() -> None:
    params = float32(reference.small_rbm())
    values = rbm_log_likelihood(params, rbm_log_z(params), jnp.asarray(reference.states(5)))
    np.testing.assert_allclose(np.exp(values).sum(), 1.0, rtol=1e-5)


def test_binary_states_are_binary_digits() -> None:
    found = np.asarray(binary_states(jnp.uint32(4), 4, 3))
    np.testing.assert_array_equal(found @ [1, 2, 4], [4, 5, 6, 7])


def test_too_many_units_is_one_clear_line() -> None:
    params = {"w": jnp.zeros((30, 21)), "b_visible": jnp.zeros(30), "b_hidden": jnp.zeros(21)}
    with pytest.raises(SettingError, match="30 visible and 21 hidden"):
        rbm_log_z(params)


# ---- pseudo-likelihood


def enumerated_conditionals():
    """Log p(v_i | v_{-i}) [2^V, V] of `small_rbm`, from the table of p(v) alone."""
    probs, visible = reference.joint(reference.small_rbm())[0].sum(axis=1), reference.states(5)
    flips = 2 ** np.arange(5)[::-1]  # the row of a state with one unit flipped
    partners = np.array([[row ^ flip for flip in flips] for row in range(len(visible))])
    return np.log(probs[:, None] / (probs[:, None] + probs[partners]))


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray], ids=["JAX", "NumPy"])
def test_pseudo_likelihood_is_the_sum_of_the_enumerated_conditionals(array: Any) -> None:
    params = jax.tree.map(array, float32(reference.small_rbm()))  # NumPy's as `run.params` has them
    visible = array(reference.states(5).astype(np.float32))
    found = pseudo_log_likelihood(params, visible)
    np.testing.assert_allclose(found, enumerated_conditionals().sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(pseudo_log_likelihood)(params, visible), found, rtol=1e-6)


def test_label_units_have_no_pseudo_likelihood_here() -> None:
    params = float32(reference.small_rbm()) | {
        "w_labels": jnp.ones((2, 4)),
        "b_labels": jnp.zeros(2),
    }
    with pytest.raises(SettingError) as error:
        pseudo_log_likelihood(params, reference.states(5).astype(np.float32))
    assert "without label units for a pseudo-likelihood, found 2 of them" in one_line(error)


def test_units_may_be_booleans_and_must_be_as_many() -> None:
    params, states = float32(reference.small_rbm()), reference.states(5)
    log_z = rbm_log_z(params)
    on, number = states > 0.5, states.astype(np.float32)
    for measure in (
        lambda v: rbm_log_likelihood(params, log_z, v),
        functools.partial(pseudo_log_likelihood, params),
    ):
        np.testing.assert_array_equal(measure(on), measure(number))
        with pytest.raises(SettingError, match=r"visible units .*5., found .32, 4.") as error:
            measure(number[:, :4])
        one_line(error)
    with pytest.raises(SettingError, match=r"visible units .batch, 5., found .5.;"):
        pseudo_log_likelihood(params, number[0])
    assert rbm_log_likelihood(params, log_z, number[0]).shape == ()


def test_stochastic_pseudo_likelihood_draws_one_conditional_of_each_example() -> None:
    """V times one of them, each as often, so the mean is the exact pseudo-likelihood."""
    num, values = 4000, 5 * enumerated_conditionals()
    visible = jnp.repeat(jnp.asarray(reference.states(5), jnp.float32), num, axis=0)
    draw = jax.jit(stochastic_pseudo_log_likelihood)
    found = np.asarray(draw(float32(reference.small_rbm()), jax.random.key(0), visible))
    found = found.reshape(-1, num)
    distance = np.abs(found[..., None] - values[:, None])
    np.testing.assert_allclose(distance.min(axis=-1), 0.0, atol=1e-4)
    error = values.std(axis=1) / np.sqrt(num)
    assert (np.abs(found.mean(axis=1) - values.mean(axis=1)) < 5 * error).all()


# ---- the importance-weighted bound, on two models whose likelihood is known


class LinearGaussian:
    """z ~ N(0, I_2), x = Wz + b + s e in R^3, and a diagonal q(z|x) that is not the posterior."""

    w = np.array([[0.9, -0.4], [0.2, 0.7], [-0.5, 0.3]])
    bias, scale = np.array([0.3, -0.2, 0.5]), 0.6
    slope, log_var = np.array([[0.6, 0.1, -0.4], [-0.3, 0.7, 0.2]]), np.array([-0.9, -0.6])
    examples = np.array([[0.5, -1.0, 0.8], [1.7, 0.3, 0.1], [-0.6, 0.4, 2.0]])

    @classmethod
    def log_weights(cls, key, x, num):
        """As `importance_bound` takes them."""
        mean = (x - cls.bias) @ cls.slope.T
        noise = jax.random.normal(key, (num, *mean.shape))
        z = mean + jnp.exp(0.5 * cls.log_var) * noise
        log_joint = jax.scipy.stats.norm.logpdf(x, z @ cls.w.T + cls.bias, cls.scale).sum(axis=-1)
        log_joint += jax.scipy.stats.norm.logpdf(z).sum(axis=-1)
        return log_joint - jax.scipy.stats.norm.logpdf(z, mean, np.exp(0.5 * cls.log_var)).sum(-1)

    @classmethod
    def exact(cls):
        """Log p(x): x is Gaussian."""
        covariance = cls.w @ cls.w.T + cls.scale**2 * np.eye(3)
        return stats.multivariate_normal(cls.bias, covariance).logpdf(cls.examples)

    @classmethod
    def elbo(cls):
        """E_q log p(x|z) - KL in closed form."""
        mean, variance = (cls.examples - cls.bias) @ cls.slope.T, np.exp(cls.log_var)
        misfit = ((cls.examples - cls.bias - mean @ cls.w.T) ** 2).sum(axis=1)
        misfit = misfit + (cls.w**2 @ variance).sum()
        reconstruction = -0.5 * misfit / cls.scale**2 - 1.5 * np.log(2 * np.pi * cls.scale**2)
        return reconstruction - 0.5 * (mean**2 + variance - cls.log_var - 1).sum(axis=1)


class TwoBits:
    """A code of two bits, six binary pixels, and a factorised q(z|x): all sums have few terms."""

    rng = np.random.default_rng(3)
    codes = reference.states(2)
    log_prior = np.log([0.1, 0.4, 0.3, 0.2])
    logits = rng.normal(0.0, 1.5, (4, 6))
    recognition = rng.normal(0.0, 1.0, (6, 2))
    examples = rng.integers(0, 2, (3, 6)).astype(np.float64)

    @classmethod
    def tables(cls, x, logaddexp=np.logaddexp):
        """Log p(x, z) and log q(z|x) of the four codes, each [batch, 4]."""
        log_joint = (x @ cls.logits.T) - np.logaddexp(0.0, cls.logits).sum(axis=1) + cls.log_prior
        q = x @ cls.recognition
        return log_joint, q @ cls.codes.T - logaddexp(0.0, q).sum(axis=1, keepdims=True)

    @classmethod
    def log_weights(cls, key, x, num):
        """As `importance_bound` takes them."""
        log_joint, log_q = cls.tables(x, jnp.logaddexp)
        drawn = jax.random.categorical(key, log_q, shape=(num, len(x)))
        return jnp.take_along_axis((log_joint - log_q)[None], drawn[..., None], axis=-1)[..., 0]

    @classmethod
    def exact(cls):
        """Log p(x), a sum over four codes."""
        return special.logsumexp(cls.tables(cls.examples)[0], axis=1)

    @classmethod
    def expected_bound(cls, num):
        """E log mean of `num` weights, by enumeration of all codes of all samples."""
        log_joint, log_q = cls.tables(cls.examples)
        total = 0.0
        for chosen in itertools.product(range(4), repeat=num):
            mean_weight = special.logsumexp((log_joint - log_q)[:, chosen], axis=1) - np.log(num)
            total = total + np.exp(log_q[:, chosen].sum(axis=1)) * mean_weight
        return total

    @classmethod
    def elbo(cls):
        """The bound of one sample."""
        return cls.expected_bound(1)


REPEATS = 400
MODELS = pytest.mark.parametrize("model", [LinearGaussian, TwoBits])


@functools.cache
def repeated_bound(model, num_samples):
    """The bound of each example REPEATS times, [examples, REPEATS]."""
    examples = jnp.repeat(jnp.asarray(model.examples, jnp.float32), REPEATS, axis=0)
    bound = jax.jit(
        lambda key: importance_bound(
            model.log_weights, key, examples, num_samples, examples_at_once=600
        )
    )(jax.random.key(num_samples))
    return jax.tree.map(lambda x: np.asarray(x, np.float64).reshape(-1, REPEATS), bound)


@pytest.mark.parametrize("number", [0, -1, 2.5, True, None])
def test_draws_of_a_bound_are_a_whole_number(number: Any) -> None:
    with pytest.raises(SettingError, match="for num_samples, found") as error:
        importance_bound(lambda *_: jnp.zeros((1, 1)), jax.random.key(0), jnp.zeros((2, 3)), number)
    one_line(error)


@MODELS
def test_elbo_is_below_the_bound_and_the_bound_below_the_exact_value(model: Any) -> None:
    """Means over the repeats, within four standard errors; the gaps are far wider than those."""
    below, gaps = model.elbo(), []
    for num_samples in (2, 10, 1000):
        values = repeated_bound(model, num_samples).log_mean_weight
        error = values.std(axis=1) / np.sqrt(REPEATS)
        assert (values.mean(axis=1) > below - 4 * error).all()
        assert (values.mean(axis=1) < model.exact() + 4 * error).all()
        below = values.mean(axis=1)
        gaps.append((model.exact() - below).mean())
    assert (model.exact() - model.elbo()).mean() > 1.2 * gaps[0] > 1.2**2 * gaps[1]
    assert abs(gaps[2]) < 0.01


def test_bound_of_two_samples_has_the_enumerated_expectation() -> None:
    values = repeated_bound(TwoBits, 2).log_mean_weight
    error = values.std(axis=1) / np.sqrt(REPEATS)
    assert (np.abs(values.mean(axis=1) - TwoBits.expected_bound(2)) < 4 * error).all()


@MODELS
def test_standard_error_is_that_of_repeats(model: Any) -> None:
    """The spread of a standard deviation over 400 repeats is 3.5 % of itself."""
    bound = repeated_bound(model, 1000)
    spread = bound.log_mean_weight.std(axis=1)
    np.testing.assert_allclose(bound.standard_error.mean(axis=1), spread, rtol=0.15)
    distance = (bound.log_mean_weight - model.exact()[:, None]) / bound.standard_error
    np.testing.assert_allclose(distance.std(), 1.0, rtol=0.1)


def steep(key, x, num):
    """Log weights from -1e4 to 1e4, some of them of weight zero."""
    draws = jax.random.uniform(key, (num, len(x)), minval=-1e4, maxval=1e4)
    return jnp.where(draws < -5e3, -jnp.inf, draws + x)


@pytest.mark.parametrize("log_weights", [LinearGaussian.log_weights, steep])
def test_streaming_equals_the_plain_formula(log_weights: Any) -> None:
    """Whatever is computed at once: the same draws, so the same numbers up to rounding."""
    key, num_samples = jax.random.key(4), 23
    examples = LinearGaussian.examples if log_weights is not steep else np.arange(5.0)
    examples = jnp.asarray(examples, jnp.float32)

    def one(index, sample):
        own = jax.random.fold_in(jax.random.fold_in(key, index), sample)
        return log_weights(own, examples[index][None], 1)[0, 0]

    @jax.jit
    def all_ways():
        rows = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))
        plain = rows(jnp.arange(len(examples)), jnp.arange(num_samples))
        bound = functools.partial(importance_bound, log_weights, key, examples, num_samples)
        few, all_at_once = {"examples_at_once": 2, "samples_at_once": 4}, {"samples_at_once": 100}
        return plain, [bound(**few), bound(**all_at_once)]

    plain, bounds = all_ways()
    values = np.asarray(plain, np.float64)
    expected = special.logsumexp(values, axis=1) - np.log(num_samples)
    error = np.exp(values - expected[:, None]).std(axis=1, ddof=1) / np.sqrt(num_samples)
    for bound in bounds:
        np.testing.assert_allclose(bound.log_mean_weight, expected, rtol=1e-6)
        np.testing.assert_allclose(bound.standard_error, error, rtol=1e-4)


def test_mean_over_examples() -> None:
    rng = np.random.default_rng(0)
    values, errors = rng.normal(-90.0, 9.0, 50), rng.uniform(0.1, 0.3, 50)
    found = mean_over_examples(ImportanceBound(jnp.asarray(values), jnp.asarray(errors)))
    np.testing.assert_allclose(found.mean, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.monte_carlo_error, np.sqrt((errors**2).sum()) / 50, rtol=1e-5)
    np.testing.assert_allclose(found.sampling_error, stats.sem(values), rtol=1e-5)
