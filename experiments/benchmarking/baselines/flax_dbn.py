"""The second layer of a DBN as one writes it with Flax: CD-k on states drawn by the first."""

from functools import partial
from typing import Any

import jax

from experiments.benchmarking.baselines.flax_rbm import RBM, Step, binary_epochs, draw, learn, start
from jaxgen.models import dbn


def make(config: dbn.Config, num_visible: int) -> tuple[Any, Step]:
    """The variables of the second RBM, and its update above a first one that stays as it is."""
    first_size, second_size = config.hidden_sizes[:2]
    first = RBM(num_visible, first_size, config.init_scale)
    second = RBM(first_size, second_size, config.init_scale)
    lower = start(first, 0)
    num_gibbs_steps = dbn.rbm_config(config, 1).num_gibbs_steps

    def step(variables: Any, visible: jax.Array, key: jax.Array) -> Any:
        key_data, key_gibbs = jax.random.split(key)
        data = draw(key_data, first.bind(lower).up(visible))
        return learn(second, variables, data, key_gibbs, num_gibbs_steps, config.learning_rate)[0]

    return start(second, 1), step


epoch_runner = partial(binary_epochs, make)
