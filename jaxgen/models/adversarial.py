"""Generative adversarial networks: the learner for any generator and discriminator.

A generator G maps codes z ~ N(0, I) to images in [-1, 1], a discriminator D images to the logit of
being real. D and G play

    min_G max_D  E log D(x) + E log(1 - D(G(z))),        D = sigmoid(logit)

by turns of Adam; G minimises -log D(G(z)) instead where the loss is `non_saturating`.
Goodfellow et al., "Generative adversarial nets", 2014.

A conditional game has `num_classes` classes y. G maps [z, e_y], the code beside a vector that is
learned for each class, and D has a vector v_y for each class, with which it projects phi(x), its
last hidden layer (of a DCGAN, its sum over the places of the image):

    logit(x, y) = psi(x) + <v_y, phi(x)>,        psi(x) the logit without a class.

Fakes are of the classes of the real images that they are set against, so classes are as frequent
among fakes as in the data. Mirza and Osindero, "Conditional generative adversarial nets", 2014;
Miyato and Koyama, "cGANs with projection discriminator", 2018, equation 4.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxgen import losses
from jaxgen.errors import (
    check_fields,
    require,
    require_above_zero,
    require_counts,
    require_not_negative,
    require_positive,
)
from jaxgen.images import ImageShape, check_images
from jaxgen.learner import Batch, Images, Labels, Learner, Metrics, PRNGKey, RawImages, named_key
from jaxgen.nn.augment import Policy, augment
from jaxgen.random import asked_or_drawn, normal

Codes: TypeAlias = Float[Array, "batch latent"]
Pixels: TypeAlias = Float[Array, "batch height width channels"]
"""Images in [-1, 1], as both nets see them."""
Variables: TypeAlias = dict[str, Any]
"""The variables of a net: "params", and "batch_stats", empty without batch normalisation."""
OPTIONAL_PARAMS = ("discriminator",)
"""Parts of the parameters that no sample depends on; a run that was collected may lack them."""


class Player(NamedTuple):
    """One net and its optimiser."""

    variables: Variables
    opt_state: optax.OptState


class State(NamedTuple):
    """The state between two steps; `step` is the number of iterations so far, int32."""

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

    Those of a conditional game are also called with `labels` [B]. D's hidden layers do not depend
    on them: called without, it gives psi(phi(x)) alone.
    In training both may draw from the stream "dropout" and update the collection "batch_stats".
    """

    generator: nn.Module
    """Codes [B, L] to images [B, H, W, C] in [-1, 1]."""
    discriminator: nn.Module
    """Images [B, H, W, C] in [-1, 1] to logits [B]."""
    pixels: Callable[[RawImages], Pixels]
    """Raw images, uint8, to what the discriminator sees."""


class Game(NamedTuple):
    """Two nets, and the learner that trains them against each other."""

    learner: Learner
    nets: Nets


