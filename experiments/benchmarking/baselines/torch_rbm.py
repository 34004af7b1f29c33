"""CD-k as one writes it in PyTorch: tensors in memory, no data loader, no autograd."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from jaxgen.models import rbm

Step: TypeAlias = Callable[[torch.Tensor], None]
Compile: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


class RBM:
    """Weights and biases of an RBM, and its update in place.

    Label units are its last visible units; exactly one of them is on.
    """

    def __init__(
        self, num_visible: int, num_hidden: int, init_scale: float, num_labels: int = 0
    ) -> None:
        self.w = init_scale * torch.randn(num_visible + num_labels, num_hidden)
        self.b_visible = torch.zeros(num_visible + num_labels)
        self.num_labels = num_labels
        self.b_hidden = torch.zeros(num_hidden)

    def up(self, visible: torch.Tensor) -> torch.Tensor:
        """p(h=1|v)."""
        return torch.sigmoid(visible @ self.w + self.b_hidden)

    def down(self, hidden: torch.Tensor) -> torch.Tensor:
        """p(v=1|h)."""
        return torch.sigmoid(hidden @ self.w.T + self.b_visible)

    def draw_below(self, hidden: torch.Tensor) -> torch.Tensor:
        """A draw of v ~ p(v|h)."""
        if not self.num_labels:
            return torch.bernoulli(self.down(hidden))
        logits = hidden @ self.w.T + self.b_visible
        units, labels = logits[:, : -self.num_labels], logits[:, -self.num_labels :]
        chosen = torch.multinomial(torch.softmax(labels, 1), 1)
        one_hot = torch.zeros_like(labels).scatter(1, chosen, 1.0)
        return torch.cat((torch.bernoulli(torch.sigmoid(units)), one_hot), 1)

    def learn(self, data: torch.Tensor, num_gibbs_steps: int, rate: float) -> torch.Tensor:
        """One CD-k update; returns the visible units at the end of the chain."""
        hidden_data = hidden = self.up(data)
        for _ in range(num_gibbs_steps):
            model = self.draw_below(torch.bernoulli(hidden))
            hidden = self.up(model)
        self.w.add_(data.T @ hidden_data - model.T @ hidden, alpha=rate / len(data))
        self.b_visible.add_((data - model).mean(0), alpha=rate)
        self.b_hidden.add_((hidden_data - hidden).mean(0), alpha=rate)
        return model


def epoch_of(pixels: torch.Tensor, batch_size: int, step: Step) -> Callable[[int], None]:
    """A function that takes so many steps of an epoch in random order, and waits for them."""

    def epoch(num_steps: int) -> None:
        order = torch.randperm(len(pixels), device=pixels.device)
        for rows in order.split(batch_size)[:num_steps]:
            step(pixels[rows])
        if pixels.is_cuda:
            torch.cuda.synchronize()

    return epoch


def grey_epochs(
    make_step: Callable[[Any, int, Compile], Step],
    images: np.ndarray,
    batch_size: int,
    config: Any,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    compiled: bool = False,
) -> Callable[[int], None]:
    """Epochs of images as rows of grey values in [0, 1]; see `epoch_of`.

    `make_step` returns the step on a batch of them, whose pixels it draws, from the settings, the
    number of pixels, and `torch.compile` or a function that returns what it is given. The dtype
    bfloat16 is that of autocast.
    """
    torch.manual_seed(0)
    grey = images.reshape(len(images), -1).astype(np.float32) / 255.0
    mixed = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"
    )
    with torch.device(device):
        step = make_step(config, grey.shape[1], torch.compile if compiled else lambda x: x)

    def mixed_step(batch: torch.Tensor) -> None:
        with mixed:
            step(batch)

    return epoch_of(
        torch.from_numpy(grey).to(device),
        batch_size,
        mixed_step if dtype == "bfloat16" else step,
    )


def make_step(config: rbm.Config, num_visible: int, compile_: Compile) -> Step:
    """One CD-k update of an RBM."""
    model = RBM(num_visible, config.num_hidden, config.init_scale)

    def step(grey: torch.Tensor) -> None:
        model.learn(torch.bernoulli(grey), config.num_gibbs_steps, config.learning_rate)

    return compile_(step)


epoch_runner = partial(grey_epochs, make_step)
