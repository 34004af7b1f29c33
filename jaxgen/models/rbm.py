"""Restricted Boltzmann machine, trained by contrastive divergence.

Energy of visible units v in {0,1}^V and hidden units h in {0,1}^H, with weights W [V, H]:

    E(v, h) = -v'Wh - a'v - b'h,        p(v, h) = exp(-E(v, h)) / Z.

Sums over h are exact, so the free energy and both conditionals have closed forms:

    F(v)     = -log sum_h exp(-E(v, h)) = -a'v - sum_j softplus(b_j + v'W_j)
    p(h_j=1|v) = sigmoid(b_j + v'W_j),   p(v_i=1|h) = sigmoid(a_i + W_i h).

Gaussian visible units v in R^V hold real-valued pixels, each less its mean over the training set
and divided by its standard deviation. With unit variance

    E(v, h)  = sum_i (v_i - a_i)^2 / 2 - v'Wh - b'h
    F(v)     = sum_i (v_i - a_i)^2 / 2 - sum_j softplus(b_j + v'W_j)
    p(v_i|h) = N(a_i + W_i h, 1),

and p(h_j=1|v) is the same (Hinton, "A practical guide to training restricted Boltzmann machines",
2010, section 13.2). Parameters with `pixel_std` are those of Gaussian units.

Learning follows the gradient of mean F(v_data) - mean F(v_model), with v_model held fixed. For
CD-k, v_model is the state after k Gibbs steps that start at the data (Hinton 2002, "Training
products of experts by minimizing contrastive divergence", eq. 5); for PCD the chains go on from
one update to the next (Tieleman 2008).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8

from jaxgen.errors import (
    SettingError,
    check_fields,
    require,
    require_above_zero,
    require_counts,
    require_not_negative,
    require_positive,
)
from jaxgen.images import ImageShape, blocks, check_images, check_shape
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey, RawImages
from jaxgen.losses import softplus
from jaxgen.random import Binarize, bernoulli, binarize, normal

Visible: TypeAlias = Float[Array, "*batch visible"]
Hidden: TypeAlias = Float[Array, "*batch hidden"]
Params: TypeAlias = dict[str, Array]
"""w [V, H], b_visible [V] (a above), b_hidden [H] (b above); of Gaussian visible units pixel_mean
and pixel_std [V] too, which no update changes."""
VisibleUnits: TypeAlias = Literal["binary", "gaussian"]
"""The kind of the visible units; see the module."""

BASE_RATE_SMOOTHING = 0.005
"""Of the base rates at the start of a training: no pixel's bias starts beyond 5.3."""
LEAST_STD = 0.05
"""Standard deviation, in [0, 1], that a pixel is divided by at least: one that is always or nearly
always the same would be noise of a huge scale otherwise."""


@dataclass(frozen=True)
class Config:
    """The lab's RBM; every field is a flag of `experiments.rbm`.

    Example:
        >>> from jaxgen.models import rbm
        >>> rbm.Config(num_hidden=3).num_gibbs_steps
        1
    """

    num_hidden: int = 100
    """Number of hidden units."""
    visible: VisibleUnits = "binary"
    """Visible units: binary, or gaussian for real-valued pixels, each standardised by its mean and
    standard deviation over the training set; gaussian learns at rates of 0.001 to 0.01."""
    num_gibbs_steps: int = 1
    """k of CD-k: Gibbs steps between the positive and the negative phase."""
    learning_rate: float = 0.1
    """Step size of the gradient ascent on the log likelihood, at the beginning where it falls."""
    decay_steps: int = 0
    """T > 0: update s = 0, 1, ... has the rate learning_rate * min(1, 2 (1 - s / T)), constant for
    T / 2 updates and then falling linearly to 0 at s = T; 0: it is constant."""
    momentum: float = 0.0
    """Heavy-ball momentum; 0 is plain gradient ascent."""
    weight_decay: float = 0.0
    """L2 decay of W, added to its gradient; biases and label weights do not decay."""
    persistent: bool = False
    """PCD: the negative chains go on from update to update instead of starting at the data."""
    num_chains: int = 100
    """Number of persistent chains; without `persistent` there is one chain per image."""
    centred: bool = False
    """Centred gradient: subtract running means of the units from the statistics."""
    binarize: Binarize = "sample"
    """How grey pixels become input of binary units: drawn again at every visit, >= 0.5, or used as
    they are."""
    init_scale: float = 0.1
    """Standard deviation of the initial weights; the biases start at zero."""
    num_sampling_steps: int = 1000
    """Gibbs steps of `sample`, from hidden units that are on with probability 1/2."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "num_hidden", "num_gibbs_steps", "num_chains", "num_sampling_steps")
        require_above_zero(self, "learning_rate")
        require_counts(self, "decay_steps")
        require_not_negative(self, "weight_decay", "init_scale")
        require(self, "momentum", 0.0 <= self.momentum < 1.0, "in [0, 1)")


class Pixels(NamedTuple):
    """Mean and standard deviation of each pixel over a training set, in [0, 1]."""

    mean: Float[Array | np.ndarray, " visible"]
    std: Float[Array | np.ndarray, " visible"]
    """At least `LEAST_STD`."""


def pixel_statistics(images: UInt8[np.ndarray, "examples *shape"]) -> Pixels:
    """Statistics by which Gaussian visible units standardise pixels, from the training images.

    The sums are exact.

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    images = check_images(images)
    first = np.zeros(math.prod(images.shape[1:]), np.int64)
    second = np.zeros_like(first)
    for block in blocks(images):
        pixels = block.reshape(len(block), -1)
        first += pixels.sum(axis=0, dtype=np.int64)
        second += np.square(pixels, dtype=np.uint16).sum(axis=0, dtype=np.int64)  # 255^2 fits
    mean, square = first / len(images), second / len(images)
    std = np.sqrt(np.maximum(square - np.square(mean), 0.0))
    floor = np.maximum(std / 255.0, LEAST_STD)
    return Pixels((mean / 255.0).astype(np.float32), floor.astype(np.float32))


