"""Fully connected GANs: nets of dense layers on flattened images; see `jaxgen.models.adversarial`.

    G: L -> generator_sizes -> H W C, tanh            D: H W C -> discriminator_sizes -> 1 logit

In a conditional game G's first layer has L more inputs, and phi is D's last hidden layer.
The lab's two are the presets `deep` and `small` of `experiments.gan`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import require, require_layer_sizes
from jaxgen.images import ImageShape, check_shape
from jaxgen.learner import Labels, Learner
from jaxgen.models import adversarial
from jaxgen.models.adversarial import (
    Codes,
    Game,
    Nets,
    Pixels,
    beside_class,
    projection,
    rescale,
)
from jaxgen.nn.layers import ACTIVATIONS, Dense, Fan

UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform", in_axis=1, out_axis=0)
"""Uniform in +-1 / sqrt(inputs), as the weights of `Dense`, for vectors [classes, inputs]."""


@dataclass(frozen=True)
class Config(adversarial.Training):
    """The lab's deep GAN; the preset `deep` has `fresh_noise` too. A field is a flag of its name.

    Example:
        >>> from jaxgen.models import gan
        >>> gan.Config(latent_size=2).generator_sizes
        (256, 512, 1024)
    """

    generator_sizes: tuple[int, ...] = (256, 512, 1024)
    """Units of the generator's hidden layers."""
    discriminator_sizes: tuple[int, ...] = (1024, 512, 256)
    """Units of the discriminator's hidden layers, each followed by LeakyReLU(0.2)."""
    generator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Function after every hidden layer of the generator; LeakyReLU has the slope 0.2."""
    dropout: float = 0.3
    """Share of the discriminator's hidden units that are left out in training."""
    init_fan: Fan = "in"
    """Weights and biases start uniform in +-1 / sqrt(n), with the n inputs of a layer, as PyTorch's
    do, or its n outputs: then those of the discriminator's last layer start in +-1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_layer_sizes(self, "generator_sizes", "discriminator_sizes")
        require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")


class Generator(nn.Module):
    """Codes [B, L] to images [B, H, W, C] in [-1, 1]."""

    config: Config
    image_shape: ImageShape

    @nn.compact
    def __call__(self, codes: Codes, train: bool, labels: Labels | None = None) -> Pixels:
        """The images; the same in training and evaluation."""
        del train
        x = beside_class(self.config.num_classes, codes, labels)
        layer = partial(Dense, fan=self.config.init_fan)
        for size in self.config.generator_sizes:
            x = ACTIVATIONS[self.config.generator_activation](layer(size)(x))
        pixels = jnp.tanh(layer(math.prod(self.image_shape))(x))
        return pixels.reshape(-1, *self.image_shape)


class Discriminator(nn.Module):
    """Images [B, H, W, C] in [-1, 1] to logits [B]."""

    config: Config
    activation: Callable[[Array], Array] = ACTIVATIONS["leaky_relu"]
    """Function after every hidden layer; guided backpropagation changes its derivative."""

    @nn.compact
    def __call__(
        self, pixels: Pixels, train: bool, labels: Labels | None = None
    ) -> Float[Array, " batch"]:
        """The logit of each image being real; units are left out in training alone."""
        x, layer = pixels.reshape(len(pixels), -1), partial(Dense, fan=self.config.init_fan)
        for index, size in enumerate(self.config.discriminator_sizes):
            x = self.activation(layer(size)(x))
            self.sow("features", f"layer_{index}", x)
            x = nn.Dropout(self.config.dropout, deterministic=not train)(x)
        logits = layer(1)(x)[:, 0]
        if labels is None:
            return logits
        return logits + projection(self.config.num_classes, x, labels, UNIFORM)


def nets(config: Config, image_shape: ImageShape) -> Nets:
    """Both nets for images [H, W, C]."""
    return Nets(Generator(config, image_shape), Discriminator(config), rescale)


def game(config: Config, image_shape: ImageShape = (28, 28, 1)) -> Game:
    """Both nets with their learner, for images of `image_shape` [H, W, C]."""
    check_shape(image_shape)
    return adversarial.game(config, nets(config, image_shape), image_shape)


def learner(config: Config, image_shape: ImageShape = (28, 28, 1)) -> Learner:
    """The GAN as three pure functions, for images of `image_shape` [H, W, C].

    Example:
        >>> from jaxgen.models import gan
        >>> learner = gan.learner(gan.Config(latent_size=2), (6, 5, 1))
        >>> learner.image_shape, learner.num_classes
        ((6, 5, 1), 0)
    """
    return game(config, image_shape).learner


from_params = adversarial.from_params
OPTIONAL_PARAMS = adversarial.OPTIONAL_PARAMS
