"""Up-down fine-tuning as one writes it with Flax, after appendix B of Hinton et al. 2006."""

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
from jaxgen.models import wake_sleep


def moved(variables: Any, rate: float, **gradient: jax.Array) -> Any:
    """The variables after one step of ascent; those without a gradient stay."""
    params = variables["params"]
    return {"params": params | {name: params[name] + rate * g for name, g in gradient.items()}}


def update(
    layer: RBM, top: RBM, config: wake_sleep.Config, nets: Any, visible: jax.Array, key: jax.Array
) -> Any:
    """One wake, top and sleep pass of two hidden layers, with probabilities that predict.

    Nets are the variables of recognition, of generation (of both, those of an RBM) and of the top.
    """
    recognition, generative, pair = nets
    key_up, key_top = jax.random.split(key)
    on = probs(layer, recognition, visible, "up")
    wake = jax.random.bernoulli(key_up, on).astype(jnp.float32)
    rate = config.learning_rate
    pair, dream = learn(top, pair, wake, key_top, config.num_gibbs_steps, rate)
    dreamt = probs(layer, generative, dream, "down")
    error = visible - probs(layer, generative, wake, "down")
    generative = moved(generative, rate, w=error.T @ wake / len(visible), b_visible=error.mean(0))
    error = dream - probs(layer, recognition, dreamt, "up")
    recognition = moved(
        recognition, rate, w=dreamt.T @ error / len(visible), b_hidden=error.mean(0)
    )
    return recognition, generative, pair


def epoch_runner(
    images: np.ndarray, batch_size: int, config: wake_sleep.Config
) -> Callable[..., None]:
    """An epoch of `update` on grey images that are sampled again at every visit; see `epoch_of`."""
    pixels = in_memory(images)
    first, second = config.hidden_sizes
    layer = RBM(pixels.shape[1], first, config.init_scale)
    top = RBM(first, second, config.init_scale)

    def step(nets: Any, grey: jax.Array, key: jax.Array) -> Any:
        key_data, key_update = jax.random.split(key)
        visible = jax.random.bernoulli(key_data, grey).astype(jnp.float32)
        return update(layer, top, config, nets, visible, key_update)

    nets = (start(layer, 0), start(layer, 1), start(top, 2))
    return epoch_of(pixels, batch_size, nets, step)
