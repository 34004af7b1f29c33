"""The Parzen-window log likelihood: what was reported for GANs before 2016; legacy.

    log p(x) = log 1/N sum_i N(x; s_i, sigma^2 I)    for samples s_1..N, images in [0, 1]

It is the likelihood of a mixture about the samples, a lower bound of nothing: with the 784 pixels
of MNIST it needs far more samples than anybody draws, and it ranks models wrongly: samples that are
training images beat the true distribution (Theis, van den Oord and Bethge, "A note on the
evaluation of generative models", 2016, section 3.2). `CAVEAT` is printed beside the number.
"""

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.errors import SettingError
from jaxgen.evaluation.sample_quality import as_numbers, check_features
from jaxgen.images import in_unit_range

logger = logging.getLogger("jaxgen")

CAVEAT = (
    "Legacy: a Parzen window on samples is no likelihood of the model and no bound of it, and"
    " copies of training images score above the true distribution (Theis et al., 2016)."
)
SIGMAS = tuple(float(sigma) for sigma in np.logspace(-1.0, 0.0, 10))
"""The widths tried by default: those of Goodfellow et al., "Generative adversarial nets", 2014."""
LIMITS = (1e-6, 1e6)
"""Of widths: the densities are then finite in float32."""
_BLOCK = 100

Pixels = Float[np.ndarray, "num ..."]


class Parzen(NamedTuple):
    """The log density of each test image, in nats, and the width of the window."""

    log_densities: Float[np.ndarray, " num"]
    sigma: float


@partial(jax.jit, static_argnums=2)
def _log_densities(blocks: Array, samples: Array, sigmas: tuple[float, ...]) -> Array:
    """[sigmas, blocks, block]: the squared distances are computed once for all widths."""
    num, num_pixels = samples.shape
    squares = jnp.sum(jnp.square(samples), axis=1)

    def of_block(block: Array) -> Array:
        products = jnp.dot(block, samples.T, precision=jax.lax.Precision.HIGHEST)
        squared = jnp.sum(jnp.square(block), axis=1)[:, None] + squares - 2.0 * products
        return jnp.stack(
            [
                jax.nn.logsumexp(-0.5 * squared / sigma**2, axis=1)
                - math.log(num)
                - 0.5 * num_pixels * math.log(2.0 * math.pi * sigma**2)
                for sigma in sigmas
            ]
        )

    found: Array = jax.lax.map(of_block, blocks)
    return jnp.moveaxis(found, 1, 0)


def log_densities(
    images: Pixels, samples: Pixels, sigmas: Sequence[float]
) -> Float[np.ndarray, "sigmas num"]:
    """Log p(x) of each image for each width, in nats; the dimension is the number of pixels.

    Raw images, uint8, are taken as numbers in [0, 1].

    Errors:
        SettingError: a width that is beyond `LIMITS`, or pixels that are neither raw nor in [0, 1],
            or not as many.
    """
    widths = as_numbers(sigmas)
    least, most = LIMITS
    if widths.ndim != 1 or not widths.size or not np.all((widths >= least) & (widths <= most)):
        expected = f"widths from {least:g} to {most:g}, one or more"
        raise SettingError(expected=expected, found=str(sigmas), remedy="leave others out")
    both = (in_unit_range(each) for each in (images, samples))
    flat, rows = check_features(
        *(each.reshape(len(each), math.prod(each.shape[1:])) for each in both), name="pixels"
    )
    blocks = np.pad(flat, ((0, -len(flat) % _BLOCK), (0, 0))).reshape(-1, _BLOCK, flat.shape[1])
    found = np.asarray(_log_densities(blocks, rows, tuple(widths.tolist())))
    return found.reshape(len(widths), -1)[:, : len(flat)]


def parzen(
    test: Pixels, held_out: Pixels, samples: Pixels, sigmas: Sequence[float] = SIGMAS
) -> Parzen:
    """The log densities of test images, with the width that is best for held-out training images.

    Test images have no part in the choice. A width at an end of the grid means that the grid is too
    short, and is warned of.
    """
    means = log_densities(held_out, samples, sigmas).mean(axis=1, dtype=np.float64)
    sigma = sigmas[int(np.argmax(means))]
    for end, extreme in (("narrowest", min(sigmas)), ("widest", max(sigmas))):
        if len(sigmas) > 1 and sigma == extreme:
            logger.warning(
                "the best Parzen window, %.3g, is the %s of those tried; one beyond may be better",
                sigma,
                end,
            )
    return Parzen(log_densities=log_densities(test, samples, [sigma])[0], sigma=sigma)
