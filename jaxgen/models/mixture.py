"""Mixture of multivariate Bernoullis, fitted by EM: the baseline whose likelihood is exact.

    p(v) = sum_k pi_k prod_i p_ki^v_i (1 - p_ki)^(1 - v_i)

over K components, visible units v in {0,1}^V. The parameters are log pi_k and the logits
l_ki = log p_ki / (1 - p_ki). Nothing is estimated or bounded: log p(v) is a sum of K terms.

EM alternates between the responsibilities r_nk = p(k|v_n) and the counts that they make,

    N_k = sum_n r_nk,    on_ki = sum_n r_nk v_ni,    off_ki = N_k - on_ki,
    p_ki = (on_ki + c) / (N_k + 2c),    pi_k = (N_k + c) / (N + K c),

with a prior count c > 0: each component has seen every unit on c times and off c times more, and
has been drawn c times more. That is the maximum a posteriori for Beta(1 + c, 1 + c) on each p_ki
and Dirichlet(1 + c) on pi. No probability is 0 or 1, a pixel that is never on included, and a
component without images falls back to p = 1/2. On fixed data no iteration lowers

    sum_n log p(v_n) + c sum_k log pi_k + c sum_ki log p_ki (1 - p_ki).

There is no gradient step, so this is no `Learner`. Salakhutdinov and Murray, "On the quantitative
analysis of deep belief networks", ICML 2008, section 6, compare with one of 500 components;
Bishop, "Pattern Recognition and Machine Learning", 2006, section 9.3.3, has the algorithm.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxgen.errors import check_fields, require_above_zero, require_positive
from jaxgen.images import check_images
from jaxgen.learner import PRNGKey, named_key
from jaxgen.models.rbm import Visible
from jaxgen.random import RESOLUTION, Binarize, binarize, bits16

_BLOCK = 1000
"""Images whose responsibilities are in memory at once."""


@dataclass(frozen=True)
class Config:
    """The published baseline: 500 components."""

    num_components: int = 500
    """Components of the mixture, K."""
    num_iterations: int = 100
    """Iterations of EM, each over all images."""
    prior_count: float = 0.1
    """c: how often each component has seen every unit on, and off, and been drawn, beforehand."""
    binarize: Binarize = "sample"
    """How grey pixels become input: drawn again in every iteration, >= 0.5, or used as they are."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "num_components", "num_iterations")
        require_above_zero(self, "prior_count")


class Params(NamedTuple):
    """A mixture."""

    log_weights: Float[Array, " components"]
    """log pi_k."""
    logits: Float[Array, "components visible"]
    """log p_ki / (1 - p_ki)."""


def log_joint(params: Params, visible: Visible) -> Float[Array, "*batch components"]:
    """Log p(v, k) = log pi_k + sum_i v_i l_ki - softplus(l_ki), in nats."""
    products = jnp.matmul(visible, params.logits.T, precision=jax.lax.Precision.HIGHEST)
    return products + params.log_weights - jnp.sum(jax.nn.softplus(params.logits), axis=-1)


@jax.jit
def log_likelihood(params: Params, visible: Visible) -> Float[Array, "*batch"]:
    """Log p(v) of binary visible units, one number per example, in nats; exact.

    [batch, K] numbers are in memory at once.
    """
    found: Array = jax.nn.logsumexp(log_joint(params, visible), axis=-1)
    return found


@jax.jit
def responsibilities(params: Params, visible: Visible) -> Float[Array, "*batch components"]:
    """p(k|v), which sums to 1 over the components."""
    return jax.nn.softmax(log_joint(params, visible), axis=-1)


@partial(jax.jit, static_argnums=2)
def sample(params: Params, key: PRNGKey, num: int) -> Float[Array, "num visible"]:
    """p(v_i=1|k) of `num` components, each drawn with its weight.

    Probabilities and no draws of v, as the samples of the other models are.
    """
    drawn = jax.random.categorical(key, params.log_weights, shape=(num,))
    return jax.nn.sigmoid(params.logits[drawn])


class Counts(NamedTuple):
    """The sums of an iteration over all images."""

    on: Float[Array, "components visible"]
    """Sum of r_nk v_ni."""
    total: Float[Array, " components"]
    """N_k."""
    log_likelihood: Float[Array, ""]
    """Sum of log p(v_n) under the parameters that the responsibilities are of, in nats."""


