"""The DCGAN as one writes it with Flax and Optax: nn.Conv, nn.ConvTranspose, nn.BatchNorm."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarking.baselines import flax_adversarial as adversarial
from jaxgen.images import ImageShape
from jaxgen.models.dcgan import image_size, outer_padding, resize, scatter, widths


def layer_of(kind: Any, config: Any) -> Any:
    """Convolutions with the net's biases and precision."""
    return partial(kind, use_bias=config.use_bias, dtype=config.precision, kernel_init=scatter(0.0))


def normalised(config: Any, x: jax.Array) -> jax.Array:
    """Batch normalisation in training, where the net has it."""
    if not config.batch_norm:
        return x
    norm = nn.BatchNorm(False, momentum=0.9, epsilon=1e-5, scale_init=scatter(1.0))
    normed: jax.Array = norm(x)
    return normed


class Generator(nn.Module):
    """[N, latent] to [N, H, H, C] in [-1, 1], for raw images of `image_shape`."""

    config: Any
    image_shape: ImageShape

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """The images, normalised by their own batch."""
        config = self.config
        conv = layer_of(nn.ConvTranspose, config)
        side = image_size(self.image_shape, config.native_size)
        sizes = widths(config, side)[::-1]
        activation = adversarial.ACTIVATIONS[config.generator_activation]
        if config.stem == "dense":
            x = nn.Dense(16 * sizes[0])(codes).reshape(-1, 4, 4, sizes[0])
        else:
            x = conv(sizes[0], (4, 4), padding="VALID")(codes[:, None, None])
            x = activation(normalised(config, x))
        for size in sizes[1:]:
            x = activation(normalised(config, conv(size, (4, 4), strides=(2, 2))(x)))
        padding = 3 - outer_padding(side)  # of what is transposed
        last = conv(self.image_shape[-1], (4, 4), strides=(2, 2), padding=padding)
        return jnp.tanh(last(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """[N, H, H, C] to one logit each, [N, 1]."""

    config: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The logits, normalised by their own batch."""
        config, conv = self.config, layer_of(nn.Conv, self.config)
        for index, size in enumerate(widths(config, x.shape[1])):
            padding = 1 if index else outer_padding(x.shape[1])
            x = conv(size, (4, 4), strides=(2, 2), padding=padding)(x)
            x = x if index == 0 else normalised(config, x)
            x = adversarial.ACTIVATIONS["leaky_relu"](x)
        if config.stem == "dense":
            return nn.Dense(1)(x.reshape(len(x), -1))
        logits: jax.Array = conv(1, (4, 4), padding="VALID")(x)
        return logits.reshape(-1, 1)


def prepare(batch: jax.Array, config: Any) -> jax.Array:
    """Bytes [N, H, W, C] as images of the nets' size in [-1, 1]."""
    return resize(batch, config.native_size)


epoch_runner = partial(adversarial.epoch_runner, Generator, Discriminator, prepare)