def is_gaussian(params: Params) -> bool:
    """Whether the visible units of these parameters are Gaussian."""
    return "pixel_std" in params


def standardise(params: Params, pixels: Float[Array, "*batch visible"]) -> Visible:
    """Visible units of pixels in [0, 1]: (x - mean) / std of Gaussian ones, x of binary ones."""
    if is_gaussian(params):
        return (pixels - params["pixel_mean"]) / params["pixel_std"]
    return pixels


def to_visible(params: Params, key: PRNGKey, images: RawImages, method: Binarize) -> Visible:
    """Visible units [B, V] of raw images: standardised, or binary ones as `binarize` makes them.

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    return standardise(params, binarize(key, images, "none" if is_gaussian(params) else method))


def to_pixels(params: Params, mean: Visible) -> Float[Array, "*batch visible"]:
    """Pixels in [0, 1] of the means of visible units; those of Gaussian units are clipped."""
    if is_gaussian(params):
        return jnp.clip(params["pixel_mean"] + params["pixel_std"] * mean, 0.0, 1.0)
    return mean


def log_scale(params: Params) -> Float[Array, ""]:
    """Sum_i log std_i, 0 of binary units.

    A log density of pixels in [0, 1] is that of the standardised pixels less this, by the Jacobian
    of `standardise`.
    """
    return jnp.sum(jnp.log(params["pixel_std"])) if is_gaussian(params) else jnp.zeros(())


def energy(params: Params, visible: Visible, hidden: Hidden) -> Float[Array, "*batch"]:
    """E(v, h) of the module, one number per example."""
    interaction = jnp.sum((visible @ params["w"]) * hidden, axis=-1)
    return -interaction + _visible_energy(params, visible) - hidden @ params["b_hidden"]


def _visible_energy(params: Params, visible: Visible) -> Float[Array, "*batch"]:
    """The part of the energy that no hidden unit has: -a'v, or sum_i (v_i - a_i)^2 / 2."""
    if is_gaussian(params):
        return 0.5 * jnp.sum(jnp.square(visible - params["b_visible"]), axis=-1)
    return -(visible @ params["b_visible"])


def hidden_logits(params: Params, visible: Visible) -> Hidden:
    """Log p(h_j=1|v) / p(h_j=0|v) = b_j + v'W_j."""
    return visible @ params["w"] + params["b_hidden"]


def visible_logits(params: Params, hidden: Hidden) -> Visible:
    """A_i + W_i h: log p(v_i=1|h) / p(v_i=0|h) of a binary unit, the mean of a Gaussian one."""
    return hidden @ params["w"].T + params["b_visible"]


def mean_of(params: Params, logits: Visible) -> Visible:
    """Means of visible units: sigmoid(l) of binary ones, l of Gaussian ones."""
    return logits if is_gaussian(params) else jax.nn.sigmoid(logits)


def visible_mean(params: Params, hidden: Hidden) -> Visible:
    """E[v|h], which is p(v=1|h) of binary units."""
    return mean_of(params, visible_logits(params, hidden))


