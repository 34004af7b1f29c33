"""Lower bounds of a DBM's log likelihood, in nats per image.

Let q(h2|v) have independent units with logits x, on with mu2 = sigmoid(x), and let F(v, h2) be the
free energy with h1 summed out (`dbm.free_energy`). Then, because F is concave in h2,

    log p(v) >= E_q[-F(v, h2)] + H(q) - log Z >= -F(v, mu2) + H(q) - log Z.

The right side is the bound of mean field over both layers, E_q[-E] + H(q) - log Z, for the best mu1
given mu2, which is sigmoid(b1 + v'W1 + W2 mu2): of independent units h1 with the logits y, the
maximum of mu1'y + H(mu1) is sum_j softplus(y_j). Draws of h2 as proposals give the tighter bound of
importance weighting. Log Z is that of the RBM `dbm.as_rbm`, so all estimates of it are those of
RBMs: exact by `likelihood.rbm_log_z`, or by `ais.ais`, whose chains are of (v, h2) with h1 summed
out, where the paper has chains of h1. An error of log Z moves the bounds by as much.

Salakhutdinov and Hinton, "Deep Boltzmann machines", AISTATS 2009.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.evaluation.likelihood import LogWeights
from jaxgen.learner import PRNGKey
from jaxgen.losses import bernoulli_log_prob, sigmoid, softplus
from jaxgen.models import dbm
from jaxgen.models.rbm import Hidden, Visible
from jaxgen.random import bernoulli


def posterior_logits(params: dbm.Params, visible: Visible, num_steps: int) -> Hidden:
    """Logits x of q(h2|v) after so many updates of mean field: b2 + mu1'W2."""
    first, _ = dbm.mean_field(params, visible, num_steps)
    return first @ params["w2"] + params["b_hidden2"]


def variational_bound(
    params: dbm.Params, log_z: Float[Array, ""], visible: Visible, logits: Hidden
) -> Float[Array, "*batch"]:
    """-F(v, mu2) + H(q) - log Z, at most log p(v), for any logits of q(h2|v); nothing is drawn.

    The entropy of units with logits x is sum_k softplus(x_k) - x_k sigmoid(x_k).
    """
    second = sigmoid(logits)
    entropy = jnp.sum(softplus(logits) - logits * second, axis=-1)
    return entropy - dbm.free_energy(params, visible, second) - log_z


def log_weights(params: dbm.Params, log_z: Float[Array, ""]) -> LogWeights:
    """Log p(v, h2) - log q(h2|v) of draws of h2, as `likelihood.importance_bound` takes it.

    The examples are pairs of visible units [batch, V] and logits of q(h2|v) [batch, H2].
    """

    def draw(key: PRNGKey, examples: tuple[Visible, Hidden], num: int) -> Float[Array, "num batch"]:
        visible, logits = examples
        probs = jnp.broadcast_to(jax.nn.sigmoid(logits), (num, *logits.shape))
        second = bernoulli(key, probs)
        log_joint = -dbm.free_energy(params, visible, second) - log_z
        return log_joint - bernoulli_log_prob(second, logits)

    return draw
