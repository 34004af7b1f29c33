"""The fully connected GAN as one writes it in PyTorch: tensors in memory, autograd, Adam.

Weights are PyTorch's own: uniform, +-1/sqrt(inputs).
"""

import itertools
import math
from functools import partial
from typing import Any

import torch
from torch import nn

from experiments.benchmarking.baselines import torch_adversarial as adversarial
from jaxgen.images import ImageShape


def make_generator(config: Any, image_shape: ImageShape) -> nn.Sequential:
    """[N, latent] to [N, pixels] in [-1, 1]."""
    sizes = [config.latent_size, *config.generator_sizes]
    layers: list[nn.Module] = []
    for size_in, size_out in itertools.pairwise(sizes):
        activation = adversarial.ACTIVATIONS[config.generator_activation]()
        layers += [nn.Linear(size_in, size_out), activation]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(image_shape)), nn.Tanh())


def make_discriminator(config: Any, image_shape: ImageShape) -> nn.Sequential:
    """[N, pixels] to one logit each, [N, 1]."""
    sizes = [math.prod(image_shape), *config.discriminator_sizes]
    layers: list[nn.Module] = []
    for size_in, size_out in itertools.pairwise(sizes):
        layers += [nn.Linear(size_in, size_out), adversarial.ACTIVATIONS["leaky_relu"]()]
        if config.dropout > 0.0:
            layers.append(nn.Dropout(config.dropout))
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def prepare(batch: torch.Tensor, _: Any) -> torch.Tensor:
    """Bytes [N, C, H, W] as rows in [-1, 1]."""
    return batch.flatten(1).float() / 127.5 - 1.0


epoch_runner = partial(adversarial.epoch_runner, make_generator, make_discriminator, prepare)
