"""What training RBMs takes from the data: how long the rate falls, where the biases start."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen.data import Dataset
from jaxgen.errors import require
from jaxgen.evaluation.ais import base_rate_logits
from jaxgen.learner import Learner, PRNGKey
from jaxgen.models import rbm
from jaxgen.random import Binarize
from jaxgen.training.loop import steps_in_epoch

SMOOTHING = 0.005
"""Of the base rates, so that no pixel's bias starts beyond 5.3."""


def require_one_decay(args: Any) -> None:
    """Raises SettingError where `--schedule` and `--decay-steps` both say how the rate falls."""
    if args.schedule == "falling":
        none = not args.model.decay_steps
        require(args.model, "decay_steps", none, "0 beside --schedule falling")


def with_decay(args: Any, dataset: Dataset) -> Any:
    """The flags with `--schedule falling` as the number of updates in the model's settings."""
    if args.schedule == "constant":
        return args
    steps = args.epochs * steps_in_epoch(len(dataset.train.images), args.batch_size)
    model = dataclasses.replace(args.model, decay_steps=steps)
    return dataclasses.replace(args, schedule="constant", model=model)


def rate(config: Any) -> str:
    """The learning rate in words."""
    return f"rate {config.learning_rate}{' falling to 0' if config.decay_steps else ''}"


def mean_visible(binary: Binarize, dataset: Dataset) -> Float[np.ndarray, " visible"]:
    """How often each visible unit is on over the training set, or its mean grey value."""
    pixels = dataset.train.images.reshape(len(dataset.train.images), -1)
    on = pixels >= 127.5 if binary == "threshold" else pixels / np.float32(255.0)
    return on.mean(axis=0, dtype=np.float64).astype(np.float32)


def at_base_rates(state: rbm.State, mean: Float[Array, " visible"]) -> rbm.State:
    """The state with visible biases, and centred means if there are any, of the mean pixels.

    From biases of 0 an RBM draws every pixel with probability 1/2 at first. The gradient then is
    the same for all hidden units, drives them all on, and PCD with few units may never recover.
    Hinton, "A practical guide to training restricted Boltzmann machines", 2010, section 8.1.
    """
    params = state.params | {"b_visible": base_rate_logits(mean, SMOOTHING)}
    means = None if state.means is None else (jnp.asarray(mean), state.means[1])
    return state._replace(params=params, means=means)


def initial(
    args: Any, binary: Binarize, learner: Learner, dataset: Dataset
) -> Callable[[PRNGKey], rbm.State]:
    """`learner.init`, or with `--base-rates` the same at the base rates."""
    if not args.base_rates:
        return learner.init
    mean = mean_visible(binary, dataset)
    return lambda key: at_base_rates(learner.init(key), mean)
