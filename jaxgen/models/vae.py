"""Variational autoencoder: Gaussian codes, a decoder of pixels, the ELBO or the IWAE bound.

A code z ~ N(0, I) in R^L is decoded to p(x|z); the encoder approximates the posterior by a
diagonal Gaussian q(z|x) = N(mean(x), diag exp(log_var(x))). With z = mean + exp(log_var / 2) eps,
eps ~ N(0, I), and w = p(x|z) p(z) / q(z|x), both objectives are lower bounds of log p(x):

    elbo(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))            (the divergence in closed form)
    iwae(x) = E[log (w_1 + ... + w_K) / K],   K codes from q  (K = 1: the same expectation)

Kingma and Welling, "Auto-encoding variational Bayes", 2014; Burda, Grosse and Salakhutdinov,
"Importance weighted autoencoders", 2016. Both nets are dense, or of n convolutions that halve or
double the image, as the DCGAN's, with H and W padded to multiples of 2^n:

    encoder: [H, W, C] -> [H/2, W/2, c_1] -> ... -> [H/2^n, W/2^n, c_n] -> dense -> 2 L
    decoder: L -> dense -> [H/2^n, W/2^n, c_n] -> ... -> [H/2, W/2, c_1] -> [H, W, outputs]

A conditional VAE is given the class y of an image in both nets, q(z|x, y) and p(x|z, y), and its
bounds are of log p(x|y). The class adds a learned vector to what enters the first activation of
either net, as units for the classes beside its inputs would. Sohn, Lee and Yan, "Learning
structured output representation using deep conditional generative models", 2015.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from jaxgen import losses
from jaxgen.errors import (
    MAX_SIZE,
    SettingError,
    check_fields,
    is_whole,
    require,
    require_above_zero,
    require_counts,
    require_layer_sizes,
    require_not_negative,
    require_positive,
)
from jaxgen.images import ImageShape, check_shape
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey
from jaxgen.nn.conv_spec import ConvSpec, blockwise
from jaxgen.nn.layers import Conv, ConvTranspose
from jaxgen.random import Binarize, asked_or_drawn, binarize, normal

Visible: TypeAlias = Float[Array, "*batch visible"]
"""Images in [0, 1], flattened: V = H W C units, the channels of a pixel side by side."""
Codes: TypeAlias = Float[Array, "*batch latent"]
Params: TypeAlias = dict[str, Any]
"""The trees of both nets, under "encoder" and "decoder"."""

ACTIVATIONS: Any = {"softplus": losses.softplus, "tanh": jnp.tanh, "relu": nn.relu}
LOG_PROBS: Any = {
    "bernoulli": losses.bernoulli_log_prob,
    "gaussian": losses.gaussian_log_prob,
    "logistic": losses.discretised_logistic_log_prob,
}
MEANS: Any = {
    "bernoulli": losses.sigmoid,
    "gaussian": lambda mean, _: jnp.clip(mean, 0.0, 1.0),
    "logistic": losses.discretised_logistic_mean,
}
"""E[x|z], from what the decoder gives."""

LEAST_RATE = 0.001
"""Least probability of a pixel to be on, and to be off, in a decoder at the base rates."""
ACTIVE_VARIANCE = 0.01
"""A latent variable is active where its posterior mean varies more than this over the data."""
MOST_SAMPLES = 1_000_000
"""Codes per image and step, at most: far beyond what a memory holds."""
LARGEST_DENSE = 32
"""Largest side of grey images for which both nets are dense if the architecture is auto."""
HALVING = ConvSpec((4, 4), stride=2, padding=1)
"""The convolution between two image sizes."""
IMAGES_AT_ONCE = 512
"""Images inside convolutions at a time: those of a whole test set take gigabytes."""
FIRST_LOCATION, FIRST_LOG_SCALE, LEAST_LOG_SCALE = 0.5, -2.0, -7.0
"""Of discretised logistic pixels where the decoder's outputs are 0, and the least log scale."""


