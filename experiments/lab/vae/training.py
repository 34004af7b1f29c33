"""Training a VAE, the measures taken meanwhile, and the tighter bound at the end."""

import dataclasses
import logging
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.running.artifacts import task_key
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.evaluation import latent
from jaxgen.evaluation.likelihood import ImportanceBound, importance_bound, mean_over_examples
from jaxgen.models import vae
from jaxgen.random import binarize
from jaxgen.training.loop import Result, steps_in_epoch

logger = logging.getLogger("jaxgen")

BLOCK = 500
"""Test images whose bound one call computes."""

NUM_PASSES = 3280
"""Passes of the training schedule of Burda et al., 1 + 3 + 9 + ... + 3^7."""

binarized = jax.jit(binarize, static_argnums=2)


def test_input(config: vae.Config, dataset: Dataset) -> Float[Array, "examples visible"]:
    """The test set as the VAE sees it, binarised once for all measures and figures."""
    return binarized(task_key("test input"), jnp.asarray(dataset.test.images), config.binarize)


@partial(jax.jit, static_argnums=0)
def measure(
    config: vae.Config, params: vae.Params, visible: Float[Array, "examples visible"]
) -> dict[str, Array]:
    """What a VAE is judged by while it trains: one code per test image.

    Returns:
        test_elbo, test_reconstruction, test_kl: means over the test set, nats per image.
        test_elbo_error: standard error of the first, from the choice of images and codes.
        test_active_units: latent variables whose posterior mean has a variance above 0.01.
    """
    found = vae.terms(params, config, task_key("measure"), visible, 1)
    reconstruction = found.reconstruction[0]
    elbo = reconstruction - found.kl
    use = latent.latent_use(*vae.encode(params, config, visible))
    return {
        "test_elbo": jnp.mean(elbo),
        "test_elbo_error": jnp.std(elbo) / jnp.sqrt(len(elbo)),
        "test_reconstruction": jnp.mean(reconstruction),
        "test_kl": jnp.mean(found.kl),
        "test_active_units": jnp.sum(use.active).astype(jnp.float32),
    }


@partial(jax.jit, static_argnums=(0, 4))
def _block_bound(
    config: vae.Config, params: vae.Params, first: int, visible: Array, num_samples: int
) -> ImportanceBound:
    log_weights = partial(vae.log_weights, params, config)
    key = task_key("bound")
    return importance_bound(log_weights, key, visible, num_samples, first_example=first)


def bound(
    config: vae.Config, params: vae.Params, visible: Array, num_samples: int
) -> ImportanceBound:
    """The importance-weighted bound of every test image, a block at a time; says how long."""
    blocks, began = [], 0.0
    starts = range(0, len(visible), BLOCK)
    for index, start in enumerate(starts):
        part = visible[start : start + BLOCK]
        blocks.append(jax.device_get(_block_bound(config, params, start, part, num_samples)))
        if index == 0:
            began = time.monotonic()
        elif index == 1 and len(starts) > 2:
            left = (time.monotonic() - began) * (len(starts) - 2)
            logger.info(
                "the bound of %d images with %d samples each: %.0f s left; "
                "fewer --bound-samples take less",
                len(visible),
                num_samples,
                left,
            )
    return ImportanceBound(*(jnp.concatenate(parts) for parts in zip(*blocks, strict=True)))


def likelihoods(
    config: vae.Config, params: vae.Params, visible: Array, num_samples: int
) -> dict[str, float]:
    """Both bounds of the test set, in nats per image; see `measure` for those of the ELBO.

    Returns, besides:
        test_bound: importance-weighted bound with `num_samples` codes per image.
        test_bound_error: its standard error from the choice of images, the draws included.
        test_bound_draws: the part of it that the draws of the codes make up.
        test_bound_samples: `num_samples`.
    """
    found: dict[str, Any] = jax.device_get(measure(config, params, visible))
    estimate = mean_over_examples(bound(config, params, visible, num_samples))
    found |= {
        "test_bound": estimate.mean,
        "test_bound_error": estimate.sampling_error,
        "test_bound_draws": estimate.monte_carlo_error,
        "test_bound_samples": num_samples,
    }
    return {name: float(value) for name, value in found.items()}


def scheduled(args: Any, dataset: Dataset, config: vae.Config) -> vae.Config:
    """The settings with the first stage of a falling learning rate in steps."""
    if args.schedule == "constant":
        return config
    length = steps_in_epoch(len(dataset.train.images), args.batch_size)
    first = max(1, round(args.epochs * length / NUM_PASSES))
    return dataclasses.replace(config, first_stage_steps=first)


def train(args: Any, config: vae.Config, session: Session) -> Result:
    """Trains a VAE in the folder of the session."""
    config = scheduled(args, session.dataset, config)
    visible = test_input(config, session.dataset)
    return train_in_session(
        args,
        vae.learner(config, session.dataset.train.images.shape[1:]),
        session,
        dataclasses.asdict(config),
        lambda state: jax.device_get(measure(config, state.params, visible)),
        notes={"binarize": config.binarize},
    )
