"""The DCGAN as one writes it with Flax and Optax: nn.Conv, nn.ConvTranspose, nn.BatchNorm."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarking.baselines import flax_adversarial as adversarial

IMAGE_SIZE = 64


def channels(config: Any) -> list[int]:
    """The discriminator's channels after each layer; the generator's in reverse."""
    return [max(1, round(config.width * config.base_width * factor)) for factor in (1, 2, 4, 8)]


def scattered(centre: float) -> Callable[..., jax.Array]:
    """N(centre, 0.02^2) for every weight."""
    return lambda key, shape, dtype=jnp.float32: (
        centre + 0.02 * jax.random.normal(key, shape, dtype)
    )


def layer_of(kind: Any, config: Any) -> Any:
    """Convolutions with the net's biases and precision."""
    return partial(
        kind, use_bias=config.use_bias, dtype=config.precision, kernel_init=scattered(0.0)
    )


def normalised(config: Any, x: jax.Array) -> jax.Array:
    """Batch normalisation in training, where the net has it."""
    if not config.batch_norm:
        return x
    norm = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5, scale_init=scattered(1.0))
    normed: jax.Array = norm(x)
    return normed


class Generator(nn.Module):
    """[N, latent] to [N, 64, 64, C] in [-1, 1]."""

    config: Any
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """The images, normalised by their own batch."""
        config = self.config
        conv, sizes = layer_of(nn.ConvTranspose, config), channels(config)[::-1]
        activation = adversarial.ACTIVATIONS[config.generator_activation]
        if config.stem == "dense":
            x = nn.Dense(16 * sizes[0])(codes).reshape(-1, 4, 4, sizes[0])
        else:
            x = conv(sizes[0], (4, 4), padding="VALID")(codes[:, None, None])
            x = activation(normalised(config, x))
        for size in sizes[1:]:
            x = activation(normalised(config, conv(size, (4, 4), strides=(2, 2))(x)))
        return jnp.tanh(conv(self.image_shape[-1], (4, 4), strides=(2, 2))(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """[N, 64, 64, C] to one logit each, [N, 1]."""

    config: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits, normalised by their own batch."""
        config, conv = self.config, layer_of(nn.Conv, self.config)
        for index, size in enumerate(channels(config)):
            x = conv(size, (4, 4), strides=(2, 2), padding=1)(x)
            x = x if index == 0 else normalised(config, x)
            x = adversarial.ACTIVATIONS["leaky_relu"](x)
        if config.stem == "dense":
            return nn.Dense(1)(x.reshape(len(x), -1))
        logits: jax.Array = conv(1, (4, 4), padding="VALID")(x)
        return logits.reshape(-1, 1)


def prepare(images: jax.Array) -> jax.Array:
    """Bytes [N, H, W, C] as images of 64x64 in [-1, 1]."""
    shape = (len(images), IMAGE_SIZE, IMAGE_SIZE, images.shape[-1])
    pixels = images.astype(jnp.float32) / 127.5 - 1.0
    larger: jax.Array = jax.image.resize(pixels, shape, "bilinear", antialias=False)
    return larger


epoch_runner = partial(adversarial.epoch_runner, Generator, Discriminator, prepare)
