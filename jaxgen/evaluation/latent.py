"""Walks, planes and arithmetic in a space of codes, for any decoder; and which codes are in use.

The functions make codes; `decode_grid` turns codes in any arrangement into images in the same one.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.losses import gaussian_kl
from jaxgen.models.vae import is_active

Decoder: TypeAlias = Callable[[Float[Array, "num latent"]], Float[Array, "num *image"]]
"""Codes to images, or to whatever else has one row for each code."""


def decode_grid(decoder: Decoder, codes: Float[Array, "*grid latent"]) -> Float[Array, "..."]:
    """The images [*grid, ...] of codes [*grid, L], decoded in one call."""
    images = decoder(codes.reshape(-1, codes.shape[-1]))
    return images.reshape(*codes.shape[:-1], *images.shape[1:])


@partial(jax.jit, static_argnames="num")
def linear_path(
    start: Float[Array, "*batch latent"], end: Float[Array, "*batch latent"], num: int
) -> Float[Array, "num *batch latent"]:
    """Codes at `num` equal steps of the straight line from start to end, both included."""
    fractions = jnp.linspace(0.0, 1.0, num).reshape(num, *(1 for _ in start.shape))
    return (1.0 - fractions) * start + fractions * end


@partial(jax.jit, static_argnames="num")
def spherical_path(
    start: Float[Array, "*batch latent"], end: Float[Array, "*batch latent"], num: int
) -> Float[Array, "num *batch latent"]:
    """Codes at `num` steps of the arc from start to end, both included.

    With w the angle between the ends and t from 0 to 1 in equal steps,

        z(t) = (sin((1 - t) w) start + sin(t w) end) / sin(w).

    For ends of equal length all codes have that length and the steps are equal angles; a straight
    line between two codes from N(0, I) passes through lengths that codes hardly ever have. For ends
    of other lengths it is an arc of an ellipse, in angles that are not equal. Where sin(w) is
    nearly zero, the ends being parallel or opposite, it is the straight line. White, "Sampling
    generative networks", 2016, section 2.1.
    """
    lengths = jnp.linalg.norm(start, axis=-1) * jnp.linalg.norm(end, axis=-1)
    cosine = jnp.sum(start * end, axis=-1) / jnp.where(lengths > 0.0, lengths, 1.0)
    angle = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))[..., None]
    fractions = jnp.linspace(0.0, 1.0, num).reshape(num, *(1 for _ in start.shape))
    flat = (jnp.sin(angle) < 1e-3) | (lengths == 0.0)[..., None]
    sine = jnp.where(flat, 1.0, jnp.sin(angle))
    arc = (jnp.sin((1.0 - fractions) * angle) * start + jnp.sin(fractions * angle) * end) / sine
    return jnp.where(flat, linear_path(start, end, num), arc)


@partial(jax.jit, static_argnames=("latent_size", "dimensions", "num"))
def plane(
    latent_size: int, dimensions: tuple[int, int], extent: float, num: int
) -> Float[Array, "num num latent"]:
    """A grid of codes over [-extent, extent]^2 in two latent dimensions, the others at 0.

    Laid out as a plot of the plane: the first dimension rises along a row from left to right, the
    second from the last row up to the first.
    """
    values = jnp.linspace(-extent, extent, num)
    across, up = jnp.meshgrid(values, values[::-1])
    codes = jnp.zeros((num, num, latent_size))
    return codes.at[..., dimensions[0]].set(across).at[..., dimensions[1]].set(up)


@partial(jax.jit, static_argnames="num_classes")
def class_means(
    codes: Float[Array, "num latent"], labels: Int[Array, " num"], num_classes: int
) -> Float[Array, "classes latent"]:
    """The mean code of each class; NaN for a class without examples."""
    members = (labels == jnp.arange(num_classes)[:, None]).astype(codes.dtype)
    return members @ codes / jnp.sum(members, axis=1, keepdims=True)


def analogies(
    means: Float[Array, "classes latent"], plus: int, minus: int
) -> Float[Array, "classes latent"]:
    """The mean code of each class, with the difference of two of them added.

    z_k + z_plus - z_minus for every class k: what makes `minus` into `plus`, tried on k.
    """
    return means[plus] - means[minus] + means


class LatentUse(NamedTuple):
    """How much each latent variable carries of the data."""

    mean_variance: Float[Array, " latent"]
    """Variance, over the data, of the mean of q(z|x)."""
    kl: Float[Array, " latent"]
    """KL(q(z|x) || p(z)), averaged over the data, in nats."""

    @property
    def active(self) -> Array:
        """Whether each is active."""
        active: Array = is_active(self.mean_variance)
        return active


def latent_use(
    mean: Float[Array, "examples latent"], log_var: Float[Array, "examples latent"]
) -> LatentUse:
    """Measures how much of the data each latent variable carries, from a set of posteriors.

    A variable whose posterior is the prior for every example carries nothing: both numbers are 0.
    One whose posterior is the same for every example, but not the prior, carries nothing either,
    and has a divergence above 0.
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016, section 5.2.
    """
    return LatentUse(
        mean_variance=jnp.var(mean, axis=0),
        kl=jnp.mean(gaussian_kl(mean, log_var), axis=0),
    )
