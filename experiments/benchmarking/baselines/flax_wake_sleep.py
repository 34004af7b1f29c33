"""Up-down fine-tuning as one writes it with Flax, after appendix B of Hinton et al. 2006."""

from functools import partial
from typing import Any

import jax

from experiments.benchmarking.baselines.flax_rbm import RBM, Step, binary_epochs, draw, learn, start
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
    upward, downward, rate = layer.bind(recognition), layer.bind(generative), config.learning_rate
    wake = draw(key_up, upward.up(visible))
    pair, dream = learn(top, pair, wake, key_top, config.num_gibbs_steps, rate)
    dreamt = downward.down(dream)
    error = visible - downward.down(wake)
    generative = moved(generative, rate, w=error.T @ wake / len(visible), b_visible=error.mean(0))
    error = dream - upward.up(dreamt)
    recognition = moved(
        recognition, rate, w=dreamt.T @ error / len(visible), b_hidden=error.mean(0)
    )
    return recognition, generative, pair


def make(config: wake_sleep.Config, num_visible: int) -> tuple[Any, Step]:
    """The variables of all nets, and their update."""
    first, second = config.hidden_sizes
    layer = RBM(num_visible, first, config.init_scale)
    top = RBM(first, second, config.init_scale)
    nets = (start(layer, 0), start(layer, 1), start(top, 2))
    return nets, partial(update, layer, top, config)


epoch_runner = partial(binary_epochs, make)
