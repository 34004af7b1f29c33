"""The settings of RBM experiments, and the part of a training that depends on the data.

The data set decides how long a falling rate falls and where the biases start.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

import jax
import numpy as np
from jaxtyping import Array

from experiments.lab.study import StudyArgs
from experiments.running.args import RunArgs
from experiments.running.experiment import Choice
from jaxgen.data import Dataset
from jaxgen.errors import is_whole, require, require_above_zero, require_positive
from jaxgen.evaluation.subset import some
from jaxgen.images import ImageShape
from jaxgen.jitted import jitted
from jaxgen.learner import Learner, State, task_key
from jaxgen.models import dbm, dbn, rbm, tempering, wake_sleep
from jaxgen.random import Binarize


@dataclass(frozen=True)
class GenerationArgs(StudyArgs):
    """The flags of every experiment that generates from set hidden states (1.7, 2.3, 3.3)."""

    generation_steps: int = 100
    """Gibbs steps from a set hidden or top state to the generated image."""
    gain: float = 1.0
    """Factor on the set state; 1 keeps it binary, the lab uses 10 to 20."""

    immaterial: ClassVar[frozenset[str]] = StudyArgs.immaterial | {"generation_steps", "gain"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "generation_steps")
        require_above_zero(self, "gain")


@dataclass(frozen=True)
class BoltzmannArgs(RunArgs):
    """The flags of every experiment that trains Boltzmann machines: RBMs, DBNs and DBMs."""

    model: rbm.Config | dbn.Config | dbm.Config = field(default_factory=rbm.Config)
    schedule: Literal["constant", "falling"] = "constant"
    """Learning rate: constant, or falling to 0 over the second half of the epochs of a layer."""
    base_rates: bool = False
    """Start the lowest biases at the log odds of the mean training pixels instead of at 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule == "falling":
            none = not self.model.decay_steps
            require(self.model, "decay_steps", none, "0 beside --schedule falling")

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Those of a falling rate."""
        return ("epochs",) if self.schedule == "falling" else ()


@dataclass(frozen=True)
class LayerArgs(GenerationArgs, BoltzmannArgs):
    """The flags of every experiment that trains layers by contrastive divergence."""

    model: rbm.Config | dbn.Config = field(default_factory=rbm.Config)


@dataclass(frozen=True)
class RBMArgs(LayerArgs):
    """The flags that shape an RBM."""

    model: rbm.Config = field(default_factory=rbm.Config)
    sampler: Literal["gibbs", "pt"] = "gibbs"
    """Chains that the page's samples are drawn by: gibbs, plain ones; or pt, parallel tempering,
    which may leave the modes that they stay in (`jaxgen.models.tempering`)."""
    num_temperatures: int = 20
    """Chains for each sample of parallel tempering, one per temperature."""

    immaterial: ClassVar[frozenset[str]] = LayerArgs.immaterial | {"sampler", "num_temperatures"}

    def __post_init__(self) -> None:
        super().__post_init__()
        most = tempering.MAX_TEMPERATURES
        holds = is_whole(self.num_temperatures, 2, most)
        require(self, "num_temperatures", holds, f"from 2 to {most:,}")


A = TypeVar("A", bound=BoltzmannArgs)


def gaussian_rates(args: LayerArgs, dataset: Dataset) -> Choice | None:
    """The preset `gaussian` with Gaussian visible units, which diverge at the rate of `lab`."""
    del dataset
    gaussian = args.model.visible == "gaussian"
    return Choice("gaussian", "visible units are Gaussian") if gaussian else None


def with_decay(args: A, dataset: Dataset) -> A:
    """The flags with `--schedule falling` as the number of updates in the model's settings."""
    if args.schedule == "constant":
        return args
    steps = args.num_updates(dataset)
    model = dataclasses.replace(args.model, decay_steps=steps)
    return dataclasses.replace(args, schedule="constant", model=model)


def base_rates(args: BoltzmannArgs, dataset: Dataset) -> np.ndarray | None:
    """The mean training pixels where visible biases start at their log odds, else None."""
    if not args.base_rates:
        return None
    return rbm.mean_pixels(dataset.train.images, args.model.binarize)


