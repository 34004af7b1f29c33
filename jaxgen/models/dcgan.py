"""DCGAN: a convolutional generator and discriminator for square images; see `adversarial`.

With c = width * base_width channels, k4 s2 p1 convolutions that halve or double the image:

    G: z -> stem -> [4, 4, 8c] -> [8, 8, 4c] -> [16, 16, 2c] -> [32, 32, c] -> [64, 64, C], tanh
    D: [64, 64, C] -> [32, 32, c] -> [16, 16, 2c] -> [8, 8, 4c] -> [4, 4, 8c] -> 1 logit

for images of 64x64. The number of layers follows the size, from 16x16 to 256x256: the image of
half the size has c channels, and they double inwards up to 8c. So the nets of 16x16 go from c to
2c, and those of 256x256 have three images of 8c channels, 16x16, 8x8 and 4x4.

Batch normalisation follows every layer but the generator's last, the discriminator's first and
last, and a dense stem. In a conditional game of K classes that of the generator has a scale and a
bias for each class, and the stem is given [z, u_y], where u_y in {0, 1}^K has its 1 at the class y
(Mirza and Osindero, "Conditional generative adversarial nets", 2014). So y adds one weight to each
unit of the stem, which learns as fast as a weight of z. With `class_code` "learned" it adds
<w, e_y>, whose L products grow by both factors: on a small set that sum outgrew the part of z, and
G drew one image of such a class, whatever z. That conditioning makes GANs of few images collapse is
found by Shahbazi, Danelljan, Paudel and Van Gool, "Collapse by conditioning", 2022.

Other images are resized, bilinearly (`image_size`); with `native_size` those of 28x28 are not, but
have the nets of 32x32, whose outermost convolutions are padded by 3 in the place of 1.
Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional
generative adversarial networks", 2016. The lab's two versions are the presets `lab` and `wide`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import MAX_SIZE, require, require_above_zero, require_positive
from jaxgen.images import ImageShape, check_shape
from jaxgen.learner import Labels, Learner, PRNGKey, RawImages
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
from jaxgen.nn.conv_spec import ConvSpec
from jaxgen.nn.layers import ACTIVATIONS, BatchNorm, Conv, ConvTranspose, Dense

SIZES = (16, 32, 64, 128, 256)
"""Sides of the images that there are nets for."""
USUAL_SIZE = 64
"""Side to which smaller images of other shapes are resized."""
WIDEST = 8
"""Channels of the widest layers, in base widths."""
SCALE = 0.02
"""Standard deviation of the weights at the start (Radford et al. 2016, section 4), and of batch
normalisation's scales about 1 (as in PyTorch's DCGAN example)."""


@dataclass(frozen=True)
class Config(adversarial.Training):
    """The lab's DCGAN; every field is a flag of `experiments.dcgan`.

    Example:
        >>> from jaxgen.models import dcgan
        >>> dcgan.Config(width=0.25).base_width
        64
    """

    beta1: float = 0.5
    """Adam's decay of the gradient's mean."""
    base_width: int = 64
    """Channels c of the images of half the size inside the nets, at width 1."""
    width: float = 1.0
    """Factor on all channels but the images' own."""
    native_size: bool = False
    """Take square images as they are if their side is 2 or 4 below a power of two, as 28 is,
    instead of resizing them: the nets have the layers of the power of two."""
    stem: Literal["transposed", "dense"] = "transposed"
    """The layer between the code, or the logit, and the 4x4 image. transposed: a k4 s1 p0
    convolution, in the generator followed by batch normalisation and activation. dense: a dense
    layer without them."""
    generator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Function after every layer of the generator but the last; LeakyReLU has the slope 0.2."""
    use_bias: bool = True
    """Whether convolutions have biases."""
    batch_norm: bool = True
    """Whether layers are followed by batch normalisation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the factors of the convolutions' products and of the images between layers. Sums
    over them, the statistics of batch normalisation, parameters and Adam are float32."""
    class_code: Literal["one_hot", "learned"] = "one_hot"
    """The input of a conditional generator beside the code. one_hot: a 1 at the place of the class
    and 0 at those of the others. learned: a vector of the code's length, learned for each class; on
    small sets each class may become one picture."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "base_width")
        require_above_zero(self, "width")
        widest = WIDEST * self.width * self.base_width
        require(self, "width", widest <= MAX_SIZE, f"of at most {MAX_SIZE:,} channels in a layer")


