"""Lower bounds of a DBN's log likelihood, in nats per image, before and after up-down.

With h_0 = v and the top RBM between h_{L-1} and h_L, summed over h_L and over the label if there
are label units, a net gives

    log p(v, h_1..h_{L-1}) = -F_top(h_{L-1}) - log Z_top + sum_l log p(h_{l-1}|h_l)
    log q(h_1..h_{L-1}|v)  = sum_l log q(h_l|h_{l-1}),                    l = 1, ..., L - 1,

where p are the generative layers and q the recognition layers; in a DBN before up-down these share
their weights. Log Z_top is exact (`likelihood.rbm_log_z`) or estimated (`ais.ais` from
`top_base_logits`). The bounds hold for the exact one: an error of log Z_top moves them by as much.
AIS tends to err on the low side, which lifts them.

Of Gaussian visible units p(v|h_1) = N(W_1 h_1 + a, 1) is a density of the standardised pixels;
divided by their standard deviations it is one of pixels in [0, 1], and so are all bounds here.

Salakhutdinov and Murray, "On the quantitative analysis of deep belief networks", ICML 2008,
section 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.evaluation.likelihood import LogWeights
from jaxgen.learner import PRNGKey
from jaxgen.losses import bernoulli_log_prob, gaussian_log_prob, sigmoid, softplus
from jaxgen.models import dbn, label_units, rbm
from jaxgen.models.rbm import Hidden, Visible


class VariationalBound(NamedTuple):
    """An estimate for each example, in nats."""

    bound: Float[Array, " examples"]
    """E_q log p(v, h) - log q(h|v), estimated without bias; at most log p(v) in expectation."""
    standard_error: Float[Array, " examples"]
    """Of the draws of h alone."""


def top_base_logits(
    net: dbn.Net, key: PRNGKey, visible: Float[Array, "examples visible"]
) -> Float[Array, " visible"]:
    """Where annealing of the top RBM starts: the biases of the mean h_{L-1} of an up pass.

    The examples are training data: they set where the chains start, not what is estimated. For an
    RBM alone it is their own mean.
    """
    mean = jnp.mean(dbn.up(net.recognition, key, visible)[-1], axis=0)
    return mean if rbm.is_gaussian(net.top) else rbm.base_rate_logits(mean)


def log_joint(
    net: dbn.Net, log_z: Float[Array, ""], states: tuple[Hidden, ...]
) -> Float[Array, "*batch"]:
    """Log p(v, h_1..h_{L-1}) of states, v first, for log Z of the top RBM.

    Of Gaussian visible units v are standardised, and the density is that of pixels in [0, 1].
    """
    value = -label_units.free_energy(net.top, states[-1]) - log_z - rbm.log_scale(net.bottom)
    for layer, below, above in zip(net.generative, states[:-1], states[1:], strict=True):
        logits = rbm.visible_logits(layer, above)
        if rbm.is_gaussian(layer):
            value += gaussian_log_prob(below, logits, jnp.zeros(()))
        else:
            value += bernoulli_log_prob(below, logits)
    return value


def _recognition_logits(net: dbn.Net, states: tuple[Hidden, ...]) -> tuple[Hidden, ...]:
    """Logits of q(h_l|h_{l-1}), the lowest first."""
    pairs = zip(net.recognition, states[:-1], strict=True)
    return tuple(rbm.hidden_logits(layer, below) for layer, below in pairs)


def log_weights(net: dbn.Net, log_z: Float[Array, ""]) -> LogWeights:
    """Log p(v, h) - log q(h|v) of up passes, as `likelihood.importance_bound` takes it.

    The visible units are those of the net [batch, V]. The mean weight is unbiased for p(v), so the
    bound of many draws is tighter than `variational_bound`, which has the expectation of one draw.
    """

    def draw(key: PRNGKey, visible: Visible, num: int) -> Float[Array, "num batch"]:
        repeated = jnp.broadcast_to(visible, (num, *visible.shape))
        states = dbn.up(net.recognition, key, repeated)
        value = log_joint(net, log_z, states)
        for above, logits in zip(states[1:], _recognition_logits(net, states), strict=True):
            value -= bernoulli_log_prob(above, logits)
        return value

    return draw


def variational_bound(
    net: dbn.Net,
    log_z: Float[Array, ""],
    key: PRNGKey,
    visible: Float[Array, "examples visible"],
    num_samples: int = 20,
    *,
    first_example: int | Array = 0,
    examples_at_once: int = 16,
) -> VariationalBound:
    """E_q log p(v, h) - log q(h|v) for each example, a lower bound of log p(v).

    The mean over `num_samples` up passes of log p(v, h) + sum_l H(q(h_l|h_{l-1})). The entropy of
    sigmoid units with logits x is exact, H = sum_j softplus(x_j) - x_j sigmoid(x_j). For an RBM
    alone there is nothing to draw, and the value is -F(v) - log Z.

    The draws of an example follow from `key` and its number, not from what is computed at once.

    Args:
        net: recognition layers, generative layers, top RBM; `dbn.tie` for one before up-down.
        log_z: of the top RBM.
        key: used once.
        visible: units of the net; a binarisation is the caller's, made once.
        num_samples: up passes; with 1 there is no standard error, and it is NaN.
        first_example: the number of the first one, where several calls share out the examples.
        examples_at_once: examples computed side by side, with all their up passes.
    """

    def bound_of(numbered: tuple[Array, Array]) -> VariationalBound:
        index, example = numbered
        repeated = jnp.broadcast_to(example, (num_samples, len(example)))
        states = dbn.up(net.recognition, jax.random.fold_in(key, index), repeated)
        values = log_joint(net, log_z, states)
        for logits in _recognition_logits(net, states):
            values += jnp.sum(softplus(logits) - logits * sigmoid(logits), axis=-1)
        error = jnp.std(values, ddof=1) / jnp.sqrt(float(num_samples))
        return VariationalBound(bound=jnp.mean(values), standard_error=error)

    numbered = (first_example + jnp.arange(len(visible)), visible)
    bound: VariationalBound = jax.lax.map(bound_of, numbered, batch_size=examples_at_once)
    return bound
