"""The two nets of a GAN: what each owns, and what is made of them once they are trained."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxgen.learner import Batch, Images, PRNGKey

Codes: TypeAlias = Float[Array, "batch latent"]
Pixels: TypeAlias = Float[Array, "batch height width channels"]
"""Images in [-1, 1], as both nets see them."""
Variables: TypeAlias = dict[str, Any]
"""What a net owns: "params", and "batch_stats", empty without batch normalisation."""


class Player(NamedTuple):
    """One net and its optimiser."""

    variables: Variables
    opt_state: optax.OptState


class State(NamedTuple):
    """What the next step needs; `step` is the number of iterations so far, int32."""

    generator: Player
    discriminator: Player
    average: Variables | None
    """The moving average of the generator's variables; None without one."""
    step: Array

    @property
    def params(self) -> dict[str, Variables]:
        """The variables of both nets, and of the average if there is one."""
        nets = {
            "generator": self.generator.variables,
            "discriminator": self.discriminator.variables,
        }
        return nets if self.average is None else nets | {"average": self.average}


class Nets(NamedTuple):
    """Two Flax modules, each called with its input and `train`, and what D is shown.

    In training both may draw from the stream "dropout" and update the collection "batch_stats".
    """

    generator: nn.Module
    """Codes [B, L] to images [B, H, W, C] in [-1, 1]."""
    discriminator: nn.Module
    """Images [B, H, W, C] in [-1, 1] to logits [B]."""
    pixels: Callable[[Batch], Pixels]
    """Raw images, uint8, to what the discriminator sees."""


def rescaled(images: Batch) -> Pixels:
    """Raw images, 0 to 255, in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def apply(
    net: nn.Module, variables: Variables, inputs: Array, key: PRNGKey
) -> tuple[Array, Variables]:
    """What a net makes of its inputs in training, and its updated batch statistics."""
    output, updated = net.apply(
        variables, inputs, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return output, {"batch_stats": updated.get("batch_stats", {})}


def sampler(state: State) -> Variables:
    """The generator that samples: the average if there is one."""
    return state.generator.variables if state.average is None else state.average


def images_of(nets: Nets, state: State, codes: Codes) -> Images:
    """G(z) in [0, 1], in evaluation mode."""
    pixels: Array = nets.generator.apply(sampler(state), codes, train=False)  # type: ignore[assignment]
    return jnp.clip(0.5 * pixels + 0.5, 0.0, 1.0)


def features(nets: Nets, state: State, batch: Batch) -> dict[str, Array]:
    """What the discriminator's hidden layers make of raw images, in evaluation mode, by name."""
    variables = state.discriminator.variables
    _, sown = nets.discriminator.apply(
        variables, nets.pixels(batch), train=False, mutable=["features"]
    )
    return {name: values[0] for name, values in sown["features"].items()}
