"""A GAN or a DCGAN as an `EvaluatedModel`: samples, decoded codes and D's features.

Neither has a likelihood, nor a code of an image.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxgen.evaluation.model import EvaluatedModel
from jaxgen.images import ImageShape
from jaxgen.learner import Images, Labels
from jaxgen.models import adversarial, dcgan, gan
from jaxgen.models.adversarial import Codes, Game, Nets, Player, State, Training
from jaxgen.nn.layers import max_pool

MAX_FEATURES = 1024
"""Features that a probe is given, at most; a layer with more is pooled."""


def _player(variables: Mapping[str, Any]) -> Player:
    """A net without its optimiser; a file holds no empty collection of statistics."""
    return Player({"batch_stats": {}, **variables}, None)


def state_of(params: Mapping[str, Any]) -> State:
    """The part of the state that samples and features are made of."""
    params = jax.tree.map(jnp.asarray, dict(params))
    average = params.get("average")
    return State(
        generator=_player(params["generator"]),
        discriminator=_player(params["discriminator"]),
        average=average and _player(average).variables,
        step=jnp.int32(0),
    )


def pool_to_rows(features: Float[Array, "batch *shape"]) -> Float[Array, "batch units"]:
    """A layer as rows; one of maps [B, H, W, C] has the largest value of each of its patches.

    H and W are halved until at most `MAX_FEATURES` are left; of odd sides the last row is left out.
    """
    while features.ndim == 4 and features[0].size > MAX_FEATURES and min(features.shape[1:3]) > 1:
        features = max_pool(features)
    return features.reshape(len(features), -1)


def _last_layer(nets: Nets, state: State, images: UInt8[Array, "batch *shape"]) -> Array:
    """D's last hidden layer."""
    layers = adversarial.features(nets, state, images)
    return pool_to_rows(layers[adversarial.layer_names(layers)[-1]])


def _model(game: Game, config: Training, params: Mapping[str, Any]) -> EvaluatedModel:
    state = state_of(params)

    def decode(codes: Codes, labels: Labels | None = None) -> Images:
        """Of a conditional game, images of the classes, by default of the first one."""
        if config.num_classes and labels is None:
            labels = jnp.zeros(len(codes), jnp.int32)
        return adversarial.images_of(game.nets, state, codes, labels)

    last_layer = {"D's last hidden layer": partial(_last_layer, game.nets, state)}
    return EvaluatedModel(
        sample=partial(game.learner.sample, state),
        features=last_layer if params["discriminator"] else {},  # D may be left out of a run
        decode=decode,
        code_size=config.latent_size,
        num_classes=config.num_classes,
    )


def gan_model(
    config: gan.Config, image_shape: ImageShape, params: Mapping[str, Any]
) -> EvaluatedModel:
    """A fully connected GAN."""
    return _model(gan.game(config, image_shape), config, params)


def dcgan_model(
    config: dcgan.Config, image_shape: ImageShape, params: Mapping[str, Any]
) -> EvaluatedModel:
    """A DCGAN; its images are of the nets' own size."""
    return _model(dcgan.game(config, image_shape), config, params)