def channels(config: Config, multiple: int) -> int:
    """Channels of a layer that has `multiple` times the base width, at least 1."""
    return max(1, round(config.width * config.base_width * multiple))


def image_size(image_shape: ImageShape, native: bool = False) -> int:
    """Side of the square images that the nets are for, where raw images are of `image_shape`.

    That of the raw images if they are square and of one of `SIZES`, or with `native` 2 or 4 below.
    Otherwise it is 64; or, where their larger side is above 64, the largest of `SIZES` that is not
    above it.
    """
    height, width, _ = image_shape
    larger = max(height, width)
    near = native and {larger + 2, larger + 4} & {*SIZES}
    if height == width and (larger in SIZES or near):
        return larger
    return max(size for size in SIZES if size <= max(larger, USUAL_SIZE))


def net_shape(image_shape: ImageShape, native: bool = False) -> ImageShape:
    """[H, W, C] of what D sees and G makes, where raw images are of `image_shape`."""
    size = image_size(image_shape, native)
    return size, size, image_shape[-1]


def grid_size(size: int) -> int:
    """The power of two whose layers images of a side `size` have: `size`, or 2 or 4 more."""
    return 1 << math.ceil(math.log2(size))


def outer_padding(size: int) -> int:
    """Of the convolution on images of that side, so that those inside are of powers of two."""
    return 1 + (grid_size(size) - size) // 2


def widths(config: Config, size: int) -> tuple[int, ...]:
    """Channels of D's hidden layers, of images of size / 2, ..., 8 and 4; G has them reversed."""
    num_layers = int(math.log2(grid_size(size))) - 2
    return tuple(channels(config, min(2**index, WIDEST)) for index in range(num_layers))


