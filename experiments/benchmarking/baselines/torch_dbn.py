"""The second layer of a DBN as one writes it in PyTorch: CD-k on states drawn by the first."""

from functools import partial

import torch

from experiments.benchmarking.baselines.torch_rbm import RBM, Compile, Step, grey_epochs
from jaxgen.models import dbn


def make_step(config: dbn.Config, num_visible: int, compile_: Compile) -> Step:
    """One update of the second RBM above a first one that stays as it is."""
    first_size, second_size = config.hidden_sizes[:2]
    first = RBM(num_visible, first_size, config.init_scale)
    second = RBM(first_size, second_size, config.init_scale)
    num_gibbs_steps = dbn.rbm_config(config, 1).num_gibbs_steps

    def step(grey: torch.Tensor) -> None:
        data = torch.bernoulli(first.up(torch.bernoulli(grey)))
        second.learn(data, num_gibbs_steps, config.learning_rate)

    return compile_(step)


epoch_runner = partial(grey_epochs, make_step)
