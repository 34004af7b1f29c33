"""The settings of a VAE's training, its measures, and the tighter bound at the end."""

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.lab.study import StudyArgs
from jaxgen.data import Dataset
from jaxgen.errors import require
from jaxgen.evaluation.likelihood import ImportanceBound, importance_bound, mean_over_examples
from jaxgen.evaluation.monitors import vae_monitors
from jaxgen.learner import State, task_key
from jaxgen.models import vae
from jaxgen.random import binarize
from jaxgen.training import steps_in_epoch

logger = logging.getLogger("jaxgen")

BLOCK = 500
"""Test images whose bound one call computes."""

NUM_PASSES = 3280
"""Passes of the training schedule of Burda et al., 1 + 3 + 9 + ... + 3^7."""

binarized = jax.jit(binarize, static_argnums=2)


@dataclass(frozen=True)
class VAEArgs(StudyArgs):
    """The flags that shape a VAE and its report."""

    model: vae.Config = field(default_factory=vae.Config)
    schedule: Literal["constant", "burda"] = "constant"
    """Learning rate: constant, or falling in the stages of Burda et al. over all epochs."""
    bound_samples: int = 5000
    """Codes per test image in the importance-weighted bound."""

    immaterial: ClassVar[frozenset[str]] = StudyArgs.immaterial | {"bound_samples"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.model, "latent_size", self.model.latent_size >= 2, "of 2 or more")
        require(self, "bound_samples", self.bound_samples >= 2, "of 2 or more")
        if self.schedule == "burda":
            stages = self.model.first_stage_steps
            require(self.model, "first_stage_steps", not stages, "not beside --schedule burda")


def test_input(config: vae.Config, dataset: Dataset) -> Float[Array, "examples visible"]:
    """The test set as input of the VAE, binarised once for all measures and figures."""
    visible: Array = binarized(
        task_key("test input"), jnp.asarray(dataset.test.images), config.binarize
    )
    return visible


@partial(jax.jit, static_argnums=0)
def _monitors(
    config: vae.Config, params: vae.Params, visible: Float[Array, "examples visible"]
) -> dict[str, Array]:
    return vae_monitors(params, config, task_key("measure"), visible)


def make_evaluator(config: vae.Config, dataset: Dataset) -> Callable[[State], dict[str, Any]]:
    """Returns ``state -> measures`` by `jaxgen.evaluation.monitors.vae_monitors`."""
    visible = test_input(config, dataset)

    def evaluate(state: vae.State) -> dict[str, Any]:
        measures: dict[str, Any] = jax.device_get(_monitors(config, state.params, visible))
        return measures

    return evaluate


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
    """The importance-weighted bound of every test image, a block at a time; logs the time left."""
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
    """Both bounds of the test set, in nats per image.

    Returns, besides `vae_monitors`:
        test_bound: importance-weighted bound with `num_samples` codes per image.
        test_bound_error: its standard error from the choice of images, the draws included.
        test_bound_draws: the part of it that comes from the draws of the codes.
        test_bound_samples: `num_samples`.
    """
    found: dict[str, Any] = jax.device_get(_monitors(config, params, visible))
    estimate = mean_over_examples(bound(config, params, visible, num_samples))
    found |= {
        "test_bound": estimate.mean,
        "test_bound_error": estimate.sampling_error,
        "test_bound_draws": estimate.monte_carlo_error,
        "test_bound_samples": num_samples,
    }
    return {name: float(value) for name, value in found.items()}


def scheduled(args: VAEArgs, dataset: Dataset) -> vae.Config:
    """The model's settings with the first stage of a falling learning rate in steps."""
    if args.schedule == "constant":
        return args.model
    length = steps_in_epoch(len(dataset.train.images), args.batch_size)
    first = max(1, round(args.epochs * length / NUM_PASSES))
    return dataclasses.replace(args.model, first_stage_steps=first)
