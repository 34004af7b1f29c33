"""The settings of a VAE's training, its measures, and what is known of it when it is trained."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.lab.drawing import Drawing
from experiments.lab.study import StudyArgs
from experiments.running.args import condition_on_classes
from jaxgen.data import Dataset, Split
from jaxgen.errors import require
from jaxgen.evaluation import latent
from jaxgen.evaluation.adapters.vae import weighted_bound
from jaxgen.evaluation.likelihood import mean_over_examples
from jaxgen.evaluation.model import binary_input
from jaxgen.evaluation.monitors import vae_monitors
from jaxgen.learner import Labels, Learner, State, task_key
from jaxgen.models import vae
from jaxgen.models.rbm import mean_pixels
from jaxgen.random import normal
from jaxgen.training import steps_in_epoch

logger = logging.getLogger(__name__)
NUM_PASSES = 3280
"""Passes of the training schedule of Burda et al., 1 + 3 + 9 + ... + 3^7."""

NUM_FIXED = 16
"""Codes whose images are drawn all along the training."""

monitors = jax.jit(vae_monitors, static_argnums=1)
encode = jax.jit(vae.encode, static_argnums=1)
decode = jax.jit(vae.decoded_means, static_argnums=1)


@dataclass(frozen=True)
class VAEArgs(StudyArgs):
    """The flags that shape a VAE and its report."""

    model: vae.Config = field(default_factory=vae.Config)
    conditional: bool = False
    """Give both nets the class of each image, so that samples are of a class asked for."""
    schedule: Literal["constant", "burda"] = "constant"
    """Learning rate: constant, or falling in the stages of Burda et al. over all epochs."""
    base_rates: bool = False
    """Start the decoder's last biases at the log odds of the mean training pixels instead of at 0,
    if pixels are binary."""
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

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Those that the stages of a schedule divide."""
        return ("epochs",) if self.schedule == "burda" else ()

    def fit_to(self, dataset: Dataset) -> Self:
        """The settings with the classes of the data set, if the VAE is to be conditional."""
        args = condition_on_classes(super().fit_to(dataset), self.conditional, dataset)
        found = vae.decide(args.model, dataset.image_shape)  # raises what `train` would
        if found.objective == "iwae" and found.num_samples == 1:
            logger.info("an IWAE of one code has the ELBO for its bound; five: --num-samples 5")
        if args.base_rates and found.likelihood != "bernoulli":
            logger.info("pixels are not binary, so there are no base rates to start at")
            args = dataclasses.replace(args, base_rates=False)
        return args


def learner_for(args: VAEArgs, nets: vae.Nets, dataset: Dataset) -> Learner:
    """The VAE's learner, which with `--base-rates` starts at the base rates."""
    learner = vae.learner(nets.config, nets.image_shape)
    if not args.base_rates:
        return learner
    mean = mean_pixels(dataset.train.images, nets.config.binarize)
    return learner._replace(init=lambda key: vae.at_base_rates(nets, learner.init(key), mean))


def identity(config: vae.Config, nets: vae.Nets) -> dict[str, Any]:
    """The settings that name a checkpoint: those of the layers that there are, dense or not.

    What the data decide of `config` is as `nets` have it.
    """
    named = dataclasses.asdict(nets.config) | {"binarize": config.binarize}
    del named["channels" if nets.config.architecture == "dense" else "hidden_sizes"]
    return named


class Measured(NamedTuple):
    """The test images that a VAE is measured on."""

    split: Split
    visible: Array
    """As input."""
    labels: Labels | None
    """Of a conditional VAE."""


def measured_images(nets: vae.Nets, dataset: Dataset) -> Measured:
    """The test images, as input, and with their labels if the nets take those."""
    test = dataset.test
    labels = jnp.asarray(test.labels) if nets.config.num_classes else None
    return Measured(test, binary_input(test.images, nets.config.binarize), labels)


