"""Log densities and divergences in nats: one number per example, from logits, never averaged.

Softplus is written with the hyperbolic tangent here. XLA:CPU computes log(1 + x) at half the speed
of log(x), and a gradient made from it takes the exponential again; tanh serves both.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LOG_TWO_PI = math.log(2.0 * math.pi)
HALF_LEVEL = 0.5 / 255.0
"""Half the distance of two levels of a byte whose largest is 1."""


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, with an absolute error of at most 2e-7.

    It is the quicker one, for what is new. What `rbm`, `dbn` and `label_units` compute with
    `jax.nn.sigmoid` stays so, because other last bits would make other runs.
    """
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)) = max(x, 0) - log sigmoid(|x|); its derivative is `sigmoid`.

    The absolute error is at most 2e-7 plus the rounding of the result, as of `jax.nn.softplus`; a
    value below 1e-7 is not resolved, so do not take the logarithm of the result.
    """
    return jnp.maximum(x, 0.0) - jnp.log(0.5 + 0.5 * jnp.tanh(0.5 * jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Softplus, and its tangent sigmoid(x) dx."""
    return softplus(*primals), sigmoid(*primals) * tangents[0]


def bernoulli_log_prob(
    visible: Float[Array, "*#batch units"], logits: Float[Array, "*#batch units"]
) -> Float[Array, "*batch"]:
    """Log p(x) = sum_i x_i l_i - softplus(l_i), for P(x_i = 1) = sigmoid(l_i).

    For x strictly between 0 and 1 the same formula is a cross entropy, not the log probability of
    anything: such x are not among the outcomes.
    """
    return jnp.sum(visible * logits - softplus(logits), axis=-1)


def gaussian_log_prob(
    x: Float[Array, "*#batch units"],
    mean: Float[Array, "*#batch units"],
    log_var: Float[Array, "*#batch #units"],
) -> Float[Array, "*batch"]:
    """Log N(x; mean, diag exp(log_var)), summed over the last axis; a density, so unbounded."""
    scaled = jnp.square(x - mean) * jnp.exp(-log_var)
    return -0.5 * jnp.sum(scaled + log_var + LOG_TWO_PI, axis=-1)


def discretised_logistic_log_prob(
    x: Float[Array, "*#batch units"],
    location: Float[Array, "*#batch units"],
    log_scale: Float[Array, "*#batch units"],
) -> Float[Array, "*batch"]:
    """Log probability of the levels k = 255 x of bytes, summed over the last axis.

    A logistic variable of location m and scale s is rounded to the nearest level k / 255; what lies
    beyond is rounded to 0 or 255. With the ends of a level's bin a = (k + 1/2) / 255 and
    b = (k - 1/2) / 255,

        P(k) = sigmoid((a - m) / s) - sigmoid((b - m) / s)

    where the first sigmoid is 1 for k = 255 and the second 0 for k = 0, so the 256 levels sum to 1.
    The logarithm of the difference is computed without one,

        log P(k) = log sigmoid((a - m) / s) + log sigmoid((m - b) / s) + log(1 - exp(-1 / (255 s))),

    and at the ends it is one of the first two terms. Kingma, Salimans, Jozefowicz, Chen, Sutskever
    and Welling, "Improving variational inference with inverse autoregressive flow", 2016, appendix;
    Salimans, Karpathy, Chen and Kingma, "PixelCNN++", 2017, section 2.1.
    """
    inverse = jnp.exp(-log_scale)
    above = -softplus((location - x - HALF_LEVEL) * inverse)
    below = -softplus((x - HALF_LEVEL - location) * inverse)
    width = jnp.log(-jnp.expm1(-2.0 * HALF_LEVEL * inverse))
    first, last = x < HALF_LEVEL, x > 1.0 - HALF_LEVEL
    inside = above + below + width
    return jnp.sum(jnp.where(first, above, jnp.where(last, below, inside)), axis=-1)


def discretised_logistic_mean(
    location: Float[Array, "*#shape"], log_scale: Float[Array, "*#shape"]
) -> Float[Array, "*shape"]:
    """The mean of a discretised logistic variable, s (softplus(m / s) - softplus((m - 1) / s)).

    It is the sum of P(X >= k) / 255 over k = 1, ..., 255 with an integral in the place of the sum,
    off by half a level at most, and in [0, 1].
    """
    scale, inverse = jnp.exp(log_scale), jnp.exp(-log_scale)
    mean = scale * (softplus(location * inverse) - softplus((location - 1.0) * inverse))
    return jnp.clip(mean, 0.0, 1.0)


def bits_per_dimension(log_prob: float, num_units: int) -> float:
    """A log probability of `num_units` bytes in bits for each of them: -log p / (n log 2)."""
    return -log_prob / (num_units * math.log(2.0))


def standard_normal_log_prob(z: Float[Array, "*batch units"]) -> Float[Array, "*batch"]:
    """Log N(z; 0, I), summed over the last axis."""
    return -0.5 * jnp.sum(jnp.square(z) + LOG_TWO_PI, axis=-1)


def gaussian_kl(
    mean: Float[Array, "*shape"], log_var: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """KL(N(mean, exp log_var) || N(0, 1)) = (mean^2 + exp log_var - log_var - 1) / 2 per entry.

    Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix B. Entries of a diagonal
    Gaussian are independent, so the divergence of a code is the sum over its entries.
    """
    return 0.5 * (jnp.square(mean) + jnp.exp(log_var) - log_var - 1.0)


def real_loss(logits: Float[Array, " batch"], target: float = 1.0) -> Float[Array, " batch"]:
    """The discriminator's loss on real images: cross entropy -t log D - (1 - t) log(1 - D).

    D = sigmoid(l) is the probability of being real. A target t below 1 is one-sided label smoothing
    (Salimans et al., "Improved techniques for training GANs", 2016, section 3.4).

    This and the next three take JAX's own softplus, softplus(-l) = -log D and softplus(l) =
    -log(1 - D): a player that is far behind learns from probabilities far below the resolution of
    `softplus` above, and so does one that is far ahead.
    """
    return target * jax.nn.softplus(-logits) + (1.0 - target) * jax.nn.softplus(logits)


def fake_loss(logits: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The discriminator's loss on generated images: -log(1 - D) = softplus(l)."""
    return jax.nn.softplus(logits)


def non_saturating_loss(logits: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The generator's loss -log D = softplus(-l); Goodfellow et al., 2014, end of section 3."""
    return jax.nn.softplus(-logits)


def minimax_loss(logits: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """The generator's loss log(1 - D) = -softplus(l); Goodfellow et al., 2014, equation 1."""
    return -jax.nn.softplus(logits)
