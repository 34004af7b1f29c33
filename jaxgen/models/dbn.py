"""Deep belief network: RBMs trained greedily, each on the hidden states of the one below.

With h_0 = v the visible units and layers 1 to L, the trained network generates from the top pair,
which is an RBM, through directed layers downward, and infers by sampling upward:

    p(v, h_1..h_L) = p(h_{L-1}, h_L) p(h_{L-2}|h_{L-1}) ... p(v|h_1)
    q(h_1..h_L|v)  = q(h_1|v) q(h_2|h_1) ... q(h_L|h_{L-1}),

all factors of sigmoid units; of Gaussian visible units p(v|h_1) = N(a + W h_1, 1), as in
`jaxgen.models.rbm`.

The RBM of layer l lends its weights to both directions. Raising the likelihood of its own data,
with everything below frozen, raises a lower bound on log p(v) if it starts as the layer below
turned upside down; CD-k from noise, the default, has no such guarantee. Hinton, Osindero and Teh,
"A fast learning algorithm for deep belief nets", Neural Computation 2006, sections 4 and 5.

With `num_classes` the visible side of the top pair is h_{L-1} and a softmax group of label units
(`jaxgen.models.label_units`). The net then has p(label|h_{L-1}) in closed form, which `classify`
takes, and draws a class that is asked for.

One learner trains one layer, above the frozen ones that it is given:

    first = fit(learner(config), images, schedule, seeds)
    second = fit(learner(config, lower=first.state.params), images, schedule, seeds)
    samples = learner(config).sample(second.state, key, 100)
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import (
    SettingError,
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
from jaxgen.models import label_units, rbm
from jaxgen.models.rbm import Hidden, Visible
from jaxgen.random import Binarize, as_labels, bernoulli

Layers: TypeAlias = tuple[rbm.Params, ...]
"""Parameters layer by layer, the lowest first; each is [units below, units above] wide. Label units
are in the highest, see `label_units.Params`."""


@dataclass(frozen=True)
class Config:
    """The lab's DBN, 784-100-100; every field is a flag of `experiments.dbn`.

    Example:
        >>> from jaxgen.models import dbn
        >>> dbn.Config(hidden_sizes=(500, 500, 2000)).num_gibbs_steps
        (1, 2)
    """

    hidden_sizes: tuple[int, ...] = (100, 100)
    """Hidden units of each layer, the lowest first."""
    num_gibbs_steps: tuple[int, ...] = (1, 2)
    """k of CD-k for each layer, the lowest first; the last one holds for all layers above too."""
    learning_rate: float = 0.1
    """Step size of the gradient ascent, in every layer of binary units, at the beginning where it
    falls."""
    visible: rbm.VisibleUnits = "binary"
    """Visible units of the lowest layer: binary, or gaussian for real-valued pixels, each
    standardised by its mean and standard deviation over the training set."""
    gaussian_learning_rate: float = 0.005
    """Step size of a lowest layer with Gaussian visible units, in the place of learning_rate."""
    momentum: float = 0.0
    """Heavy-ball momentum, in every layer; 0 is plain gradient ascent."""
    weight_decay: float = 0.0
    """L2 decay of W, in every layer; biases and label weights do not decay."""
    decay_steps: int = 0
    """T > 0: the rate falls to 0 as that of `rbm.Config` does, in every layer; 0: constant."""
    persistent: bool = False
    """PCD in every layer: 100 negative chains go on from update to update."""
    centred: bool = False
    """Centred gradient in every layer, as that of `rbm.Config`. Without label units."""
    binarize: Binarize = "sample"
    """How grey pixels become input of binary units: drawn again at every visit, >= 0.5, or used as
    they are."""
    init_scale: float = 0.1
    """Standard deviation of the initial weights; the biases start at zero."""
    transposed_start: bool = False
    """Start each layer but the first as the one below it turned upside down."""
    num_sampling_steps: int = 1000
    """Gibbs steps of the top pair in `sample`, from units that are on with probability 1/2."""
    num_classes: int = 0
    """Label units beside the highest layer's input, one for each class; 0 for none. Set by
    --conditional."""
    label_gain: float = 1.0
    """Factor on the weights of the label that `sample` is asked for: 1 draws from the model; more
    draws what is typical of the class, and varies less."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "num_sampling_steps")
        require_layer_sizes(self, "hidden_sizes", "num_gibbs_steps")
        require_above_zero(self, "learning_rate", "gaussian_learning_rate", "label_gain")
        require_not_negative(self, "weight_decay", "init_scale")
        require(self, "momentum", 0.0 <= self.momentum < 1.0, "in [0, 1)")
        require_counts(self, "decay_steps", "num_classes")
        centred = not (self.num_classes and self.centred)
        require(self, "centred", centred, "off beside label units (--conditional)")
        alike = not (self.transposed_start and self.visible == "gaussian")
        require(self, "transposed_start", alike, "off beside --visible gaussian")