def rescale(images: RawImages) -> Pixels:
    """Raw images, 0 to 255, in [-1, 1].

    Where a compiler joins the product and the difference, 255 becomes 1 + 2^-23: the product by
    1 / 127.5, which is rounded, is not rounded again. Cutting it off would change trained bits.

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    raw: Array = check_images(images)
    return raw.astype(jnp.float32) / 127.5 - 1.0


def beside_class(
    num_classes: int, codes: Codes, labels: Labels | None, scale: float = 1.0
) -> Codes:
    """[z, e_y], [B, 2 L]: codes beside the vectors of their classes, which start as N(0, scale^2).

    The codes alone where there are no classes. For a generator's ``__call__``.
    """
    if not num_classes:
        return codes
    start = nn.initializers.normal(scale)
    embed = nn.Embed(num_classes, codes.shape[1], embedding_init=start, name="embedding")
    return jnp.concatenate([codes, embed(labels)], axis=1)


def projection(
    num_classes: int,
    features: Float[Array, "batch *shape"],
    labels: Labels,
    start: nn.initializers.Initializer,
) -> Float[Array, " batch"]:
    """<v_y, phi(x)> of each example; the vectors [num_classes, units] start by `start`.

    For a discriminator's ``__call__``.
    """
    flat = features.reshape(len(features), -1)
    embed = nn.Embed(num_classes, flat.shape[1], embedding_init=start, name="projection")
    return jnp.sum(embed(labels) * flat, axis=1)


def _given(labels: Labels | None) -> dict[str, Any]:
    """The classes as a net takes them: by name, and not at all where there are none."""
    return {} if labels is None else {"labels": labels}


def apply(
    net: nn.Module,
    variables: Variables,
    inputs: Array,
    key: PRNGKey,
    labels: Labels | None = None,
) -> tuple[Array, Variables]:
    """The output of a net for its inputs in training, and its updated batch statistics."""
    given, rngs = _given(labels), {"dropout": key}
    output, updated = net.apply(
        variables, inputs, train=True, **given, rngs=rngs, mutable=["batch_stats"]
    )
    return output, {"batch_stats": updated.get("batch_stats", {})}


def sampler(state: State) -> Variables:
    """The generator that samples: the average if there is one."""
    return state.generator.variables if state.average is None else state.average


def images_of(nets: Nets, state: State, codes: Codes, labels: Labels | None = None) -> Images:
    """G(z) in [0, 1], in evaluation mode; of the classes `labels` where the game is conditional."""
    given = _given(labels)
    pixels: Array = nets.generator.apply(sampler(state), codes, train=False, **given)  # type: ignore[assignment]
    return jnp.clip(0.5 * pixels + 0.5, 0.0, 1.0)


def features(nets: Nets, state: State, images: RawImages) -> dict[str, Array]:
    """Outputs of the discriminator's hidden layers for raw images, in evaluation mode, by name."""
    variables = state.discriminator.variables
    _, sown = nets.discriminator.apply(
        variables, nets.pixels(images), train=False, mutable=["features"]
    )
    return {name: values[0] for name, values in sown["features"].items()}


def layer_names(layers: Mapping[str, Any]) -> list[str]:
    """The names of `features` from the images on; a tree has layer_10 before layer_2."""
    return sorted(layers, key=lambda name: int(name.removeprefix("layer_")))


GENERATOR_LOSSES = {
    "non_saturating": losses.non_saturating_loss,
    "minimax": losses.minimax_loss,
}


@dataclass(frozen=True)
class Training:
    """How two nets play against each other, whatever they are."""

    latent_size: int = 100
    """Length of a code z ~ N(0, I)."""
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """The loss that the generator minimises: -log D(G(z)), or log(1 - D(G(z)))."""
    d_steps: int = 1
    """Updates of the discriminator an iteration, each on a mini-batch and new fakes of its own."""
    g_steps: int = 1
    """Updates of the generator an iteration; from the second on, each has new fakes."""
    label_smoothing: float = 0.0
    """The discriminator's target for real images is 1 minus this; for fakes it stays 0."""
    augment: tuple[Policy, ...] = ()
    """Random transforms of all that the discriminator sees in training, real images and fakes, for
    small sets: colour, translation, cutout. D(x) and D(G(z)) are then of transformed images. The
    flag alone takes all three, and with `none` it takes none."""
    instance_noise: float = 0.0
    """Standard deviation of the normal noise that is added to all that the discriminator sees in
    training, new for each image, where pixels are in [-1, 1]. D(x) and D(G(z)) are then of noisy
    images."""
    fresh_noise: bool = False
    """Draw new fakes for the generator's first update too, not those the discriminator has seen."""
    ema_decay: float = 0.0
    """Samples come from this exponential moving average of the generator; 0 keeps none. The log,
    and the diagnosis made of it, are of the generator itself."""
    ema_corrected: bool = False
    """Divide the average by the sum of its weights, as Adam does: sum_i d^(n-i) x_i (1 - d) /
    (1 - d^n) after n iterations with decay d. Otherwise it starts as the generator does, of which
    d^n remains in it."""
    learning_rate: float = 2e-4
    """Adam's step size, for both nets."""
    beta1: float = 0.9
    """Adam's decay of the gradient's mean."""
    beta2: float = 0.999
    """Adam's decay of the squared gradient's mean."""
    num_classes: int = 0
    """Classes that the nets are asked for; 0: they know none. Set by --conditional."""

    def __post_init__(self) -> None:
        check_fields(self)
        require_positive(self, "latent_size", "d_steps", "g_steps")
        require(self, "augment", len({*self.augment}) == len(self.augment), "with each name once")
        require_above_zero(self, "learning_rate")
        require_counts(self, "num_classes")
        require_not_negative(self, "instance_noise")
        for name in ("label_smoothing", "ema_decay", "beta1", "beta2"):
            require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")


