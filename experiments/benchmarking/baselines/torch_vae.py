"""The VAE as one writes it in PyTorch: tensors in memory, no data loader, autograd, Adam."""

import itertools
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarking.baselines.torch_rbm import Compile, Step, grey_epochs
from jaxgen.models import vae

ACTIVATIONS = {"softplus": nn.Softplus, "tanh": nn.Tanh, "relu": nn.ReLU}


def layers(sizes: list[int], activation: str) -> nn.Sequential:
    """Dense layers of the given sizes, with an activation between every two."""
    pairs = [
        layer
        for size_in, size_out in itertools.pairwise(sizes)
        for layer in (nn.Linear(size_in, size_out), ACTIVATIONS[activation]())
    ]
    return nn.Sequential(*pairs[:-1])


def make_step(config: vae.Config, num_visible: int, compile_: Compile) -> Step:
    """One update with a Bernoulli decoder and one code per image; the loss alone is compiled."""
    sizes = [num_visible, *config.hidden_sizes]
    encoder = layers([*sizes, 2 * config.latent_size], config.activation)
    decoder = layers([config.latent_size, *sizes[::-1]], config.activation)
    params = [*encoder.parameters(), *decoder.parameters()]
    betas = (0.9, config.beta2)
    adam = torch.optim.Adam(params, lr=config.learning_rate, betas=betas, eps=config.epsilon)

    def loss_of(grey: torch.Tensor) -> torch.Tensor:
        data = torch.bernoulli(grey)
        mean, log_var = encoder(data).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        reconstruction = -functional.binary_cross_entropy_with_logits(
            decoder(z), data, reduction="sum"
        )
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1.0).sum()
        return (kl - reconstruction) / len(data)

    loss_of = compile_(loss_of)

    def step(grey: torch.Tensor) -> None:
        adam.zero_grad()
        loss_of(grey).backward()
        adam.step()

    return step


epoch_runner = partial(grey_epochs, make_step)
