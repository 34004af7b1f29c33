"""The second layer of a DBN as one writes it in PyTorch: CD-k on states drawn by the first."""

from collections.abc import Callable

import numpy as np
import torch

from experiments.benchmarking.baselines.torch_rbm import RBM, epoch_of, in_memory
from jaxgen.models import dbn


def epoch_runner(
    images: np.ndarray,
    batch_size: int,
    config: dbn.Config,
    *,
    device: str = "cpu",
    compiled: bool = False,
) -> Callable[..., None]:
    """An epoch of the second RBM above a first one that stays as it is; see `epoch_of`."""
    pixels = in_memory(images, device)
    first_size, second_size = config.hidden_sizes[:2]
    first = RBM(pixels.shape[1], first_size, config.init_scale, device)
    second = RBM(first_size, second_size, config.init_scale, device)
    num_gibbs_steps = dbn.rbm_config(config, 1).num_gibbs_steps

    def step(grey: torch.Tensor) -> None:
        data = torch.bernoulli(first.up(torch.bernoulli(grey)))
        second.learn(data, num_gibbs_steps, config.learning_rate)

    return epoch_of(pixels, batch_size, torch.compile(step) if compiled else step)