def optimizer(config: Training) -> optax.GradientTransformation:
    """Adam with the learning rate kept in its state; see `jaxgen.models.rbm.optimizer`."""
    adam: optax.GradientTransformation = optax.inject_hyperparams(
        optax.adam, static_args=("b1", "b2", "eps", "eps_root")
    )(config.learning_rate, b1=config.beta1, b2=config.beta2)
    return adam


def init(config: Training, nets: Nets, image_shape: ImageShape, key: PRNGKey) -> State:
    """The state before the first iteration; `image_shape` [H, W, C] is of what D sees."""
    keys, shapes = jax.random.split(key), ((config.latent_size,), image_shape)
    examples = [jnp.zeros((1, *shape)) for shape in shapes]
    players, given = [], _given(jnp.zeros(1, jnp.int32) if config.num_classes else None)
    for net, key_net, example in zip(nets[:2], keys, examples, strict=True):
        made = net.init(key_net, example, train=False, **given)
        variables = {"params": made["params"], "batch_stats": made.get("batch_stats", {})}
        players.append(Player(variables, optimizer(config).init(variables["params"])))
    average = jax.tree.map(jnp.array, players[0].variables) if config.ema_decay else None
    return State(generator=players[0], discriminator=players[1], average=average, step=jnp.int32(0))


def from_params(config: Training, image_shape: ImageShape, params: dict[str, Variables]) -> State:
    """The state with the variables of trained nets, each with an optimiser before its first step.

    The same for any two nets: what they own says all about them. Of a run without D, D is empty.
    """
    del image_shape
    generator, discriminator = (
        Player(params[name], optimizer(config).init(params[name].get("params", {})))
        for name in ("generator", "discriminator")
    )
    return State(generator, discriminator, params.get("average"), step=jnp.int32(0))


def _update(config: Training, player: Player, grads: Any, stats: Variables) -> Player:
    """A player after one Adam update, with the given batch statistics."""
    params = player.variables["params"]
    updates, opt_state = optimizer(config).update(grads, player.opt_state, params)
    return Player({"params": optax.apply_updates(params, updates)} | stats, opt_state)


class Fakes(NamedTuple):
    """Generated images, the pullback to the generator's parameters, and its batch statistics."""

    pixels: Pixels
    pullback: Any
    stats: Variables


def generate(
    config: Training,
    nets: Nets,
    player: Player,
    num: int,
    key: PRNGKey,
    labels: Labels | None = None,
) -> Fakes:
    """Images from `num` new codes, by a generator in training."""
    key_codes, key_dropout = jax.random.split(key)
    codes = normal(key_codes, (num, config.latent_size))

    def of_params(params: Any) -> tuple[Pixels, Variables]:
        variables = player.variables | {"params": params}
        return apply(nets.generator, variables, codes, key_dropout, labels)

    pixels, pullback, stats = jax.vjp(of_params, player.variables["params"], has_aux=True)
    return Fakes(pixels, pullback, stats)


