"""CD-1 as one writes it in PyTorch: tensors in memory, no data loader, no autograd."""

import numpy as np
import torch

from jaxgen import rbm


def epoch_runner(images: np.ndarray, batch_size: int, config: rbm.Config):
    """A function that trains one epoch of CD-k on grey images, sampled anew at every visit."""
    torch.manual_seed(0)
    pixels = torch.from_numpy(images.reshape(len(images), -1).astype(np.float32) / 255.0)
    w = config.init_scale * torch.randn(pixels.shape[1], config.num_hidden)
    b_visible, b_hidden = torch.zeros(pixels.shape[1]), torch.zeros(config.num_hidden)

    def step(grey: torch.Tensor) -> None:
        data = torch.bernoulli(grey)
        hidden_data = torch.sigmoid(data @ w + b_hidden)
        hidden = hidden_data
        for _ in range(config.num_gibbs_steps):
            visible = torch.sigmoid(torch.bernoulli(hidden) @ w.T + b_visible)
            model = torch.bernoulli(visible)
            hidden = torch.sigmoid(model @ w + b_hidden)
        rate = config.learning_rate
        w.add_(data.T @ hidden_data - model.T @ hidden, alpha=rate / len(grey))
        b_visible.add_((data - model).mean(0), alpha=rate)
        b_hidden.add_((hidden_data - hidden).mean(0), alpha=rate)

    def epoch() -> None:
        order = torch.randperm(len(pixels))
        for rows in order.split(batch_size):
            if len(rows) == batch_size:
                step(pixels[rows])

    return epoch
