"""Variational autoencoder: Gaussian codes, a Bernoulli or Gaussian decoder, ELBO or IWAE bound.

A code z ~ N(0, I) in R^L is decoded to p(x|z); the encoder approximates the posterior by a
diagonal Gaussian q(z|x) = N(mean(x), diag exp(log_var(x))). With z = mean + exp(log_var / 2) eps,
eps ~ N(0, I), and w = p(x|z) p(z) / q(z|x), both objectives are lower bounds of log p(x):

    elbo(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))            (the divergence in closed form)
    iwae(x) = E[log (w_1 + ... + w_K) / K],   K codes from q  (K = 1: the same expectation)

Kingma and Welling, "Auto-encoding variational Bayes", 2014; Burda, Grosse and Salakhutdinov,
"Importance weighted autoencoders", 2016.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jaxgen import losses
from jaxgen.errors import (
    require,
    require_above_zero,
    require_choices,
    require_layer_sizes,
    require_not_negative,
    require_positive,
)
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey
from jaxgen.random import Binarize, binarize, normal

Visible: TypeAlias = Float[Array, "*batch visible"]
Codes: TypeAlias = Float[Array, "*batch latent"]
Params: TypeAlias = dict[str, Any]
"""The trees of `Encoder` and `Decoder`, under "encoder" and "decoder"."""

ACTIVATIONS: Any = {"softplus": losses.softplus, "tanh": jnp.tanh, "relu": nn.relu}
LOG_PROBS: Any = {"bernoulli": losses.bernoulli_log_prob, "gaussian": losses.gaussian_log_prob}

ACTIVE_VARIANCE = 0.01
"""A latent variable is active where its posterior mean varies more than this over the data."""


@dataclass(frozen=True)
class Config:
    """The lab's VAE; every field is a flag of `experiments.vae`."""

    hidden_sizes: tuple[int, ...] = (200, 200)
    """Units of the encoder's hidden layers; the decoder has them in reverse order."""
    latent_size: int = 20
    """Number of latent variables."""
    activation: Literal["softplus", "tanh", "relu"] = "softplus"
    """Function after every hidden layer."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """p(x|z): binary pixels from logits, or grey pixels from a mean and a log variance each."""
    binarize: Binarize = "sample"
    """How grey pixels become input. A Gaussian decoder needs "none"; with a Bernoulli decoder that
    makes no number a likelihood, for grey values are not among its outcomes."""
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

    def __post_init__(self) -> None:
        require_choices(self)
        require_positive(self, "latent_size", "num_samples")
        require_layer_sizes(self, "hidden_sizes")
        require_not_negative(self, "kl_weight", "kl_warmup_steps", "first_stage_steps")
        require_above_zero(self, "learning_rate", "epsilon")
        require(self, "beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        require(self, "min_log_var", math.isfinite(self.min_log_var), "finite")
        if self.likelihood == "gaussian":
            require(self, "binarize", self.binarize == "none", "none for a Gaussian decoder")
        if self.objective == "iwae":
            require(self, "kl_weight", self.kl_weight == 1.0, "1 for the IWAE objective")
            require(self, "kl_warmup_steps", self.kl_warmup_steps == 0, "0 for the IWAE objective")


def _dense_layers(x: Array, sizes: tuple[int, ...], activation: str) -> Array:
    """Dense layers, an activation between every two; weights as Glorot and Bengio 2010, eq. 16."""
    for index, size in enumerate(sizes):
        x = x if index == 0 else ACTIVATIONS[activation](x)
        x = nn.Dense(size, kernel_init=nn.initializers.glorot_uniform(), name=f"dense_{index}")(x)
    return x


class Encoder(nn.Module):
    """q(z|x): maps visible units [..., V] to the mean and log variance of each latent variable."""

    config: Config

    @nn.compact
    def __call__(self, visible: Visible) -> tuple[Codes, Codes]:
        """Mean and log variance, each [..., L]."""
        sizes = (*self.config.hidden_sizes, 2 * self.config.latent_size)
        mean, log_var = jnp.split(_dense_layers(visible, sizes, self.config.activation), 2, axis=-1)
        return mean, log_var


class Decoder(nn.Module):
    """p(x|z): maps codes [..., L] to what describes each visible unit's distribution."""

    config: Config
    num_outputs: int

    @nn.compact
    def __call__(self, codes: Codes) -> tuple[Visible, ...]:
        """(logits,) of a Bernoulli decoder, (mean, log_var) of a Gaussian one, each [..., V]."""
        config = self.config
        sizes = (*reversed(config.hidden_sizes), self.num_outputs)
        outputs = _dense_layers(codes, sizes, config.activation)
        if config.likelihood == "bernoulli":
            return (outputs,)
        mean, free = jnp.split(outputs, 2, axis=-1)
        return mean, config.min_log_var + nn.softplus(free - config.min_log_var)


def encode(params: Params, config: Config, visible: Visible) -> tuple[Codes, Codes]:
    """Mean and log variance of q(z|x), each [..., L]."""
    moments: Any = Encoder(config).apply({"params": params["encoder"]}, visible)
    return moments[0], moments[1]


