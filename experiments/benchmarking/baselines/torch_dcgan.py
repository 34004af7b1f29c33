"""The DCGAN as one writes it in PyTorch: tensors in memory, no data loader, autograd, Adam."""

import itertools
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarking.baselines import torch_adversarial as adversarial
from jaxgen.images import ImageShape
from jaxgen.models import dcgan


def make_generator(config: Any, image_shape: ImageShape) -> nn.Sequential:
    """[N, latent] to [N, C, H, H] in [-1, 1], for raw images of `image_shape`."""
    size = dcgan.image_size(image_shape, config.native_size)
    sizes = [*dcgan.widths(config, size)[::-1], image_shape[-1]]
    bias = config.use_bias

    def normed(size: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(size)] if config.batch_norm else []
        return [*norm, adversarial.ACTIVATIONS[config.generator_activation]()]

    if config.stem == "dense":
        dense = nn.Linear(config.latent_size, sizes[0] * 4 * 4)
        layers = [dense, nn.Unflatten(1, (sizes[0], 4, 4))]
    else:
        first = nn.ConvTranspose2d(config.latent_size, sizes[0], 4, 1, 0, bias=bias)
        layers = [nn.Unflatten(1, (config.latent_size, 1, 1)), first, *normed(sizes[0])]
    for size_in, size_out in itertools.pairwise(sizes[:-1]):
        layers += [nn.ConvTranspose2d(size_in, size_out, 4, 2, 1, bias=bias), *normed(size_out)]
    last = nn.ConvTranspose2d(sizes[-2], sizes[-1], 4, 2, dcgan.outer_padding(size), bias=bias)
    return nn.Sequential(*layers, last, nn.Tanh()).apply(draw_weights)


def make_discriminator(config: Any, image_shape: ImageShape) -> nn.Sequential:
    """[N, C, H, H] to one logit each, [N, 1]."""
    size = dcgan.image_size(image_shape, config.native_size)
    sizes = [image_shape[-1], *dcgan.widths(config, size)]
    layers: list[nn.Module] = []
    for index, (size_in, size_out) in enumerate(itertools.pairwise(sizes)):
        padding = 1 if index else dcgan.outer_padding(size)
        layers.append(nn.Conv2d(size_in, size_out, 4, 2, padding, bias=config.use_bias))
        if config.batch_norm and index > 0:
            layers.append(nn.BatchNorm2d(size_out))
        layers.append(adversarial.ACTIVATIONS["leaky_relu"]())
    if config.stem == "dense":
        layers += [nn.Flatten(), nn.Linear(sizes[-1] * 4 * 4, 1)]
    else:
        layers += [nn.Conv2d(sizes[-1], 1, 4, 1, 0, bias=config.use_bias), nn.Flatten()]
    return nn.Sequential(*layers).apply(draw_weights)


def draw_weights(module: nn.Module) -> None:
    """N(0, 0.02^2), N(1, 0.02^2) for batch-norm scales, zero biases."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
        nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def prepare(batch: torch.Tensor, config: Any) -> torch.Tensor:
    """Bytes [N, C, H, W] as images of the nets' size in [-1, 1]."""
    _, num_channels, height, width = batch.shape
    size = dcgan.net_shape((height, width, num_channels), config.native_size)[:2]
    pixels = batch.float()
    if size != (height, width):
        pixels = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
    return pixels / 127.5 - 1.0


epoch_runner = partial(adversarial.epoch_runner, make_generator, make_discriminator, prepare)
