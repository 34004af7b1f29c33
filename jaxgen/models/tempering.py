"""Tempered RBMs, and parallel tempering, which draws from an RBM whose own chains do not mix.

Between an RBM without weights, with visible biases c [V], and the target lie

    log p*_beta(v) = (1 - beta) c'v + beta a'v + sum_j softplus(beta (b_j + v'W_j)),

at beta = 0 independent units, at beta = 1 the target. Of Gaussian visible units each has the term
-v'v / 2 too, so that v is N((1 - beta) c + beta (a + W h), 1) given h. With C label units
(`jaxgen.models.label_units`) their biases and weights are scaled by beta as the others are, so at
beta = 0 all labels are as probable.

Parallel tempering runs a chain at each beta. After each Gibbs step neighbours v, v' at beta, beta'
change places with probability min(1, r),

    r = p*_beta(v') p*_beta'(v) / (p*_beta(v) p*_beta'(v')),

which leaves the product of all p_beta as it is. What mixes at a small beta so comes to the target.
Pairs take turns, the even ones and the odd ones, because a state then goes in one direction as long
as it is accepted, and takes of the order of M steps from one end of M chains to the other.

Swendsen and Wang, "Replica Monte Carlo simulation of spin glasses", 1986; Desjardins, Courville,
Bengio, Vincent and Delalleau, "Tempered Markov chain Monte Carlo for training of restricted
Boltzmann machines", AISTATS 2010; Syed, Bouchard-Cote, Deligiannidis and Doucet, "Non-reversible
parallel tempering", 2022, for the turns.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SettingError, require_whole
from jaxgen.images import ImageShape
from jaxgen.learner import Images, Labels, PRNGKey, named_key
from jaxgen.losses import sigmoid, softplus
from jaxgen.models import label_units
from jaxgen.models.rbm import (
    Config,
    Hidden,
    Params,
    State,
    Visible,
    draw_visible,
    hidden_logits,
    is_gaussian,
    reconstruct,
    visible_logits,
)
from jaxgen.random import bernoulli

MAX_TEMPERATURES = 1000
"""Chains of a set; memory is that of all of them, and neighbours are alike long before."""


class Below(NamedTuple):
    """The state of the visible layer."""

    visible: Visible
    labels: Labels | None
    """Of an RBM with label units."""


def base_logits_of(params: Params, base_logits: Array | None) -> Array:
    """The given base logits c, or zeros.

    Errors:
        SettingError: there is not one for each visible unit.
    """
    if base_logits is None:
        return jnp.zeros_like(params["b_visible"])
    base_logits = jnp.asarray(base_logits)
    if base_logits.shape != jnp.shape(params["b_visible"]):
        raise SettingError(
            expected=f"base_logits {[*jnp.shape(params['b_visible'])]}, one for each visible unit",
            found=str([*base_logits.shape]),
            remedy="take those of the same images, by rbm.base_rate_logits",
        )
    return base_logits


def mean_of(params: Params, logits: Visible) -> Visible:
    """`rbm.mean_of` with the quicker sigmoid."""
    return logits if is_gaussian(params) else sigmoid(logits)


def logits_of(params: Params, below: Below) -> Hidden:
    """B + v'W, and U_y of a label: the logits of hidden units at beta = 1."""
    given = params if below.labels is None else label_units.condition(params, below.labels)
    return hidden_logits(given, below.visible)


def linear_of(params: Params, base_logits: Visible, below: Below) -> Float[Array, "*batch"]:
    """(a - c)'v, and c_y of a label: what beta multiplies outside of the softplus."""
    linear = below.visible @ (params["b_visible"] - base_logits)
    if below.labels is None:
        return linear
    return linear + jnp.asarray(params["b_labels"])[below.labels]


def gibbs_step(
    params: Params,
    base_logits: Visible,
    beta: Array,
    key: PRNGKey,
    logits: Hidden,
    labelled: bool,
) -> Below:
    """Draws h ~ p_beta(h|v, y) from the `logits_of` v and y, then v and y ~ p_beta(.|h)."""
    key_hidden, key_visible = jax.random.split(key)
    hidden, labels = bernoulli(key_hidden, sigmoid(beta * logits)), None
    if labelled:
        group = beta * label_units.label_logits(params, hidden)
        labels = jax.random.categorical(named_key(key_visible, "labels"), group)
    mixed = (1.0 - beta) * base_logits + beta * visible_logits(params, hidden)
    return Below(draw_visible(params, key_visible, mean_of(params, mixed)), labels)


class Tempered(NamedTuple):
    """Where the target's chains end, and how well states went through the temperatures."""

    visible: Float[Array, "num visible"]
    labels: Labels | None
    """[num], of an RBM with label units."""
    acceptance: Float[Array, " pairs"]
    """Share of the changes of place between neighbours that were accepted, from beta = 0 on."""
    arrivals: Float[Array, ""]
    """States that came from beta = 0 to the target, per chain. Below 1 the chains have hardly left
    the states that they began in; above, they have mixed if those near beta = 0 do."""


