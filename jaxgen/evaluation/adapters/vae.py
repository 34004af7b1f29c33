"""A VAE as an `EvaluatedModel`: samples, mean codes, decoded codes and two bounds."""

import logging
import time
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.evaluation.likelihood import ImportanceBound, importance_bound
from jaxgen.evaluation.model import (
    BLOCK,
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    binary_input,
    feature_input,
    mean_likelihood,
    stream,
)
from jaxgen.learner import Images, PRNGKey, RawImages
from jaxgen.models import vae
from jaxgen.random import binarize

logger = logging.getLogger("jaxgen")


def vae_model(
    config: vae.Config, image_shape: tuple[int, int, int], params: vae.Params
) -> EvaluatedModel:
    """A VAE; it has no likelihood of binary pixels unless it was shown binary pixels."""
    params = jax.tree.map(jnp.asarray, params)
    state = vae.State(params=params, opt_state=None, step=jnp.int32(0))
    grey = config.likelihood == "gaussian" or config.binarize == "none"

    def mean_codes(images: RawImages) -> Array:
        return vae.encode(params, config, feature_input(images, config.binarize))[0]

    def decode(codes: Float[Array, "num latent"]) -> Images:
        return vae.decoded_means(params, config, codes).reshape(-1, *image_shape)

    def reconstruct(key: PRNGKey, images: RawImages) -> Images:
        visible = binarize(key, jnp.asarray(images), config.binarize)
        return decode(vae.encode(params, config, visible)[0])

    return EvaluatedModel(
        sample=partial(vae.sample, config, image_shape, state),
        features={"mean codes": mean_codes},
        likelihoods=None if grey else partial(_likelihoods, config, params),
        decode=decode,
        code_size=config.latent_size,
        reconstruct=reconstruct,
    )


@partial(jax.jit, static_argnums=0)
def _elbo(config: vae.Config, params: vae.Params, key: PRNGKey, visible: Array) -> Array:
    """The ELBO of each image from one code, the divergence in closed form."""
    found = vae.terms(params, config, key, visible, 1)
    return found.reconstruction[0] - found.kl


@partial(jax.jit, static_argnums=(0, 5))
def _block_bound(
    config: vae.Config, params: vae.Params, key: PRNGKey, first: int, visible: Array, num: int
) -> ImportanceBound:
    log_weights = partial(vae.log_weights, params, config)
    return importance_bound(log_weights, key, visible, num, first_example=first)


def weighted_bound(
    config: vae.Config,
    params: vae.Params,
    key: PRNGKey,
    visible: Float[Array, "examples visible"],
    num_samples: int,
) -> ImportanceBound:
    """The importance-weighted bound of every image, `BLOCK` of them at a time; logs the time left.

    Errors and arguments as in `jaxgen.evaluation.likelihood.importance_bound`.
    """
    blocks, began = [], 0.0
    starts = range(0, len(visible), BLOCK)
    for index, start in enumerate(starts):
        part = visible[start : start + BLOCK]
        blocks.append(jax.device_get(_block_bound(config, params, key, start, part, num_samples)))
        if index == 0:
            began = time.monotonic()
        elif index == 1 and len(starts) > 2:
            left = (time.monotonic() - began) * (len(starts) - 2)
            words = "the bound of %d images with %d samples each: %.0f s left; fewer take less"
            logger.info(words, len(visible), num_samples, left)
    return ImportanceBound(*(jnp.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _likelihoods(
    config: vae.Config,
    params: vae.Params,
    images: RawImages,
    budget: LikelihoodBudget = DEFAULT_BUDGET,
    training_images: RawImages | None = None,
    key: PRNGKey | None = None,
) -> list[Likelihood]:
    """The ELBO and the importance-weighted bound, a block of images at a time."""
    del training_images  # nothing is annealed
    visible = binary_input(images, config.binarize, key)
    elbo = _elbo(config, params, stream(key, "measure"), visible)
    bound = weighted_bound(config, params, stream(key, "bound"), visible, budget.num_weights)
    weighted = f"importance-weighted bound, {budget.num_weights:,} codes"
    return [
        mean_likelihood(elbo, "ELBO", binary=config.binarize),
        mean_likelihood(bound.log_mean_weight, weighted, binary=config.binarize),
    ]
