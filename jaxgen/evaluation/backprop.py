"""A classifier by backprop that starts as a DBN: what greedy training is worth to it.

With h_0 = v it is, for the layers l = 1, ..., L of a DBN and a softmax on top,

    h_l = sigmoid(h_{l-1} W_l + b_l),        p(y|v) = exp(h_L U_y + c_y) / sum_k exp(h_L U_k + c_k),

and all of W, b, U [H, C] and c descend on the mean of -log p(y|v). Dropout sets units to 0 with
probability p and divides the others by 1 - p, so that their mean stays; no unit is dropped from a
net that classifies.

Hinton, Osindero and Teh, "A fast learning algorithm for deep belief nets", Neural Computation 2006,
section 6.2, has it beside up-down fine-tuning. Bengio, Lamblin, Popovici and Larochelle, "Greedy
layer-wise training of deep networks", NeurIPS 2006, set it beside random weights. Srivastava,
Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural networks
from overfitting", JMLR 2014, for dropout.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxgen.errors import (
    SettingError,
    check_fields,
    require,
    require_above_zero,
    require_positive,
    require_whole,
)
from jaxgen.images import ImageShape, check_shape
from jaxgen.learner import Batch, Learner, Metrics, PRNGKey
from jaxgen.losses import sigmoid
from jaxgen.models import label_units, rbm
from jaxgen.models.dbn import Layers
from jaxgen.models.rbm import Visible
from jaxgen.random import Binarize, bernoulli


@dataclass(frozen=True)
class Config:
    """The training of the classifier."""

    num_classes: int
    """Labels are below it."""
    num_updates: int
    """Of the whole training."""
    learning_rate: float = 1e-3
    """Of Adam at the first update; it falls to 0 along a cosine."""
    dropout: float = 0.2
    """Probability with which a hidden unit is dropped."""
    input_dropout: float = 0.1
    """The same of a visible unit."""
    binarize: Binarize = "none"
    """How grey pixels become input of binary units in the training."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "num_classes", "num_updates")
        require_above_zero(self, "learning_rate")
        for name in ("dropout", "input_dropout"):
            require(self, name, 0.0 <= getattr(self, name) < 1.0, "in [0, 1)")


class Params(NamedTuple):
    """The parameters of a classifier."""

    layers: Layers
    """W [below, above] and b_hidden of each layer, and what Gaussian visible units have."""
    readout: dict[str, Array]
    """W [H, C] (U above) and b [C] (c above) of the softmax."""


class State(NamedTuple):
    """The state between two steps."""

    params: Params
    opt_state: optax.OptState


def from_layers(config: Config, layers: Layers) -> Params:
    """The classifier as the layers of a DBN begin it.

    Label units of its top pair become the softmax, as p(y|h) has them, and hidden units of that
    pair keep the mean of what the labels add to their biases. Without label units U and c are 0.

    Errors:
        SettingError: the label units are of another number of classes.
    """
    known = label_units.num_classes(layers[-1])
    if known not in (0, config.num_classes):
        raise SettingError(
            expected=f"num_classes {known}, that of the label units",
            found=str(config.num_classes),
            remedy="set num_classes",
        )
    top, bias = layers[-1], layers[-1]["b_hidden"]
    readout = {
        "w": jnp.zeros((*bias.shape, config.num_classes)),
        "b": jnp.zeros(config.num_classes),
    }
    if known:
        bias = bias + jnp.mean(top["w_labels"], axis=0)
        readout = {"w": top["w_labels"].T, "b": top["b_labels"]}
    kept = [{n: p[n] for n in p if n != "b_visible" and "labels" not in n} for p in layers]
    kept[-1] = kept[-1] | {"b_hidden": bias}
    return Params(tuple(kept), readout)