def logits_in_training(
    config: Training,
    nets: Nets,
    variables: Variables,
    pixels: Pixels,
    key: PRNGKey,
    labels: Labels | None = None,
) -> tuple[Float[Array, " batch"], Variables]:
    """D's logits of images, transformed where that is asked for, and its updated statistics.

    Instance noise comes after the transforms: D sees x + sigma epsilon with epsilon ~ N(0, I), in
    the updates of both nets. The densities of real images and fakes then overlap, so D cannot be
    sure of every image by its finest detail, and they are equal if and only if those without noise
    are. Sonderby, Caballero, Theis, Shi and Huszar, "Amortised MAP inference for image
    super-resolution", 2017, who lower sigma in training where it is constant here; Arjovsky and
    Bottou, "Towards principled methods for training generative adversarial networks", 2017,
    section 3.
    """
    shown = augment(config.augment, key, pixels)
    if config.instance_noise:
        noise = normal(named_key(key, "instance_noise"), pixels.shape)
        shown = shown + config.instance_noise * noise
    return apply(nets.discriminator, variables, shown, key, labels)


def discriminator_update(
    config: Training,
    nets: Nets,
    player: Player,
    real: Pixels,
    fake: Pixels,
    key: PRNGKey,
    labels: Labels | None = None,
) -> tuple[Player, Metrics]:
    """One update from real images and fakes, which pass D apart: each is a batch of its own.

    The classes are those of both, one by one.
    """
    keys = jax.random.split(key)

    def loss(params: Any) -> tuple[Array, tuple[Array, Array, Variables]]:
        variables = player.variables | {"params": params}
        real_logits, stats = logits_in_training(config, nets, variables, real, keys[0], labels)
        variables = variables | stats
        fake_logits, stats = logits_in_training(config, nets, variables, fake, keys[1], labels)
        real_loss = jnp.mean(losses.real_loss(real_logits, 1.0 - config.label_smoothing))
        total = real_loss + jnp.mean(losses.fake_loss(fake_logits))
        return total, (real_logits, fake_logits, stats)

    (value, (real_logits, fake_logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(
        player.variables["params"]
    )
    metrics = {
        "d_loss": value,
        "d_real": jnp.mean(losses.sigmoid(real_logits)),
        "d_fake": jnp.mean(losses.sigmoid(fake_logits)),
    }
    return _update(config, player, grads, stats), metrics


def generator_update(
    config: Training,
    nets: Nets,
    state: State,
    fakes: Fakes,
    key: PRNGKey,
    labels: Labels | None = None,
) -> tuple[State, Metrics]:
    """One update of the generator against a discriminator in training, whose parameters stay.

    D's pass through the fakes moves its running batch statistics, as it does in PyTorch.
    """
    generator, discriminator = state.generator, state.discriminator

    def loss(pixels: Pixels) -> tuple[Array, Variables]:
        logits, stats = logits_in_training(
            config, nets, discriminator.variables, pixels, key, labels
        )
        return jnp.mean(GENERATOR_LOSSES[config.loss](logits)), stats

    (value, stats), cotangent = jax.value_and_grad(loss, has_aux=True)(fakes.pixels)
    (grads,) = fakes.pullback(cotangent)
    state = state._replace(
        generator=_update(config, generator, grads, fakes.stats),
        discriminator=discriminator._replace(variables=discriminator.variables | stats),
    )
    return state, {"g_loss": value, "g_grad_norm": optax.tree.norm(grads)}


def _generate(
    config: Training, nets: Nets, state: State, num: int, key: PRNGKey, labels: Labels | None
) -> tuple[State, Fakes]:
    """New fakes, and the state with the generator's batch statistics moved by them."""
    fakes = generate(config, nets, state.generator, num, key, labels=labels)
    generator = state.generator._replace(variables=state.generator.variables | fakes.stats)
    return state._replace(generator=generator), fakes


def _pixel_variance(images: Pixels) -> Float[Array, ""]:
    """The variance of a pixel over the images, averaged over the pixels."""
    return jnp.mean(jnp.var(images, axis=0))


def step(
    config: Training, nets: Nets, state: State, batch: Batch, key: PRNGKey
) -> tuple[State, Metrics]:
    """One iteration: `d_steps` updates of the discriminator, then `g_steps` of the generator.

    The batch has a mini-batch for each update of the discriminator: every `d_steps`-th of its
    images, so that devices which share the batch share each of them. In a conditional game fakes
    are of the classes of the mini-batch that D saw last.
    As in PyTorch, every pass of a net in training moves its running batch statistics.
    Metrics are of the last update of each net where there are several.

    Metrics:
        d_loss, g_loss: means over the batch, in nats; d_loss is of real images and fakes, added.
        d_real, d_fake: means of D(x) and D(G(z)), before the discriminator's update.
        g_grad_norm: Euclidean norm of the gradient of the generator's loss.
        spread: how much fakes differ among themselves, as a part of what real images do: the
            variance over the batch, averaged over the pixels, of fakes over that of real images.
    """
    images = batch.images.reshape(-1, config.d_steps, *batch.images.shape[1:])
    classes = jnp.reshape(batch.labels, (-1, config.d_steps))
    num = len(images)
    key_d, key_g = jax.random.split(key)
    metrics: Metrics = {}
    for turn in range(config.d_steps):
        real = nets.pixels(images[:, turn])
        labels = classes[:, turn] if config.num_classes else None
        key_fakes, key_turn = jax.random.split(jax.random.fold_in(key_d, turn))
        state, fakes = _generate(config, nets, state, num, key_fakes, labels)
        discriminator, measured = discriminator_update(
            config, nets, state.discriminator, real, fakes.pixels, key_turn, labels=labels
        )
        state = state._replace(discriminator=discriminator)
        metrics |= measured
    for turn in range(config.g_steps):
        key_fakes, key_turn = jax.random.split(jax.random.fold_in(key_g, turn))
        if turn > 0 or config.fresh_noise:
            state, fakes = _generate(config, nets, state, num, key_fakes, labels)
        state, measured = generator_update(config, nets, state, fakes, key_turn, labels=labels)
        metrics |= measured
    metrics["spread"] = _pixel_variance(fakes.pixels) / jnp.maximum(_pixel_variance(real), 1e-12)
    average = state.average
    if average is not None:
        weight: float | Array = 1.0 - config.ema_decay
        if config.ema_corrected:  # 1 - d^(s+1), which a difference of float32 numbers rounds
            weight /= -jnp.expm1((state.step + 1.0) * math.log(config.ema_decay))
        average = optax.incremental_update(state.generator.variables, average, weight)
    return state._replace(average=average, step=state.step + 1), metrics


def sample(
    config: Training,
    nets: Nets,
    state: State,
    key: PRNGKey,
    num: int,
    labels: Labels | None = None,
) -> Images:
    """G(z) [num, H, W, C] in [0, 1] for codes z ~ N(0, I).

    In a conditional game of the classes `labels` [num]; without them every class is equally likely.
    """
    codes = normal(key, (num, config.latent_size))
    if not config.num_classes:
        return images_of(nets, state, codes)
    labels = asked_or_drawn(key, labels, num, config.num_classes)
    return images_of(nets, state, codes, labels)


def adversarial(config: Training, nets: Nets, image_shape: ImageShape) -> Learner:
    """Any two nets as three pure functions; `image_shape` [H, W, C] is of what D sees."""
    return Learner(
        init=partial(init, config, nets, image_shape),
        step=partial(step, config, nets),
        sample=partial(sample, config, nets),
        image_shape=image_shape,
        num_classes=config.num_classes,
        num_batches=config.d_steps,
    )


def game(config: Training, nets: Nets, image_shape: ImageShape) -> Game:
    """Any two nets with their learner; `image_shape` [H, W, C] is of what D sees."""
    return Game(adversarial(config, nets, image_shape), nets)
