"""The fully connected GAN as one writes it with Flax and Optax, a jitted step per batch."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarking.baselines import flax_adversarial as adversarial
from jaxgen.images import ImageShape


class Generator(nn.Module):
    """[N, latent] to [N, pixels] in [-1, 1]."""

    config: Any
    image_shape: ImageShape

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The images."""
        for size in self.config.generator_sizes:
            x = adversarial.ACTIVATIONS[self.config.generator_activation](nn.Dense(size)(x))
        return jnp.tanh(nn.Dense(math.prod(self.image_shape))(x))


class Discriminator(nn.Module):
    """[N, pixels] to one logit each, [N, 1]."""

    config: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits, in training."""
        for size in self.config.discriminator_sizes:
            x = adversarial.ACTIVATIONS["leaky_relu"](nn.Dense(size)(x))
            x = nn.Dropout(self.config.dropout, deterministic=False)(x)
        return nn.Dense(1)(x)


def prepare(images: jax.Array, _: Any) -> jax.Array:
    """Bytes [N, H, W, C] as rows in [-1, 1]."""
    return images.reshape(len(images), -1).astype(jnp.float32) / 127.5 - 1.0


epoch_runner = partial(adversarial.epoch_runner, Generator, Discriminator, prepare)