def rbm_config(config: Config, layer: int) -> rbm.Config:
    """The settings of one layer's RBM; layer 0 is the lowest."""
    visible = "binary" if layer else config.visible
    gaussian = visible == "gaussian"
    return rbm.Config(
        num_hidden=config.hidden_sizes[layer],
        visible=visible,
        num_gibbs_steps=config.num_gibbs_steps[: layer + 1][-1],
        learning_rate=config.gaussian_learning_rate if gaussian else config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        decay_steps=config.decay_steps,
        persistent=config.persistent,
        centred=config.centred,
        binarize=config.binarize,
        init_scale=config.init_scale,
    )


class Net(NamedTuple):
    """Layers that infer and generate: directed ones in both directions, and the RBM on top.

    In a DBN both directions hold the same arrays; up-down fine-tuning unties them. An RBM alone
    is a net without directed layers.
    """

    recognition: Layers
    """Upward: w and b_hidden of each layer below the top pair."""
    generative: Layers
    """Downward: w and b_visible of the same layers, and what Gaussian visible units have."""
    top: rbm.Params

    @property
    def bottom(self) -> rbm.Params:
        """The parameters that the visible units have: downward of the lowest layer."""
        return self.generative[0] if self.generative else self.top


def tie(layers: Layers) -> Net:
    """The net of a stack of RBMs, with the same weights in both directions."""
    return Net(recognition=layers[:-1], generative=layers[:-1], top=layers[-1])


def mean_up(recognition: Layers, visible: Visible) -> Hidden:
    """Probabilities of the highest of some layers, each layer below passing up its own."""
    for layer in recognition:
        visible = jax.nn.sigmoid(rbm.hidden_logits(layer, visible))
    return visible


def classify(net: Net, visible: Visible) -> Float[Array, "*batch classes"]:
    """Log p(label|h_{L-1}) of every label of a net with label units.

    The up pass to h_{L-1} hands up probabilities, as for the figures of the paper (section 6.2).
    """
    return label_units.log_posterior(net.top, mean_up(net.recognition, visible))


def up(recognition: Layers, key: PRNGKey, visible: Visible) -> tuple[Hidden, ...]:
    """Draws h_1 ~ q(h_1|v), h_2 ~ q(h_2|h_1), ...; returns v and all of them, v first."""
    states = [visible]
    for index, layer in enumerate(recognition):
        probs = jax.nn.sigmoid(rbm.hidden_logits(layer, states[-1]))
        states.append(bernoulli(jax.random.fold_in(key, index), probs))
    return tuple(states)


def down(generative: Layers, key: PRNGKey, hidden: Hidden) -> tuple[Visible, ...]:
    """Draws h_{L-2} ~ p(h_{L-2}|h_{L-1}), ..., h_1 from the given h_{L-1}.

    Returns:
        E[v|h_1], the probabilities of binary units, then the states h_1 to h_{L-1}; without layers,
        `hidden`.
    """
    levels = [hidden]
    for index, layer in enumerate(reversed(generative)):
        if index:
            levels[-1] = bernoulli(jax.random.fold_in(key, index), levels[-1])
        levels.append(rbm.visible_mean(layer, levels[-1]))
    return tuple(reversed(levels))


def _pixels(generative: Layers, key: PRNGKey, probs: Hidden) -> Visible:
    """E[v|h_1] as pixels, of a down pass from h_{L-1}, which is drawn from its probabilities first.

    Without layers `probs` are those pixels.
    """
    if not generative:
        return probs
    key_draw, key_down = jax.random.split(key)
    mean = down(generative, key_down, bernoulli(key_draw, probs))[0]
    return rbm.to_pixels(generative[0], mean)