def rate(config: rbm.Config | dbn.Config) -> str:
    """The learning rate in words."""
    return f"rate {config.learning_rate}{' falling to 0' if config.decay_steps else ''}"


def pixels_of(
    config: rbm.Config | dbn.Config | wake_sleep.Config, dataset: Dataset
) -> rbm.Pixels | None:
    """Statistics by which Gaussian visible units standardise pixels; None for binary ones."""
    return rbm.pixel_statistics(dataset.train.images) if config.visible == "gaussian" else None


NUM_FIXED = 16
"""Samples that are drawn all along the training."""
SHOWN = {
    "test_reconstruction_error": "test error",
    "free_energy_contrast": "contrast",
    "pixel_change": "pixel change",
}
"""Metrics that a reader looks at first in the training of a layer, by what they are called."""
INPUT = {
    "sample": "binary units, drawn again at every visit with the pixels as probabilities",
    "threshold": "binary units, on where a pixel is at least one half",
    "none": "binary units whose probabilities stand for them, as numbers from 0 to 1",
}
"""Visible units by how pixels become input."""


def input_in_words(
    config: rbm.Config | dbn.Config | wake_sleep.Config, image_shape: ImageShape
) -> str:
    """The model's treatment of grey and colour pixels, in a line."""
    units = INPUT[config.binarize]
    if config.visible == "gaussian":
        units = "Gaussian units, standardised over the training set"
    if image_shape[-1] == 1:
        return f"pixels are {units}"
    return f"the {image_shape[-1]} channels of a pixel, each for itself, are {units}"


def learner_for(args: RBMArgs, dataset: Dataset) -> Learner:
    """The RBM's learner, which with `--base-rates` starts at the base rates."""
    pixels = pixels_of(args.model, dataset)
    learner = rbm.learner(args.model, dataset.image_shape, pixels)
    mean = base_rates(args, dataset)
    if mean is None:
        return learner
    return learner._replace(init=lambda key: rbm.at_base_rates(learner.init(key), mean))


def hottest(config: rbm.Config, dataset: Dataset) -> Array | None:
    """The visible biases at which parallel tempering begins: the base rates, as AIS does."""
    if config.visible == "gaussian":
        return None
    return rbm.base_rate_logits(rbm.mean_pixels(dataset.train.images, config.binarize))


def drawing_by_sampler(args: RBMArgs, dataset: Dataset) -> Learner:
    """The RBM's learner, whose samples are drawn by the chains of `--sampler`."""
    config, shape = args.model, dataset.image_shape
    learner = rbm.learner(config, shape)
    if args.sampler == "gibbs":
        return learner
    base = hottest(config, dataset)
    sample = partial(tempering.sample, config, args.num_temperatures, base, shape)
    return learner._replace(sample=sample)


def samples_so_far(learner: Learner) -> Callable[[State], np.ndarray]:
    """Returns ``state -> images``: `NUM_FIXED` samples, by chains whose keys stay the same."""
    draw = jitted(learner.sample, static_argnums=2)
    return lambda state: np.asarray(draw(state, task_key("fixed noise"), NUM_FIXED))


def make_evaluator(
    monitors: Callable[..., dict[str, Array]], binary: Binarize, dataset: Dataset
) -> Callable[[Any], dict[str, float]]:
    """Returns ``parameters -> measures`` for a data set, which it holds on the device.

    Args:
        monitors: `rbm_monitors` or `net_monitors` of `jaxgen.evaluation.monitors`.
        binary: how grey pixels become input of binary units.
        dataset: all its test images count, and as many training images.
    """
    test = jax.device_put(dataset.test.images)
    train = jax.device_put(some(dataset, "train", len(test)).images)
    compiled = jax.jit(monitors, static_argnums=4)

    def evaluate(params: Any) -> dict[str, float]:
        measures = jax.device_get(compiled(params, task_key("measure"), train, test, binary))
        return {name: float(value) for name, value in measures.items()}

    return evaluate
