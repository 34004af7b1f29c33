"""Layers with PyTorch's conventions: dense, convolutions, batch normalisation, activations."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgen.nn.conv import Feature, conv, conv_transpose
from jaxgen.nn.conv_spec import ConvSpec


def leaky_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """LeakyReLU(0.2): x where x > 0, else 0.2 x. Its slope at 0 is 0.2, where Flax's is 1."""
    return jnp.where(x > 0, x, 0.2 * x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "leaky_relu": leaky_relu,
    "relu": nn.relu,
}


Fan: TypeAlias = Literal["in", "out"]
"""The inputs or the outputs of a layer, whose number sets the range in which its weights start."""


class Dense(nn.Module):
    """A dense layer whose weights and biases start uniform in +-1 / sqrt(n).

    n is the number of inputs, as of PyTorch's `Linear`, or that of outputs with `fan` "out".
    """

    features: int
    fan: Fan = "in"

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        """Maps [B, inputs] to [B, features]."""
        bound = 1.0 / math.sqrt(x.shape[-1] if self.fan == "in" else self.features)

        def uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return nn.Dense(self.features, kernel_init=uniform, bias_init=uniform, name="dense")(x)


def _add_bias(layer: nn.Module, images: Feature) -> Feature:
    """Adds the layer's float32 parameter `bias`, one number for each channel of the images."""
    bias = layer.param("bias", nn.initializers.zeros, images.shape[-1])
    return (images + bias).astype(images.dtype)


class Conv(nn.Module):
    """A layer with `conv`; parameters `kernel` [kh, kw, C, O] and, if asked for, `bias` [O].

    Its images have the dtype of the spec, its parameters are float32.
    """

    features: int
    spec: ConvSpec
    kernel_init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Feature) -> Feature:
        """Maps [B, H, W, C] to [B, H', W', features]."""
        shape = (*self.spec.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = conv(x.astype(self.spec.dtype), kernel, self.spec)
        return _add_bias(self, y) if self.use_bias else y


class ConvTranspose(nn.Module):
    """A layer with `conv_transpose`; `kernel` [kh, kw, features, inputs] and `bias` [features].

    Its images have the dtype of the spec, its parameters are float32.
    """

    features: int
    spec: ConvSpec
    kernel_init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, y: Feature) -> Feature:
        """Maps [B, H', W', inputs] to [B, H, W, features]."""
        shape = (*self.spec.kernel, self.features, y.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        x = conv_transpose(y.astype(self.spec.dtype), kernel, self.spec)
        return _add_bias(self, x) if self.use_bias else x


class Normalised(NamedTuple):
    """A normalised batch, and the statistics it was normalised by."""

    y: Float[Array, "... channels"]
    mean: Float[Array, " channels"]
    var: Float[Array, " channels"]
    """The biased estimate, with the number of values in the denominator."""


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: Float[Array, "... channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    epsilon: float,
) -> Normalised:
    """Normalises a batch by its own mean and variance over all axes but the last.

    With u = (x - mean) / sqrt(var + epsilon), y = scale u + bias. Its gradient is written out, for
    it takes two passes over the batch where the derived one takes more:

        dx = scale / sqrt(var + epsilon) (dy - mean(dy) - u mean(dy u))
        dscale = sum(dy u)                     dbias = sum(dy)

    y and dx have the dtype of x; statistics and sums are float32. No gradient passes through the
    statistics that are returned.
    Ioffe and Szegedy, "Batch normalization", 2015, section 3.
    """
    axes, dtype = tuple(range(x.ndim - 1)), x.dtype
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=axes)
    var = jnp.mean(jnp.square(x - mean), axis=axes)
    y = (x - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return Normalised(y.astype(dtype), mean, var)


def _batch_norm_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> Any:
    found = batch_norm(x, scale, bias, epsilon)
    return found, (x, scale, found.mean, lax.rsqrt(found.var + epsilon))


def _batch_norm_backward(epsilon: float, saved: Any, cotangents: Normalised) -> Any:
    del epsilon
    x, scale, mean, inverse = saved
    dtype = x.dtype
    x, dy = x.astype(jnp.float32), cotangents.y.astype(jnp.float32)
    axes, num = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    dbias = jnp.sum(dy, axis=axes)
    dscale = jnp.sum(dy * ((x - mean) * inverse), axis=axes)
    dx = scale * inverse * (dy - dbias / num - (x - mean) * (inverse * dscale / num))
    return dx.astype(dtype), dscale, dbias


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with the conventions of PyTorch.

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    Training takes mean and (biased) variance of the batch, and moves the running ones towards it:
    running <- (1 - momentum) running + momentum batch, where the variance that enters is the
    unbiased one. Otherwise the running ones are taken. Flax calls 1 - momentum the momentum.
    Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1; PyTorch, `BatchNorm2d`.

    It is conditional where there are classes: mean and variance are still those of the whole batch,
    and each example is scaled and shifted by the numbers of its class.
    Dumoulin, Shlens and Kudlur, "A learned representation for artistic style", 2017, equation 5.
    """

    scale_init: nn.initializers.Initializer
    momentum: float = 0.1
    epsilon: float = 1e-5
    num_classes: int = 0
    """Classes, each with a scale and a bias of its own, [num_classes, C]; 0: one of both, [C]."""

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch ... channels"],
        train: bool,
        labels: Int[Array | np.ndarray, " batch"] | None = None,
    ) -> Float[Array, "batch ... channels"]:
        """Normalises x; in training also updates the collection "batch_stats".

        `labels` are the classes of the examples, where there are classes.
        """
        channels = x.shape[-1]
        shape = (self.num_classes, channels) if self.num_classes else (channels,)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if self.num_classes:
            rows = (len(x), *(1,) * (x.ndim - 2), channels)
            scale, bias = scale[labels].reshape(rows), bias[labels].reshape(rows)
        if not train:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            return ((x - running_mean.value) * factor + bias).astype(x.dtype)
        if self.num_classes:
            ones, zeros = jnp.ones(channels), jnp.zeros(channels)
            unit, mean, var = batch_norm(x.astype(jnp.float32), ones, zeros, self.epsilon)
            y = (scale * unit + bias).astype(x.dtype)
        else:
            y, mean, var = batch_norm(x, scale, bias, self.epsilon)
        if not self.is_initializing():
            num = x.size // channels
            running_mean.value += self.momentum * (mean - running_mean.value)
            unbiased = var * (num / max(num - 1, 1))
            running_var.value += self.momentum * (unbiased - running_var.value)
        return y


def max_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch h w channels"]:
    """Maxima of 2x2 blocks; an odd last row or column is left out."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))
