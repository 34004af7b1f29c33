"""Up-down fine-tuning of a deep belief network: the contrastive form of wake-sleep.

Below the top pair, recognition weights R_l (up) and generative weights W_l (down) are untied; both
start as the weights of the DBN. With h_0 = v, one step does

    wake    h_l ~ sigmoid(h_{l-1} R_l + b_l) up to h_{L-1}; the generative weights learn to predict
            each level from the one above: dW_l = rate <(h_{l-1} - p_{l-1}) h_l'>
    top     CD-k of the RBM between h_{L-1} and h_L, starting at the h_{L-1} of the wake pass; or
            PCD, whose chains go on from the step before
    sleep   from the chain's last h_{L-1} a dream down to v; the recognition weights learn to
            predict each level from the one below: dR_l = rate <h_{l-1} (h_l - q_l)'>

where p and q are the predictions, and <.> is the mean over the batch, or over the dreams. Biases
follow the same rule.
Of Gaussian visible units, as in `jaxgen.models.rbm`, the prediction is the mean W_1 h_1 + a: the
rule is the gradient of log N(v; W_1 h_1 + a, 1), and the dream ends in that mean.

Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation
2006, section 5 and appendix B, with its label units if there are classes. Two differences: the
statistics of the top RBM use p(h_L=1|h_{L-1}) where the appendix uses a draw from it, as
`jaxgen.models.rbm` does everywhere, which leaves the expected update as it is; and the chain of the
top pair draws the label where the appendix passes on its probabilities.

Parameters that follow persistent chains never come to rest. Their mean over the last updates is
nearer to where they tend: Polyak and Juditsky, "Acceleration of stochastic approximation by
averaging", 1992; Swersky, Chen, Marlin and de Freitas, "A tutorial on stochastic approximation
algorithms for training restricted Boltzmann machines and deep belief nets", 2010.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

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
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey
from jaxgen.models import dbn, label_units, rbm
from jaxgen.models.dbn import Layers
from jaxgen.models.rbm import Hidden
from jaxgen.random import Binarize


@dataclass(frozen=True)
class Config:
    """The lab's fine-tuning of a 784-100-100 DBN; a flag of `experiments.wake_sleep` each.

    Example:
        >>> from jaxgen.models import wake_sleep
        >>> wake_sleep.Config(hidden_sizes=(500, 500, 2000)).learning_rate
        0.01
    """

    hidden_sizes: tuple[int, ...] = (100, 100)
    """Hidden units of each layer, the lowest first; those of the DBN."""
    visible: rbm.VisibleUnits = "binary"
    """Visible units, those of the DBN: binary, or gaussian for real-valued, standardised pixels."""
    num_gibbs_steps: int = 2
    """k of CD-k, or of PCD, in the top pair."""
    gibbs_phases: tuple[int, ...] = ()
    """k in equal parts of the training, in the place of num_gibbs_steps, such as 3 6 10: the
    paper's chains grow longer as the model mixes more slowly."""
    learning_rate: float = 0.01
    """Step size of all updates, at the beginning where it falls."""
    falling: bool = False
    """The rate falls linearly to 0 over the second half of the training, in all layers."""
    persistent_share: float = 0.0
    """Share of the training, at its end, with PCD in the top pair: 100 chains, at which the dreams
    begin, go on from update to update, and start at the batch before; 0 for CD, 1 for PCD alone."""
    averaged_share: float = 0.0
    """Share of the training, at its end, over whose updates the parameters are averaged: with this
    mean the net classifies and draws. 0 for the last ones."""
    num_updates: int = 0
    """Updates of the whole training, which gibbs_phases, falling and both shares divide; 0: those
    of the run."""
    prediction: Literal["probs", "samples"] = "probs"
    """Values of the predictions, and of the dreamt pixels: probabilities as in the paper, and means
    of Gaussian units, or draws."""
    binarize: Binarize = "sample"
    """How grey pixels become input of binary units: drawn again at every visit, >= 0.5, or used as
    they are."""
    init_scale: float = 0.1
    """Standard deviation of the initial weights where no DBN is given."""
    num_sampling_steps: int = 1000
    """Gibbs steps of the top pair in `sample`, from units that are on with probability 1/2."""
    num_classes: int = 0
    """Label units in the top pair, one for each class, as in the DBN; 0 for none."""
    label_gain: float = 1.0
    """Factor on the weights of the label that `sample` is asked for: 1 draws from the model; more
    draws what is typical of the class, and varies less."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "num_gibbs_steps", "num_sampling_steps")
        require_layer_sizes(self, "hidden_sizes", least=2)
        require_layer_sizes(self, "gibbs_phases", least=0)
        require_above_zero(self, "learning_rate", "label_gain")
        require_not_negative(self, "init_scale")
        require_counts(self, "num_updates", "num_classes")
        for name in ("persistent_share", "averaged_share"):
            require(self, name, 0.0 <= getattr(self, name) <= 1.0, "in [0, 1]")

    @property
    def in_parts(self) -> bool:
        """Whether something lasts a share of the training, whose length then is a setting."""
        shares = (self.persistent_share, self.averaged_share)
        return bool(self.gibbs_phases) or self.falling or any(0.0 < x < 1.0 for x in shares)


class State(NamedTuple):
    """The state between two steps."""

    recognition: Layers
    """w [below, above] (R above) and b_hidden of each layer below the top pair."""
    generative: Layers
    """w [below, above] (W above) and b_visible of the same layers, and what Gaussian visible units
    have."""
    top: rbm.State
    opt_state: optax.OptState
    """Of the directed layers."""
    average: dbn.Net | None = None
    """The mean of the nets after the updates of the averaged share so far, and before it the net
    after the last one; None without such a share."""

    @property
    def last(self) -> dbn.Net:
        """The net after the last update."""
        return dbn.Net(self.recognition, self.generative, self.top.params)

    @property
    def params(self) -> dbn.Net:
        """The net that infers and generates: the mean if there is one."""
        return self.last if self.average is None else self.average


def top_config(config: Config) -> rbm.Config:
    """The settings of the top RBM; without `num_updates`, for a net that is not trained further."""
    return rbm.Config(
        num_hidden=config.hidden_sizes[-1],
        num_gibbs_steps=config.num_gibbs_steps,
        learning_rate=config.learning_rate,
        decay_steps=config.num_updates if config.falling else 0,
        persistent=config.persistent_share > 0.0,
    )


def top_state(config: Config, params: rbm.Params, key: PRNGKey) -> rbm.State:
    """The top RBM with these parameters, before its first update."""
    top, num_below = top_config(config), len(params["b_visible"])
    start = rbm.init(top, num_below, key)
    start = label_units.add_units(top, start, label_units.num_classes(params), key)
    return start._replace(params=params)


def updates_of(config: Config) -> int:
    """T, the updates of the whole training.

    Errors:
        SettingError: they are not set, and something is to last a share of them.
    """
    which = "--gibbs-phases, --falling, --persistent-share, --averaged-share"
    require(config, "num_updates", config.num_updates > 0, f"above 0 for {which}")
    return config.num_updates


def num_gibbs_steps(config: Config, step: Array) -> int | Array:
    """K in the top pair in update `step`; an array where it changes in the training."""
    if not config.gibbs_phases:
        return config.num_gibbs_steps
    num_parts = len(config.gibbs_phases)
    part = step // math.ceil(updates_of(config) / num_parts)
    return jnp.asarray(config.gibbs_phases, jnp.int32)[jnp.minimum(part, num_parts - 1)]


def with_chains(config: Config, top: rbm.State, data: Hidden, labels: Labels) -> rbm.State:
    """The top pair with the chains that the next update goes on with.

    Before the persistent share of the training they start again at the data, which is CD: at the
    first of more data than chains, and at each of fewer data more than once.
    """
    if top.chains is None or config.persistent_share == 1.0:
        return top
    at_data = top.step < first_of(config, config.persistent_share)
    rows = jnp.arange(len(top.chains)) % len(data)
    top = top._replace(chains=jnp.where(at_data, data[rows], top.chains))
    if top.chain_labels is None:
        return top
    chain_labels = jnp.where(at_data, jnp.asarray(labels)[rows], top.chain_labels)
    return top._replace(chain_labels=chain_labels)


def first_of(config: Config, share: float) -> int:
    """The update with which a share of the training begins that lasts until its end."""
    return 0 if share == 1.0 else round((1.0 - share) * updates_of(config))


def add_to_average(config: Config, state: State) -> State:
    """The state after an update, with its net in the mean."""
    if state.average is None:
        return state
    num = state.top.step - first_of(config, config.averaged_share)
    weight = 1.0 / jnp.maximum(num, 1)
    return state._replace(average=optax.incremental_update(state.last, state.average, weight))


def optimizer(config: Config) -> optax.GradientTransformation:
    """Gradient descent with the learning rate kept in its state, as in `jaxgen.models.rbm`."""
    return rbm.optimizer(top_config(config))


def random_layers(
    config: Config, num_visible: int, key: PRNGKey, pixels: rbm.Pixels | None = None
) -> Layers:
    """An untrained DBN, for wake-sleep learning without a greedy start."""
    stack = dbn.Config(
        hidden_sizes=config.hidden_sizes,
        visible=config.visible,
        init_scale=config.init_scale,
        num_classes=config.num_classes,
    )
    return dbn.init_layers(stack, num_visible, key, pixels)


def init(
    config: Config,
    num_visible: int,
    layers: Layers | None,
    key: PRNGKey,
    pixels: rbm.Pixels | None = None,
) -> State:
    """Unties a DBN: both directions start with the same weights; the top RBM stays as it is.

    Errors:
        SettingError: `layers` have other sizes or visible units than the settings; or there are
            none, and Gaussian units are to begin without `pixels`.
    """
    if layers is None:
        layers = random_layers(config, num_visible, key, pixels)
    dbn.require_sizes(layers, num_visible, config.hidden_sizes, config.num_classes)
    dbn.require_visible(layers, config.visible)
    recognition = tuple({"w": p["w"], "b_hidden": p["b_hidden"]} for p in layers[:-1])
    generative = tuple({n: p[n] for n in p if n != "b_hidden"} for p in layers[:-1])
    return _start(config, dbn.Net(recognition, generative, layers[-1]), key)


def _start(config: Config, net: dbn.Net, key: PRNGKey) -> State:
    """The state with this net before the first update."""
    state = State(
        recognition=net.recognition,
        generative=net.generative,
        top=top_state(config, net.top, key),
        opt_state=optimizer(config).init((net.recognition, net.generative)),
    )
    average = jax.tree.map(jnp.array, state.last) if config.averaged_share else None
    return state._replace(average=average)


def init_params(config: Config, image_shape: ImageShape, key: PRNGKey) -> dbn.Net:
    """The net of an untrained DBN."""
    num_visible = math.prod(image_shape)
    return init(config, num_visible, None, key, rbm.any_pixels(num_visible)).params


def from_params(config: Config, image_shape: ImageShape, params: dbn.Net) -> State:
    """The state with this net; the rest as before the first update."""
    del image_shape  # the layers have their sizes
    return _start(config, params, jax.random.key(0))


def delta_rule(
    logits_of: Callable[[rbm.Params, Array], Array],
    layers: Layers,
    sources: Sequence[Array],
    targets: Sequence[Array],
    key: PRNGKey | None,
) -> tuple[Layers, Array]:
    """Gradients that move each layer's prediction of a target from its source away from the target.

    This is the gradient of -mean log p(target|source), so that descent is the appendix's rule:
    dw = rate <source (target - prediction)>, db = rate <target - prediction>. With a key the
    prediction is drawn, from the probabilities p of binary units or about the mean p of Gaussian
    ones, which keeps the mean and adds noise.

    Returns:
        The gradients, and mean (target - p)^2 of the lowest layer.
    """
    grads, errors = [], []
    for index, (layer, source, target) in enumerate(zip(layers, sources, targets, strict=True)):
        logits, pullback = jax.vjp(lambda layer, source=source: logits_of(layer, source), layer)
        predicted = rbm.mean_of(layer, logits)
        errors.append(jnp.mean(jnp.square(target - predicted)))
        if key is not None:
            predicted = rbm.draw_visible(layer, jax.random.fold_in(key, index), predicted)
        grads += pullback((predicted - target) / len(target))
    return tuple(grads), errors[0]


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One wake, top and sleep pass from a batch.

    Metrics:
        those of `label_units.contrastive_divergence` for the top pair, and of the lowest layer,
        before the update,
        wake_error: mean (v - E[v|h_1])^2 of the wake pass;
        sleep_error: mean (h_1 - q(h_1=1|v))^2 of the sleep pass.
    """
    key_data, key_up, key_top, key_down, key_drawn = jax.random.split(key, 5)
    bottom = state.generative[0]
    visible = rbm.to_visible(bottom, key_data, batch.images, config.binarize)
    wake = dbn.up(state.recognition, key_up, visible)
    top, metrics, model = label_units.contrastive_divergence(
        top_config(config),
        with_chains(config, state.top, wake[-1], batch.labels),
        wake[-1],
        batch.labels,
        key_top,
        num_gibbs_steps(config, state.top.step),
    )
    sleep = dbn.down(state.generative, key_down, model)
    key_wake = key_sleep = None
    if config.prediction == "samples":
        key_pixels, key_wake, key_sleep = jax.random.split(key_drawn, 3)
        sleep = (rbm.draw_visible(bottom, key_pixels, sleep[0]), *sleep[1:])

    generative, wake_error = delta_rule(
        rbm.visible_logits, state.generative, wake[1:], wake[:-1], key_wake
    )
    recognition, sleep_error = delta_rule(
        rbm.hidden_logits, state.recognition, sleep[:-1], sleep[1:], key_sleep
    )
    updates, opt_state = optimizer(config).update((recognition, generative), state.opt_state)
    if config.falling:
        updates = rbm.decay(updates, state.top.step, updates_of(config))
    recognition, generative = optax.apply_updates((state.recognition, state.generative), updates)
    metrics |= {"wake_error": wake_error, "sleep_error": sleep_error}
    return add_to_average(
        config, State(recognition, generative, top, opt_state, state.average)
    ), metrics


def sample(
    config: Config,
    image_shape: ImageShape,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """Images from the top pair and the generative weights; see `dbn.sample_net`."""
    steps, gain = config.num_sampling_steps, config.label_gain
    return dbn.sample_net(steps, image_shape, state.params, key, num, labels, gain)


def learner(
    config: Config,
    image_shape: ImageShape = (28, 28, 1),
    layers: Layers | None = None,
    pixels: rbm.Pixels | None = None,
) -> Learner:
    """The fine-tuning of the DBN `layers`, or wake-sleep learning from random weights.

    Random weights of Gaussian units begin with `rbm.pixel_statistics` of the training images.

    Example:
        >>> from jaxgen.models import wake_sleep
        >>> learner = wake_sleep.learner(wake_sleep.Config(hidden_sizes=(4, 3)), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    return Learner(
        init=partial(init, config, math.prod(check_shape(image_shape)), layers, pixels=pixels),
        step=partial(step, config),
        sample=partial(sample, config, image_shape),
        image_shape=image_shape,
        num_classes=config.num_classes,
        wide_vectors=True,
    )
