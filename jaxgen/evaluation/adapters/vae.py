"""A VAE as an `EvaluatedModel`: samples, mean codes, decoded codes and two bounds.

A conditional VAE is given the class of an image, and the evaluation gives images alone. What it
knows of an image x then takes all classes y, equally probable: p(x) = mean_y p(x|y), and
p(y|x) = p(x|y) / sum_y' p(x|y'), with the importance-weighted estimate of each p(x|y). Codes
without a class are no images, nor are images without one codes, so `features` and `decode` are
absent.
"""

import logging
import math
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
    compute_in_parts,
    feature_input,
    key_of,
    mean_likelihood,
)
from jaxgen.images import ImageShape
from jaxgen.learner import Images, Labels, PRNGKey, RawImages, task_key
from jaxgen.losses import bits_per_dimension
from jaxgen.models import vae
from jaxgen.random import binarize

logger = logging.getLogger("jaxgen")

NUM_CODES = 20
"""Codes of each class with which a conditional VAE classifies an image."""


def vae_model(config: vae.Config, image_shape: ImageShape, params: vae.Params) -> EvaluatedModel:
    """A VAE; it has a likelihood of binary pixels if it was shown such, or of bytes.

    A Gaussian decoder's density of grey levels is no likelihood that others compare with.
    """
    nets = vae.nets(config, image_shape)
    config, params = nets.config, jax.tree.map(jnp.asarray, params)
    state = vae.State(params=params, opt_state=None, step=jnp.int32(0))
    bytes_or_bits = config.likelihood == "logistic" or config.binarize != "none"

    def mean_codes(images: RawImages) -> Array:
        return vae.encode(params, nets, feature_input(images, config.binarize))[0]

    def decode(codes: Float[Array, "num latent"]) -> Images:
        return vae.decoded_means(params, nets, codes).reshape(-1, *image_shape)

    def reconstruct(key: PRNGKey, images: RawImages) -> Images:
        visible, labels = binarize(key, jnp.asarray(images), config.binarize), None
        if config.num_classes:  # of the most probable class
            labels = jnp.argmax(_class_bounds(nets, params, visible), axis=1)
        mean, _ = vae.encode(params, nets, visible, labels)
        return vae.decoded_means(params, nets, mean, labels).reshape(-1, *image_shape)

    def classify(images: RawImages) -> Float[Array, "batch classes"]:
        visible = feature_input(images, config.binarize)
        return jax.nn.log_softmax(_class_bounds(nets, params, visible))

    found = EvaluatedModel(
        sample=partial(vae.sample, nets, state),
        likelihoods=partial(_likelihoods, nets, params) if bytes_or_bits else None,
        binary=config.binarize,
        reconstruct=reconstruct,
        num_classes=config.num_classes,
    )
    if config.num_classes:
        return found._replace(classify=classify)
    features = {"mean codes": mean_codes}
    return found._replace(features=features, decode=decode, code_size=config.latent_size)


@partial(jax.jit, static_argnums=0)
def _elbo(nets: vae.Nets, params: vae.Params, key: PRNGKey, visible: Array) -> Array:
    """The ELBO of each image from one code, the divergence in closed form."""
    found = vae.terms(params, nets, key, visible, 1)
    return found.reconstruction[0] - found.kl


@partial(jax.jit, static_argnums=0)
def _class_bounds(
    nets: vae.Nets, params: vae.Params, visible: Array
) -> Float[Array, "batch classes"]:
    """The bound of log p(x|y) for every class y, from `NUM_CODES` codes of each."""
    key, num = task_key("classify"), len(visible)

    def of_code(total: Array, index: Array) -> tuple[Array, None]:
        def of_class(label: Array) -> Array:
            labels = jnp.full(num, label)
            key_code = jax.random.fold_in(key, index)
            return vae.log_weights(params, nets, key_code, visible, 1, labels)[0]

        found = jax.lax.map(of_class, jnp.arange(nets.config.num_classes))
        return jnp.logaddexp(total, found.T), None

    nothing = jnp.full((num, nets.config.num_classes), -jnp.inf)
    sums, _ = jax.lax.scan(of_code, nothing, jnp.arange(NUM_CODES))
    return sums - math.log(NUM_CODES)