@dataclass(frozen=True)
class Config:
    """The lab's VAE; every field is a flag of `experiments.vae`.

    Example:
        >>> from jaxgen.models import vae
        >>> vae.Config(latent_size=2).hidden_sizes
        (200, 200)
    """

    hidden_sizes: tuple[int, ...] = (200, 200)
    """Units of the dense encoder's hidden layers; the decoder has them in reverse order."""
    latent_size: int = 20
    """Number of latent variables."""
    activation: Literal["softplus", "tanh", "relu"] = "softplus"
    """Function after every hidden layer."""
    likelihood: Literal["auto", "bernoulli", "gaussian", "logistic"] = "auto"
    """p(x|z). bernoulli: binary pixels from logits. gaussian: a density of grey levels, from a mean
    and a log variance each. logistic: each of the 256 levels, from a location and a log
    scale each (discretised logistic). auto: bernoulli for grey images, logistic for colour."""
    binarize: Binarize = "sample"
    """How grey pixels become input of a Bernoulli decoder, for which "none" makes no number a
    likelihood, for grey values are not among its outcomes. Others take pixels as they are."""
    min_log_var: float = -6.0
    """Least log variance of a Gaussian pixel; without it a constant pixel has no finite density."""
    num_samples: int = 1
    """K: codes drawn from q(z|x) per image and step."""
    objective: Literal["elbo", "iwae"] = "elbo"
    """Bound that is maximised: the ELBO averaged over K codes, or the log of the mean weight."""
    kl_weight: float = 1.0
    """Factor on the divergence; only with 1 is the objective a bound."""
    kl_warmup_steps: int = 0
    """Steps over which that factor grows linearly from 0; 0 starts with all of it."""
    learning_rate: float = 3.24e-4
    """Adam's step size, at the beginning where it falls."""
    beta2: float = 0.999
    """Adam's decay of the squared gradient's mean; beta1 is 0.9."""
    epsilon: float = 1e-8
    """Adam's addition to the root of the squared gradient's mean."""
    first_stage_steps: int = 0
    """n > 0: the rate times 10^(-1/7) after n, 4n, 13n, ... steps, at most 7 times; 0: constant."""
    architecture: Literal["auto", "dense", "conv"] = "auto"
    """Layers of both nets. auto: dense for grey images with sides of at most 32, else conv."""
    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the encoder's convolutions, each of which halves the image; the decoder has them
    in reverse order."""
    num_classes: int = 0
    """Classes that both nets are given; 0: not conditional. Set by --conditional."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "latent_size")
        holds = is_whole(self.num_samples, 1, MOST_SAMPLES)
        require(self, "num_samples", holds, f"a whole number from 1 to {MOST_SAMPLES:,}")
        require_layer_sizes(self, "hidden_sizes", "channels")
        require_not_negative(self, "kl_weight")
        last = (3**7 - 1) // 2  # first stages until the last one begins, whose step is an int32
        require_counts(self, "first_stage_steps", most=MAX_SIZE // last)
        require_counts(self, "kl_warmup_steps", "num_classes")
        require_above_zero(self, "learning_rate", "epsilon")
        require(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        require(self, "min_log_var", math.isfinite(self.min_log_var), "finite")
        if self.likelihood in ("gaussian", "logistic"):
            wanted = f"none for a {self.likelihood} decoder, whose pixels are grey"
            require(self, "binarize", self.binarize != "threshold", wanted)
        if self.objective == "iwae":
            require(self, "kl_weight", self.kl_weight == 1.0, "1 for the IWAE objective")
            require(self, "kl_warmup_steps", self.kl_warmup_steps == 0, "0 for the IWAE objective")


def decide(config: Config, image_shape: ImageShape) -> Config:
    """The settings for images [H, W, C]: none is "auto", and pixels are binary for Bernoulli alone.

    Errors:
        SettingError: the pixels of colour images are to be binary, and no decoder is named.
    """
    height, width, num_channels = check_shape(image_shape)
    grey = num_channels == 1
    changes: dict[str, Any] = {}
    if config.architecture == "auto":
        dense = grey and max(height, width) <= LARGEST_DENSE
        changes["architecture"] = "dense" if dense else "conv"
    if config.likelihood == "auto":
        changes["likelihood"] = "bernoulli" if grey else "logistic"
    config = dataclasses.replace(config, **changes)
    if config.likelihood != "bernoulli":
        config = dataclasses.replace(config, binarize="none")
    return config


class Nets(NamedTuple):
    """A VAE for images of one shape, without its parameters."""

    config: Config
    """`decide`."""
    image_shape: ImageShape

    @property
    def num_outputs(self) -> int:
        """Numbers that describe a channel's distribution, each a map of its own."""
        return 1 if self.config.likelihood == "bernoulli" else 2

    @property
    def padded_size(self) -> tuple[int, int]:
        """[H, W] that every convolution halves exactly."""
        unit = 2 ** len(self.config.channels)
        height, width = (-(-side // unit) * unit for side in self.image_shape[:2])
        return height, width


def nets(config: Config, image_shape: ImageShape) -> Nets:
    """A VAE with these settings for images [H, W, C]; errors as `decide`."""
    return Nets(decide(config, image_shape), image_shape)


def _dense(size: int, name: str) -> nn.Dense:
    """A dense layer; weights as Glorot and Bengio 2010, eq. 16."""
    return nn.Dense(size, kernel_init=nn.initializers.glorot_uniform(), name=name)


def _labelled(x: Array, num_classes: int, labels: Labels | None) -> Array:
    """Activations [B, ..., N] and, in a conditional net, a learned vector [N] of each class."""
    if not num_classes:
        return x
    start = nn.initializers.glorot_uniform()
    vectors = nn.Embed(num_classes, x.shape[-1], embedding_init=start, name="label")(labels)
    return x + vectors.reshape(len(x), *(1 for _ in x.shape[2:]), -1)


def _dense_layers(x: Array, sizes: tuple[int, ...], config: Config, labels: Labels | None) -> Array:
    """Dense layers, an activation between every two."""
    for index, size in enumerate(sizes):
        x = x if index == 0 else ACTIVATIONS[config.activation](x)
        x = _dense(size, f"dense_{index}")(x)
        x = _labelled(x, config.num_classes, labels) if index == 0 else x
    return x


class Encoder(nn.Module):
    """q(z|x): maps visible units [B, V] to the mean and log variance of each latent variable."""

    nets: Nets

    @nn.compact
    def __call__(self, visible: Visible, labels: Labels | None = None) -> Array:
        """Means and log variances, [B, 2 L]."""
        config = self.nets.config
        if config.architecture == "dense":
            sizes = (*config.hidden_sizes, 2 * config.latent_size)
            return _dense_layers(visible, sizes, config, labels)
        x = visible.reshape(-1, *self.nets.image_shape)
        missing = [a - b for a, b in zip(self.nets.padded_size, x.shape[1:3], strict=True)]
        x = jnp.pad(x, [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)])
        start = nn.initializers.glorot_uniform()
        for index, size in enumerate(config.channels):
            x = Conv(size, HALVING, start, name=f"conv_{index}")(x)
            x = _labelled(x, config.num_classes, labels) if index == 0 else x
            x = ACTIVATIONS[config.activation](x)
        return _dense(2 * config.latent_size, "dense_0")(x.reshape(len(x), -1))


class Decoder(nn.Module):
    """p(x|z): maps codes [B, L] to what describes each visible unit's distribution."""

    nets: Nets

    @nn.compact
    def __call__(self, codes: Codes, labels: Labels | None = None) -> Array:
        """`num_outputs` blocks of numbers for each image, one after the other: [B, outputs V]."""
        config, num_outputs = self.nets.config, self.nets.num_outputs
        height, width, num_channels = self.nets.image_shape
        if config.architecture == "dense":
            num = num_outputs * height * width * num_channels
            return _dense_layers(codes, (*reversed(config.hidden_sizes), num), config, labels)
        padded, first = self.nets.padded_size, config.channels[-1]
        small = [side >> len(config.channels) for side in padded]
        x = _dense(math.prod(small) * first, "dense_0")(codes)
        x = _labelled(x, config.num_classes, labels).reshape(-1, *small, first)
        start = nn.initializers.glorot_uniform()
        sizes = (*reversed(config.channels[:-1]), num_outputs * num_channels)
        for index, size in enumerate(sizes):
            x = ACTIVATIONS[config.activation](x)
            x = ConvTranspose(size, HALVING, start, name=f"conv_{index}")(x)
        top, left = (padded[0] - height) // 2, (padded[1] - width) // 2
        x = x[:, top : top + height, left : left + width]
        x = x.reshape(*x.shape[:3], num_outputs, num_channels).transpose(0, 3, 1, 2, 4)
        return x.reshape(len(x), -1)


def _apply(net: nn.Module, params: Params, nets: Nets, x: Array, labels: Labels | None) -> Array:
    """The net's output for rows [B, ...]; convolutions take `IMAGES_AT_ONCE` of them at a time."""

    def applied(rows: tuple[Array, Labels | None]) -> Any:
        return net.apply({"params": params}, *rows)

    at_once = len(x) if nets.config.architecture == "dense" else IMAGES_AT_ONCE
    return blockwise(applied, (x, labels), at_once)


def encode(
    params: Params, nets: Nets, visible: Visible, labels: Labels | None = None
) -> tuple[Codes, Codes]:
    """Mean and log variance of q(z|x), each [B, L]; labels [B] of a conditional VAE alone."""
    moments = _apply(Encoder(nets), params["encoder"], nets, visible, labels)
    mean, log_var = jnp.split(moments, 2, axis=-1)
    return mean, log_var


def decode(
    params: Params, nets: Nets, codes: Codes, labels: Labels | None = None
) -> tuple[Visible, ...]:
    """p(x|z) of codes [B, L], each [B, V].

    (logits,) of a Bernoulli decoder, (mean, log_var) of a Gaussian one, and (location, log_scale)
    of a logistic one.
    """
    outputs = _apply(Decoder(nets), params["decoder"], nets, codes, labels)
    if nets.config.likelihood == "bernoulli":
        return (outputs,)
    centre, free = jnp.split(outputs, 2, axis=-1)
    least = nets.config.min_log_var
    if nets.config.likelihood == "logistic":
        centre, free = FIRST_LOCATION + centre, FIRST_LOG_SCALE + free
        least = LEAST_LOG_SCALE
    return centre, least + nn.softplus(free - least)


def decoded_means(
    params: Params, nets: Nets, codes: Codes, labels: Labels | None = None
) -> Visible:
    """E[x|z] per visible unit [B, V], in [0, 1]; a Gaussian's is clipped."""
    found: Array = MEANS[nets.config.likelihood](*decode(params, nets, codes, labels))
    return found


class Terms(NamedTuple):
    """The parts of both bounds, in nats, for num codes per image drawn from q(z|x)."""

    reconstruction: Float[Array, "num batch"]
    """log p(x|z)."""
    log_weights: Float[Array, "num batch"]
    """log p(x, z) - log q(z|x)."""
    kl: Float[Array, " batch"]
    """KL(q(z|x) || p(z)), in closed form."""
    mean: Float[Array, "batch latent"]
    """Mean of q(z|x)."""


def terms(
    params: Params,
    nets: Nets,
    key: PRNGKey,
    visible: Visible,
    num: int,
    labels: Labels | None = None,
) -> Terms:
    """Draws `num` codes per image [batch, V] and returns the parts of the bounds.

    Given labels [batch], all are of the classes: p(x|z, y), q(z|x, y).
    """
    mean, log_var = encode(params, nets, visible, labels)
    codes = mean + jnp.exp(0.5 * log_var) * normal(key, (num, *mean.shape))
    repeated = None if labels is None else jnp.tile(labels, num)
    flat = decode(params, nets, codes.reshape(-1, mean.shape[-1]), repeated)
    outputs = (output.reshape(num, *visible.shape) for output in flat)
    reconstruction = LOG_PROBS[nets.config.likelihood](visible, *outputs)
    log_prior = losses.standard_normal_log_prob(codes)
    log_posterior = losses.gaussian_log_prob(codes, mean, log_var)
    return Terms(
        reconstruction=reconstruction,
        log_weights=reconstruction + log_prior - log_posterior,
        kl=jnp.sum(losses.gaussian_kl(mean, log_var), axis=-1),
        mean=mean,
    )


def log_weights(
    params: Params,
    nets: Nets,
    key: PRNGKey,
    visible: Visible,
    num: int,
    labels: Labels | None = None,
) -> Float[Array, "num batch"]:
    """Log p(x, z) - log q(z|x) of `num` codes per image drawn from q(z|x), in nats."""
    return terms(params, nets, key, visible, num, labels).log_weights


def objective(config: Config, found: Terms, kl_weight: float | Array) -> Float[Array, " batch"]:
    """The maximised objective, per image in nats: log mean_k w_k, or E log p(x|z) - weight * KL."""
    if config.objective == "iwae":
        log_sum: Array = jax.nn.logsumexp(found.log_weights, axis=0)
        return log_sum - math.log(len(found.log_weights))
    return jnp.mean(found.reconstruction, axis=0) - kl_weight * found.kl


class State(NamedTuple):
    """The state between two steps; `step` is the number of updates so far, int32."""

    params: Params
    opt_state: optax.OptState
    step: Array


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with the learning rate kept in its state; see `jaxgen.models.rbm.optimizer`.

    A falling rate is learning_rate * 10^(-i/7) in stage i = 0 ... 7, which has 3^i times
    `first_stage_steps` updates, and stays at the last: Burda et al. 2016, section 5, where the
    first stage is one pass over the data and all of them are 3,280 passes.
    """
    rate: float | optax.Schedule = config.learning_rate
    if config.first_stage_steps:
        ends = [config.first_stage_steps * (3**stage - 1) // 2 for stage in range(1, 8)]
        rate = optax.piecewise_constant_schedule(rate, dict.fromkeys(ends, 0.1 ** (1 / 7)))
    adam: optax.GradientTransformation = optax.inject_hyperparams(
        optax.adam, static_args=("b1", "b2", "eps", "eps_root")
    )(rate, b2=config.beta2, eps=config.epsilon)
    return adam


def init(nets: Nets, key: PRNGKey) -> State:
    """The state before the first update; weights as Glorot and Bengio 2010, biases 0."""
    key_encoder, key_decoder = jax.random.split(key)
    visible, codes = jnp.zeros((1, math.prod(nets.image_shape))), (1, nets.config.latent_size)
    labels = jnp.zeros(1, jnp.int32)
    params = {
        "encoder": Encoder(nets).init(key_encoder, visible, labels)["params"],
        "decoder": Decoder(nets).init(key_decoder, jnp.zeros(codes), labels)["params"],
    }
    return State(params, optimizer(nets.config).init(params), jnp.int32(0))


def at_base_rates(
    nets: Nets, state: State, mean_visible: Float[Array | np.ndarray, " visible"]
) -> State:
    """The state whose decoder has the mean pixels as its output where its last weights are 0.

    The last biases become log p / (1 - p) of the mean p of each pixel, in a convolutional decoder
    of each channel, kept between `LEAST_RATE` and 1 - `LEAST_RATE`. From biases of 0 the first
    updates learn the mean image, and codes are not used meanwhile. So it is in the public code of
    Burda et al. (iwae.py). Only binary pixels have such rates: another decoder stays as it is.

    Errors:
        SettingError: the means are not one for each pixel, or not from 0 to 1.
    """
    config = nets.config
    if config.likelihood != "bernoulli":
        return state
    rates, num = np.asarray(mean_visible, np.float32), math.prod(nets.image_shape)
    if rates.shape != (num,) or not np.all((rates >= 0.0) & (rates <= 1.0)):
        found = f"{[*rates.shape]}"
        if rates.size:
            found += f" from {rates.min():g} to {rates.max():g}"
        raise SettingError(
            expected=f"the mean of each of {num} pixels, from 0 to 1",
            found=found,
            remedy="give jaxgen.models.rbm.mean_pixels(images, binarize)",
        )
    last = f"dense_{len(config.hidden_sizes)}"
    if config.architecture == "conv":
        rates = np.mean(rates.reshape(-1, nets.image_shape[-1]), axis=0)
        last = f"conv_{len(config.channels) - 1}"
    rates = np.clip(rates, LEAST_RATE, 1.0 - LEAST_RATE)
    decoder = state.params["decoder"]
    layer = decoder[last] | {"bias": jnp.asarray(np.log(rates) - np.log1p(-rates))}
    return state._replace(params=state.params | {"decoder": decoder | {last: layer}})


def is_active(mean_variance: Float[Array, " latent"]) -> Bool[Array, " latent"]:
    """Whether each latent variable is active, from the variance of its posterior mean."""
    return mean_variance > ACTIVE_VARIANCE


def _given(nets: Nets, labels: Labels) -> Labels | None:
    """The labels that a conditional VAE is given, and no other."""
    return labels if nets.config.num_classes else None


def step(nets: Nets, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One Adam update of both nets from a batch.

    Metrics are means over the batch, in nats per image, given its class in a conditional VAE.

    Metrics:
        objective: what is maximised.
        elbo: reconstruction - kl, whatever is maximised.
        reconstruction: log p(x|z), averaged over the codes.
        kl: KL(q(z|x) || p(z)).
        active_units: latent variables whose posterior mean has a variance above 0.01 here.
        kl_weight, learning_rate: only where they change during training.
    """
    config = nets.config
    key_data, key_codes = jax.random.split(key)
    labels = _given(nets, batch.labels)
    visible = binarize(key_data, batch.images, config.binarize)
    kl_weight = jnp.float32(config.kl_weight)
    if config.kl_warmup_steps:
        kl_weight *= jnp.minimum(state.step / config.kl_warmup_steps, 1.0)

    def loss(params: Params) -> tuple[Array, Terms]:
        found = terms(params, nets, key_codes, visible, config.num_samples, labels)
        return -jnp.mean(objective(config, found, kl_weight)), found

    (value, found), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    updates, opt_state = optimizer(config).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    reconstruction, kl = jnp.mean(found.reconstruction), jnp.mean(found.kl)
    metrics = {"objective": -value, "elbo": reconstruction - kl}
    metrics |= {"reconstruction": reconstruction, "kl": kl}
    metrics["active_units"] = jnp.sum(is_active(jnp.var(found.mean, axis=0)), dtype=jnp.float32)
    if config.kl_warmup_steps:
        metrics["kl_weight"] = kl_weight
    if config.first_stage_steps:
        metrics["learning_rate"] = opt_state.hyperparams["learning_rate"]
    return State(params=params, opt_state=opt_state, step=state.step + 1), metrics


def sample(
    nets: Nets, state: State, key: PRNGKey, num: int, labels: Labels | None = None
) -> Images:
    """E[x|z] [num, H, W, C] for codes z ~ N(0, I); a conditional VAE draws classes not given."""
    codes = normal(key, (num, nets.config.latent_size))
    num_classes = nets.config.num_classes
    given = asked_or_drawn(key, labels, num, num_classes) if num_classes else None
    return decoded_means(state.params, nets, codes, given).reshape(num, *nets.image_shape)


def learner(config: Config, image_shape: ImageShape = (28, 28, 1)) -> Learner:
    """The VAE as three pure functions, for images of `image_shape` [H, W, C].

    Example:
        >>> from jaxgen.models import vae
        >>> learner = vae.learner(vae.Config(hidden_sizes=(4,), latent_size=2), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    both = nets(config, image_shape)
    return Learner(
        init=partial(init, both),
        step=partial(step, both),
        sample=partial(sample, both),
        image_shape=image_shape,
        num_classes=config.num_classes,
        wide_vectors=True,
    )
