"""Annealed importance sampling of an RBM's partition function, from both sides, in nats.

Between an RBM without weights, whose partition function is known, and the target lie the tempered
RBMs p*_beta of `jaxgen.models.tempering`. At beta = 0 with visible biases c [V]

    log Z_0 = sum_i softplus(c_i) + H log 2,

and further log C of C label units; of Gaussian visible units

    log Z_0 = sum_i (c_i^2 + log 2 pi) / 2 + H log 2.

At beta = 1 log p*_beta(v) is -F(v) of the target, of Gaussian units a'a / 2 - F(v), so log Z of the
target is less by a'a / 2.

A chain goes from one to the other, one Gibbs step a temperature, and along v_1, ..., v_K gathers
the estimate of log Z

    l = log Z_0 + sum_k log p*_{beta_k}(v_k) - log p*_{beta_{k-1}}(v_k).

Forward, v_1 is drawn from beta = 0, and exp(l) has the expectation Z; backward, v_K is drawn from
the target, and exp(-l) has the expectation 1 / Z. So by Jensen's inequality the first of these two
estimates lies below log Z in expectation, and the second above it:

    ais          log mean exp(l)
    reverse_ais  -log mean exp(-l)

The first start is always at hand, the second only for a target that can be enumerated. Chains that
start elsewhere, and miss modes of the target, put the reverse estimate below log Z, by as much as
the modes weigh. So a reverse estimate below that of AIS is one of chains that missed modes: where
log Z is known exactly, AIS is right then. And AIS overstates Z e^t-fold with a probability of at
most e^-t, by Markov's inequality. If the reverse estimate lies above, both err as they do in
expectation, and log Z lies between.

Neal, "Annealed importance sampling", 2001; Salakhutdinov and Murray, "On the quantitative analysis
of deep belief networks", ICML 2008, section 4.1; Burda, Grosse and Salakhutdinov, "Accurate and
conservative estimates of MRF log-likelihood using reverse annealing", AISTATS 2015.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.errors import require_whole
from jaxgen.learner import Labels, PRNGKey, named_key
from jaxgen.losses import LOG_TWO_PI, softplus
from jaxgen.models import label_units
from jaxgen.models.rbm import Params, Visible, draw_visible, is_gaussian
from jaxgen.models.tempering import (
    Below,
    base_logits_of,
    gibbs_step,
    linear_of,
    logits_of,
    mean_of,
)

NUM_TEMPERATURES = 14_500
"""Steps of the published schedule."""
MAX_DRAWS = 1_000_000
"""Of chains, of temperatures, and of draws for an image: more take days, or all memory."""
LEAST_EFFECTIVE = 10
"""Effective chains below which an estimate has no standard error: a few weights carry the mean, and
how much larger others would be is not seen in them."""
MEET = 1.0
"""Nats; AIS and reverse AIS whose log Z lie farther apart do not meet."""


class LogZEstimate(NamedTuple):
    """An estimate of log Z from several chains, in nats."""

    log_z: Float[Array, ""]
    standard_error: Float[Array, ""]
    """Of log Z, by the delta method on the weights: sd(w) / (mean(w) sqrt(chains)).

    NaN with fewer than `LEAST_EFFECTIVE` effective chains: it would be far too small.
    """
    interval: Float[Array, "2"]
    """Log Z from the mean weight minus and plus three of its standard errors. An end is infinite
    where that weight is not above 0, and both are with fewer than `LEAST_EFFECTIVE` effective
    chains."""
    effective_sample_size: Float[Array, ""]
    """(sum w)^2 / sum w^2, from 1 to the number of chains; so many carry the mean."""
    log_z_of_chains: Float[Array, " chains"]
    """l of each chain; the weights are exp(l) forward and exp(-l) backward."""


def inverse_temperatures(num_temperatures: int = NUM_TEMPERATURES) -> Float[np.ndarray, " betas"]:
    """The betas from 0 to 1, both included, in so many steps.

    Of 14,500 steps 500 lie in [0, 0.5], 4,000 in [0.5, 0.9] and 10,000 in [0.9, 1], evenly in each
    part, as Salakhutdinov and Murray have them; other numbers keep the proportions.

    Errors:
        SettingError: no whole number from 1 to `MAX_DRAWS`.
    """
    require_whole("num_temperatures", num_temperatures, 1, MAX_DRAWS)
    steps = np.linspace(0.0, NUM_TEMPERATURES, num_temperatures + 1)
    return np.interp(steps, [0, 500, 4_500, 14_500], [0.0, 0.5, 0.9, 1.0]).astype(np.float32)


def _base_log_z(params: Params, base_logits: Float[Array, " visible"]) -> Float[Array, ""]:
    """Log Z_0 of the module, less the a'a / 2 of Gaussian units."""
    if is_gaussian(params):
        moved = jnp.square(base_logits) - jnp.square(params["b_visible"])
        visible = 0.5 * jnp.sum(moved + LOG_TWO_PI)
    else:
        visible = jnp.sum(jax.nn.softplus(base_logits))
    log_z = visible + len(params["b_hidden"]) * jnp.log(2.0)
    num_classes = label_units.num_classes(params)
    return log_z + jnp.log(float(num_classes)) if num_classes else log_z


