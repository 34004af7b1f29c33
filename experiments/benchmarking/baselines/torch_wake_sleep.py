"""Up-down fine-tuning as one writes it in PyTorch, after appendix B of Hinton et al. 2006."""

from functools import partial
from itertools import pairwise

import torch

from experiments.benchmarking.baselines.torch_rbm import RBM, Compile, Step, grey_epochs
from jaxgen.models import wake_sleep


def make_step(config: wake_sleep.Config, num_visible: int, compile_: Compile) -> Step:
    """One update with probabilities that predict; of label units every image has the first on."""
    *below, top_size = (num_visible, *config.hidden_sizes)
    recognition = [RBM(*sizes, config.init_scale) for sizes in pairwise(below)]
    generative = [RBM(*sizes, config.init_scale) for sizes in pairwise(below)]
    top = RBM(below[-1], top_size, config.init_scale, config.num_classes)
    (num_gibbs_steps,) = config.gibbs_phases or (config.num_gibbs_steps,)
    rate = config.learning_rate

    def step(grey: torch.Tensor) -> None:
        wake = [torch.bernoulli(grey)]
        for layer in recognition:
            wake.append(torch.bernoulli(layer.up(wake[-1])))
        labels = grey.new_zeros(len(grey), config.num_classes)
        labels[:, :1] = 1.0
        last = top.learn(torch.cat((wake[-1], labels), 1), num_gibbs_steps, rate)
        dream = [last[:, : below[-1]]]
        for layer in reversed(generative):
            if len(dream) > 1:
                dream[0] = torch.bernoulli(dream[0])
            dream.insert(0, layer.down(dream[0]))
        for index, (upward, downward) in enumerate(zip(recognition, generative, strict=True)):
            error = wake[index] - downward.down(wake[index + 1])
            downward.w.add_(error.T @ wake[index + 1], alpha=rate / len(grey))
            downward.b_visible.add_(error.mean(0), alpha=rate)
            error = dream[index + 1] - upward.up(dream[index])
            upward.w.add_(dream[index].T @ error, alpha=rate / len(grey))
            upward.b_hidden.add_(error.mean(0), alpha=rate)

    return compile_(step)


epoch_runner = partial(grey_epochs, make_step)
