"""A deep Boltzmann machine as an `EvaluatedModel`; log Z is that of an RBM, see `dbm.as_rbm`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.evaluation.adapters.nets import anneal, enumerable, uncertainty
from jaxgen.evaluation.dbm_bounds import log_weights, posterior_logits, variational_bound
from jaxgen.evaluation.likelihood import importance_bound, rbm_log_z
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    binary_input,
    feature_input,
    key_of,
    mean_likelihood,
)
from jaxgen.images import ImageShape
from jaxgen.learner import Images, PRNGKey, RawImages
from jaxgen.losses import sigmoid
from jaxgen.models import dbm, dbn
from jaxgen.random import Binarize, binarize

NUM_MEAN_FIELD = 50
"""Updates of mean field in the bounds."""
NUM_START = 5000
"""Training images whose mean units (v, mu2) annealing starts at, at most."""


def dbm_model(config: dbm.Config, image_shape: ImageShape, params: dbm.Params) -> EvaluatedModel:
    """A DBM; mean field is its approximate posterior, and codes are units of the second layer."""
    params = jax.tree.map(jnp.asarray, params)
    binary, num_steps = config.binarize, config.num_mean_field_steps
    names = ("hidden units 1", "hidden units 2")
    return EvaluatedModel(
        sample=partial(dbm.sample_params, config, image_shape, params),
        features={n: partial(_probs, params, binary, num_steps, i) for i, n in enumerate(names)},
        likelihoods=partial(_likelihoods, params, binary) if binary != "none" else None,
        decode=partial(_decode, params, image_shape),
        binary=binary,
        code_size=config.hidden_sizes[1],
        reconstruct=partial(_reconstruct, params, image_shape, binary, num_steps),
    )


def _probs(
    params: dbm.Params, binary: Binarize, num_steps: int, layer: int, images: RawImages
) -> Float[Array, "batch units"]:
    """Mu1 or mu2 of mean field."""
    return dbm.mean_field(params, feature_input(images, binary), num_steps)[layer]


def _decode(
    params: dbm.Params, image_shape: ImageShape, second: Float[Array, "num units"]
) -> Images:
    """P(v=1|h1) of a top-down pass from h2, whose doubled weights stand for what v does not send.

    It is the bottom-up pass of `dbm.mean_field` turned upside down.
    """
    first = sigmoid(2.0 * second @ params["w2"].T + params["b_hidden1"])
    return jax.nn.sigmoid(first @ params["w1"].T + params["b_visible"]).reshape(-1, *image_shape)


def _reconstruct(
    params: dbm.Params,
    image_shape: ImageShape,
    binary: Binarize,
    num_steps: int,
    key: PRNGKey,
    images: RawImages,
) -> Images:
    """P(v=1|h1) of an h1 drawn from mean field."""
    key_data, key_pass = jax.random.split(key)
    visible = binarize(key_data, jnp.asarray(images), binary)
    return dbm.reconstruct(params, key_pass, visible, num_steps)[-1].reshape(-1, *image_shape)


@partial(jax.jit, static_argnums=4)
def _bounds(
    params: dbm.Params, log_z: Array, key: PRNGKey, visible: Array, num_weights: int
) -> tuple[Array, Array]:
    """Both bounds for every example."""
    logits = posterior_logits(params, visible, NUM_MEAN_FIELD)
    weights = log_weights(params, log_z)
    many = importance_bound(weights, key, (visible, logits), num_weights)
    return variational_bound(params, log_z, visible, logits), many.log_mean_weight


@jax.jit
def _complete(params: dbm.Params, visible: Array) -> Float[Array, "examples units"]:
    """Units (v, mu2) of training images."""
    second = sigmoid(posterior_logits(params, visible, NUM_MEAN_FIELD))
    return jnp.concatenate([visible, second], axis=-1)


def _likelihoods(
    params: dbm.Params,
    binary: Binarize,
    images: RawImages,
    budget: LikelihoodBudget = DEFAULT_BUDGET,
    training_images: RawImages | None = None,
    key: PRNGKey | None = None,
) -> list[Likelihood]:
    """Variational bounds with log Z from either side, then the importance-weighted one."""
    visible, pair = binary_input(images, binary, key), dbm.as_rbm(params)
    bounds = partial(_bounds, params, key=key_of("bound", key), visible=visible)
    weighted = f"importance-weighted bound, {budget.num_weights:,} draws"
    found: dict[str, tuple[Array, dict[str, Any]]] = {}
    if enumerable(pair):
        one, many = bounds(rbm_log_z(pair), num_weights=budget.num_weights)
        found["variational bound, exact log Z"] = one, {}
        found[f"{weighted}, exact log Z"] = many, {}
    else:
        train = images if training_images is None else training_images
        start = _complete(params, binary_input(train[:NUM_START], binary, key))
        forward, backward = anneal(dbn.tie((pair,)), start, budget, key)
        one, many = bounds(forward.log_z, num_weights=budget.num_weights)
        ours = uncertainty(forward, backward)
        other = one + forward.log_z - backward.log_z
        found["variational bound, reverse AIS"] = other, uncertainty(backward, forward)
        found["variational bound, AIS"] = one, ours
        found[f"{weighted}, AIS"] = many, ours
    return [
        mean_likelihood(values, kind, **more)._replace(binary=binary)
        for kind, (values, more) in found.items()
    ]
