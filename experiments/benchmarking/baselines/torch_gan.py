"""The fully connected GAN as one writes it in PyTorch: tensors in memory, autograd, Adam."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.benchmarking.baselines import torch_adversarial as adversarial


def make_generator(config: Any, num_pixels: int) -> nn.Sequential:
    """[N, latent] to [N, pixels] in [-1, 1]."""
    sizes = [config.latent_size, *config.generator_sizes]
    layers: list[nn.Module] = []
    for size_in, size_out in itertools.pairwise(sizes):
        activation = adversarial.ACTIVATIONS[config.generator_activation]()
        layers += [nn.Linear(size_in, size_out), activation]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], num_pixels), nn.Tanh())


def make_discriminator(config: Any, num_pixels: int) -> nn.Sequential:
    """[N, pixels] to one logit each, [N, 1]."""
    sizes = [num_pixels, *config.discriminator_sizes]
    layers: list[nn.Module] = []
    for size_in, size_out in itertools.pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), adversarial.ACTIVATIONS["leaky_relu"]()]
        if config.dropout > 0.0:
            layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def epoch_runner(
    images: np.ndarray, batch_size: int, config: Any, **options: Any
) -> Callable[..., None]:
    """A function epoch(num_steps=None); images are bytes, [N, H, W, C].

    Config has what torch_adversarial.epoch_runner needs, whose options these are, and
    generator_sizes, discriminator_sizes, generator_activation, dropout. Without feature maps
    memory_format changes nothing. Weights are PyTorch's own: uniform, +-1/sqrt(inputs).
    """
    torch.manual_seed(0)
    pixels = torch.from_numpy(images.reshape(len(images), -1))
    nets = [make(config, pixels.shape[1]) for make in (make_generator, make_discriminator)]

    def prepare(batch: torch.Tensor) -> torch.Tensor:
        return batch.float() / 127.5 - 1.0

    return adversarial.epoch_runner(nets, pixels, prepare, batch_size, config, **options)
