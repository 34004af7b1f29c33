"""The VAE as one writes it in PyTorch: tensors in memory, no data loader, autograd, Adam."""

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxgen import vae

ACTIVATIONS = {"softplus": nn.Softplus, "tanh": nn.Tanh, "relu": nn.ReLU}


def layers(sizes: list[int], activation: str) -> nn.Sequential:
    """Dense layers of the given sizes, with an activation between every two."""
    pairs = [
        layer
        for size_in, size_out in itertools.pairwise(sizes)
        for layer in (nn.Linear(size_in, size_out), ACTIVATIONS[activation]())
    ]
    return nn.Sequential(*pairs[:-1])


def epoch_runner(images: np.ndarray, batch_size: int, config: vae.Config):
    """A function that trains one epoch with a Bernoulli decoder and one sample per image."""
    torch.manual_seed(0)
    pixels = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255.0)
    sizes = [pixels.shape[1], *config.hidden_sizes]
    encoder = layers([*sizes, 2 * config.latent_size], config.activation)
    decoder = layers([config.latent_size, *sizes[::-1]], config.activation)
    params = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(params, lr=config.learning_rate)

    def step(grey: torch.Tensor) -> None:
        data = torch.bernoulli(grey)
        mean, log_var = encoder(data).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        reconstruction = -functional.binary_cross_entropy_with_logits(
            decoder(z), data, reduction="sum"
        )
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1.0).sum()
        loss = (kl - reconstruction) / len(data)
        adam.zero_grad()
        loss.backward()
        adam.step()

    def epoch() -> None:
        order = torch.randperm(len(pixels))
        for rows in order.split(batch_size):
            if len(rows) == batch_size:
                step(pixels[rows])

    return epoch
