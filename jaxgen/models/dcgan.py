"""DCGAN: a convolutional generator and discriminator for images of 64x64; see `adversarial`.

With c = width * base_width channels, k4 s2 p1 convolutions that halve or double the image:

    G: z -> stem -> [4, 4, 8c] -> [8, 8, 4c] -> [16, 16, 2c] -> [32, 32, c] -> [64, 64, C], tanh
    D: [64, 64, C] -> [32, 32, c] -> [16, 16, 2c] -> [8, 8, 4c] -> [4, 4, 8c] -> 1 logit

Batch normalisation follows every layer but the generator's last, the discriminator's first and
last, and a dense stem. Smaller images are resized to 64x64, bilinearly.
Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional
generative adversarial networks", 2016. The lab's two versions are the presets `lab` and `wide`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import MAX_SIZE, require, require_above_zero, require_positive
from jaxgen.learner import Learner, PRNGKey, RawImages
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Codes, Game, Nets, Pixels, rescaled
from jaxgen.nn.conv_spec import ConvSpec
from jaxgen.nn.layers import ACTIVATIONS, BatchNorm, Conv, ConvTranspose, Dense

IMAGE_SIZE = 64
SCALE = 0.02
"""Standard deviation of the weights at the start (Radford et al. 2016, section 4), and of batch
normalisation's scales about 1 (as in PyTorch's DCGAN example)."""


@dataclass(frozen=True)
class Config(adversarial.Training):
    """The lab's DCGAN; every field is a flag of `experiments.dcgan`."""

    beta1: float = 0.5
    """Adam's decay of the gradient's mean."""
    base_width: int = 64
    """Channels c of the 32x32 images inside the nets, at width 1."""
    width: float = 1.0
    """Factor on all channels but the images' own."""
    stem: Literal["transposed", "dense"] = "transposed"
    """What is between the code, or the logit, and the 4x4 image. transposed: a k4 s1 p0
    convolution, in the generator followed by batch normalisation and activation. dense: a dense
    layer without them."""
    generator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Function after every layer of the generator but the last; LeakyReLU has the slope 0.2."""
    use_bias: bool = True
    """Whether convolutions have biases."""
    batch_norm: bool = True
    """Whether layers are followed by batch normalisation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the factors of the convolutions' products are rounded to; they are summed in float32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "base_width")
        require_above_zero(self, "width")
        widest = 8 * self.width * self.base_width
        require(self, "width", widest <= MAX_SIZE, f"of at most {MAX_SIZE:,} channels in a layer")


def channels(config: Config, multiple: int) -> int:
    """Channels of a layer that has `multiple` times the base width, at least 1."""
    return max(1, round(config.width * config.base_width * multiple))


def scattered(centre: float) -> nn.initializers.Initializer:
    """N(centre, SCALE^2) for every weight."""

    def draw(key: PRNGKey, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return centre + SCALE * jax.random.normal(key, shape, dtype)

    return draw


def _halving(config: Config) -> ConvSpec:
    """The convolution between two image sizes."""
    return ConvSpec((4, 4), stride=2, padding=1, dtype=config.precision)


def _whole(config: Config) -> ConvSpec:
    """The convolution between the 4x4 image and a vector."""
    return ConvSpec((4, 4), stride=1, padding=0, dtype=config.precision)


def _normalised(config: Config, x: Array, train: bool, index: int) -> Array:
    """Batch normalisation, where the net has it."""
    if not config.batch_norm:
        return x
    return BatchNorm(scattered(1.0), name=f"norm_{index}")(x, train)


class Generator(nn.Module):
    """Codes [B, L] to images [B, 64, 64, C] in [-1, 1]."""

    config: Config
    num_channels: int

    @nn.compact
    def __call__(self, codes: Codes, train: bool) -> Pixels:
        """The images; in training normalised by their own batch."""
        config, activation = self.config, ACTIVATIONS[self.config.generator_activation]
        layer = partial(ConvTranspose, kernel_init=scattered(0.0), use_bias=config.use_bias)
        if config.stem == "dense":
            x = Dense(16 * channels(config, 8), name="stem")(codes)
            x = x.reshape(-1, 4, 4, channels(config, 8))
        else:
            x = layer(channels(config, 8), _whole(config), name="conv_0")(codes[:, None, None])
            x = activation(_normalised(config, x, train, 0))
        for index, multiple in enumerate((4, 2, 1), start=1):
            x = layer(channels(config, multiple), _halving(config), name=f"conv_{index}")(x)
            x = activation(_normalised(config, x, train, index))
        return jnp.tanh(layer(self.num_channels, _halving(config), name="conv_4")(x))


class Discriminator(nn.Module):
    """Images [B, 64, 64, C] in [-1, 1] to logits [B]."""

    config: Config
    activation: Callable[[Array], Array] = ACTIVATIONS["leaky_relu"]
    """Function after every hidden layer; guided backpropagation changes its derivative."""

    @nn.compact
    def __call__(self, pixels: Pixels, train: bool) -> Float[Array, " batch"]:
        """The logit of each image being real; in training normalised by their own batch."""
        config, x = self.config, pixels
        layer = partial(Conv, kernel_init=scattered(0.0), use_bias=config.use_bias)
        for index, multiple in enumerate((1, 2, 4, 8)):
            x = layer(channels(config, multiple), _halving(config), name=f"conv_{index}")(x)
            x = x if index == 0 else _normalised(config, x, train, index)
            x = self.activation(x)
            self.sow("features", f"layer_{index}", x)
        if config.stem == "dense":
            return Dense(1, name="stem")(x.reshape(len(x), -1))[:, 0]
        return jnp.ravel(layer(1, _whole(config), name="conv_4")(x))


def enlarged(images: RawImages) -> Pixels:
    """Raw images [B, H, W, C], 0 to 255, resized to 64x64 bilinearly, in [-1, 1].

    Between pixel centres the interpolation is linear, outside the outermost it is constant; so does
    PyTorch's `interpolate` without `align_corners`.
    """
    pixels = rescaled(images)
    shape = (len(images), IMAGE_SIZE, IMAGE_SIZE, images.shape[-1])
    larger: Array = jax.image.resize(pixels, shape, "bilinear", antialias=False)
    return larger


def nets(config: Config, num_channels: int) -> Nets:
    """Both nets for images of `num_channels`."""
    return Nets(Generator(config, num_channels), Discriminator(config), enlarged)


def game(config: Config, image_shape: tuple[int, int, int] = (28, 28, 1)) -> Game:
    """Both nets with their learner, for raw images of `image_shape` [H, W, C]."""
    shape = (IMAGE_SIZE, IMAGE_SIZE, image_shape[-1])
    found = adversarial.game(config, nets(config, image_shape[-1]), shape)
    return found._replace(learner=found.learner._replace(image_shape=image_shape))


def learner(config: Config, image_shape: tuple[int, int, int] = (28, 28, 1)) -> Learner:
    """The DCGAN as three pure functions, for raw images of `image_shape` [H, W, C].

    Samples are of 64x64, whatever the images' size.
    """
    return game(config, image_shape).learner


from_params = adversarial.from_params