def draw_visible(params: Params, key: PRNGKey, mean: Visible) -> Visible:
    """Visible units with these means: binary ones, or Gaussian ones of unit variance."""
    return mean + normal(key, mean.shape) if is_gaussian(params) else bernoulli(key, mean)


def noise_visible(params: Params, key: PRNGKey, num: int) -> Float[Array, "num visible"]:
    """Visible units of no information: on with probability 1/2, or standard normal."""
    zeros = jnp.zeros((num, params["w"].shape[0]))
    return draw_visible(params, key, mean_of(params, zeros))


def free_energy(params: Params, visible: Visible) -> Float[Array, "*batch"]:
    """F(v) of the module, one number per example, in nats.

    The model's log likelihood is log p(v) = -F(v) - log Z; of Gaussian units it is the log density
    of the standardised pixels.
    """
    sums = jnp.sum(softplus(hidden_logits(params, visible)), axis=-1)
    return _visible_energy(params, visible) - sums


class RBM(nn.Module):
    """Owner of the learned parameters; applied to binary units it returns their free energy."""

    num_visible: int
    num_hidden: int
    init_scale: float = 0.1

    @nn.compact
    def __call__(self, visible: Visible) -> Float[Array, "*batch"]:
        """F(v); see `free_energy`."""
        normal = nn.initializers.normal(self.init_scale)
        params = {
            "w": self.param("w", normal, (self.num_visible, self.num_hidden)),
            "b_visible": self.param("b_visible", nn.initializers.zeros, (self.num_visible,)),
            "b_hidden": self.param("b_hidden", nn.initializers.zeros, (self.num_hidden,)),
        }
        return free_energy(params, visible)


def gibbs(params: Params, visible: Visible, key: PRNGKey, num_steps: int | Array) -> Visible:
    """Runs `num_steps` steps v -> h ~ p(h|v) -> v ~ p(v|h) from the given visible units."""

    def gibbs_step(index: Array, visible: Visible) -> Visible:
        key_hidden, key_visible = jax.random.split(jax.random.fold_in(key, index))
        hidden = bernoulli(key_hidden, jax.nn.sigmoid(hidden_logits(params, visible)))
        return draw_visible(params, key_visible, visible_mean(params, hidden))

    last: Visible = jax.lax.fori_loop(0, num_steps, gibbs_step, visible, unroll=unroll(num_steps))
    return last


def unroll(num_steps: int | Array) -> bool | int:
    """Whether to write a chain's steps in a row: a short loop takes longer than they do."""
    return (isinstance(num_steps, int) and num_steps <= 3) or 1


def centre(grads: Params, mean_visible: Visible, mean_hidden: Hidden) -> Params:
    """Turns the plain gradient into the centred one, for offsets mu [V] and lambda [H].

    With d(.) the difference between data and model statistics (or minus it, as here),

        dW_c = d<(v - mu)(h - lambda)'> = dW - da lambda' - mu db'
        da_c = da - dW_c lambda,     db_c = db - dW_c' mu.

    Melchior, Fischer and Wiskott, "How to center deep Boltzmann machines", JMLR 2016: the
    centred gradient written for the parameters of the normal, uncentred RBM.
    """
    d_visible, d_hidden = grads["b_visible"], grads["b_hidden"]
    w = grads["w"] - jnp.outer(d_visible, mean_hidden) - jnp.outer(mean_visible, d_hidden)
    d_visible, d_hidden = d_visible - w @ mean_hidden, d_hidden - mean_visible @ w
    return grads | {"w": w, "b_visible": d_visible, "b_hidden": d_hidden}


class State(NamedTuple):
    """The state between two steps; `step` is the number of updates so far, int32."""

    params: Params
    opt_state: optax.OptState
    step: Array
    chains: Visible | None
    """Persistent chains [num_chains, V]; None without any."""
    means: tuple[Visible, Hidden] | None
    """Running means of the visible units [V] and the hidden probabilities [H], if centred."""
    chain_labels: Labels | None = None
    """The label of each persistent chain [num_chains], where there are label units."""


def optimizer(config: Config) -> optax.GradientTransformation:
    """Gradient descent; the rate in its state lets learners that differ in it share one program."""
    sgd = optax.inject_hyperparams(optax.sgd, static_args=("momentum", "nesterov"))(
        learning_rate=config.learning_rate, momentum=config.momentum or None
    )
    if not config.weight_decay:
        return sgd

    def on_weights(params: Params) -> dict[str, bool]:
        return {name: name == "w" for name in params}

    return optax.chain(optax.add_decayed_weights(config.weight_decay, on_weights), sgd)


