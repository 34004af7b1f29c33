"""Floating-point operations of an update: multiplications and additions of its products alone."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from jaxgen.images import ImageShape
from jaxgen.models import adversarial, dbm, dbn, dcgan, gan, rbm, vae, wake_sleep


def product(batch: int, rows: int, columns: int) -> int:
    """Of a batch of vectors times a matrix."""
    return 2 * batch * rows * columns


def layers(batch: int, *sizes: int) -> list[int]:
    """Of each layer of a dense net with these sizes, forward."""
    return [product(batch, inputs, outputs) for inputs, outputs in pairwise(sizes)]


def contrastive_divergence(
    batch: int, num_visible: int, num_hidden: int, num_gibbs_steps: int
) -> int:
    """Of the 2k + 3 matrix products of a CD-k update.

    Hidden from data; k times visible from hidden, and k - 1 times hidden from visible between
    them; hidden from the last visible; two outer products for the gradient.
    """
    return (2 * num_gibbs_steps + 3) * product(batch, num_visible, num_hidden)


def of_rbm(config: rbm.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one CD-k update."""
    return contrastive_divergence(
        batch, prod(image_shape), config.num_hidden, config.num_gibbs_steps
    )


def of_second_layer(config: dbn.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one update of a DBN's second layer: the up pass through the first, and CD-k."""
    first, second = config.hidden_sizes[:2]
    num_gibbs_steps = dbn.rbm_config(config, 1).num_gibbs_steps
    up = product(batch, prod(image_shape), first)
    return up + contrastive_divergence(batch, first, second, num_gibbs_steps)


def of_wake_sleep(config: wake_sleep.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one up-down update of one k: CD-k on top and six products for each layer below.

    Upward, downward, both predictions, and the outer products of both corrections.
    """
    sizes = (prod(image_shape), *config.hidden_sizes)
    (num_gibbs_steps,) = config.gibbs_phases or (config.num_gibbs_steps,)
    top = contrastive_divergence(batch, sizes[-2] + config.num_classes, sizes[-1], num_gibbs_steps)
    return 6 * sum(layers(batch, *sizes[:-1])) + top


def of_dbm(config: dbm.Config, batch: int, image_shape: ImageShape) -> int:
    """Multiplications and additions of one update of the machine.

    Mean field: v'W1 once, and W2 twice an update, in the bottom-up pass and at its end. Chains:
    both matrices twice a step. The gradient: both forward and both outer products, of the data and
    of the chains.
    """
    first, second = config.hidden_sizes
    lower = product(1, prod(image_shape), first)
    upper = product(1, first, second)
    field = lower + (2 * config.num_mean_field_steps + 3) * upper
    chains = (2 * config.num_gibbs_steps + 2) * (lower + upper)
    return batch * (field + 2 * (lower + upper)) + config.num_chains * chains


def of_vae(config: vae.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one update with K codes: three products of each layer's size, K times in the decoder.

    Forward, and for the gradient of the weights and of the layer's input; the encoder's first
    layer needs no gradient of its input. Convolutions are computed as they are defined.
    """
    nets = vae.nets(config, image_shape)
    num_codes = batch * config.num_samples
    if nets.config.architecture == "dense":
        num_visible = prod(image_shape)
        up = layers(batch, num_visible, *config.hidden_sizes, 2 * config.latent_size)
        sizes = (*reversed(config.hidden_sizes), nets.num_outputs * num_visible)
        down = layers(num_codes, config.latent_size, *sizes)
    else:
        height, width = nets.padded_size
        areas = [height * width >> 2 * index for index in range(1, len(config.channels) + 1)]
        last = areas[-1] * config.channels[-1]

        def halving(num: int, smallest: int) -> list[int]:
            pairs = pairwise((smallest, *config.channels))
            return [product(num * a, 16 * c, d) for a, (c, d) in zip(areas, pairs, strict=True)]

        up = [*halving(batch, image_shape[-1]), product(batch, last, 2 * config.latent_size)]
        outputs = nets.num_outputs * image_shape[-1]
        down = [product(num_codes, config.latent_size, last), *halving(num_codes, outputs)]
    return 3 * (sum(up) + sum(down)) - up[0]


def of_game(
    config: adversarial.Training, generator: Sequence[int], discriminator: Sequence[int]
) -> int:
    """Of one iteration of a GAN, from the operations of each layer's forward pass.

    An update of D: both nets forward, D twice; the gradient of weights and of inputs in both of
    D's passes, but for the images. An update of G: D forward and its gradient of inputs, then G's
    gradients of weights and of inputs, but for the codes; and G forward where fakes are new.
    """
    of_g, of_d = sum(generator), sum(discriminator)
    d_update = of_g + 6 * of_d - 2 * discriminator[0]
    g_update = 2 * of_d + 2 * of_g - generator[0]
    new_fakes = config.g_steps - (0 if config.fresh_noise else 1)
    return config.d_steps * d_update + config.g_steps * g_update + new_fakes * of_g


def of_gan(config: gan.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one iteration of a fully connected GAN."""
    code = config.latent_size * (2 if config.num_classes else 1)
    generator = layers(batch, code, *config.generator_sizes, prod(image_shape))
    discriminator = layers(batch, prod(image_shape), *config.discriminator_sizes, 1)
    return of_game(config, generator, discriminator)


def of_dcgan(config: dcgan.Config, batch: int, image_shape: ImageShape) -> int:
    """Of one iteration of a DCGAN, its convolutions computed as they are defined.

    Winograd's algorithm makes do with 9/16 of them, so the share of the peak may pass 1.
    """
    size = dcgan.image_size(image_shape, config.native_size)
    widths = [image_shape[-1], *dcgan.widths(config, size)]
    layers = [
        product(batch * (dcgan.grid_size(size) >> halvings) ** 2, 16 * inputs, outputs)
        for halvings, (inputs, outputs) in enumerate(pairwise(widths), start=1)
    ]
    last = 16 * widths[-1]
    learned = config.class_code == "learned" and config.num_classes
    beside = config.latent_size if learned else config.num_classes
    stem = product(batch, config.latent_size + beside, last)
    return of_game(config, [stem, *layers[::-1]], [*layers, product(batch, last, 1)])
