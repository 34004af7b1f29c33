"""The update of a deep Boltzmann machine as one writes it in PyTorch: mean field and PCD."""

from functools import partial

import torch

from experiments.benchmarking.baselines.torch_rbm import Compile, Step, grey_epochs
from jaxgen.models import dbm


class DBM:
    """Parameters and persistent chains of a machine, and its update in place."""

    def __init__(self, config: dbm.Config, num_visible: int) -> None:
        first, second = config.hidden_sizes
        self.w1 = config.init_scale * torch.randn(num_visible, first)
        self.w2 = config.init_scale * torch.randn(first, second)
        self.b_visible = torch.zeros(num_visible)
        self.b_hidden1 = torch.zeros(first)
        self.b_hidden2 = torch.zeros(second)
        self.visible = torch.bernoulli(torch.full((config.num_chains, num_visible), 0.5))
        self.second = torch.bernoulli(torch.full((config.num_chains, second), 0.5))

    def visible_given(self, first: torch.Tensor) -> torch.Tensor:
        """p(v=1|h1)."""
        return torch.sigmoid(first @ self.w1.T + self.b_visible)

    def first_given(self, from_below: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """p(h1=1|v, h2), from v'W1."""
        return torch.sigmoid(from_below + second @ self.w2.T + self.b_hidden1)

    def second_given(self, first: torch.Tensor) -> torch.Tensor:
        """p(h2=1|h1)."""
        return torch.sigmoid(first @ self.w2 + self.b_hidden2)

    def mean_field(
        self, visible: torch.Tensor, num_steps: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The probabilities of both hidden layers, after so many updates of each."""
        from_below = visible @ self.w1
        second = self.second_given(torch.sigmoid(2 * from_below + self.b_hidden1))
        for _ in range(num_steps):
            second = self.second_given(self.first_given(from_below, second))
        return self.first_given(from_below, second), second

    def learn(self, data: torch.Tensor, config: dbm.Config) -> None:
        """One update."""
        first, second = self.mean_field(data, config.num_mean_field_steps)
        visible, top = self.visible, self.second
        for _ in range(config.num_gibbs_steps):
            middle = torch.bernoulli(self.first_given(visible @ self.w1, top))
            visible = torch.bernoulli(self.visible_given(middle))
            top = torch.bernoulli(self.second_given(middle))
        model = self.first_given(visible @ self.w1, top)
        num, num_chains, rate = len(data), len(visible), config.learning_rate
        self.w1.add_(data.T @ first / num - visible.T @ model / num_chains, alpha=rate)
        self.w2.add_(first.T @ second / num - model.T @ top / num_chains, alpha=rate)
        self.b_visible.add_(data.mean(0) - visible.mean(0), alpha=rate)
        self.b_hidden1.add_(first.mean(0) - model.mean(0), alpha=rate)
        self.b_hidden2.add_(second.mean(0) - top.mean(0), alpha=rate)
        self.visible.copy_(visible)
        self.second.copy_(top)


def make_step(config: dbm.Config, num_visible: int, compile_: Compile) -> Step:
    """One update of the whole machine, without momentum, decay or centring."""
    machine = DBM(config, num_visible)
    return compile_(lambda grey: machine.learn(torch.bernoulli(grey), config))


epoch_runner = partial(grey_epochs, make_step)
