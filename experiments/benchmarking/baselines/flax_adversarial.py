"""The common part of the Flax baselines of the GANs: losses, updates, iterations, epochs."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training import train_state

from experiments.benchmarking.baselines.flax_rbm import epoch_of

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": partial(nn.leaky_relu, negative_slope=0.2),
}


class TrainState(train_state.TrainState):
    """One net and its optimiser; with running statistics where it has batch normalisation."""

    batch_stats: Any


class Players(NamedTuple):
    """Both nets."""

    generator: TrainState
    discriminator: TrainState
    average: Any = None
    """The moving average of the generator's variables; None where the settings have none."""


def cross_entropy(logits: jax.Array, target: float) -> jax.Array:
    """The mean over the batch, in nats; all examples have the same target."""
    logits = logits.astype(jnp.float32)
    entropy: jax.Array = optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target))
    return entropy.mean()


def generator_loss(logits: jax.Array, loss: str) -> jax.Array:
    """-log D(G(z)), or log(1 - D(G(z))) for minimax."""
    return -cross_entropy(logits, 0.0) if loss == "minimax" else cross_entropy(logits, 1.0)


def passed(
    net: TrainState, params: Any, inputs: jax.Array, key: jax.Array
) -> tuple[jax.Array, TrainState]:
    """The output of a net in training for its inputs, and the net with its statistics moved."""
    variables = {"params": params, "batch_stats": net.batch_stats}
    rngs = {"dropout": key}
    output, moved = net.apply_fn(variables, inputs, rngs=rngs, mutable=["batch_stats"])
    return output, net.replace(batch_stats=moved.get("batch_stats", {}))


def seen(
    net: TrainState, params: Any, images: jax.Array, noise: float, key: jax.Array
) -> tuple[jax.Array, TrainState]:
    """The discriminator's logits of images with instance noise, and its statistics moved."""
    key_noise, key = jax.random.split(key)
    if noise:
        images += noise * jax.random.normal(key_noise, images.shape)
    return passed(net, params, images, key)


def discriminator_update(
    config: Any, net: TrainState, real: jax.Array, fakes: jax.Array, key: jax.Array
) -> tuple[TrainState, jax.Array]:
    """One update from real images and fakes, and the loss before it."""
    key_real, key_fakes = jax.random.split(key)

    def loss(params: Any) -> tuple[jax.Array, TrainState]:
        on_real, moved = seen(net, params, real, config.instance_noise, key_real)
        on_fakes, moved = seen(moved, params, fakes, config.instance_noise, key_fakes)
        real_loss = cross_entropy(on_real, 1.0 - config.label_smoothing)
        return real_loss + cross_entropy(on_fakes, 0.0), moved

    (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(net.params)
    return moved.apply_gradients(grads=grads), value


def generator_update(
    config: Any, players: Players, codes: jax.Array, key: jax.Array
) -> tuple[Players, jax.Array]:
    """One update of the generator, which is run again for its gradient, and the loss before it."""

    def loss(params: Any) -> tuple[jax.Array, Players]:
        fakes, generator = passed(players.generator, params, codes, key)
        discriminator = players.discriminator
        logits, discriminator = seen(
            discriminator, discriminator.params, fakes, config.instance_noise, key
        )
        moved = players._replace(generator=generator, discriminator=discriminator)
        return generator_loss(logits, config.loss), moved

    (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(players.generator.params)
    return moved._replace(generator=moved.generator.apply_gradients(grads=grads)), value


def iteration(
    config: Any, players: Players, real: jax.Array, key: jax.Array
) -> tuple[Players, dict[str, jax.Array]]:
    """`d_steps` updates of D, then `g_steps` of G, and the losses before the last of each.

    Of the real images each update of D takes the next mini-batch.
    """
    shape, losses = (len(real) // config.d_steps, config.latent_size), {}
    for mini_batch in jnp.split(real, config.d_steps):
        key, key_codes, key_g, key_d = jax.random.split(key, 4)
        generator, discriminator, _ = players
        codes = jax.random.normal(key_codes, shape)
        fakes, _ = passed(generator, generator.params, codes, key_g)
        discriminator, losses["d_loss"] = discriminator_update(
            config, discriminator, mini_batch, fakes, key_d
        )
        players = players._replace(generator=generator, discriminator=discriminator)
    for index in range(config.g_steps):
        key, key_codes, key_g = jax.random.split(key, 3)
        if config.fresh_noise or index > 0:
            codes = jax.random.normal(key_codes, shape)
        players, losses["g_loss"] = generator_update(config, players, codes, key_g)
    if config.ema_decay:
        weight, now = 1.0 - config.ema_decay, learned(players.generator)
        average = optax.incremental_update(now, players.average, weight)
        players = players._replace(average=average)
    return players, losses


def learned(net: TrainState) -> Any:
    """Parameters and running statistics."""
    return net.params, net.batch_stats


def start(config: Any, nets: tuple[nn.Module, nn.Module], pixels: jax.Array) -> Players:
    """Both nets before the first iteration, for images like `pixels`, [1, ...]."""
    adam = optax.adam(config.learning_rate, b1=config.beta1, b2=config.beta2)
    states = []
    for net, inputs in zip(nets, (jnp.zeros((1, config.latent_size)), pixels), strict=True):
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = jax.jit(net.init)(keys, inputs)
        params, stats = variables["params"], variables.get("batch_stats", {})
        states.append(
            TrainState.create(  # type: ignore[no-untyped-call]
                apply_fn=net.apply, params=params, tx=adam, batch_stats=stats
            )
        )
    average = jax.tree.map(jnp.array, learned(states[0])) if config.ema_decay else None
    generator, discriminator = states
    return Players(generator, discriminator, average)


def epoch_runner(
    generator: Callable[..., nn.Module],
    discriminator: Callable[..., nn.Module],
    prepare: Callable[[jax.Array, Any], jax.Array],
    images: np.ndarray,
    batch_size: int,
    config: Any,
) -> Callable[[int], None]:
    """An epoch of iterations on bytes [N, H, W, C]; see `epoch_of`.

    The generator takes the settings and the images' shape, the discriminator the settings alone.
    `prepare` makes of a batch of bytes and the settings what D takes, inside the step.
    """

    def step(players: Players, batch: jax.Array, key: jax.Array) -> Players:
        return iteration(config, players, prepare(batch, config), key)[0]

    data, nets = jnp.asarray(images), (generator(config, images.shape[1:]), discriminator(config))
    players = start(config, nets, prepare(data[:1], config))
    return epoch_of(data, batch_size * config.d_steps, players, step)