def parallel_tempering(
    params: Params,
    key: PRNGKey,
    num: int,
    num_steps: int,
    num_temperatures: int = 20,
    base_logits: Float[Array, " visible"] | None = None,
) -> Tempered:
    """Draws from an RBM by `num` independent sets of chains, which all begin at beta = 0.

    Memory and time of a step are those of num * num_temperatures Gibbs chains.

    Args:
        params: the target; label units are welcome.
        key: used once.
        num: draws.
        num_steps: Gibbs steps of every chain, each followed by changes of place.
        num_temperatures: chains of a set, from 2 on, whose betas go evenly from 0 to 1.
        base_logits: c of the module. The base rates of training data (`rbm.base_rate_logits`) take
            fewer temperatures than zeros, which stand where None is given: beta then scales the
            whole energy. The target's own biases may make improbable what its weights do not.

    Errors:
        SettingError: temperatures that are no whole number from 2 to `MAX_TEMPERATURES`, other
            numbers that are not whole, or base logits that are not one for each visible unit.
    """
    require_whole("num", num, 1)
    require_whole("num_steps", num_steps, 0)
    require_whole("num_temperatures", num_temperatures, 2, MAX_TEMPERATURES)
    params = jax.tree.map(jnp.asarray, params)
    betas = jnp.linspace(0.0, 1.0, num_temperatures)
    base = base_logits_of(params, base_logits)
    classes, places = label_units.num_classes(params), jnp.arange(num_temperatures)
    shape = (num_temperatures, num)
    mean = jnp.broadcast_to(mean_of(params, base), (*shape, len(base)))
    labels = None
    if classes:
        labels = jax.random.randint(named_key(key, "labels"), shape, 0, classes)
    start = Below(draw_visible(params, named_key(key, "start"), mean), labels)

    def score(beta: Array, linear: Array, logits: Array) -> Float[Array, "temperatures num"]:
        """Log p*_beta less what does not depend on beta."""
        return beta[:, None] * linear + jnp.sum(softplus(beta[:, None, None] * logits), axis=-1)

    def step(index: Array, carry: tuple[Below, Array, Array, Array, Array]) -> Any:
        _, logits, from_base, accepted, arrivals = carry
        key_gibbs, key_change = jax.random.split(jax.random.fold_in(key_steps, index))
        below = gibbs_step(params, base, betas[:, None, None], key_gibbs, logits, bool(classes))
        logits, linear = logits_of(params, below), linear_of(params, base, below)
        upper = places + jnp.where(places % 2 == index % 2, 1, -1)
        partner = jnp.where((upper >= 0) & (upper < num_temperatures), upper, places)
        gain = score(betas[partner], linear, logits) - score(betas, linear, logits)
        drawn = bernoulli(key_change, jnp.exp(jnp.minimum(gain + gain[partner], 0.0)))
        lower = jnp.minimum(places, partner)
        change = (drawn[lower] > 0) & (partner != places)[:, None]

        def changed(x: Array) -> Array:
            return jnp.where(change.reshape(*shape, *(1,) * (x.ndim - 2)), x[partner], x)

        from_base = jax.tree.map(changed, from_base).at[0].set(True)
        arrivals = arrivals + jnp.mean(from_base[-1])
        accepted = accepted + jnp.mean(change & (partner > places)[:, None], axis=1)
        below, logits = jax.tree.map(changed, (below, logits))
        return below, logits, from_base.at[-1].set(False), accepted, arrivals

    key_steps = named_key(key, "steps")
    from_base = jnp.zeros(shape, bool).at[0].set(True)
    carry = (start, logits_of(params, start), from_base, jnp.zeros(len(betas)), jnp.zeros(()))
    below, _, _, accepted, arrivals = jax.lax.fori_loop(0, num_steps, step, carry)
    tried = (num_steps + 1 - jnp.arange(num_temperatures - 1) % 2) // 2
    last = jax.tree.map(lambda x: x[-1], below)
    acceptance = accepted[:-1] / jnp.maximum(tried, 1)
    return Tempered(last.visible, last.labels, acceptance, arrivals)


def sample(
    config: Config,
    num_temperatures: int,
    base_logits: Float[Array, " visible"] | None,
    image_shape: ImageShape,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """`rbm.sample` by parallel tempering, whose chains are of as many steps at each temperature."""
    del labels
    key_chain, key_pixels = jax.random.split(key)
    steps = config.num_sampling_steps
    ends = parallel_tempering(state.params, key_chain, num, steps, num_temperatures, base_logits)
    _, pixels = reconstruct(state.params, key_pixels, ends.visible)
    return pixels.reshape(num, *image_shape)