def random_layers(
    hidden_sizes: Sequence[int], num_visible: int, key: PRNGKey, pixels: rbm.Pixels | None = None
) -> Layers:
    """Layers of random weights, of the uniform distribution of Glorot and Bengio (2010).

    Their factor of 4 for sigmoid units is in it: W is within 4 sqrt(6 / (below + above)).
    """
    layers: list[rbm.Params] = []
    below = num_visible
    for index, above in enumerate(hidden_sizes):
        bound = 4.0 * math.sqrt(6.0 / (below + above))
        key_layer = jax.random.fold_in(key, index)
        w = jax.random.uniform(key_layer, (below, above), minval=-bound, maxval=bound)
        layers.append({"w": w, "b_hidden": jnp.zeros(above)})
        below = above
    if pixels is not None:
        layers[0] |= {f"pixel_{name}": jnp.asarray(x) for name, x in pixels._asdict().items()}
    return tuple(layers)


def drop_units(config: Config, key: PRNGKey, layer: int, units: Array) -> Array:
    """The units of a layer with dropout; layer 0 are the visible ones."""
    rate = config.dropout if layer else config.input_dropout
    if not rate:
        return units
    kept = bernoulli(jax.random.fold_in(key, layer), jnp.full(units.shape, 1.0 - rate))
    return units * kept / (1.0 - rate)


def logits_of(
    params: Params,
    visible: Visible,
    dropout: Callable[[int, Array], Array] = lambda _, units: units,
) -> Float[Array, "batch classes"]:
    """Log p(y|v) but for a constant; `dropout` is applied to the units of every layer."""
    units = dropout(0, visible)
    for below, layer in enumerate(params.layers):
        units = dropout(below + 1, sigmoid(rbm.hidden_logits(layer, units)))
    return units @ params.readout["w"] + params.readout["b"]


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam, with a rate that falls to 0 along a cosine over the updates of the training."""
    return optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_updates))


def init(config: Config, layers: Layers) -> State:
    """The state before the first update, with the layers of a DBN or `random_layers`."""
    params = from_layers(config, layers)
    return State(params, optimizer(config).init(params))


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One update from a batch.

    Metrics:
        loss: mean -log p(y|v) with dropout, in nats;
        train_error: share of the batch whose most probable class, with dropout, is another one.
    """
    key_data, key_drop = jax.random.split(key)
    visible = rbm.to_visible(state.params.layers[0], key_data, batch.images, config.binarize)

    def loss_of(params: Params) -> tuple[Array, Array]:
        logits = logits_of(params, visible, partial(drop_units, config, key_drop))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses), jnp.mean(logits.argmax(axis=-1) != batch.labels, dtype=jnp.float32)

    (loss, error), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = optimizer(config).update(grads, state.opt_state)
    params = optax.apply_updates(state.params, updates)
    return State(params, opt_state), {"loss": loss, "train_error": error}


def sample(*_: Any) -> NoReturn:
    """A classifier draws no images.

    Errors:
        TypeError: always.
    """
    raise TypeError("a classifier has no samples")


def _init_at_random(
    config: Config,
    hidden_sizes: tuple[int, ...],
    num_visible: int,
    pixels: rbm.Pixels | None,
    key: PRNGKey,
) -> State:
    return init(config, random_layers(hidden_sizes, num_visible, key, pixels))


def learner(
    config: Config,
    image_shape: ImageShape,
    hidden_sizes: Sequence[int],
    pixels: rbm.Pixels | None = None,
) -> Learner:
    """The training from random weights; as a DBN, with ``fit(..., state=init(config, layers))``.

    Args:
        config: the settings.
        image_shape: [H, W, C] of the images.
        hidden_sizes: hidden units of each layer, the lowest first.
        pixels: what input is standardised by, as Gaussian visible units have it; None for none.

    Errors:
        SettingError: a layer of no whole number of units, or images of no shape.

    Example:
        >>> from jaxgen.evaluation import backprop
        >>> config = backprop.Config(num_classes=10, num_updates=1000)
        >>> state = backprop.learner(config, (28, 28, 1), (500, 200)).init(jax.random.key(0))
        >>> state.params.readout["w"].shape
        (200, 10)
    """
    for size in hidden_sizes:
        require_whole("hidden_sizes", size, 1)
    num_visible = math.prod(check_shape(image_shape))
    return Learner(
        init=partial(_init_at_random, config, tuple(hidden_sizes), num_visible, pixels),
        step=partial(step, config),
        sample=sample,
        image_shape=image_shape,
        num_classes=config.num_classes,
    )
