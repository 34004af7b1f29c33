"""Guided backpropagation: which pixels a unit of a discriminator's hidden layer responds to.

The gradient of a unit's value with respect to the pixels, with another backward pass through every
rectifier y = f(x): what comes from above goes on only where the input and itself are positive,

    dx = dy  where x > 0 and dy > 0, else 0.

The gradient of ReLU asks for x > 0 alone, the "deconvnet" of Zeiler and Fergus for dy > 0 alone.
Springenberg, Dosovitskiy, Brox and Riedmiller, "Striving for simplicity: the all convolutional
net", 2015, section 3.4 and figure 1.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxgen.models.adversarial import Pixels, Variables

Activation: TypeAlias = Callable[[Array], Array]
FeaturesOf: TypeAlias = Callable[[Pixels], Float[Array, "batch *positions units"]]
"""Images to what one layer makes of them; each image's features depend on that image alone."""


def guided_activation(activation: Activation) -> Activation:
    """The same function with the guided backward pass, for functions that rise where x > 0.

    A leaky ReLU keeps its values on the negative side, so the features are the net's own; its slope
    there is left out of the backward pass, as ReLU has none.
    """

    @jax.custom_vjp
    def guided(x: Array) -> Array:
        return activation(x)

    def forward(x: Array) -> tuple[Array, Array]:
        return activation(x), x > 0

    def backward(positive: Array, cotangent: Array) -> tuple[Array]:
        return (jnp.where(positive, jnp.maximum(cotangent, 0.0), 0.0),)

    guided.defvjp(forward, backward)
    return guided


def guided_features(net: Any, variables: Variables, layer: str) -> FeaturesOf:
    """One layer of a net in evaluation mode, with the guided backward pass in all its activations.

    Args:
        net: a Flax module with a field `activation`, called with images and `train`, that sows its
            layers into the collection "features", as `jaxgen.models.dcgan.Discriminator` does.
        variables: of the net, as in `State.params["discriminator"]`.
        layer: the name under which it is sown: "layer_0", ...

    Raises:
        KeyError: The net sows no layer of that name.
    """
    twin: nn.Module = net.clone(activation=guided_activation(net.activation))

    def features_of(images: Pixels) -> Array:
        _, sown = twin.apply(variables, images, train=False, mutable=["features"])
        features: Array = sown["features"][layer][0]
        return features

    return features_of


def _by_position(features: Float[Array, "batch *positions units"]) -> Array:
    """Features [B, positions, units]; a dense layer has one position."""
    positions = math.prod(features.shape[1:-1])
    return features.reshape(len(features), positions, features.shape[-1])


class Strongest(NamedTuple):
    """The units of a layer that respond most, each with the image it responds to most."""

    units: Int[Array, " num"]
    images: Int[Array, " num"]
    """Indices of images."""
    responses: Float[Array, " num"]
    """The units' values there, at the position where they are largest; they fall."""


def strongest(features_of: FeaturesOf, images: Pixels, num: int) -> Strongest:
    """The `num` units (filters, of a convolution) with the largest response to any of the images.

    A unit's response to an image is its largest value over the positions. Each unit comes once; of
    equal ones the first. Fewer come from a layer with fewer units.
    """
    responses = jnp.max(_by_position(features_of(images)), axis=1)
    best = jnp.max(responses, axis=0)
    values, units = jax.lax.top_k(best, min(num, len(best)))
    return Strongest(units, jnp.argmax(responses, axis=0)[units], values)


def guided_gradients(
    features_of: FeaturesOf, images: Pixels, units: Int[Array, " batch"]
) -> Pixels:
    """For each image the guided gradient of one unit's response, [B, H, W, C].

    Args:
        features_of: from `guided_features`.
        images: [B, H, W, C] as the net sees them.
        units: [B], the unit (filter) for each image.

    The response is the unit's largest value over the positions, and its gradient that of the value
    at this position, the first of equals. It is 0 everywhere where the response is not positive.
    Its unit is that of the feature per unit of pixel, and its scale differs from unit to unit, so
    pictures of several units are to be scaled one by one, with 0 at the same grey.
    """
    features, pullback = jax.vjp(features_of, images)
    by_position = _by_position(features)
    rows = jnp.arange(len(images))
    positions = jnp.argmax(by_position[rows, :, units], axis=1)
    chosen = jnp.zeros_like(by_position).at[rows, positions, units].set(1.0)
    gradients: Array = pullback(chosen.reshape(features.shape))[0]
    return gradients