@partial(jax.jit, static_argnums=(0, 6))
def _block_bound(
    nets: vae.Nets,
    params: vae.Params,
    key: PRNGKey,
    first: int,
    visible: Array,
    labels: Labels | None,
    num: int,
) -> ImportanceBound:
    def log_weights(key: PRNGKey, example: tuple[Array, Labels | None], num: int) -> Array:
        return vae.log_weights(params, nets, key, example[0], num, example[1])

    return importance_bound(log_weights, key, (visible, labels), num, first_example=first)


def weighted_bound(
    nets: vae.Nets,
    params: vae.Params,
    key: PRNGKey,
    visible: Float[Array, "examples visible"],
    num_samples: int,
    labels: Labels | None = None,
) -> ImportanceBound:
    """The importance-weighted bound of every image, `BLOCK` of them at a time; logs the time left.

    Of a conditional VAE it is of log p(x|y), for the labels. Errors and other arguments as in
    `jaxgen.evaluation.likelihood.importance_bound`.
    """
    blocks, began = [], 0.0
    starts = range(0, len(visible), BLOCK)
    for index, start in enumerate(starts):
        part, given = (x if x is None else x[start : start + BLOCK] for x in (visible, labels))
        found = _block_bound(nets, params, key, start, part, given, num_samples)
        blocks.append(jax.device_get(found))
        if index == 0:
            began = time.monotonic()
        elif index == 1 and len(starts) > 2:
            left = (time.monotonic() - began) * (len(starts) - 2)
            words = "the bound of %d images, %d codes each: %.0f s left; fewer codes take less"
            logger.info(words, len(visible), num_samples, left)
    return ImportanceBound(*(jnp.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _likelihoods(
    nets: vae.Nets,
    params: vae.Params,
    images: RawImages,
    budget: LikelihoodBudget = DEFAULT_BUDGET,
    training_images: RawImages | None = None,
    key: PRNGKey | None = None,
) -> list[Likelihood]:
    """The ELBO and the importance-weighted bound, a block of images at a time.

    Of a conditional VAE the second alone: a mean over classes of what is exponentiated needs
    estimates of p(x|y) without a bias, which the exponential of an ELBO is not.
    """
    del training_images  # nothing is annealed
    binary, num_classes = nets.config.binarize, nets.config.num_classes

    def mean(values: Array, kind: str) -> Likelihood:
        found = mean_likelihood(values, kind, binary=binary)
        if nets.config.likelihood != "logistic":
            return found
        bits = bits_per_dimension(found.value, visible.shape[-1])
        return found._replace(note=f"a probability of bytes, {bits:.4g} bits per dimension")

    visible = binary_input(images, binary, key)
    key_bound, num = key_of("bound", key), budget.num_weights
    weighted = f"importance-weighted bound, {num:,} codes"
    if num_classes:
        each = []
        for label in range(num_classes):
            labels = jnp.full(len(visible), label)
            key_label = jax.random.fold_in(key_bound, label)
            bound = weighted_bound(nets, params, key_label, visible, num, labels)
            each.append(bound.log_mean_weight)
        values = jax.nn.logsumexp(jnp.stack(each), axis=0) - math.log(num_classes)
        kind = f"{weighted} for each of {num_classes} classes"
        return [mean(values, kind)]
    elbo = compute_in_parts(partial(_elbo, nets, params), key_of("measure", key), visible)
    bound = weighted_bound(nets, params, key_bound, visible, num)
    return [mean(elbo, "ELBO"), mean(bound.log_mean_weight, weighted)]
