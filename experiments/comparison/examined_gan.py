"""A GAN or a DCGAN on the yardstick: samples and D's features; there is no likelihood."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from experiments.comparison.examined import Examined
from experiments.running.finished import Finished
from jaxgen.learner import Learner
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Nets, Player, State

MAX_FEATURES = 1024
"""Features that a probe is given, at most; a layer with more is pooled."""


def _player(variables: dict[str, Any]) -> Player:
    """A net without its optimiser; a file holds no empty collection of statistics."""
    return Player({"batch_stats": {}, **variables}, None)


def state_of(params: dict[str, Any]) -> State:
    """What samples and what features are made of."""
    params = jax.tree.map(jnp.asarray, params)
    average = params.get("average")
    return State(
        generator=_player(params["generator"]),
        discriminator=_player(params["discriminator"]),
        average=average and _player(average).variables,
        step=jnp.int32(0),
    )


def pooled(features: Float[Array, "batch *shape"]) -> Float[Array, "batch units"]:
    """A layer as rows; one of maps [B, H, W, C] has the largest value of each of its patches.

    H and W are halved until at most `MAX_FEATURES` are left.
    """
    while features.ndim == 4 and features[0].size > MAX_FEATURES and features.shape[1] > 1:
        batch, height, width, num_channels = features.shape
        patches = features.reshape(batch, height // 2, 2, width // 2, 2, num_channels)
        features = jnp.max(patches, axis=(2, 4))
    return features.reshape(len(features), -1)


def _last_layer(nets: Nets, state: State, images: UInt8[Array, "batch *shape"]) -> Array:
    """D's last hidden layer."""
    layers = adversarial.features(nets, state, images)
    return pooled(layers[max(layers, key=lambda name: int(name.removeprefix("layer_")))])


def examined(run: Finished, learner: Learner, nets: Nets) -> Examined:
    """A trained game of two nets."""
    state = state_of(run.params)
    return Examined(
        sample=partial(learner.sample, state),
        features={"D's last hidden layer": partial(_last_layer, nets, state)},
        likelihoods=lambda _: [],
    )
