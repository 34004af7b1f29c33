"""CD-k as one writes it in PyTorch: tensors in memory, no data loader, no autograd."""

from collections.abc import Callable

import numpy as np
import torch

from jaxgen import rbm


class RBM:
    """Weights and biases of an RBM, and its update in place."""

    def __init__(self, num_visible: int, num_hidden: int, init_scale: float) -> None:
        self.w = init_scale * torch.randn(num_visible, num_hidden)
        self.b_visible, self.b_hidden = torch.zeros(num_visible), torch.zeros(num_hidden)

    def up(self, visible: torch.Tensor) -> torch.Tensor:
        """p(h=1|v)."""
        return torch.sigmoid(visible @ self.w + self.b_hidden)

    def down(self, hidden: torch.Tensor) -> torch.Tensor:
        """p(v=1|h)."""
        return torch.sigmoid(hidden @ self.w.T + self.b_visible)

    def learn(self, data: torch.Tensor, num_gibbs_steps: int, rate: float) -> torch.Tensor:
        """One CD-k update; returns the visible units at the end of the chain."""
        hidden_data = hidden = self.up(data)
        for _ in range(num_gibbs_steps):
            model = torch.bernoulli(self.down(torch.bernoulli(hidden)))
            hidden = self.up(model)
        self.w.add_(data.T @ hidden_data - model.T @ hidden, alpha=rate / len(data))
        self.b_visible.add_((data - model).mean(0), alpha=rate)
        self.b_hidden.add_((hidden_data - hidden).mean(0), alpha=rate)
        return model


def in_memory(images: np.ndarray) -> torch.Tensor:
    """Images as rows of grey values in [0, 1]; also seeds PyTorch."""
    torch.manual_seed(0)
    return torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255.0)


def epoch_of(
    pixels: torch.Tensor, batch_size: int, step: Callable[[torch.Tensor], object]
) -> Callable[[], None]:
    """A function that takes one step for each whole batch of a random order."""

    def epoch() -> None:
        for rows in torch.randperm(len(pixels)).split(batch_size):
            if len(rows) == batch_size:
                step(pixels[rows])

    return epoch


def epoch_runner(images: np.ndarray, batch_size: int, config: rbm.Config) -> Callable[[], None]:
    """A function that trains one epoch of CD-k on grey images, sampled anew at every visit."""
    pixels = in_memory(images)
    model = RBM(pixels.shape[1], config.num_hidden, config.init_scale)

    def step(grey: torch.Tensor) -> None:
        model.learn(torch.bernoulli(grey), config.num_gibbs_steps, config.learning_rate)

    return epoch_of(pixels, batch_size, step)
