"""Label units: a softmax group beside the visible units of an RBM, of which exactly one is on.

Energy of visible units v in {0,1}^V, hidden units h in {0,1}^H and a label y, one of C, where U
[C, H] are the weights of the label units and c [C] their biases:

    E(v, h, y) = -v'Wh - a'v - b'h - U_y h - c_y,

with sum_i (v_i - a_i)^2 / 2 in the place of -a'v, here and below, where v are Gaussian (`rbm`).
Given its label, this is an RBM with the hidden biases b + U_y (`condition`), so all of `rbm` serves
it:

    F(v, y)      = -c_y - a'v - sum_j softplus(b_j + v'W_j + U_yj)
    p(y|v)       = exp(-F(v, y)) / sum_k exp(-F(v, k))
    F(v)         = -log sum_y exp(-F(v, y)),      p(v) = exp(-F(v)) / Z
    p(h_j=1|v,y) = sigmoid(b_j + v'W_j + U_yj),   p(y|h) = exp(c_y + U_y h) / sum_k exp(c_k + U_k h)

v'W is the same for all labels, so p(y|v) takes one product and C softplus per hidden unit.
Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation
2006, section 5, and section 6.2 for p(y|v).

The weights of the label units are arrays of their own, so an RBM that has none is that of `rbm`,
name by name and bit by bit, and w keeps the size of the layer below. Every function but
`condition`, `gibbs` and those of the labels alone also takes such an RBM, and then does what `rbm`
does.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxgen.errors import SettingError
from jaxgen.learner import Labels, Metrics, PRNGKey, named_key
from jaxgen.losses import softplus
from jaxgen.models import rbm
from jaxgen.models.rbm import Hidden, Visible
from jaxgen.random import bernoulli

Params: TypeAlias = dict[str, Array]
"""Those of `rbm`, and w_labels [C, H] (U above) and b_labels [C] (c above) with label units."""


def num_classes(params: Params) -> int:
    """C, the number of label units; 0 without any."""
    return params["b_labels"].shape[-1] if "b_labels" in params else 0


def add_units(config: rbm.Config, state: rbm.State, num_classes: int, key: PRNGKey) -> rbm.State:
    """The state before the first update with so many label units: U ~ N(0, init_scale^2), c = 0.

    Persistent chains begin with all labels as probable.

    Errors:
        SettingError: the RBM is centred, which label units are not.
    """
    if not num_classes:
        return state
    if config.centred:
        raise SettingError(
            expected="an RBM that is not centred, for label units",
            found="centred",
            remedy="set centred=False",
        )
    shape = (num_classes, config.num_hidden)
    weights = config.init_scale * jax.random.normal(named_key(key, "labels"), shape)
    params = state.params | {"w_labels": weights, "b_labels": jnp.zeros(num_classes)}
    state = state._replace(params=params, opt_state=rbm.optimizer(config).init(params))
    if state.chains is None:
        return state
    key_chains = named_key(key, "labels of the chains")
    drawn = jax.random.randint(key_chains, (len(state.chains),), 0, num_classes)
    return state._replace(chain_labels=drawn)


def condition(
    params: Params, labels: Int32[Array | np.ndarray, "*batch"], gain: float = 1.0
) -> rbm.Params:
    """The RBM that is left given the label: its hidden biases are b + gain U_y, one row per label.

    With a gain of 1 that is p(v, h|y). In general v and h have a probability in proportion to
    exp(v'Wh + a'v + b'h + gain U_y h); a larger gain makes them more typical of the class.
    """
    one_hot = jax.nn.one_hot(labels, num_classes(params))
    rest = {name: value for name, value in params.items() if not name.endswith("_labels")}
    return rest | {"b_hidden": params["b_hidden"] + gain * (one_hot @ params["w_labels"])}


def label_logits(params: Params, hidden: Hidden) -> Float[Array, "*batch classes"]:
    """C + U h, of which p(y|h) is the softmax."""
    return hidden @ params["w_labels"].T + params["b_labels"]


def free_energies(params: Params, visible: Visible) -> Float[Array, "*batch classes"]:
    """F(v, y) of every label, in nats; memory is that of one label's hidden units."""
    logits = rbm.hidden_logits(params, visible)

    def softplus_sum(weights: Array) -> Array:
        return jnp.sum(softplus(logits + weights), axis=-1)

    rest = rbm.free_energy(params, visible) + softplus_sum(jnp.zeros(()))
    sums = jax.lax.map(softplus_sum, params["w_labels"])
    return rest[..., None] - jnp.moveaxis(sums, 0, -1) - params["b_labels"]


def free_energy(params: Params, visible: Visible) -> Float[Array, "*batch"]:
    """F(v), summed over the labels, in nats; the log likelihood is log p(v) = -F(v) - log Z."""
    if not num_classes(params):
        return rbm.free_energy(params, visible)
    return -jax.nn.logsumexp(-free_energies(params, visible), axis=-1)


def log_posterior(params: Params, visible: Visible) -> Float[Array, "*batch classes"]:
    """Log p(y|v) of every label, exact."""
    return jax.nn.log_softmax(-free_energies(params, visible))


def hidden_probs(params: Params, visible: Visible) -> Hidden:
    """p(h_j=1|v) = sum_y p(y|v) p(h_j=1|v, y)."""
    logits = rbm.hidden_logits(params, visible)
    if not num_classes(params):
        return jax.nn.sigmoid(logits)
    probs = jax.nn.sigmoid(logits[..., None, :] + params["w_labels"])
    return jnp.sum(jnp.exp(log_posterior(params, visible))[..., None] * probs, axis=-2)


def _draw_below(params: Params, key: PRNGKey, hidden: Hidden) -> tuple[Visible, Array]:
    """Draws v ~ p(v|h) and y ~ p(y|h)."""
    visible = rbm.draw_visible(params, key, rbm.visible_mean(params, hidden))
    return visible, jax.random.categorical(named_key(key, "labels"), label_logits(params, hidden))


def gibbs(
    params: Params, visible: Visible, labels: Labels, key: PRNGKey, num_steps: int | Array
) -> tuple[Visible, Array]:
    """Runs `num_steps` steps (v, y) -> h ~ p(h|v, y) -> v ~ p(v|h), y ~ p(y|h)."""

    def gibbs_step(index: Array, below: tuple[Visible, Array]) -> tuple[Visible, Array]:
        key_hidden, key_below = jax.random.split(jax.random.fold_in(key, index))
        visible, labels = below
        logits = rbm.hidden_logits(condition(params, labels), visible)
        return _draw_below(params, key_below, bernoulli(key_hidden, jax.nn.sigmoid(logits)))

    start = (visible, jnp.asarray(labels))
    last: tuple[Visible, Array] = jax.lax.fori_loop(
        0, num_steps, gibbs_step, start, unroll=rbm.unroll(num_steps)
    )
    return last


def contrastive_divergence(
    config: rbm.Config,
    state: rbm.State,
    data: Visible,
    labels: Labels,
    key: PRNGKey,
    num_steps: int | Array | None = None,
) -> tuple[rbm.State, Metrics, Visible]:
    """One update that lowers F of the data and raises F of the model's state after k Gibbs steps.

    The steps start at the data, or where the persistent chains are. K is `num_steps`, which a
    program may compute, or that of the settings where none is given. With label units it is F(v, y)
    of both, and the chain draws its label again in each step. The appendix of the paper passes
    p(y|h) on in the place of a draw, which is no state of the model.

    Returns:
        The new state; the metrics of `rbm.learn`, and with label units label_change, the share of
        chains that end at another label than they began with; and the last visible units.
    """
    num_steps = config.num_gibbs_steps if num_steps is None else num_steps
    if not num_classes(state.params):
        model = rbm.negative_phase(state, data, key, num_steps)
        return *rbm.learn(config, state, data, model), model
    begin = data if state.chains is None else state.chains
    begin_labels = labels if state.chain_labels is None else state.chain_labels
    model, drawn = gibbs(state.params, begin, begin_labels, key, num_steps)

    def mean_energy(params: Params, visible: Visible, labels: Labels) -> Array:
        energy = rbm.free_energy(condition(params, labels), visible)
        one_hot = jax.nn.one_hot(labels, num_classes(params))
        return jnp.mean(energy - one_hot @ params["b_labels"])

    def contrast(params: Params) -> Array:
        return mean_energy(params, data, labels) - mean_energy(params, model, drawn)

    value, grads = jax.value_and_grad(contrast)(state.params)
    hidden = jax.nn.sigmoid(rbm.hidden_logits(condition(state.params, labels), data))
    metrics = {
        "free_energy_contrast": value,
        "hidden_mean": jnp.mean(hidden),
        "label_change": jnp.mean(begin_labels != drawn, dtype=jnp.float32),
    }
    if state.chains is None:
        metrics["pixel_change"] = jnp.mean(jnp.square(data - model))
    else:
        state = state._replace(chains=model, chain_labels=drawn)
    return rbm.descend(config, state, grads), metrics, model


def reconstruct(params: Params, key: PRNGKey, visible: Visible) -> tuple[Hidden, Visible]:
    """`rbm.reconstruct`, with y ~ p(y|v) drawn first where there are labels; h is of that label."""
    if num_classes(params):
        drawn = jax.random.categorical(named_key(key, "labels"), log_posterior(params, visible))
        params = condition(params, drawn)
    return rbm.reconstruct(params, key, visible)


def generate(
    params: Params,
    key: PRNGKey,
    hidden: Hidden,
    num_steps: int,
    gain: float = 1.0,
    labels: Labels | None = None,
    label_gain: float = 1.0,
) -> tuple[Hidden, Visible]:
    """`rbm.generate`, with the label units clamped to `labels`, or drawn too where none are given.

    Clamped ones have the gain `label_gain` of `condition`.

    Returns:
        The last hidden state, and E[v|h] of it as pixels in [0, 1].
    """
    if not num_classes(params):
        return rbm.generate(params, key, hidden, num_steps, gain)
    if labels is not None:
        conditioned = condition(params, labels, label_gain)
        return rbm.generate(conditioned, key, hidden, num_steps, gain)
    key_down, key_up, key_gibbs = jax.random.split(key, 3)
    below = _draw_below(params, key_down, gain * hidden)
    visible, drawn = gibbs(params, *below, key_gibbs, num_steps - 1)
    return rbm.reconstruct(condition(params, drawn), key_up, visible)