def _anneal(
    params: Params,
    base_logits: Float[Array, " visible"],
    key: PRNGKey,
    visible: Float[Array, "chains visible"],
    labels: Labels | None,
    betas: Float[np.ndarray, " betas"],
) -> Float[Array, " chains"]:
    """Sum of log p*_to(v) - log p*_from(v) along chains through `betas`, in their order.

    `visible`, and `labels` if there are label units, are drawn from the first beta. After each
    term of the sum comes a Gibbs step at `to`; it is reversible, so the same walk serves both
    directions.
    """

    def anneal_step(
        carry: tuple[Below, Array], at: tuple[Array, Array, Array]
    ) -> tuple[tuple[Below, Array], None]:
        below, total = carry
        index, before, to = at
        logits, linear = logits_of(params, below), linear_of(params, base_logits, below)
        gain = jnp.sum(softplus(to * logits) - softplus(before * logits), axis=-1)
        total = total + gain + (to - before) * linear
        key_step, labelled = jax.random.fold_in(key, index), below.labels is not None
        return (gibbs_step(params, base_logits, to, key_step, logits, labelled), total), None

    pairs = (jnp.arange(len(betas) - 1), jnp.asarray(betas[:-1]), jnp.asarray(betas[1:]))
    start = (Below(visible, labels), jnp.zeros(len(visible)))
    (_, total), _ = jax.lax.scan(anneal_step, start, pairs)
    return total


def _estimate(log_z_of_chains: Float[Array, " chains"], sign: float) -> LogZEstimate:
    """Sign log mean exp(sign l) and its uncertainty; sign 1 is forward, -1 is backward."""
    num = len(log_z_of_chains)
    log_weights = sign * log_z_of_chains
    log_mean = jax.nn.logsumexp(log_weights) - jnp.log(float(num))
    weights = jnp.exp(log_weights - log_mean)  # their mean is 1
    effective = num / jnp.mean(jnp.square(weights))
    enough = effective >= LEAST_EFFECTIVE
    error = jnp.std(weights, ddof=min(num - 1, 1)) / jnp.sqrt(float(num))
    ends = jnp.array([-1.0, 1.0])
    bounds = jnp.log(jnp.maximum(1.0 + 3.0 * error * ends, 0.0))
    return LogZEstimate(
        log_z=sign * log_mean,
        standard_error=jnp.where(enough, error, jnp.nan),
        interval=jnp.sort(sign * (log_mean + jnp.where(enough, bounds, ends * jnp.inf))),
        effective_sample_size=effective,
        log_z_of_chains=log_z_of_chains,
    )


@partial(jax.jit, static_argnames=("num_chains", "num_temperatures"))
def ais(
    params: Params,
    key: PRNGKey,
    base_logits: Float[Array, " visible"],
    *,
    num_chains: int = 100,
    num_temperatures: int = NUM_TEMPERATURES,
) -> LogZEstimate:
    """Log Z of an RBM from chains that start at the RBM without weights: log mean exp(l).

    Z itself is estimated without bias, save for the rounding of probabilities in `bernoulli`. So
    log Z comes out too low in expectation, and a log likelihood made with it too high. The
    standard error does not show a mode that all chains miss: compare with `reverse_ais`.

    Args:
        params: the target.
        key: used once.
        base_logits: c, from `rbm.base_rate_logits`, of Gaussian units their mean; the nearer to the
            data, the smaller the error.
        num_chains: weights in the mean; they share the temperatures and are computed side by side.
        num_temperatures: see `inverse_temperatures`.

    Errors:
        SettingError: chains or temperatures that are no whole number from 1 to `MAX_DRAWS`, or base
            logits that are not one for each visible unit.
    """
    require_whole("num_chains", num_chains, 1, MAX_DRAWS)
    base_logits = base_logits_of(params, base_logits)
    mean = jnp.broadcast_to(mean_of(params, base_logits), (num_chains, len(base_logits)))
    start = draw_visible(params, named_key(key, "start"), mean)
    betas = inverse_temperatures(num_temperatures)
    labels = None
    if num_classes := label_units.num_classes(params):
        labels = jax.random.randint(named_key(key, "labels"), (num_chains,), 0, num_classes)
    total = _anneal(params, base_logits, named_key(key, "anneal"), start, labels, betas)
    return _estimate(_base_log_z(params, base_logits) + total, 1.0)


@partial(jax.jit, static_argnames=("num_temperatures",))
def reverse_ais(
    params: Params,
    key: PRNGKey,
    base_logits: Float[Array, " visible"],
    visible: Visible,
    labels: Labels | None = None,
    *,
    num_temperatures: int = NUM_TEMPERATURES,
) -> LogZEstimate:
    """Log Z of an RBM from chains that start at the target: -log mean exp(-l).

    1 / Z is estimated without bias, and log Z comes out too high in expectation, where `visible`
    are independent exact draws from the target: then this is an upper bound in expectation. Such
    draws are known for RBMs that can be enumerated. The ends of long Gibbs chains (`rbm.gibbs`) are
    draws only if the chains have mixed. Chains that never left the modes they began in see the
    target as only these modes, whose share of Z is less than all of it, and the estimate lies below
    log Z. Neither the standard error nor the effective chains show it; `ais` does.

    Args:
        params: the target.
        key: used once; `visible` must come from another key.
        base_logits: c, the same as for `ais`.
        visible: start of each chain [chains, V].
        labels: of each chain [chains], drawn with `visible`; of an RBM with label units.
        num_temperatures: see `inverse_temperatures`; walked through from 1 to 0.

    Errors:
        SettingError: as `ais`.
    """
    base_logits = base_logits_of(params, base_logits)
    betas = inverse_temperatures(num_temperatures)[::-1]
    key = named_key(key, "reverse anneal")
    total = _anneal(params, base_logits, key, visible, labels, betas)
    return _estimate(_base_log_z(params, base_logits) - total, -1.0)
