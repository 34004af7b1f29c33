"""The VAE as one writes it with Flax and Optax, a jitted step per batch; after Flax's example."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from experiments.benchmarking.baselines.flax_rbm import Step, binary_epochs
from jaxgen.models import vae

ACTIVATIONS = {"softplus": nn.softplus, "tanh": jnp.tanh, "relu": nn.relu}


class Layers(nn.Module):
    """Dense layers of the given sizes, with an activation between every two."""

    sizes: tuple[int, ...]
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, inputs] to [N, sizes[-1]]."""
        for index, size in enumerate(self.sizes):
            x = x if index == 0 else ACTIVATIONS[self.activation](x)
            x = nn.Dense(size, name=f"dense_{index}")(x)
        return x


class VAE(nn.Module):
    """Encoder, one Gaussian code, Bernoulli decoder."""

    config: vae.Config
    num_visible: int

    @nn.compact
    def __call__(self, visible: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        """Logits [N, V], mean and log variance of the code [N, L]."""
        config = self.config
        up = (*config.hidden_sizes, 2 * config.latent_size)
        down = (*config.hidden_sizes[::-1], self.num_visible)
        moments = Layers(up, config.activation, name="encoder")(visible)
        mean, log_var = jnp.split(moments, 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        return Layers(down, config.activation, name="decoder")(z), mean, log_var


def start(config: vae.Config, num_visible: int) -> TrainState:
    """Parameters and Adam before the first update."""
    model = VAE(config, num_visible)
    key = jax.random.key(0)
    params = model.init(key, jnp.zeros((1, num_visible)), key)["params"]
    adam = optax.adam(config.learning_rate, b2=config.beta2, eps=config.epsilon)
    state: TrainState = TrainState.create(apply_fn=model.apply, params=params, tx=adam)
    return state


def update(state: TrainState, visible: jax.Array, key: jax.Array) -> tuple[TrainState, jax.Array]:
    """One update, and the loss before it: -ELBO in nats, averaged over the images."""

    def loss(params: Any) -> jax.Array:
        logits, mean, log_var = state.apply_fn({"params": params}, visible, key)
        entropy = optax.sigmoid_binary_cross_entropy(logits, visible).sum()
        kl = 0.5 * (mean**2 + jnp.exp(log_var) - log_var - 1.0).sum()
        mean_loss: jax.Array = (entropy + kl) / len(visible)
        return mean_loss

    value, grads = jax.value_and_grad(loss)(state.params)
    return state.apply_gradients(grads=grads), value


def make(config: vae.Config, num_visible: int) -> tuple[TrainState, Step]:
    """The state of a VAE with a Bernoulli decoder, and its update with one code per image."""
    return start(config, num_visible), lambda *given: update(*given)[0]


epoch_runner = partial(binary_epochs, make)
