"""Up-down fine-tuning as one writes it in PyTorch, after appendix B of Hinton et al. 2006."""

from functools import partial

import torch

from experiments.benchmarking.baselines.torch_rbm import RBM, Compile, Step, grey_epochs
from jaxgen.models import wake_sleep


def make_step(config: wake_sleep.Config, num_visible: int, compile_: Compile) -> Step:
    """One update of two hidden layers, with probabilities that predict."""
    first, second = config.hidden_sizes
    recognition = RBM(num_visible, first, config.init_scale)
    generative = RBM(num_visible, first, config.init_scale)
    top = RBM(first, second, config.init_scale)
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

    return compile_(step)


epoch_runner = partial(grey_epochs, make_step)