def reconstruct(net: Net, key: PRNGKey, visible: Visible) -> tuple[Hidden, Visible]:
    """Draws an up pass to the top and a down pass back; returns h_L, and E[v|h_1] as pixels."""
    key_up, key_top, key_down = jax.random.split(key, 3)
    below = up(net.recognition, key_up, visible)[-1]
    hidden, probs = label_units.reconstruct(net.top, key_top, below)
    return hidden, _pixels(net.generative, key_down, probs)


def generate(
    net: Net,
    key: PRNGKey,
    hidden: Hidden,
    num_steps: int,
    gain: float = 1.0,
    labels: Labels | None = None,
    label_gain: float = 1.0,
) -> tuple[Hidden, Visible]:
    """Runs `num_steps` Gibbs steps of the top pair from a given top state, then a down pass.

    Returns:
        The last top state, and E[v|h_1] of the down pass as pixels in [0, 1]. `gain` is that of
        `rbm.generate`, `labels` and `label_gain` those of `label_units.generate`.
    """
    key_top, key_down = jax.random.split(key)
    chain = (net.top, key_top, hidden, num_steps, gain, labels, label_gain)
    final, probs = label_units.generate(*chain)
    return final, _pixels(net.generative, key_down, probs)


class State(NamedTuple):
    """The state between two steps: the layer in training and the frozen layers below it."""

    lower: Layers
    top: rbm.State

    @property
    def params(self) -> Layers:
        """All layers so far, the lowest first."""
        return (*self.lower, self.top.params)


def _layer_key(key: PRNGKey, lower: Layers) -> PRNGKey:
    """A key of its own for each layer; the first layer's numbers are those of the RBM alone."""
    return named_key(key, f"layer {len(lower)}") if lower else key


def upside_down(below: rbm.Params) -> rbm.Params:
    """A layer with its sides exchanged, as the start of the one above it.

    Two such RBMs as a DBN have the distribution of the lower RBM alone: p(h_1) is the same in both
    (section 2 of the paper, "complementary prior").
    """
    return {"w": below["w"].T, "b_visible": below["b_hidden"], "b_hidden": below["b_visible"]}


def require_turnable(sizes: tuple[int, ...]) -> None:
    """Raises SettingError unless every second of the sizes, visible units first, is the same."""
    for layer, (below, size) in enumerate(zip(sizes, sizes[2:], strict=False), start=2):
        if size != below:
            raise SettingError(
                expected=f"--hidden-sizes with {below} units in layer {layer}, for "
                f"--transposed-start from {below}-{sizes[layer - 1]}",
                found=str(size),
                remedy="set --hidden-sizes",
            )


def require_sizes(
    layers: Layers, num_visible: int, hidden_sizes: tuple[int, ...], num_classes: int = 0
) -> None:
    """Raises SettingError where trained layers are not of the sizes that the settings say.

    `num_classes` are the label units of the highest of them.
    """
    if layers and (there := layers[0]["w"].shape[-2]) != num_visible:
        raise SettingError(
            expected=f"images of {there:,} visible units, those of the given layers",
            found=f"{num_visible:,}",
            remedy="give layers that were trained on images of this size",
        )
    sizes = tuple(layer["b_hidden"].shape[-1] for layer in layers)
    if sizes != hidden_sizes:
        raise SettingError(
            expected=f"--hidden-sizes {' '.join(map(str, sizes))}, those of the given layers",
            found=" ".join(map(str, hidden_sizes)),
            remedy="set --hidden-sizes",
        )
    if layers and (there := label_units.num_classes(layers[-1])) != num_classes:
        raise SettingError(
            expected=f"{there} classes, the label units of the given layers",
            found=str(num_classes),
            remedy="set --conditional as it was for them, or give others",
        )


def require_visible(layers: Layers, visible: rbm.VisibleUnits) -> None:
    """Raises SettingError where trained layers have other visible units than the settings say."""
    there = "gaussian" if layers and rbm.is_gaussian(layers[0]) else "binary"
    if layers and there != visible:
        raise SettingError(
            expected=f"--visible {there}, those of the given layers",
            found=visible,
            remedy="set --visible",
        )