def scatter(centre: float) -> nn.initializers.Initializer:
    """N(centre, SCALE^2) for every weight."""

    def draw(key: PRNGKey, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        return centre + SCALE * jax.random.normal(key, shape, dtype)

    return draw


def _halving(config: Config, size: int = 0) -> ConvSpec:
    """The convolution between two image sizes; the outermost one with the images' own `size`."""
    padding = outer_padding(size) if size else 1
    return ConvSpec((4, 4), stride=2, padding=padding, dtype=config.precision)


def _whole(config: Config) -> ConvSpec:
    """The convolution between the 4x4 image and a vector."""
    return ConvSpec((4, 4), stride=1, padding=0, dtype=config.precision)


def _normalise(
    config: Config, x: Array, train: bool, index: int, labels: Labels | None = None
) -> Array:
    """Batch normalisation, where the net has it; conditional where there are labels."""
    if not config.batch_norm:
        return x
    num_classes = 0 if labels is None else config.num_classes
    norm = BatchNorm(scatter(1.0), num_classes=num_classes, name=f"norm_{index}")
    return norm(x, train, labels)


class Generator(nn.Module):
    """Codes [B, L] to images [B, H, H, C] in [-1, 1]."""

    config: Config
    image_shape: ImageShape
    """[H, H, C] of the images, H of `image_size`."""

    @nn.compact
    def __call__(self, codes: Codes, train: bool, labels: Labels | None = None) -> Pixels:
        """The images; in training normalised by their own batch."""
        config, activation = self.config, ACTIVATIONS[self.config.generator_activation]
        layer = partial(ConvTranspose, kernel_init=scatter(0.0), use_bias=config.use_bias)
        size, _, num_channels = self.image_shape
        innermost, *others = reversed(widths(config, size))
        if config.class_code == "learned":
            codes = beside_class(config.num_classes, codes, labels, SCALE)
        elif config.num_classes:
            one_hot = jax.nn.one_hot(labels, config.num_classes)
            codes = jnp.concatenate([codes, one_hot], axis=1)
        if config.stem == "dense":
            x = Dense(16 * innermost, name="stem")(codes).reshape(-1, 4, 4, innermost)
        else:
            x = layer(innermost, _whole(config), name="conv_0")(codes[:, None, None])
            x = activation(_normalise(config, x, train, 0, labels))
        for index, num in enumerate(others, start=1):
            x = layer(num, _halving(config), name=f"conv_{index}")(x)
            x = activation(_normalise(config, x, train, index, labels))
        last = layer(num_channels, _halving(config, size), name=f"conv_{len(others) + 1}")
        return jnp.tanh(last(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [B, H, H, C] in [-1, 1], H of `image_size`, to logits [B]."""

    config: Config
    activation: Callable[[Array], Array] = ACTIVATIONS["leaky_relu"]
    """Function after every hidden layer; guided backpropagation changes its derivative."""

    @nn.compact
    def __call__(
        self, pixels: Pixels, train: bool, labels: Labels | None = None
    ) -> Float[Array, " batch"]:
        """The logit of each image being real; in training normalised by their own batch."""
        config, x = self.config, pixels
        layer = partial(Conv, kernel_init=scatter(0.0), use_bias=config.use_bias)
        hidden = widths(config, pixels.shape[1])
        for index, num in enumerate(hidden):
            spec = _halving(config, pixels.shape[1] if index == 0 else 0)
            x = layer(num, spec, name=f"conv_{index}")(x)
            x = x if index == 0 else _normalise(config, x, train, index)
            x = self.activation(x)
            self.sow("features", f"layer_{index}", x.astype(jnp.float32))
        if config.stem == "dense":
            logits = Dense(1, name="stem")(x.reshape(len(x), -1))[:, 0]
        else:
            last = layer(1, _whole(config), name=f"conv_{len(hidden)}")
            logits = jnp.ravel(last(x).astype(jnp.float32))
        if labels is None:
            return logits
        pooled = jnp.sum(x, axis=(1, 2), dtype=jnp.float32)
        return logits + projection(config.num_classes, pooled, labels, scatter(0.0))


def resize(images: RawImages, native: bool = False) -> Pixels:
    """Raw images [B, H, W, C], 0 to 255, of the size that the nets are for, in [-1, 1].

    Between pixel centres the interpolation is linear, outside the outermost it is constant; so does
    PyTorch's `interpolate` without `align_corners`. Along an axis that shrinks, the kernel is as
    much wider, as with PyTorch's `antialias`.
    """
    _, height, width, num_channels = images.shape
    shape = (len(images), *net_shape((height, width, num_channels), native))
    found: Array = jax.image.resize(rescale(images), shape, "bilinear")
    return found


@cache
def _resizer(native: bool) -> Callable[[RawImages], Pixels]:
    """`resize`, the same function for equal nets, whose programs are then compiled once."""
    return partial(resize, native=native)


def nets(config: Config, image_shape: ImageShape) -> Nets:
    """Both nets for raw images of `image_shape` [H, W, C]."""
    generator = Generator(config, net_shape(image_shape, config.native_size))
    return Nets(generator, Discriminator(config), _resizer(config.native_size))


def game(config: Config, image_shape: ImageShape = (28, 28, 1)) -> Game:
    """Both nets with their learner, for raw images of `image_shape` [H, W, C]."""
    check_shape(image_shape)
    shape = net_shape(image_shape, config.native_size)
    found = adversarial.game(config, nets(config, image_shape), shape)
    return found._replace(learner=found.learner._replace(image_shape=image_shape))


def learner(config: Config, image_shape: ImageShape = (28, 28, 1)) -> Learner:
    """The DCGAN as three pure functions, for raw images of `image_shape` [H, W, C].

    Samples are of the nets' own size, `net_shape`.

    Example:
        >>> from jaxgen.models import dcgan
        >>> learner = dcgan.learner(dcgan.Config(width=1 / 64), (16, 16, 3))
        >>> learner.image_shape, learner.num_classes
        ((16, 16, 3), 0)
    """
    return game(config, image_shape).learner


from_params = adversarial.from_params
OPTIONAL_PARAMS = adversarial.OPTIONAL_PARAMS
