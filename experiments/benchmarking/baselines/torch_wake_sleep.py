"""Up-down fine-tuning as one writes it in PyTorch, after appendix B of Hinton et al. 2006."""

from collections.abc import Callable

import numpy as np
import torch

from experiments.benchmarking.baselines.torch_rbm import RBM, epoch_of, in_memory
from jaxgen.models import wake_sleep


def epoch_runner(
    images: np.ndarray,
    batch_size: int,
    config: wake_sleep.Config,
    *,
    device: str = "cpu",
    compiled: bool = False,
) -> Callable[..., None]:
    """An epoch of two hidden layers, with probabilities that predict; see `epoch_of`."""
    pixels = in_memory(images, device)
    first, second = config.hidden_sizes
    recognition = RBM(pixels.shape[1], first, config.init_scale, device)
    generative = RBM(pixels.shape[1], first, config.init_scale, device)
    top = RBM(first, second, config.init_scale, device)
    rate = config.learning_rate

    def step(grey: torch.Tensor) -> None:
        visible = torch.bernoulli(grey)
        wake = torch.bernoulli(recognition.up(visible))
        dream = top.learn(wake, config.num_gibbs_steps, rate)
        dreamt = generative.down(dream)
        error = visible - generative.down(wake)
        generative.w.add_(error.T @ wake, alpha=rate / len(grey))
        generative.b_visible.add_(error.mean(0), alpha=rate)
        error = dream - recognition.up(dreamt)
        recognition.w.add_(dreamt.T @ error, alpha=rate / len(grey))
        recognition.b_hidden.add_(error.mean(0), alpha=rate)

    return epoch_of(pixels, batch_size, torch.compile(step) if compiled else step)
