"""CD-k as one writes it with Flax: a module, `jax.random.bernoulli`, a jitted step per batch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.models import rbm


class RBM(nn.Module):
    """The parameters of an RBM and its conditionals; `method` chooses one."""

    num_visible: int
    num_hidden: int
    init_scale: float

    def setup(self) -> None:
        """Weights and biases."""
        normal = nn.initializers.normal(self.init_scale)
        self.w = self.param("w", normal, (self.num_visible, self.num_hidden))
        self.b_visible = self.param("b_visible", nn.initializers.zeros, (self.num_visible,))
        self.b_hidden = self.param("b_hidden", nn.initializers.zeros, (self.num_hidden,))

    def up(self, visible: jax.Array) -> jax.Array:
        """p(h=1|v)."""
        return nn.sigmoid(visible @ self.w + self.b_hidden)

    def down(self, hidden: jax.Array) -> jax.Array:
        """p(v=1|h)."""
        return nn.sigmoid(hidden @ self.w.T + self.b_visible)


def start(model: RBM, seed: int) -> Any:
    """The variables before the first update."""
    return model.init(jax.random.key(seed), jnp.zeros((1, model.num_visible)), method="up")


def probs(model: RBM, variables: Any, units: jax.Array, method: str) -> jax.Array:
    """p(h=1|v) with the method "up", p(v=1|h) with "down"."""
    found: jax.Array = model.apply(variables, units, method=method)  # type: ignore[assignment]
    return found


def learn(
    model: RBM, variables: Any, data: jax.Array, key: jax.Array, num_gibbs_steps: int, rate: float
) -> tuple[Any, jax.Array]:
    """One CD-k update; also returns the visible units at the end of the chain."""
    hidden_data = hidden = probs(model, variables, data, "up")
    for _ in range(num_gibbs_steps):
        key, key_hidden, key_visible = jax.random.split(key, 3)
        drawn = jax.random.bernoulli(key_hidden, hidden).astype(jnp.float32)
        on = probs(model, variables, drawn, "down")
        visible = jax.random.bernoulli(key_visible, on).astype(jnp.float32)
        hidden = probs(model, variables, visible, "up")
    gradient = {
        "w": (data.T @ hidden_data - visible.T @ hidden) / len(data),
        "b_visible": (data - visible).mean(0),
        "b_hidden": (hidden_data - hidden).mean(0),
    }
    params = jax.tree.map(lambda p, g: p + rate * g, variables["params"], gradient)
    return {"params": params}, visible


def in_memory(images: np.ndarray) -> jax.Array:
    """Images as rows of grey values in [0, 1], on the device."""
    return jnp.asarray(images.reshape(len(images), -1).astype(np.float32) / 255.0)


def epoch_of(
    pixels: jax.Array,
    batch_size: int,
    state: Any,
    step: Callable[[Any, jax.Array, jax.Array], Any],
) -> Callable[..., None]:
    """A function that takes a step for each whole batch of a random order, or the first num_steps.

    `step` makes the next state of a state, a batch and a key. It is compiled for itself, and called
    once a batch, as in Flax's own MNIST example.
    """
    step = jax.jit(step)
    key = jax.random.key(0)

    def epoch(num_steps: int | None = None) -> None:
        nonlocal state, key
        num_batches = len(pixels) // batch_size
        num_batches = num_batches if num_steps is None else min(num_steps, num_batches)
        key, key_order = jax.random.split(key)
        order = jax.random.permutation(key_order, len(pixels))[: num_batches * batch_size]
        for rows in order.reshape(num_batches, batch_size):
            key, key_step = jax.random.split(key)
            state = step(state, pixels[rows], key_step)
        jax.block_until_ready(state)

    return epoch


def epoch_runner(images: np.ndarray, batch_size: int, config: rbm.Config) -> Callable[..., None]:
    """An epoch of CD-k on grey images that are sampled again at every visit; see `epoch_of`."""
    pixels = in_memory(images)
    model = RBM(pixels.shape[1], config.num_hidden, config.init_scale)

    def step(variables: Any, grey: jax.Array, key: jax.Array) -> Any:
        key_data, key_gibbs = jax.random.split(key)
        data = jax.random.bernoulli(key_data, grey).astype(jnp.float32)
        steps, rate = config.num_gibbs_steps, config.learning_rate
        return learn(model, variables, data, key_gibbs, steps, rate)[0]

    return epoch_of(pixels, batch_size, start(model, 0), step)