def init(
    config: Config,
    num_visible: int,
    lower: Layers,
    key: PRNGKey,
    pixels: rbm.Pixels | None = None,
) -> State:
    """The state before the first update of the layer above `lower`.

    Errors:
        SettingError: `lower` has other sizes or visible units than the settings, or a first layer
            of Gaussian units is to begin without `pixels`.
    """
    require_sizes(lower, num_visible, config.hidden_sizes[: len(lower)])
    require_visible(lower, config.visible)
    if config.transposed_start:
        require_turnable((num_visible, *config.hidden_sizes))
    num_below = lower[-1]["w"].shape[1] if lower else num_visible
    layer, key = rbm_config(config, len(lower)), _layer_key(key, lower)
    top = rbm.init(layer, num_below, key, pixels)
    if len(lower) + 1 == len(config.hidden_sizes):
        top = label_units.add_units(layer, top, config.num_classes, key)
    if lower and config.transposed_start:
        top = top._replace(params=top.params | upside_down(lower[-1]))
    return State(lower=lower, top=top)


def init_layers(
    config: Config, num_visible: int, key: PRNGKey, pixels: rbm.Pixels | None = None
) -> Layers:
    """An untrained stack of all layers, each with the numbers it has before its first update."""
    layers: Layers = ()
    for _ in config.hidden_sizes:
        layers = init(config, num_visible, layers, key, pixels).params
    return layers


def init_params(config: Config, image_shape: ImageShape, key: PRNGKey) -> Layers:
    """The layers for images of `image_shape`; see `init_layers`."""
    num_visible = math.prod(image_shape)
    return init_layers(config, num_visible, key, rbm.any_pixels(num_visible))


def from_params(config: Config, image_shape: ImageShape, params: Layers) -> State:
    """The state with these layers, the highest in training; the rest as before its first update."""
    *lower, top = params
    num_visible = math.prod(image_shape)
    pixels = rbm.any_pixels(num_visible)
    start = init(config, num_visible, tuple(lower), jax.random.key(0), pixels)
    return start._replace(top=start.top._replace(params=top))


def learner_of(config: Config, image_shape: ImageShape, params: Layers) -> Learner:
    """The learner of the highest of these layers, above the others."""
    return learner(config, image_shape, tuple(params[:-1]))


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One update of the highest layer from a batch; see `label_units.contrastive_divergence`.

    The layer's data are drawn again at every visit: v from the image, then an up pass.
    """
    layer = rbm_config(config, len(state.lower))
    key_data, key_gibbs = jax.random.split(_layer_key(key, state.lower))
    bottom = state.params[0]
    visible = rbm.to_visible(bottom, key_data, batch.images, config.binarize)
    data = up(state.lower, named_key(key_data, "up"), visible)[-1]
    top, metrics, _ = label_units.contrastive_divergence(
        layer, state.top, data, batch.labels, key_gibbs
    )
    return State(lower=state.lower, top=top), metrics


def sample_net(
    num_steps: int,
    image_shape: ImageShape,
    net: Net,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
    label_gain: float = 1.0,
) -> Images:
    """E[v|h_1] [num, H, W, C] after Gibbs steps from random top units, and a down pass.

    Label units are clamped to `labels` [num], with the gain of `label_units.condition`; they are
    drawn in every step where none are given. A net without label units ignores labels.
    """
    key_start, key_chain = jax.random.split(key)
    start = bernoulli(key_start, jnp.full((num, len(net.top["b_hidden"])), 0.5))
    num_classes = label_units.num_classes(net.top)
    if labels is not None:
        labels = as_labels(labels, num, num_classes) if num_classes else None
    _, probs = generate(net, key_chain, start, num_steps, labels=labels, label_gain=label_gain)
    return probs.reshape(num, *image_shape)


def sample(
    config: Config,
    image_shape: ImageShape,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """Images from the layers so far; see `sample_net`."""
    net = tie(state.params)
    steps, gain = config.num_sampling_steps, config.label_gain
    return sample_net(steps, image_shape, net, key, num, labels, gain)


def learner(
    config: Config,
    image_shape: ImageShape = (28, 28, 1),
    lower: Layers = (),
    pixels: rbm.Pixels | None = None,
) -> Learner:
    """The layer above the trained layers `lower`, which stay as they are; the first if none.

    A first layer of Gaussian units begins with `rbm.pixel_statistics` of the training images.

    Example:
        >>> from jaxgen.models import dbn
        >>> learner = dbn.learner(dbn.Config(hidden_sizes=(4, 3)), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    return Learner(
        init=partial(init, config, math.prod(check_shape(image_shape)), lower, pixels=pixels),
        step=partial(step, config),
        sample=partial(sample, config, image_shape),
        image_shape=image_shape,
        num_classes=config.num_classes,
        wide_vectors=True,
    )