def init(config: Config, num_visible: int, key: PRNGKey, pixels: Pixels | None = None) -> State:
    """The state before the first update: W ~ N(0, init_scale^2), biases zero.

    Errors:
        SettingError: Gaussian visible units without `pixels`, or with those of another size.
    """
    key_params, key_chains = jax.random.split(key)
    module = RBM(num_visible, config.num_hidden, config.init_scale)
    params = module.init(key_params, jnp.zeros((1, num_visible)))["params"]
    chains, means = None, None
    if config.visible == "gaussian":
        sizes = {jnp.shape(each) for each in pixels or ()}
        if pixels is None or sizes != {(num_visible,)}:
            raise SettingError(
                expected=f"mean and standard deviation of {num_visible} pixels, for Gaussian units",
                found=f"those of {' and '.join(map(str, sizes))}" if sizes else "none",
                remedy="give the learner pixels=rbm.pixel_statistics(training_images)",
            )
        mean, std = map(jnp.asarray, pixels)
        params = params | {"pixel_mean": mean, "pixel_std": std}
    if config.persistent:
        chains = noise_visible(params, key_chains, config.num_chains)
    if config.centred:
        means = mean_of(params, jnp.zeros(num_visible)), jnp.full(config.num_hidden, 0.5)
    return State(
        params=params,
        opt_state=optimizer(config).init(params),
        step=jnp.zeros((), jnp.int32),
        chains=chains,
        means=means,
    )


def any_pixels(num_visible: int) -> Pixels:
    """Statistics that hold the place of those that trained parameters have."""
    return Pixels(jnp.zeros(num_visible), jnp.ones(num_visible))


def init_params(config: Config, image_shape: ImageShape, key: PRNGKey) -> Params:
    """Untrained parameters, those of Gaussian units with pixels as they are."""
    num_visible = math.prod(image_shape)
    return init(config, num_visible, key, any_pixels(num_visible)).params


def from_params(config: Config, image_shape: ImageShape, params: Params) -> State:
    """The state with these parameters; the rest as before the first update."""
    num_visible = math.prod(image_shape)
    start = init(config, num_visible, jax.random.key(0), any_pixels(num_visible))
    return start._replace(params=params)


def mean_pixels(
    images: UInt8[np.ndarray, "examples *shape"], binary: Binarize
) -> Float[np.ndarray, " visible"]:
    """Share of the images in which each visible unit is on; of grey input, its mean value.

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    images = check_images(images)
    total = np.zeros(math.prod(images.shape[1:]))
    for block in blocks(images):
        pixels = block.reshape(len(block), -1)
        on = pixels >= 127.5 if binary == "threshold" else pixels / np.float32(255.0)
        total += on.sum(axis=0, dtype=np.float64)
    return (total / len(images)).astype(np.float32)


def base_rate_logits(
    mean_visible: Float[Array | np.ndarray, " visible"], smoothing: float = 0.05
) -> Float[Array, " visible"]:
    """Visible biases c of the RBM without weights: log p / (1 - p) of the data's mean units.

    With p = (mean + smoothing) / (1 + 2 smoothing) no unit of the data is impossible at the start.
    """
    probs = (mean_visible + smoothing) / (1.0 + 2.0 * smoothing)
    return jnp.log(probs) - jnp.log1p(-probs)


def at_base_rates(state: State, mean_visible: Float[Array | np.ndarray, " visible"]) -> State:
    """The state with visible biases, and centred means if there are any, of the mean pixels.

    From biases of 0 an RBM draws every pixel with probability 1/2 at first. The gradient then is
    the same for all hidden units, drives them all on, and PCD with few units may never recover.
    Hinton, "A practical guide to training restricted Boltzmann machines", 2010, section 8.1.
    Gaussian units are there already: the mean of standardised pixels is 0.
    """
    if is_gaussian(state.params):
        return state
    params = state.params | {"b_visible": base_rate_logits(mean_visible, BASE_RATE_SMOOTHING)}
    means = None if state.means is None else (jnp.asarray(mean_visible), state.means[1])
    return state._replace(params=params, means=means)


def negative_phase(
    state: State, data: Visible, key: PRNGKey, num_steps: int | Array
) -> Float[Array, "*chains visible"]:
    """Visible units after k Gibbs steps from the data, or from the persistent chains."""
    start = data if state.chains is None else state.chains
    return gibbs(state.params, start, key, num_steps)


def learn(
    config: Config, state: State, data: Visible, model: Float[Array, "*chains visible"]
) -> tuple[State, Metrics]:
    """One gradient step that lowers F of the data and raises F of the model's visible units.

    Metrics:
        free_energy_contrast: mean F(v_data) - mean F(v_model), nats; near 0 at equilibrium.
        hidden_mean: mean probability of a hidden unit being on, given the data.
        pixel_change: mean (v_data - v_model)^2 after k steps; not of persistent chains.
    """

    def contrast(params: Params) -> Array:
        return jnp.mean(free_energy(params, data)) - jnp.mean(free_energy(params, model))

    value, grads = jax.value_and_grad(contrast)(state.params)
    hidden = jax.nn.sigmoid(hidden_logits(state.params, data))
    means = state.means
    if means is not None:
        batch_means = (jnp.mean(data, axis=0), jnp.mean(hidden, axis=0))
        means = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, means, batch_means)
        grads = centre(grads, *means)
    metrics = {"free_energy_contrast": value, "hidden_mean": jnp.mean(hidden)}
    if state.chains is None:
        metrics["pixel_change"] = jnp.mean(jnp.square(data - model))
    chains = None if state.chains is None else model
    return descend(config, state._replace(chains=chains, means=means), grads), metrics


def descend(config: Config, state: State, grads: Params) -> State:
    """The state after one step along a gradient, at the rate of this update."""
    updates, opt_state = optimizer(config).update(grads, state.opt_state, state.params)
    if config.decay_steps:
        updates = decay(updates, state.step, config.decay_steps)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, opt_state=opt_state, step=state.step + 1)


def decay(updates: Any, step: Array, decay_steps: int) -> Any:
    """Updates at the falling rate of update `step`; see `Config.decay_steps`."""
    share = jnp.clip(2.0 - 2.0 * step / decay_steps, 0.0, 1.0)
    return jax.tree.map(lambda update: share * update, updates)


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One CD-k or PCD update from a batch; metrics as in `learn`."""
    key_data, key_gibbs = jax.random.split(key)
    data = to_visible(state.params, key_data, batch.images, config.binarize)
    model = negative_phase(state, data, key_gibbs, config.num_gibbs_steps)
    return learn(config, state, data, model)


