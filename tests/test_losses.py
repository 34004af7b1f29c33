"""Densities against SciPy and enumeration, divergences against numerical integration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from jaxgen import losses

RNG = np.random.default_rng(0)
bernoulli_log_prob = jax.jit(losses.bernoulli_log_prob)
gaussian_log_prob = jax.jit(losses.gaussian_log_prob)
discretised_logistic_log_prob = jax.jit(losses.discretised_logistic_log_prob)
HALF_LEVEL = 1 / 510


def test_softplus_and_its_derivatives() -> None:
    x = np.concatenate([np.linspace(-30, 30, 2001), [-1e4, -100.0, 100.0, 1e4]])
    expected = np.logaddexp(0.0, x)
    sigmoid = 1.0 / (1.0 + np.exp(-np.clip(x, -700, 700)))
    single = jnp.asarray(x, jnp.float32)
    functions = (losses.softplus, losses.sigmoid, jax.grad(losses.softplus))
    functions = (*functions, jax.grad(jax.grad(losses.softplus)))
    value, prob, slope, curvature = jax.jit(
        lambda x: [jax.vmap(function)(x) for function in functions]
    )(single)
    np.testing.assert_allclose(value, expected, rtol=1.2e-7, atol=4e-7)
    np.testing.assert_allclose(prob, sigmoid, rtol=0, atol=3e-7)
    np.testing.assert_allclose(slope, sigmoid, rtol=0, atol=3e-7)
    np.testing.assert_allclose(curvature, sigmoid * (1 - sigmoid), atol=1e-6)


def test_bernoulli_log_prob() -> None:
    logits = RNG.normal(0.0, 3.0, (7, 5))
    visible = RNG.integers(0, 2, (7, 5))
    expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(visible).sum(axis=-1)
    found = bernoulli_log_prob(jnp.asarray(visible, jnp.float32), jnp.asarray(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoulli_probabilities_of_all_outcomes_sum_to_one() -> None:
    outcomes = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=8)))
    logits = jnp.broadcast_to(jnp.asarray(RNG.normal(0.0, 2.0, 8), jnp.float32), outcomes.shape)
    total = np.exp(bernoulli_log_prob(outcomes, logits)).sum()
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


def test_bernoulli_log_prob_of_sure_and_impossible_outcomes() -> None:
    logits = jnp.asarray([[-1e4, 1e4], [1e4, 1e4]])
    found = bernoulli_log_prob(jnp.asarray([[0.0, 1.0], [0.0, 1.0]]), logits)
    np.testing.assert_allclose(found, [0.0, -1e4])


def logistic_levels(location: float, scale: float) -> np.ndarray:
    """P(k) of the 256 levels of a discretised logistic variable, in float64: bins of its CDF."""
    variable, ends = stats.logistic(location, scale), (np.arange(255) + 0.5) / 255.0
    below, above = variable.cdf(ends), variable.sf(ends)
    inside = np.where(ends[:-1] > location, -np.diff(above), np.diff(below))  # small numbers each
    return np.concatenate([below[:1], inside, above[-1:]])


LEVELS = np.arange(256) / 255.0


@pytest.mark.parametrize("location", [-0.3, 0.0, 0.37, 1.0, 1.4])
@pytest.mark.parametrize("scale", [0.001, 0.02, 0.3])
def test_discretised_logistic_levels(location: float, scale: float) -> None:
    """Each of the 256 probabilities, their sum, and their mean."""
    wanted = logistic_levels(location, scale)
    found = discretised_logistic_log_prob(LEVELS[:, None], location, jnp.log(scale))
    with np.errstate(divide="ignore"):
        reached = np.log(wanted) > -300
        np.testing.assert_allclose(found[reached], np.log(wanted)[reached], rtol=2e-4, atol=2e-4)
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(np.exp(np.float64(found)).sum(), 1.0, rtol=1e-4)
    mean = losses.discretised_logistic_mean(jnp.float32(location), jnp.log(jnp.float32(scale)))
    np.testing.assert_allclose(mean, wanted @ LEVELS, atol=HALF_LEVEL)


def test_discretised_logistic_units_are_independent() -> None:
    levels, location = RNG.integers(0, 256, (4, 3)), RNG.normal(0.5, 0.3, (4, 3))
    scale = np.exp(RNG.normal(-2.5, 0.5, (4, 3)))
    wanted = [
        sum(np.log(logistic_levels(m, s)[k]) for k, m, s in zip(*row, strict=True))
        for row in zip(levels, location, scale, strict=True)
    ]
    found = discretised_logistic_log_prob(levels / 255.0, location, np.log(scale))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_discretised_logistic_gradient_equals_differences(level: int) -> None:
    """Of location and log scale, against central differences in float64."""
    gradient = jax.jit(jax.grad(losses.discretised_logistic_log_prob, argnums=(1, 2)))
    for location, log_scale in ((0.4, -3.0), (0.02, -4.0), (0.99, -1.0)):
        given = np.float32([level / 255]), np.float32([location]), np.float32([log_scale])
        found = np.concatenate(gradient(*given))
        ends = [
            [
                np.log(logistic_levels(location + sign * a, np.exp(log_scale + sign * b))[level])
                for sign in (1e-5, -1e-5)
            ]
            for a, b in ((1, 0), (0, 1))
        ]
        wanted = [(high - low) / 2e-5 for high, low in ends]
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


def test_discretised_logistic_far_from_its_location_is_finite() -> None:
    """As far as the smallest scale and a wild location may take it, gradients too."""
    both = jax.jit(jax.value_and_grad(losses.discretised_logistic_log_prob, argnums=(1, 2)))
    for level in (0.0, 0.5, 1.0):
        value, gradient = both(jnp.full(1, level), jnp.full(1, 40.0), jnp.full(1, -7.0))
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_bits_per_dimension_of_uniform_bytes_are_eight() -> None:
    assert losses.bits_per_dimension(12 * np.log(1 / 256), 12) == pytest.approx(8.0)


def test_bernoulli_gradient_is_outcome_minus_probability() -> None:
    logits, visible = RNG.normal(size=6).astype(np.float32), np.float32([0, 1, 1, 0, 1, 0])
    found = jax.jit(jax.grad(losses.bernoulli_log_prob, argnums=1))(visible, logits)
    np.testing.assert_allclose(found, visible - 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_gaussian_log_probs() -> None:
    x, mean, log_var = RNG.normal(size=(3, 6, 4))
    found = gaussian_log_prob(*(jnp.asarray(a, jnp.float32) for a in (x, mean, log_var)))
    expected = stats.norm(mean, np.exp(0.5 * log_var)).logpdf(x).sum(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    standard = losses.standard_normal_log_prob(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(standard, stats.norm.logpdf(x).sum(axis=-1), rtol=1e-5)


def test_samples_share_one_outcome() -> None:
    """Several logits [num, batch, units] for each outcome [batch, units]."""
    visible = RNG.integers(0, 2, (4, 5)).astype(np.float32)
    logits = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    found = bernoulli_log_prob(visible, logits)
    one_by_one = [bernoulli_log_prob(visible, member) for member in logits]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-6)


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (1.3, -1.0), (-0.4, 0.9), (2.0, -4.0)])
def test_gaussian_kl_is_the_integral(mean: float, log_var: float) -> None:
    scale = np.exp(0.5 * log_var)
    posterior = stats.norm(mean, scale)

    def integrand(z):
        return posterior.pdf(z) * (posterior.logpdf(z) - stats.norm.logpdf(z))

    expected, _ = integrate.quad(integrand, mean - 12 * scale, mean + 12 * scale)
    found = losses.gaussian_kl(jnp.asarray([mean]), jnp.asarray([log_var]))
    np.testing.assert_allclose(found, [expected], atol=1e-5)


FAR = np.array([-100.0, -30.0, -3.0, -0.5, 0.0, 0.7, 2.0, 30.0, 100.0])
"""Logits up to where sigmoid(x) is 0 or 1 in float32."""


def log_sigmoid(x):
    return -np.logaddexp(0.0, -x)


ADVERSARIAL = {
    # the loss; in float64 itself and its derivative
    "real": (
        losses.real_loss,
        lambda x: -log_sigmoid(x),
        lambda x: -np.exp(log_sigmoid(-x)),
    ),
    "smoothed real": (
        lambda x: losses.real_loss(x, 0.9),
        lambda x: -0.9 * log_sigmoid(x) - 0.1 * log_sigmoid(-x),
        lambda x: np.exp(log_sigmoid(x)) - 0.9,
    ),
    "fake": (
        losses.fake_loss,
        lambda x: -log_sigmoid(-x),
        lambda x: np.exp(log_sigmoid(x)),
    ),
    "non-saturating": (
        losses.non_saturating_loss,
        lambda x: -log_sigmoid(x),
        lambda x: -np.exp(log_sigmoid(-x)),
    ),
    "minimax": (
        losses.minimax_loss,
        lambda x: log_sigmoid(-x),
        lambda x: -np.exp(log_sigmoid(x)),
    ),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_losses(name: str) -> None:
    """One number per example, finite however sure the discriminator is."""
    loss, value, slope = ADVERSARIAL[name]
    found = jax.jit(loss)(jnp.asarray(FAR, jnp.float32))
    slopes = jax.jit(jax.vmap(jax.grad(lambda x: loss(x[None])[0])))(jnp.asarray(FAR, jnp.float32))
    assert found.shape == FAR.shape
    np.testing.assert_allclose(found, value(FAR), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes, slope(FAR), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["non-saturating", "minimax"])
def test_a_generator_far_behind_still_learns(name: str) -> None:
    """At D = 1e-13 its gradients are as small as they should be, not zero."""
    loss, _, slope = ADVERSARIAL[name]
    x = np.array([-60.0, -30.0, -17.0])
    found = jax.jit(jax.vmap(jax.grad(lambda x: loss(x[None])[0])))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, slope(x), rtol=1e-5)
    assert (np.abs(found) > 0).all()


def test_smoothed_loss_is_least_at_the_target() -> None:
    logits = jnp.linspace(-6, 6, 2401)
    least = logits[jnp.argmin(losses.real_loss(logits, 0.9))]
    np.testing.assert_allclose(1 / (1 + np.exp(-least)), 0.9, atol=1e-3)