def make_evaluator(nets: vae.Nets, dataset: Dataset) -> Callable[[State], dict[str, Any]]:
    """Returns ``state -> measures`` by `jaxgen.evaluation.monitors.vae_monitors`."""
    key, (_, *test) = task_key("measure"), measured_images(nets, dataset)
    return lambda state: jax.device_get(monitors(state.params, nets, key, *test))


def prior_means(nets: vae.Nets) -> Callable[[State], np.ndarray]:
    """Returns ``state -> images``: E[x|z] of `NUM_FIXED` codes that stay the same.

    Those of a conditional VAE take the classes in turn.
    """
    config = nets.config
    codes = normal(task_key("fixed noise"), (NUM_FIXED, config.latent_size))
    labels = jnp.arange(NUM_FIXED) % config.num_classes if config.num_classes else None

    def draw(state: State) -> np.ndarray:
        decoded = np.asarray(decode(state.params, nets, codes, labels))
        return decoded.reshape(NUM_FIXED, *nets.image_shape)

    return draw


def likelihoods(
    nets: vae.Nets, params: vae.Params, test: Measured, num_samples: int
) -> dict[str, float]:
    """Both bounds of the test set, in nats per image; of log p(x|y) for a conditional VAE.

    Returns, besides `vae_monitors`:
        test_bound: importance-weighted bound with `num_samples` codes per image.
        test_bound_error: its standard error from the choice of images, the draws included; left
            out for one image, which has none.
        test_bound_draws: the part of it that comes from the draws of the codes.
        test_bound_samples: `num_samples`.
    """
    _, visible, labels = test
    key, key_bound = task_key("measure"), task_key("bound")
    found: dict[str, Any] = jax.device_get(monitors(params, nets, key, visible, labels))
    bounds = weighted_bound(nets, params, key_bound, visible, num_samples, labels)
    estimate = mean_over_examples(bounds)
    found |= {
        "test_bound": estimate.mean,
        "test_bound_draws": estimate.monte_carlo_error,
        "test_bound_samples": num_samples,
    }
    if len(visible) > 1:
        found["test_bound_error"] = estimate.sampling_error
    return {name: float(value) for name, value in found.items()}


def schedule_rate(args: VAEArgs, dataset: Dataset) -> vae.Config:
    """The model's settings with the first stage of a falling learning rate in steps."""
    if args.schedule == "constant":
        return args.model
    length = steps_in_epoch(len(dataset.train.images), args.batch_size)
    first = max(1, round(args.epochs * length / NUM_PASSES))
    return dataclasses.replace(args.model, first_stage_steps=first)


class TrainedVAE(NamedTuple):
    """A trained VAE with its measures and its posteriors of the test images."""

    nets: vae.Nets
    params: vae.Params
    measures: dict[str, float]
    """Those of `likelihoods`."""
    drawing: Drawing
    test: Measured
    mean: Array
    log_var: Array

    @property
    def config(self) -> vae.Config:
        """The settings, none of them "auto"."""
        return self.nets.config

    @property
    def use(self) -> latent.LatentUse:
        """The divergence and the activity of each latent variable over the test set."""
        return latent.latent_use(self.mean, self.log_var)

    @property
    def shown(self) -> tuple[int, int]:
        """The two latent variables with the largest divergence, the lower index first."""
        first, second = sorted(np.argsort(-np.asarray(self.use.kl), kind="stable")[:2].tolist())
        return first, second

    def images(self, codes: Array, labels: Any = 0) -> np.ndarray:
        """Decoded codes [..., L] as images [..., H, W, C]; the labels are for a conditional VAE."""
        given = None
        if self.config.num_classes:
            given = jnp.broadcast_to(jnp.asarray(labels, jnp.int32), codes.shape[:-1]).ravel()
        decoded = decode(self.params, self.nets, codes.reshape(-1, codes.shape[-1]), given)
        images = self.drawing.images(decoded)
        return images.reshape(*codes.shape[:-1], *images.shape[1:])

    def decoded_means(self, num: int | None = None) -> np.ndarray:
        """The decoded mean codes of the first test images, or of all, each of its class."""
        return self.images(self.mean[:num], self.test.split.labels[:num])
