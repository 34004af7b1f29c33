"""The settings of a VAE's training, its measures, and what is known of it when it is trained."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from experiments.lab.drawing import Drawing
from experiments.lab.study import StudyArgs
from jaxgen.data import Dataset
from jaxgen.errors import require
from jaxgen.evaluation import latent
from jaxgen.evaluation.adapters.vae import weighted_bound
from jaxgen.evaluation.likelihood import mean_over_examples
from jaxgen.evaluation.model import binary_input
from jaxgen.evaluation.monitors import vae_monitors
from jaxgen.learner import State, task_key
from jaxgen.models import vae
from jaxgen.training import steps_in_epoch

NUM_PASSES = 3280
"""Passes of the training schedule of Burda et al., 1 + 3 + 9 + ... + 3^7."""

monitors = jax.jit(vae_monitors, static_argnums=1)
encode = jax.jit(vae.encode, static_argnums=1)
decode = jax.jit(vae.decoded_means, static_argnums=1)


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


def make_evaluator(config: vae.Config, dataset: Dataset) -> Callable[[State], dict[str, Any]]:
    """Returns ``state -> measures`` by `jaxgen.evaluation.monitors.vae_monitors`."""
    key, visible = task_key("measure"), binary_input(dataset.test.images, config.binarize)
    return lambda state: jax.device_get(monitors(state.params, config, key, visible))


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
    found: dict[str, Any] = jax.device_get(monitors(params, config, task_key("measure"), visible))
    bounds = weighted_bound(config, params, task_key("bound"), visible, num_samples)
    estimate = mean_over_examples(bounds)
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


class TrainedVAE(NamedTuple):
    """A trained VAE with its measures and its posteriors of the test images."""

    config: vae.Config
    params: vae.Params
    measures: dict[str, float]
    """Those of `likelihoods`."""
    drawing: Drawing
    visible: Array
    """The test set as input."""
    mean: Array
    log_var: Array

    @property
    def use(self) -> latent.LatentUse:
        """The divergence and the activity of each latent variable over the test set."""
        return latent.latent_use(self.mean, self.log_var)

    @property
    def shown(self) -> tuple[int, int]:
        """The two latent variables with the largest divergence, the lower index first."""
        first, second = sorted(np.argsort(-np.asarray(self.use.kl), kind="stable")[:2].tolist())
        return first, second

    def images(self, codes: Array) -> np.ndarray:
        """Decoded codes [..., L] as images [..., H, W, C]."""
        decoded = decode(self.params, self.config, codes.reshape(-1, codes.shape[-1]))
        images = self.drawing.images(decoded)
        return images.reshape(*codes.shape[:-1], *images.shape[1:])
