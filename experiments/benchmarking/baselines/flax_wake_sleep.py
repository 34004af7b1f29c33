"""Up-down fine-tuning as one writes it with Flax, after appendix B of Hinton et al. 2006."""

from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from experiments.benchmarking.baselines.flax_rbm import RBM, Step, binary_epochs, draw, learn, start
from jaxgen.models import wake_sleep

Nets: TypeAlias = tuple[list[Any], list[Any], Any]
"""The variables of recognition and generation, those of an RBM for each layer, and of the top."""


def moved(variables: Any, rate: float, **gradient: jax.Array) -> Any:
    """The variables after one step of ascent; those without a gradient stay."""
    params = variables["params"]
    return {"params": params | {name: params[name] + rate * g for name, g in gradient.items()}}


def update(
    layers: tuple[RBM, ...],
    top: RBM,
    config: wake_sleep.Config,
    nets: Nets,
    visible: jax.Array,
    key: jax.Array,
) -> Nets:
    """One wake, top and sleep pass, with probabilities that predict.

    Of label units every image has the first on.
    """
    recognition, generative, pair = nets
    upward = [layer.bind(net) for layer, net in zip(layers, recognition, strict=True)]
    downward = [layer.bind(net) for layer, net in zip(layers, generative, strict=True)]
    (num_gibbs_steps,) = config.gibbs_phases or (config.num_gibbs_steps,)
    rate, num = config.learning_rate, len(visible)
    key_top, *keys = jax.random.split(key, 1 + 2 * len(layers))
    wake = [visible]
    for net, key_up in zip(upward, keys[: len(layers)], strict=True):
        wake.append(draw(key_up, net.up(wake[-1])))
    data = wake[-1]
    if top.num_labels:
        data = jnp.concatenate([data, jnp.eye(top.num_labels)[jnp.zeros(num, int)]], axis=1)
    pair, last = learn(top, pair, data, key_top, num_gibbs_steps, rate)
    dream = [last[:, : top.num_visible]]
    for net, key_down in zip(reversed(downward), keys[len(layers) :], strict=True):
        if len(dream) > 1:
            dream[0] = draw(key_down, dream[0])
        dream.insert(0, net.down(dream[0]))
    recognition, generative = [*recognition], [*generative]
    for index in range(len(layers)):
        above, below = wake[index + 1], dream[index]
        error = wake[index] - downward[index].down(above)
        gradient = {"w": error.T @ above / num, "b_visible": error.mean(0)}
        generative[index] = moved(generative[index], rate, **gradient)
        error = dream[index + 1] - upward[index].up(below)
        gradient = {"w": below.T @ error / num, "b_hidden": error.mean(0)}
        recognition[index] = moved(recognition[index], rate, **gradient)
    return recognition, generative, pair


def make(config: wake_sleep.Config, num_visible: int) -> tuple[Nets, Step]:
    """The variables of all nets, and their update."""
    *below, top_size = (num_visible, *config.hidden_sizes)
    layers = tuple(RBM(*sizes, config.init_scale) for sizes in pairwise(below))
    top = RBM(below[-1], top_size, config.init_scale, config.num_classes)
    recognition = [start(layer, index) for index, layer in enumerate(layers)]
    generative = [start(layer, len(layers) + index) for index, layer in enumerate(layers)]
    nets = (recognition, generative, start(top, 2 * len(layers)))
    return nets, partial(update, layers, top, config)


epoch_runner = partial(binary_epochs, make)
