"""CD-k as one writes it with Flax: a module, `jax.random.bernoulli`, a jitted step per batch."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.models import rbm

Step: TypeAlias = Callable[[Any, jax.Array, jax.Array], Any]
"""(state, batch, key) -> the next state."""


class RBM(nn.Module):
    """The parameters of an RBM and its conditionals; `method` chooses one.

    Label units are its last visible units; exactly one of them is on.
    """

    num_visible: int
    num_hidden: int
    init_scale: float
    num_labels: int = 0

    @property
    def num_below(self) -> int:
        """Visible units and label units together."""
        return self.num_visible + self.num_labels

    def setup(self) -> None:
        """Weights and biases."""
        normal = nn.initializers.normal(self.init_scale)
        self.w = self.param("w", normal, (self.num_below, self.num_hidden))
        self.b_visible = self.param("b_visible", nn.initializers.zeros, (self.num_below,))
        self.b_hidden = self.param("b_hidden", nn.initializers.zeros, (self.num_hidden,))

    def up(self, visible: jax.Array) -> jax.Array:
        """p(h=1|v)."""
        return nn.sigmoid(visible @ self.w + self.b_hidden)

    def down(self, hidden: jax.Array) -> jax.Array:
        """p(v=1|h)."""
        return nn.sigmoid(hidden @ self.w.T + self.b_visible)

    def draw_below(self, key: jax.Array, hidden: jax.Array) -> jax.Array:
        """A draw of v ~ p(v|h)."""
        if not self.num_labels:
            return draw(key, self.down(hidden))
        key_units, key_label = jax.random.split(key)
        logits = hidden @ self.w.T + self.b_visible
        units, labels = logits[:, : self.num_visible], logits[:, self.num_visible :]
        one_hot = jax.nn.one_hot(jax.random.categorical(key_label, labels), self.num_labels)
        return jnp.concatenate([draw(key_units, nn.sigmoid(units)), one_hot], axis=1)


def start(model: RBM, seed: int) -> Any:
    """The variables before the first update."""
    return model.init(jax.random.key(seed), jnp.zeros((1, model.num_below)), method="up")


def draw(key: jax.Array, probs: jax.Array) -> jax.Array:
    """Binary units as floats."""
    return jax.random.bernoulli(key, probs).astype(jnp.float32)


def learn(
    model: RBM, variables: Any, data: jax.Array, key: jax.Array, num_gibbs_steps: int, rate: float
) -> tuple[Any, jax.Array]:
    """One CD-k update; also returns the visible units at the end of the chain."""
    bound = model.bind(variables)
    hidden_data = hidden = bound.up(data)
    for _ in range(num_gibbs_steps):
        key, key_hidden, key_visible = jax.random.split(key, 3)
        visible = bound.draw_below(key_visible, draw(key_hidden, hidden))
        hidden = bound.up(visible)
    gradient = {
        "w": (data.T @ hidden_data - visible.T @ hidden) / len(data),
        "b_visible": (data - visible).mean(0),
        "b_hidden": (hidden_data - hidden).mean(0),
    }
    params = jax.tree.map(lambda p, g: p + rate * g, variables["params"], gradient)
    return {"params": params}, visible


def epoch_of(pixels: jax.Array, batch_size: int, state: Any, step: Step) -> Callable[[int], None]:
    """A function that takes so many steps of an epoch in random order, and waits for them.

    `step` is compiled for itself, and called once a batch, as in Flax's own MNIST example.
    """
    step = jax.jit(step)
    key = jax.random.key(0)

    def epoch(num_steps: int) -> None:
        nonlocal state, key
        key, key_order = jax.random.split(key)
        order = jax.random.permutation(key_order, len(pixels))[: num_steps * batch_size]
        for rows in order.reshape(num_steps, batch_size):
            key, key_step = jax.random.split(key)
            state = step(state, pixels[rows], key_step)
        jax.block_until_ready(state)

    return epoch


def binary_epochs(
    make: Callable[[Any, int], tuple[Any, Step]], images: np.ndarray, batch_size: int, config: Any
) -> Callable[[int], None]:
    """Epochs of grey images, in memory, whose pixels are drawn again at every visit.

    `make` returns the state before the first step and the step on rows of binary pixels, from the
    settings and the number of pixels. See `epoch_of`.
    """
    grey = jnp.asarray(images.reshape(len(images), -1).astype(np.float32) / 255.0)
    state, step = make(config, grey.shape[1])

    def binary_step(state: Any, grey: jax.Array, key: jax.Array) -> Any:
        key_data, key_step = jax.random.split(key)
        return step(state, draw(key_data, grey), key_step)

    return epoch_of(grey, batch_size, state, binary_step)


def make(config: rbm.Config, num_visible: int) -> tuple[Any, Step]:
    """The variables of an RBM, and its CD-k update."""
    model = RBM(num_visible, config.num_hidden, config.init_scale)

    def step(variables: Any, data: jax.Array, key: jax.Array) -> Any:
        return learn(model, variables, data, key, config.num_gibbs_steps, config.learning_rate)[0]

    return start(model, 0), step


epoch_runner = partial(binary_epochs, make)