def decode(params: Params, config: Config, codes: Codes) -> tuple[Visible, ...]:
    """p(x|z): (logits,) of a Bernoulli decoder, (mean, log_var) of a Gaussian one, [..., V]."""
    num_outputs = len(params["decoder"][f"dense_{len(config.hidden_sizes)}"]["bias"])
    outputs: Any = Decoder(config, num_outputs).apply({"params": params["decoder"]}, codes)
    return tuple(outputs)


def decoded_means(params: Params, config: Config, codes: Codes) -> Visible:
    """E[x|z] per visible unit, in [0, 1]: probabilities, or a Gaussian's means, clipped."""
    first, *_ = decode(params, config, codes)
    return losses.sigmoid(first) if config.likelihood == "bernoulli" else jnp.clip(first, 0.0, 1.0)


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


def terms(params: Params, config: Config, key: PRNGKey, visible: Visible, num: int) -> Terms:
    """Draws `num` codes per image [batch, V] and returns the parts of the bounds."""
    mean, log_var = encode(params, config, visible)
    codes = mean + jnp.exp(0.5 * log_var) * normal(key, (num, *mean.shape))
    flat = decode(params, config, codes.reshape(-1, config.latent_size))
    outputs = (output.reshape(num, *visible.shape) for output in flat)
    reconstruction = LOG_PROBS[config.likelihood](visible, *outputs)
    log_prior = losses.standard_normal_log_prob(codes)
    log_posterior = losses.gaussian_log_prob(codes, mean, log_var)
    return Terms(
        reconstruction=reconstruction,
        log_weights=reconstruction + log_prior - log_posterior,
        kl=jnp.sum(losses.gaussian_kl(mean, log_var), axis=-1),
        mean=mean,
    )


def log_weights(
    params: Params, config: Config, key: PRNGKey, visible: Visible, num: int
) -> Float[Array, "num batch"]:
    """Log p(x, z) - log q(z|x) of `num` codes per image drawn from q(z|x), in nats."""
    return terms(params, config, key, visible, num).log_weights


def objective(config: Config, found: Terms, kl_weight: float | Array) -> Float[Array, " batch"]:
    """What a step maximises, per image in nats: log mean_k w_k, or E log p(x|z) - weight * KL."""
    if config.objective == "iwae":
        log_sum: Array = jax.nn.logsumexp(found.log_weights, axis=0)
        return log_sum - math.log(len(found.log_weights))
    return jnp.mean(found.reconstruction, axis=0) - kl_weight * found.kl


class State(NamedTuple):
    """What the next step needs; `step` is the number of updates so far, int32."""

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


def init(config: Config, num_visible: int, key: PRNGKey) -> State:
    """The state before the first update; see `_dense_layers` for the weights."""
    key_encoder, key_decoder = jax.random.split(key)
    num_outputs = num_visible * (2 if config.likelihood == "gaussian" else 1)
    encoder, decoder = Encoder(config), Decoder(config, num_outputs)
    params = {
        "encoder": encoder.init(key_encoder, jnp.zeros((1, num_visible)))["params"],
        "decoder": decoder.init(key_decoder, jnp.zeros((1, config.latent_size)))["params"],
    }
    return State(params=params, opt_state=optimizer(config).init(params), step=jnp.int32(0))


def is_active(mean_variance: Float[Array, " latent"]) -> Bool[Array, " latent"]:
    """Whether each latent variable is active, from the variance of its posterior mean."""
    return mean_variance > ACTIVE_VARIANCE


def step(config: Config, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
    """One Adam update of both nets from a batch.

    Metrics, means over the batch in nats per image:
        objective: what is maximised.
        elbo: reconstruction - kl, whatever is maximised.
        reconstruction: log p(x|z), averaged over the codes.
        kl: KL(q(z|x) || p(z)).
        active_units: latent variables whose posterior mean has a variance above 0.01 here.
        kl_weight, learning_rate: only where they change during training.
    """
    key_data, key_codes = jax.random.split(key)
    visible = binarize(key_data, batch.images, config.binarize)
    kl_weight = jnp.float32(config.kl_weight)
    if config.kl_warmup_steps:
        kl_weight *= jnp.minimum(state.step / config.kl_warmup_steps, 1.0)

    def loss(params: Params) -> tuple[Array, Terms]:
        found = terms(params, config, key_codes, visible, config.num_samples)
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
    config: Config,
    image_shape: tuple[int, int, int],
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """E[x|z] [num, H, W, C] for codes z ~ N(0, I)."""
    del labels
    images = decoded_means(state.params, config, normal(key, (num, config.latent_size)))
    return images.reshape(num, *image_shape)


def learner(config: Config, image_shape: tuple[int, int, int] = (28, 28, 1)) -> Learner:
    """The VAE as three pure functions, one visible unit per pixel of `image_shape` [H, W, C]."""
    return Learner(
        init=partial(init, config, math.prod(image_shape)),
        step=partial(step, config),
        sample=partial(sample, config, image_shape),
        image_shape=image_shape,
    )
