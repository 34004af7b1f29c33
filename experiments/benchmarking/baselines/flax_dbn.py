"""The second layer of a DBN as one writes it with Flax: CD-k on states drawn by the first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarking.baselines.flax_rbm import (
    RBM,
    epoch_of,
    in_memory,
    learn,
    probs,
    start,
)
from jaxgen.models import dbn


def epoch_runner(images: np.ndarray, batch_size: int, config: dbn.Config) -> Callable[..., None]:
    """An epoch of the second RBM above a first one that stays as it is; see `epoch_of`."""
    pixels = in_memory(images)
    first_size, second_size = config.hidden_sizes[:2]
    first = RBM(pixels.shape[1], first_size, config.init_scale)
    second = RBM(first_size, second_size, config.init_scale)
    lower = start(first, 0)
    num_gibbs_steps = dbn.rbm_config(config, 1).num_gibbs_steps

    def step(variables: Any, grey: jax.Array, key: jax.Array) -> Any:
        key_visible, key_data, key_gibbs = jax.random.split(key, 3)
        visible = jax.random.bernoulli(key_visible, grey).astype(jnp.float32)
        on = probs(first, lower, visible, "up")
        data = jax.random.bernoulli(key_data, on).astype(jnp.float32)
        return learn(second, variables, data, key_gibbs, num_gibbs_steps, config.learning_rate)[0]

    return epoch_of(pixels, batch_size, start(second, 1), step)
