"""What the benchmark measures: each experiment's learner, what its update costs, its peers."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import jax

import experiments
from jaxgen.errors import SettingError
from jaxgen.learner import Learner
from jaxgen.models import dbn, dcgan, gan, rbm, vae, wake_sleep

Precision = Literal["float32", "bfloat16"]

TORCH = {"torch": {}, "torch_compiled": {"compiled": True}}
CONVOLUTIONAL = {
    "torch": {},
    "torch_channels_last": {"memory_format": "channels_last"},
    "torch_compiled": {"compiled": True, "memory_format": "channels_last"},
}


def product(batch: int, rows: int, columns: int) -> int:
    """Multiplications and additions of a batch of vectors times a matrix."""
    return 2 * batch * rows * columns


def cd_operations(batch: int, num_visible: int, num_hidden: int, num_gibbs_steps: int) -> int:
    """Of the 2k + 3 matrix products of a CD-k update.

    Hidden from data; k times visible from hidden, and k - 1 times hidden from visible between
    them; hidden from the last visible; two outer products for the gradient.
    """
    return (2 * num_gibbs_steps + 3) * product(batch, num_visible, num_hidden)


def rbm_operations(args: Any) -> int:
    """Of one CD-k update."""
    return cd_operations(args.batch_size, 784, args.model.num_hidden, args.model.num_gibbs_steps)


def dbn_operations(args: Any) -> int:
    """Of one update of the second layer: the up pass through the first, and CD-k."""
    first, second = args.model.hidden_sizes[:2]
    num_gibbs_steps = dbn.rbm_config(args.model, 1).num_gibbs_steps
    up = product(args.batch_size, 784, first)
    return up + cd_operations(args.batch_size, first, second, num_gibbs_steps)


def wake_sleep_operations(args: Any) -> int:
    """Of one up-down update: CD-k on top and six products for each layer below.

    Upward, downward, both predictions, and the outer products of both corrections.
    """
    sizes = (784, *args.model.hidden_sizes)
    directed = sum(product(args.batch_size, a, b) for a, b in pairwise(sizes[:-1]))
    return 6 * directed + cd_operations(
        args.batch_size, *sizes[-2:], num_gibbs_steps=args.model.num_gibbs_steps
    )


def vae_operations(args: Any) -> int:
    """Of one update with K codes: three products of each layer's size, K times in the decoder.

    Forward, and for the gradient of the weights and of the layer's input; the encoder's first
    layer needs no gradient of its input.
    """
    config, batch = args.model, args.batch_size
    encoder = (784, *config.hidden_sizes, 2 * config.latent_size)
    outputs = 784 * (2 if config.likelihood == "gaussian" else 1)
    decoder = (config.latent_size, *reversed(config.hidden_sizes), outputs)
    up = sum(product(batch, a, b) for a, b in pairwise(encoder))
    down = sum(product(batch * config.num_samples, a, b) for a, b in pairwise(decoder))
    return 3 * (up + down) - product(batch, *encoder[:2])


def adversarial_operations(args: Any, generator: list[int], discriminator: list[int]) -> int:
    """Of one iteration, from the operations of each layer's forward pass.

    An update of D: both nets forward, D twice; the gradient of weights and of inputs in both of
    D's passes, but for the images. An update of G: D forward and its gradient of inputs, then G's
    gradients of weights and of inputs, but for the codes; and G forward where fakes are new.
    """
    config, of_g, of_d = args.model, sum(generator), sum(discriminator)
    d_update = of_g + 6 * of_d - 2 * discriminator[0]
    g_update = 2 * of_d + 2 * of_g - generator[0]
    new_fakes = config.g_steps - (0 if config.fresh_noise else 1)
    return config.d_steps * d_update + config.g_steps * g_update + new_fakes * of_g


def gan_operations(args: Any) -> int:
    """Of one iteration of a fully connected GAN."""
    generator = (args.model.latent_size, *args.model.generator_sizes, 784)
    discriminator = (784, *args.model.discriminator_sizes, 1)
    return adversarial_operations(
        args,
        [product(args.batch_size, a, b) for a, b in pairwise(generator)],
        [product(args.batch_size, a, b) for a, b in pairwise(discriminator)],
    )


def dcgan_operations(args: Any) -> int:
    """Of one iteration of a DCGAN, its convolutions computed as they are defined.

    Winograd's algorithm makes do with 9/16 of them, so the share of the peak may pass 1.
    """
    config, batch = args.model, args.batch_size
    widths = [1, *(dcgan.channels(config, multiple) for multiple in (1, 2, 4, 8))]
    layers = [
        product(batch * size * size, 16 * inputs, outputs)
        for size, (inputs, outputs) in zip((32, 16, 8, 4), pairwise(widths), strict=True)
    ]
    last = 16 * widths[-1]
    stem = product(batch, config.latent_size, last)
    return adversarial_operations(args, [stem, *layers[::-1]], [*layers, product(batch, last, 1)])


def second_layer(config: dbn.Config, shape: tuple[int, int, int]) -> Learner:
    """The second RBM of a DBN, above a first one at its start."""
    first = dbn.learner(config, shape).init(jax.random.key(0))
    return dbn.learner(config, shape, first.params)


class Subject(NamedTuple):
    """How an experiment's learner is made and what one update costs; only products count."""

    learner: Callable[[Any, tuple[int, int, int]], Learner]
    operations: Callable[[Any], int]
    num_images: int = 60_000
    """Images of an epoch that is timed: of long updates a few batches say enough."""
    peers: Mapping[str, Mapping[str, Any]] = MappingProxyType(TORCH | {"flax": {}})
    """The programs that ours is compared with: <library> or <library>_<variant>, with what
    `epoch_runner` in experiments/benchmarking/baselines/<library>_<experiment>.py is asked for."""
    presets: tuple[str, ...] | None = None
    """Those that are timed, where not all: peers compute the update of these alone."""


