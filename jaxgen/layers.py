"""Layers with PyTorch's conventions: convolutions, batch normalisation and LeakyReLU."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgen.conv import Feature, conv, conv_transpose
from jaxgen.conv_products import Geometry


def leaky_relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """LeakyReLU(0.2): x where x > 0, else 0.2 x. Its slope at 0 is 0.2, where Flax's is 1."""
    return jnp.where(x > 0, x, 0.2 * x)


class Conv(nn.Module):
    """A layer with `conv`; parameters `kernel` [kh, kw, C, O] and, if asked for, `bias` [O]."""

    features: int
    geometry: Geometry
    kernel_init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Feature) -> Feature:
        """Maps [B, H, W, C] to [B, H', W', features]."""
        shape = (*self.geometry.kernel, x.shape[-1], self.features)
        y = conv(x, self.param("kernel", self.kernel_init, shape), self.geometry)
        return y + self.param("bias", nn.initializers.zeros, self.features) if self.use_bias else y


class ConvTranspose(nn.Module):
    """A layer with `conv_transpose`; `kernel` [kh, kw, features, inputs] and `bias` [features]."""

    features: int
    geometry: Geometry
    kernel_init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, y: Feature) -> Feature:
        """Maps [B, H', W', inputs] to [B, H, W, features]."""
        shape = (*self.geometry.kernel, self.features, y.shape[-1])
        x = conv_transpose(y, self.param("kernel", self.kernel_init, shape), self.geometry)
        return x + self.param("bias", nn.initializers.zeros, self.features) if self.use_bias else x


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with the conventions of PyTorch.

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    Training takes mean and (biased) variance of the batch, and moves the running ones towards it:
    running <- (1 - momentum) running + momentum batch, where the variance that enters is the
    unbiased one. Otherwise the running ones are taken. Flax calls 1 - momentum the momentum.
    Ioffe and Szegedy, "Batch normalization", 2015, algorithm 1; PyTorch, `BatchNorm2d`.
    """

    scale_init: nn.initializers.Initializer
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Float[Array, "... channels"], train: bool
    ) -> Float[Array, "... channels"]:
        """Normalises x; in training also updates the collection "batch_stats"."""
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        if not train:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            return (x - running_mean.value) * factor + bias
        axes, num = tuple(range(x.ndim - 1)), x.size // channels
        mean = jnp.mean(x, axis=axes)
        centred = x - mean
        var = jnp.mean(jnp.square(centred), axis=axes)
        if not self.is_initializing():
            running_mean.value += self.momentum * (mean - running_mean.value)
            unbiased = var * (num / max(num - 1, 1))
            running_var.value += self.momentum * (unbiased - running_var.value)
        return centred * (scale * lax.rsqrt(var + self.epsilon)) + bias
