"""Deep Boltzmann machine of two hidden layers: pretraining, mean field, persistent chains.

Energy of visible units v in {0,1}^V and hidden units h1 in {0,1}^H1, h2 in {0,1}^H2, with weights
W1 [V, H1] and W2 [H1, H2]:

    E(v, h1, h2) = -v'W1 h1 - h1'W2 h2 - a'v - b1'h1 - b2'h2,        p = exp(-E) / Z.

All connections are undirected, so h1 is drawn from below and from above at once:

    p(h1=1|v, h2) = sigmoid(b1 + v'W1 + W2 h2)
    p(v=1|h1)     = sigmoid(a + W1 h1),      p(h2=1|h1) = sigmoid(b2 + h1'W2).

No unit of (v, h2) is connected with another of them. So this is an RBM between the units (v, h2)
on its visible side and h1 on its hidden side (`as_rbm`), which gives the free energy with h1 summed
out, the Gibbs steps in two blocks, and annealed importance sampling; only h2 of the data is not
known. Mean field takes q(h1, h2|v) of independent units that are on with mu1, mu2, and

    log p(v) >= E_q[-E] + H(q) - log Z,
    mu1 = sigmoid(b1 + v'W1 + W2 mu2),      mu2 = sigmoid(b2 + mu1'W2)

where each assignment is the best mu1 (mu2) for a given mu2 (mu1). Taken in turns they never lower
the bound, so there is no damping. They begin with the bottom-up pass mu1 = sigmoid(b1 + 2 v'W1),
whose doubled weights stand for what h2 does not send yet.

Learning ascends the bound at a given q, with the model's statistics from persistent chains:
dW1 = <v mu1'> - <v h1'>, dW2 = <mu1 mu2'> - <h1 h2'>. It is the update of the RBM whose data are
(v, mu2) and whose chains are of (v, h2), and `jaxgen.models.rbm` computes it.

Pretraining learns two RBMs, one after the other (`twice`): the first has every visible unit twice,
with the same weights, and the second every hidden unit,

    p(h1=1|v) = sigmoid(2 (b1' + v'W1)),       p(v=1|h1) = sigmoid(a + W1 h1)
    p(h1=1|h2) = sigmoid(2 (b1" + W2 h2)),     p(h2=1|h1) = sigmoid(b2 + h1'W2).

Put together (`compose`) with b1 = b1' + b1", the input of h1 is the mean of the two doubled inputs,
neither counted twice: v'W1 + W2 h2 + b1. A machine with the centred gradient learns from small
weights too (Montavon and Mueller, "Deep Boltzmann machines and the centering trick", 2012).

Salakhutdinov and Hinton, "Deep Boltzmann machines", AISTATS 2009, which leaves the biases of the
doubled inputs out. That those of h1 are doubled, and how mean field starts, is in the authors'
public code (rbm.m, rbm_l2.m, dbm_mf.m, mf.m), read in copies on GitHub. Chosen here: mean field
ends after a number of updates and not at a difference of 1e-7 as well, because a batch is one
program; the two copies are drawn each for itself, where that code draws one; there are no label
units and no sparsity target.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxgen.errors import (
    check_fields,
    require,
    require_above_zero,
    require_counts,
    require_layer_sizes,
    require_not_negative,
    require_positive,
)
from jaxgen.images import ImageShape, check_shape
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey, named_key
from jaxgen.losses import sigmoid, softplus
from jaxgen.models import dbn, rbm
from jaxgen.models.dbn import Layers
from jaxgen.models.rbm import Hidden, Visible
from jaxgen.random import Binarize, bernoulli, binarize

Params: TypeAlias = dict[str, Array]
"""w1 [V, H1], w2 [H1, H2], b_visible [V] (a above), b_hidden1 [H1], b_hidden2 [H2]."""

LEAST_SHARE = 0.1
"""A rate that decays by `decay` never falls below this share of the first one."""


@dataclass(frozen=True)
class Config:
    """A DBM of two hidden layers; every field is a flag of `experiments.dbm`.

    Example:
        >>> from jaxgen.models import dbm
        >>> dbm.Config(hidden_sizes=(500, 1000)).num_mean_field_steps
        10
    """

    hidden_sizes: tuple[int, ...] = (200, 200)
    """Hidden units of the two layers, the lower one first."""
    num_mean_field_steps: int = 10
    """Updates of mu1 and mu2 for each batch, after the bottom-up pass."""
    num_gibbs_steps: int = 5
    """Gibbs steps of the persistent chains between two updates."""
    num_chains: int = 100
    """Number of persistent chains."""
    learning_rate: float = 0.01
    """Step size of the gradient ascent on the bound, at the beginning where it falls."""
    decay_steps: int = 0
    """T > 0: constant for T / 2 updates, then falling linearly to 0 at T; 0: constant."""
    decay: float = 0.0
    """d > 0: update s = 0, 1, ... has the rate learning_rate / (1 + d)^s, and a tenth of it at
    least, as in the authors' code; 0: no decay."""
    momentum: float = 0.0
    """Heavy-ball momentum, in pretraining too; 0 is plain gradient ascent."""
    weight_decay: float = 0.0
    """L2 decay of the weights (not of the biases), added to their gradient."""
    centred: bool = False
    """Centred gradient: subtract running means of the units from the statistics."""
    pretraining_rate: float = 0.05
    """Step size of the pretraining of either layer."""
    pretraining_gibbs_steps: int = 1
    """k of CD-k in pretraining."""
    pretraining_weight_decay: float = 0.0
    """L2 decay of the weights in pretraining."""
    binarize: Binarize = "sample"
    """How grey pixels become input: drawn again at every visit, >= 0.5, or used as they are."""
    init_scale: float = 0.01
    """Standard deviation of the initial weights; the biases start at zero."""
    num_sampling_steps: int = 1000
    """Gibbs steps of `sample`, from units that are on with probability 1/2."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_layer_sizes(self, "hidden_sizes", least=2)
        require(self, "hidden_sizes", len(self.hidden_sizes) == 2, "of two numbers")
        require_positive(self, "num_mean_field_steps", "num_gibbs_steps", "num_chains")
        require_positive(self, "pretraining_gibbs_steps", "num_sampling_steps")
        require_above_zero(self, "learning_rate", "pretraining_rate")
        require_counts(self, "decay_steps")
        require_not_negative(self, "decay", "weight_decay", "init_scale")
        require_not_negative(self, "pretraining_weight_decay")
        require(self, "momentum", 0.0 <= self.momentum < 1.0, "in [0, 1)")


def as_rbm(params: Params) -> rbm.Params:
    """The same distribution as an RBM: (v, h2) on its visible side, h1 on its hidden side."""
    return {
        "w": jnp.concatenate([params["w1"], params["w2"].T]),
        "b_visible": jnp.concatenate([params["b_visible"], params["b_hidden2"]]),
        "b_hidden": params["b_hidden1"],
    }


def from_rbm(pair: rbm.Params, num_visible: int) -> Params:
    """The inverse of `as_rbm`, for so many visible units."""
    w1, w2 = pair["w"][:num_visible], pair["w"][num_visible:].T
    b_visible, b_hidden2 = pair["b_visible"][:num_visible], pair["b_visible"][num_visible:]
    names = {"b_visible": b_visible, "b_hidden1": pair["b_hidden"], "b_hidden2": b_hidden2}
    return {"w1": w1, "w2": w2, **names}


def energy(
    params: Params, visible: Visible, first: Hidden, second: Hidden
) -> Float[Array, "*batch"]:
    """E(v, h1, h2) of the module, one number per example."""
    return rbm.energy(as_rbm(params), jnp.concatenate([visible, second], axis=-1), first)


def free_energy(params: Params, visible: Visible, second: Hidden) -> Float[Array, "*batch"]:
    """F(v, h2) = -log sum_h1 exp(-E(v, h1, h2)), one number per example, in nats.

    It is that of `as_rbm`; the products with v and h2 are apart, so that many h2 share that of v.
    """
    logits = visible @ params["w1"] + params["b_hidden1"] + second @ params["w2"].T
    linear = visible @ params["b_visible"] + second @ params["b_hidden2"]
    return -linear - jnp.sum(softplus(logits), axis=-1)


def mean_field(params: Params, visible: Visible, num_steps: int) -> tuple[Hidden, Hidden]:
    """Mu1 and mu2 after so many updates of both, and one more of mu1, from the bottom-up pass.

    So mu1 is the best one for mu2, and how far mu2 is from the fixed point is seen in
    sigmoid(b2 + mu1'W2) - mu2.
    """
    from_below = visible @ params["w1"]

    def first_given(second: Hidden) -> Hidden:
        return sigmoid(from_below + second @ params["w2"].T + params["b_hidden1"])

    def second_given(first: Hidden) -> Hidden:
        return sigmoid(first @ params["w2"] + params["b_hidden2"])

    def update(_: Array, second: Hidden) -> Hidden:
        return second_given(first_given(second))

    start = second_given(sigmoid(2.0 * from_below + params["b_hidden1"]))
    second: Hidden = jax.lax.fori_loop(0, num_steps, update, start)
    return first_given(second), second


def reconstruct(
    params: Params, key: PRNGKey, visible: Visible, num_steps: int
) -> tuple[Hidden, Hidden, Visible]:
    """Mu1 and mu2 of `mean_field`, and p(v=1|h1) of an h1 that is drawn with mu1."""
    first, second = mean_field(params, visible, num_steps)
    drawn = bernoulli(key, first)
    return first, second, jax.nn.sigmoid(drawn @ params["w1"].T + params["b_visible"])


# ---- pretraining


def twice(params: rbm.Params, side: Literal["visible", "hidden"]) -> rbm.Params:
    """The RBM with every unit of one side twice, and tied weights; the bias of h1 is doubled.

    H1 is the other side: the input that its units have from the copies is 2 v'W (2 W h2).
    """
    w, visible, hidden = params["w"], params["b_visible"], params["b_hidden"]
    if side == "visible":
        return {
            "w": jnp.concatenate([w, w]),
            "b_visible": jnp.concatenate([visible, visible]),
            "b_hidden": 2.0 * hidden,
        }
    return {
        "w": jnp.concatenate([w, w], axis=1),
        "b_visible": 2.0 * visible,
        "b_hidden": jnp.concatenate([hidden, hidden]),
    }


def compose(layers: Layers) -> Params:
    """The DBM of two pretrained RBMs, whose biases of h1 are added."""
    lower, upper = layers
    return {
        "w1": lower["w"],
        "w2": upper["w"],
        "b_visible": lower["b_visible"],
        "b_hidden1": lower["b_hidden"] + upper["b_visible"],
        "b_hidden2": upper["b_hidden"],
    }


def layer_config(config: Config, layer: int) -> rbm.Config:
    """The settings of the pretraining of one layer; layer 0 is the lower one."""
    return rbm.Config(
        num_hidden=config.hidden_sizes[layer],
        num_gibbs_steps=config.pretraining_gibbs_steps,
        learning_rate=config.pretraining_rate,
        momentum=config.momentum,
        weight_decay=config.pretraining_weight_decay,
        binarize=config.binarize,
        init_scale=config.init_scale,
    )


def init_layer(config: Config, num_visible: int, lower: Layers, key: PRNGKey) -> dbn.State:
    """The state before the first update of the RBM above `lower`, which has no layer or one."""
    num_below = config.hidden_sizes[0] if lower else num_visible
    key = named_key(key, f"layer {len(lower)}")
    return dbn.State(lower, rbm.init(layer_config(config, len(lower)), num_below, key))


def first_hidden_logits(lower: rbm.Params, visible: Visible) -> Hidden:
    """Logits of p(h1=1|v) in the first RBM of pretraining: 2 (b1' + v'W1)."""
    return 2.0 * rbm.hidden_logits(lower, visible)


def step_layer(
    config: Config, state: dbn.State, batch: Batch, key: PRNGKey
) -> tuple[dbn.State, Metrics]:
    """One CD-k update of the RBM with copies of one side, by half its gradient.

    Half, because two copies have twice the gradient of one. The data of the second RBM are drawn
    from p(h1|v) of the first one at every visit.

    Metrics:
        free_energy_contrast: half of mean F(data) - mean F(model), nats.
        pixel_change: mean (data - model)^2 of one copy after k steps, of h1 in the second RBM.
    """
    layer, (lower, top) = layer_config(config, len(state.lower)), state
    key_data, key_up, key_gibbs = jax.random.split(named_key(key, f"layer {len(lower)}"), 3)
    data = binarize(key_data, batch.images, config.binarize)
    side: Literal["visible", "hidden"] = "hidden" if lower else "visible"
    if lower:
        data = bernoulli(key_up, sigmoid(first_hidden_logits(lower[0], data)))
    else:
        data = jnp.concatenate([data, data], axis=-1)
    model = rbm.gibbs(twice(top.params, side), data, key_gibbs, layer.num_gibbs_steps)

    def contrast(params: rbm.Params) -> Array:
        energies = partial(rbm.free_energy, twice(params, side))
        return 0.5 * (jnp.mean(energies(data)) - jnp.mean(energies(model)))

    value, grads = jax.value_and_grad(contrast)(top.params)
    change = jnp.mean(jnp.square(data - model))
    metrics = {"free_energy_contrast": value, "pixel_change": change}
    return dbn.State(lower, rbm.descend(layer, top, grads)), metrics


def sample_layers(
    config: Config,
    image_shape: ImageShape,
    state: dbn.State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """Images [num, H, W, C] of the first RBM with its copies, or of the DBM of both layers."""
    if state.lower:
        return sample_params(config, image_shape, compose(state.params), key, num, labels)
    doubled = twice(state.top.params, "visible")
    return _sample_pair(config, image_shape, doubled, key, num)


def pretraining(
    config: Config, image_shape: ImageShape = (28, 28, 1), lower: Layers = ()
) -> Learner:
    """The pretraining of the RBM above `lower`, which is no layer or the first one.

    Two of them, one after the other, are what `learner` takes:

        first = fit(pretraining(config), images, schedule, seeds)
        second = fit(pretraining(config, lower=first.state.params), images, schedule, seeds)
        state = fit(learner(config, layers=second.state.params), images, schedule, seeds).state
    """
    return Learner(
        init=partial(init_layer, config, math.prod(check_shape(image_shape)), lower),
        step=partial(step_layer, config),
        sample=partial(sample_layers, config, image_shape),
        image_shape=image_shape,
    )


# ---- the whole machine


class State(NamedTuple):
    """The state between two steps; `step` is the number of updates so far, int32."""

    params: Params
    opt_state: optax.OptState
    """Of the parameters as `as_rbm` has them."""
    step: Array
    chains: Visible
    """Persistent chains [num_chains, V + H2], units v first."""
    means: tuple[Visible, Hidden] | None
    """Running means of (v, mu2) and of p(h1=1|v, mu2), if centred."""


def pair_config(config: Config) -> rbm.Config:
    """The settings of the RBM between (v, h2) and h1."""
    return rbm.Config(
        num_hidden=config.hidden_sizes[0],
        num_gibbs_steps=config.num_gibbs_steps,
        learning_rate=config.learning_rate,
        decay_steps=config.decay_steps,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        persistent=True,
        num_chains=config.num_chains,
        centred=config.centred,
        init_scale=config.init_scale,
    )


def of_pair(pair: rbm.State, params: Params) -> State:
    """The state of a machine whose two pairs of layers are learnt as this one RBM."""
    assert pair.chains is not None  # as `pair_config` has it
    return State(params, pair.opt_state, pair.step, pair.chains, pair.means)


def init(config: Config, num_visible: int, layers: Layers | None, key: PRNGKey) -> State:
    """The state before the first update, from two pretrained RBMs, or else from small weights.

    Every unit of a chain is on with probability 1/2.

    Errors:
        SettingError: `layers` have other sizes than the settings, or Gaussian visible units.
    """
    num_units = num_visible + config.hidden_sizes[1]
    pair = rbm.init(pair_config(config), num_units, key)
    params = from_rbm(pair.params, num_visible)
    if layers:
        dbn.require_sizes(layers, num_visible, config.hidden_sizes)
        dbn.require_visible(layers, "binary")
        params = compose(layers)
    return of_pair(pair, params)


def at_base_rates(state: State, mean_visible: Float[Array | np.ndarray, " visible"]) -> State:
    """The state with visible biases, and centred means of v if there are any, of the mean pixels.

    For a machine of small weights; a pretrained one has the biases of its first RBM. See
    `rbm.at_base_rates`.
    """
    logits = rbm.base_rate_logits(mean_visible, rbm.BASE_RATE_SMOOTHING)
    means = state.means
    if means is not None:
        both = jnp.concatenate([jnp.asarray(mean_visible), means[0][len(mean_visible) :]])
        means = (both, means[1])
    return state._replace(params=state.params | {"b_visible": logits}, means=means)


def _share(config: Config, step: Array) -> Array:
    """The learning rate of an update by `decay`, as a part of the first one."""
    return jnp.maximum(jnp.exp(-step * math.log1p(config.decay)), LEAST_SHARE)


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One update from a batch: mean field for the data, persistent chains for the model.

    Metrics:
        free_energy_contrast: mean F(v, mu2) - mean F(v, h2) of the chains, h1 summed out; nats.
        mean_field_change: mean |sigmoid(b2 + mu1'W2) - mu2|, which is 0 at the fixed point.
        first_mean, second_mean: means of mu1 and of mu2.
    """
    key_data, key_gibbs = jax.random.split(key)
    settings, params = pair_config(config), state.params
    visible = binarize(key_data, batch.images, config.binarize)
    first, second = mean_field(params, visible, config.num_mean_field_steps)
    again = sigmoid(first @ params["w2"] + params["b_hidden2"])
    pair = rbm.State(
        params=as_rbm(params),
        opt_state=state.opt_state,
        chains=state.chains,
        step=state.step,
        means=state.means,
    )
    data = jnp.concatenate([visible, second], axis=-1)
    model = rbm.negative_phase(pair, data, key_gibbs, config.num_gibbs_steps)
    learnt, found = rbm.learn(settings, pair, data, model)
    new = from_rbm(learnt.params, visible.shape[-1])
    if config.decay:
        share = _share(config, state.step)
        new = jax.tree.map(lambda old, new: old + share * (new - old), params, new)
    metrics = {
        "free_energy_contrast": found["free_energy_contrast"],
        "mean_field_change": jnp.mean(jnp.abs(again - second)),
        "first_mean": jnp.mean(first),
        "second_mean": jnp.mean(second),
    }
    return of_pair(learnt, new), metrics


def _sample_pair(
    config: Config, image_shape: ImageShape, pair: rbm.Params, key: PRNGKey, num: int
) -> Images:
    """E[v|h1] after `num_sampling_steps` Gibbs steps from random h1; v are the first units."""
    key_start, key_chain = jax.random.split(key)
    start = bernoulli(key_start, jnp.full((num, len(pair["b_hidden"])), 0.5))
    _, probs = rbm.generate(pair, key_chain, start, config.num_sampling_steps)
    return probs[:, : math.prod(image_shape)].reshape(num, *image_shape)


def sample_params(
    config: Config,
    image_shape: ImageShape,
    params: Params,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """P(v=1|h1) [num, H, W, C] after `num_sampling_steps` Gibbs steps from random units h1."""
    del labels  # it knows no classes
    return _sample_pair(config, image_shape, as_rbm(params), key, num)


def sample(
    config: Config,
    image_shape: ImageShape,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """Images of the machine; see `sample_params`."""
    return sample_params(config, image_shape, state.params, key, num, labels)


def learner(
    config: Config,
    image_shape: ImageShape = (28, 28, 1),
    layers: Layers | None = None,
) -> Learner:
    """The machine that two pretrained RBMs make, or one of small weights, as pure functions.

    Example:
        >>> from jaxgen.models import dbm
        >>> learner = dbm.learner(dbm.Config(hidden_sizes=(4, 3)), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    return Learner(
        init=partial(init, config, math.prod(check_shape(image_shape)), layers),
        step=partial(step, config),
        sample=partial(sample, config, image_shape),
        image_shape=image_shape,
        wide_vectors=True,
    )
