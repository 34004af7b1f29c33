"""The update of a deep Boltzmann machine as one writes it with Flax: mean field and PCD."""

from functools import partial
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.benchmarking.baselines.flax_rbm import Step, binary_epochs, draw
from jaxgen.models import dbm

State: TypeAlias = tuple[Any, jax.Array, jax.Array]
"""The variables, and the visible and second hidden units of the persistent chains."""


class DBM(nn.Module):
    """The parameters of a machine and its conditionals; `method` chooses one."""

    num_visible: int
    config: dbm.Config

    def setup(self) -> None:
        """Weights and biases."""
        normal, zeros = nn.initializers.normal(self.config.init_scale), nn.initializers.zeros
        first, second = self.config.hidden_sizes
        self.w1 = self.param("w1", normal, (self.num_visible, first))
        self.w2 = self.param("w2", normal, (first, second))
        self.b_visible = self.param("b_visible", zeros, (self.num_visible,))
        self.b_hidden1 = self.param("b_hidden1", zeros, (first,))
        self.b_hidden2 = self.param("b_hidden2", zeros, (second,))

    def visible_given(self, first: jax.Array) -> jax.Array:
        """p(v=1|h1)."""
        return nn.sigmoid(first @ self.w1.T + self.b_visible)

    def first_given(self, visible: jax.Array, second: jax.Array) -> jax.Array:
        """p(h1=1|v, h2)."""
        return nn.sigmoid(visible @ self.w1 + second @ self.w2.T + self.b_hidden1)

    def second_given(self, first: jax.Array) -> jax.Array:
        """p(h2=1|h1)."""
        return nn.sigmoid(first @ self.w2 + self.b_hidden2)

    def mean_field(self, visible: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The probabilities of both hidden layers."""
        second = self.second_given(nn.sigmoid(2 * visible @ self.w1 + self.b_hidden1))
        for _ in range(self.config.num_mean_field_steps):
            second = self.second_given(self.first_given(visible, second))
        return self.first_given(visible, second), second


def update(model: DBM, state: State, data: jax.Array, key: jax.Array) -> State:
    """One update."""
    config, (variables, visible, top) = model.config, state
    bound = model.bind(variables)
    first, second = bound.mean_field(data)
    for _ in range(config.num_gibbs_steps):
        key, *keys = jax.random.split(key, 4)
        middle = draw(keys[0], bound.first_given(visible, top))
        visible = draw(keys[1], bound.visible_given(middle))
        top = draw(keys[2], bound.second_given(middle))
    hidden = bound.first_given(visible, top)
    num, num_chains = len(data), len(visible)
    gradient = {
        "w1": data.T @ first / num - visible.T @ hidden / num_chains,
        "w2": first.T @ second / num - hidden.T @ top / num_chains,
        "b_visible": data.mean(0) - visible.mean(0),
        "b_hidden1": first.mean(0) - hidden.mean(0),
        "b_hidden2": second.mean(0) - top.mean(0),
    }
    rate = config.learning_rate
    params = jax.tree.map(lambda p, g: p + rate * g, variables["params"], gradient)
    return {"params": params}, visible, top


def make(config: dbm.Config, num_visible: int) -> tuple[State, Step]:
    """The state of a machine, and its update without momentum, decay or centring."""
    model = DBM(num_visible, config)
    key_params, key_visible, key_second = jax.random.split(jax.random.key(0), 3)
    variables = model.init(key_params, jnp.zeros((1, num_visible)), method="mean_field")
    sizes = (num_visible, config.hidden_sizes[1])
    visible, second = (jnp.full((config.num_chains, size), 0.5) for size in sizes)
    state = variables, draw(key_visible, visible), draw(key_second, second)
    return state, partial(update, model)


epoch_runner = partial(binary_epochs, make)