def estimate(prior_count: float, counts: Counts) -> Params:
    """The parameters that maximise the posterior for given responsibilities; see the module."""
    off = jnp.maximum(counts.total[:, None] - counts.on, 0.0)  # rounding may put it below
    weights = counts.total + prior_count
    return Params(
        log_weights=jnp.log(weights) - jnp.log(jnp.sum(weights)),
        logits=jnp.log(counts.on + prior_count) - jnp.log(off + prior_count),
    )


def log_prior(prior_count: float, params: Params) -> Float[Array, ""]:
    """The log prior of the parameters up to a constant, in nats; the terms with c of the module."""
    log_variances = jax.nn.log_sigmoid(params.logits) + jax.nn.log_sigmoid(-params.logits)
    return prior_count * (jnp.sum(params.log_weights) + jnp.sum(log_variances))


def init(config: Config, images: UInt8[Array, "examples ..."], key: PRNGKey) -> Params:
    """The mixture before the first iteration: training images, blurred by noise.

    With x the grey pixels of an image that is drawn without replacement, as far as there are
    enough, and u uniform noise, p = 1/4 + x/4 + u/4. So all p lie in [1/4, 3/4], two components
    that start at the same image differ, and the weights are equal.

    Errors:
        SettingError: there are no images, or they are no uint8 from 0 to 255.
    """
    images = jnp.asarray(check_images(images))
    order = jax.random.permutation(named_key(key, "components"), len(images))
    chosen = images[order[jnp.arange(config.num_components) % len(images)]]
    grey = chosen.reshape(config.num_components, -1) / 255.0
    noise = bits16(named_key(key, "noise"), grey.shape) * RESOLUTION
    probs = 0.25 + 0.25 * grey + 0.25 * noise
    equal = jnp.full(config.num_components, -jnp.log(float(config.num_components)))
    return Params(log_weights=equal, logits=jnp.log(probs) - jnp.log1p(-probs))


def update(
    config: Config, params: Params, images: UInt8[Array, "examples ..."], key: PRNGKey
) -> tuple[Params, Float[Array, ""]]:
    """One iteration of EM over all images, binarised with `key`.

    Returns:
        The new parameters, and sum_n log p(v_n) under the old ones, in nats.

    Errors:
        SettingError: there are no images, or they are no uint8 from 0 to 255.
    """
    found: tuple[Params, Array] = _update(config, params, check_images(images), key)
    return found


@partial(jax.jit, static_argnums=0)
def _update(
    config: Config, params: Params, images: UInt8[Array, "examples ..."], key: PRNGKey
) -> tuple[Params, Float[Array, ""]]:
    """`update` of images that have been checked."""
    num = len(images)
    size = min(_BLOCK, num)
    padding = ((0, -num % size), *((0, 0) for _ in images.shape[1:]))
    blocks = jnp.pad(images, padding).reshape(-1, size, *images.shape[1:])

    def add(counts: Counts, numbered: tuple[Array, Array]) -> tuple[Counts, None]:
        index, block = numbered
        block = block.reshape(size, -1, 1, 1)
        visible = binarize(jax.random.fold_in(key, index), block, config.binarize)
        joint = log_joint(params, visible)
        log_probs = jax.nn.logsumexp(joint, axis=-1)
        real = index * size + jnp.arange(size) < num  # the others fill the last block
        weights = jnp.exp(joint - log_probs[:, None]) * real[:, None]
        return Counts(
            on=counts.on + jnp.matmul(weights.T, visible, precision=jax.lax.Precision.HIGHEST),
            total=counts.total + jnp.sum(weights, axis=0),
            log_likelihood=counts.log_likelihood + jnp.sum(log_probs * real),
        ), None

    zero = jnp.zeros(())
    nothing = Counts(jnp.zeros_like(params.logits), jnp.zeros_like(params.log_weights), zero)
    counts, _ = jax.lax.scan(add, nothing, (jnp.arange(len(blocks)), blocks))
    return estimate(config.prior_count, counts), counts.log_likelihood


def fit(config: Config, images: UInt8[np.ndarray, "examples ..."], key: PRNGKey) -> Params:
    """A mixture fitted to images, one visible unit per pixel; nothing is held out.

    Iteration s binarises with fold_in(named_key(key, "binarize"), s); `init` has the start.

    Errors:
        SettingError: there are no images, or they are no uint8 from 0 to 255.
    """
    on_device = jnp.asarray(check_images(images, whole_set=True))
    params = init(config, on_device, named_key(key, "init"))
    key_binarize = named_key(key, "binarize")
    for iteration in range(config.num_iterations):
        key_iteration = jax.random.fold_in(key_binarize, iteration)
        params, _ = _update(config, params, on_device, key_iteration)
    return params