def reconstruct(params: Params, key: PRNGKey, visible: Visible) -> tuple[Hidden, Visible]:
    """Draws h ~ p(h|v) once; returns it and the reconstruction E[v|h] as pixels in [0, 1]."""
    hidden = bernoulli(key, jax.nn.sigmoid(hidden_logits(params, visible)))
    return hidden, to_pixels(params, visible_mean(params, hidden))


def generate(
    params: Params, key: PRNGKey, hidden: Hidden, num_steps: int, gain: float = 1.0
) -> tuple[Hidden, Visible]:
    """Runs `num_steps` steps h -> v ~ p(v|h) -> h ~ p(h|v) from a given hidden state.

    A `gain` other than 1 multiplies the start, and the start alone. The scaled start is no binary
    state: it stands for `gain` copies of each unit that is on, and so saturates the first p(v|h).

    Returns:
        The last hidden state, and E[v|h] of it as pixels in [0, 1].
    """
    key_down, key_up, key_gibbs = jax.random.split(key, 3)
    visible = draw_visible(params, key_down, visible_mean(params, gain * hidden))
    visible = gibbs(params, visible, key_gibbs, num_steps - 1)
    return reconstruct(params, key_up, visible)


def sample(
    config: Config,
    image_shape: ImageShape,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """E[v|h] [num, H, W, C] after `num_sampling_steps` Gibbs steps from random hidden units."""
    del labels
    key_start, key_chain = jax.random.split(key)
    start = bernoulli(key_start, jnp.full((num, config.num_hidden), 0.5))
    _, pixels = generate(state.params, key_chain, start, config.num_sampling_steps)
    return pixels.reshape(num, *image_shape)


def learner(
    config: Config,
    image_shape: ImageShape = (28, 28, 1),
    pixels: Pixels | None = None,
) -> Learner:
    """The RBM as three pure functions, one visible unit per pixel and channel of `image_shape`.

    Gaussian visible units begin with the statistics of the training images' pixels:

        pixels = rbm.pixel_statistics(images)
        fit(rbm.learner(config, image_shape, pixels), images, schedule, seeds)

    Example:
        >>> from jaxgen.models import rbm
        >>> learner = rbm.learner(rbm.Config(num_hidden=3), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    return Learner(
        init=partial(init, config, math.prod(check_shape(image_shape)), pixels=pixels),
        step=partial(step, config),
        sample=partial(sample, config, image_shape),
        image_shape=image_shape,
        wide_vectors=True,
    )
