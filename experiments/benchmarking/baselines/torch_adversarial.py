"""The common part of the GANs' PyTorch baselines: losses, updates, iterations, epochs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from experiments.benchmarking.baselines.torch_rbm import epoch_of

ACTIVATIONS = {
    "relu": functools.partial(nn.ReLU, inplace=True),
    "leaky_relu": functools.partial(nn.LeakyReLU, 0.2, inplace=True),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def cross_entropy(logits: torch.Tensor, target: float) -> torch.Tensor:
    """The mean over the batch, in nats; all examples have the same target."""
    return functional.binary_cross_entropy_with_logits(
        logits.float(), torch.full_like(logits, target, dtype=torch.float32)
    )


def generator_loss(logits: torch.Tensor, loss: str) -> torch.Tensor:
    """-log D(G(z)), or log(1 - D(G(z))) for minimax."""
    if loss == "minimax":
        return -cross_entropy(logits, 0.0)
    return cross_entropy(logits, 1.0)


def update(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
    """One step of Adam."""
    adam.zero_grad()
    loss.backward()
    adam.step()


def learned(net: nn.Module) -> list[torch.Tensor]:
    """Parameters and running statistics, without the counts of batches."""
    return [each for each in (*net.parameters(), *net.buffers()) if each.is_floating_point()]


def iteration(
    generator: nn.Module,
    discriminator: nn.Module,
    config: Any,
    batch_size: int,
    device: str,
    dtype: str,
) -> Callable[[torch.Tensor], None]:
    """A function of real images that makes d_steps updates of D, then g_steps of G.

    The moving average of G, of which samples are drawn, follows where the settings have one.
    It takes d_steps mini-batches, one for each update of D.
    """
    betas = (config.beta1, config.beta2)
    g_adam = torch.optim.Adam(generator.parameters(), lr=config.learning_rate, betas=betas)
    d_adam = torch.optim.Adam(discriminator.parameters(), lr=config.learning_rate, betas=betas)
    mixed = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"
    )

    def draw() -> torch.Tensor:
        return generator(torch.randn(batch_size, config.latent_size, device=device))

    def seen(images: torch.Tensor) -> torch.Tensor:
        """The logits of images, with instance noise where the settings have it."""
        if config.instance_noise:
            images = images + config.instance_noise * torch.randn_like(images)
        return discriminator(images)

    averaged: list[torch.Tensor] = []
    average = get_ema_multi_avg_fn(config.ema_decay) if config.ema_decay else None
    if average:
        averaged = [each.detach().clone() for each in learned(generator)]

    def step(real: torch.Tensor) -> None:
        for mini_batch in real.split(batch_size):
            with mixed:
                fakes = draw()
                on_real, on_fakes = seen(mini_batch), seen(fakes.detach())
                real_loss = cross_entropy(on_real, 1.0 - config.label_smoothing)
                d_loss = real_loss + cross_entropy(on_fakes, 0.0)
            update(d_adam, d_loss)
        discriminator.requires_grad_(False)  # its own gradients are not needed for G's update
        for index in range(config.g_steps):
            with mixed:
                if config.fresh_noise or index > 0:
                    fakes = draw()
                g_loss = generator_loss(seen(fakes), config.loss)
            update(g_adam, g_loss)
        discriminator.requires_grad_(True)
        if average:
            average(averaged, learned(generator), None)

    return step


def epoch_runner(
    make_generator: Callable[..., nn.Module],
    make_discriminator: Callable[..., nn.Module],
    prepare: Callable[[torch.Tensor, Any], torch.Tensor],
    images: np.ndarray,
    batch_size: int,
    config: Any,
    *,
    memory_format: str = "contiguous",
    device: str = "cpu",
    dtype: str = "float32",
    compiled: bool = False,
) -> Callable[[int], None]:
    """An epoch of iterations on bytes [N, H, W, C]; see `epoch_of`.

    Args:
        make_generator: of the settings and the images' shape; maps [N, latent_size].
        make_discriminator: of the same; maps to [N, 1].
        prepare: makes what D takes of a batch of bytes [N, C, H, W] and the settings; runs inside
            the iteration.
        images: the training set.
        batch_size: images per batch; only whole batches are used.
        config: latent_size, loss, label_smoothing, instance_noise, fresh_noise, d_steps, g_steps,
            ema_decay, learning_rate, beta1, beta2, and what the nets ask.
        memory_format: "contiguous" or "channels_last", of feature maps.
        device: where everything lies.
        dtype: "float32", or "bfloat16" for autocast.
        compiled: whether torch.compile compiles both nets.
    """
    torch.manual_seed(0)
    layout = {"memory_format": LAYOUTS[memory_format]}
    nets = [make(config, images.shape[1:]) for make in (make_generator, make_discriminator)]
    nets = [net.to(device, **layout) for net in nets]
    generator, discriminator = [torch.compile(net) for net in nets] if compiled else nets
    step = iteration(generator, discriminator, config, batch_size, device, dtype)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    return epoch_of(
        pixels,
        batch_size * config.d_steps,
        lambda batch: step(prepare(batch, config).contiguous(**layout)),
    )