SUBJECTS = {
    "rbm": Subject(rbm.learner, rbm_operations, presets=("lab",)),
    "dbn": Subject(second_layer, dbn_operations, presets=("lab",)),
    "wake_sleep": Subject(wake_sleep.learner, wake_sleep_operations),
    "vae": Subject(vae.learner, vae_operations),
    "gan": Subject(gan.learner, gan_operations, num_images=12_000),
    "dcgan": Subject(
        dcgan.learner,
        dcgan_operations,
        num_images=512,
        peers=MappingProxyType(CONVOLUTIONAL | {"flax": {}}),
    ),
}


class Case(NamedTuple):
    """One learner with one preset, some of whose settings may be changed."""

    experiment: str
    preset: str
    args: Any

    @property
    def name(self) -> str:
        """For example rbm-lab."""
        return f"{self.experiment}-{self.preset}"

    @property
    def subject(self) -> Subject:
        """How to make it and what it costs."""
        return SUBJECTS[self.experiment]

    @property
    def precision(self) -> Precision:
        """What the factors of its products are rounded to."""
        precision: Precision = getattr(self.args.model, "precision", "float32")
        return precision

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the learner can have."""
        return ("float32", "bfloat16") if hasattr(self.args.model, "precision") else ("float32",)


def cases(only: Sequence[str] = ()) -> list[Case]:
    """Every preset that is timed of every experiment whose operations are counted, or `only` these.

    Errors:
        SettingError: a name that none of them has.
    """
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
    found = [
        Case(name, preset, args)
        for name in names
        if name in SUBJECTS
        for preset, args in importlib.import_module(f"experiments.{name}").PRESETS.items()
        if preset in (SUBJECTS[name].presets or (preset,))
    ]
    known = [case.name for case in found]
    for name in only:
        if name not in known:
            meant = nearest(name, known)
            raise SettingError(
                expected=f"--only to be among {', '.join(known)}",
                found=name,
                remedy=f"set it to {' or '.join(meant) or 'one of them'}",
            )
    return [case for case in found if not only or case.name in only]


def nearest(name: str, known: Sequence[str]) -> list[str]:
    """The known names that may be meant: the presets of an experiment, or those spelt alike."""
    presets = [other for other in known if other.startswith(f"{name}-")]
    return presets or difflib.get_close_matches(name, known)


def resized(model: Any, size: int) -> Any:
    """The settings with `size` units in every hidden layer; of a DCGAN, with that base width."""
    names = {field.name for field in fields(model)}
    values: dict[str, Any] = dict.fromkeys({"num_hidden", "base_width"} & names, size)
    for name in {"hidden_sizes", "generator_sizes", "discriminator_sizes"} & names:
        values[name] = (size,) * len(getattr(model, name))
    return replace(model, **values)


def changed(
    case: Case, batch_size: int | None, hidden_size: int | None, precision: Precision | None
) -> Case:
    """A case with the values that are not None in place of its own; the precision is one it has."""
    args, model = case.args, case.args.model
    if hidden_size is not None:
        model = resized(model, hidden_size)
    if precision not in (None, case.precision):
        model = replace(model, precision=precision)
    batch_size = args.batch_size if batch_size is None else batch_size
    return case._replace(args=replace(args, batch_size=batch_size, model=model))
