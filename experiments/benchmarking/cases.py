"""The cases of the benchmark: each experiment's learner and the cost of its update."""

import contextlib
import difflib
import math
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from experiments.running.experiment import Experiment, find, names
from jaxgen.errors import SettingError
from jaxgen.images import ImageShape
from jaxgen.learner import Learner

Precision = Literal["float32", "bfloat16"]
BFLOAT16 = "BF16_BF16_F32"
"""JAX's name of products whose factors are rounded to bfloat16 and whose sums are float32."""


class Case(NamedTuple):
    """One learner with one preset, some of whose settings may be changed."""

    experiment: Experiment[Any]
    preset: str
    args: Any
    products: Precision = "float32"
    """Precision that JAX rounds factors of products to, of a model that has no setting for it."""

    @property
    def name(self) -> str:
        """For example rbm-lab."""
        return f"{self.experiment.name}-{self.preset}"

    def learner(self, image_shape: ImageShape) -> Learner:
        """The learner that is timed."""
        return self.experiment.learner(self.args, image_shape)

    def images_per_step(self, image_shape: ImageShape) -> int:
        """Images of all mini-batches that a step takes."""
        batch_size: int = self.args.batch_size
        return batch_size * self.learner(image_shape).num_batches

    def flops(self, image_shape: ImageShape) -> int | None:
        """Operations of one update; None where the experiment does not count them."""
        counted = self.experiment.benchmark.flops
        return counted(self.args.model, self.args.batch_size, image_shape) if counted else None

    @property
    def precision(self) -> Precision:
        """The precision that the factors of its products are rounded to."""
        precision: Precision = getattr(self.args.model, "precision", self.products)
        return precision

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the learner has a setting for."""
        return ("float32", "bfloat16") if hasattr(self.args.model, "precision") else ("float32",)

    def rounded(self) -> contextlib.AbstractContextManager[None]:
        """Inside the `with` block JAX rounds the factors of products as the case has it."""
        if self.products == "float32":
            return contextlib.nullcontext()
        rounded: contextlib.AbstractContextManager[None] = jax.default_matmul_precision(BFLOAT16)
        return rounded


class Patience(NamedTuple):
    """How often, and how long, a case is timed."""

    repeats: int
    """Turns that count."""
    retries: int = 0
    """Times that the count may begin again."""
    until: float = math.inf
    """Of `time.monotonic`: from then on no baseline is begun, and a case ends with the turns it
    has. A baseline that fails is then left out, and otherwise an error."""

    @property
    def turns(self) -> int:
        """The most there can be."""
        return self.repeats * (1 + self.retries)

    @property
    def over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() > self.until


def cases(only: Sequence[str] = ()) -> list[Case]:
    """Every preset that is timed of every experiment, or `only` these.

    Errors:
        SettingError: a name that none of them has.
    """
    found = [
        Case(experiment, preset, experiment.benchmark.settings(args))
        for experiment in map(find, names())
        for preset, args in experiment.presets.items()
        if preset in (experiment.benchmark.presets or (preset,))
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


def resize(model: Any, size: int) -> Any:
    """The settings with `size` units in every hidden layer; of a DCGAN, with that base width."""
    names = {field.name for field in fields(model)}
    values: dict[str, Any] = dict.fromkeys({"num_hidden", "base_width"} & names, size)
    for name in {"hidden_sizes", "generator_sizes", "discriminator_sizes"} & names:
        values[name] = (size,) * len(getattr(model, name))
    return replace(model, **values)


def with_latent_size(model: Any, size: int) -> Any:
    """The settings with codes of that size.

    Errors:
        SettingError: the model has none.
    """
    if not hasattr(model, "latent_size"):
        raise SettingError(
            expected="--latent-size for a model with codes",
            found=type(model).__module__.rpartition(".")[2],
            remedy="choose a VAE or a GAN with --only",
        )
    return replace(model, latent_size=size)


def with_values(
    case: Case,
    batch_size: int | None = None,
    hidden_size: int | None = None,
    precision: Precision | None = None,
    latent_size: int | None = None,
) -> Case:
    """A case with the values that are not None in place of its own.

    A model without a setting of the precision takes it as that of JAX's products.
    """
    args, model = case.args, case.args.model
    if hidden_size is not None:
        model = resize(model, hidden_size)
    if latent_size is not None:
        model = with_latent_size(model, latent_size)
    if precision not in (None, case.precision):
        if hasattr(model, "precision"):
            model = replace(model, precision=precision)
        else:
            case = case._replace(products=precision)
    batch_size = args.batch_size if batch_size is None else batch_size
    return case._replace(args=replace(args, batch_size=batch_size, model=model))


def require_rounding(case: Case) -> None:
    """Raises SettingError for products in bfloat16 by JAX where the device does not round them."""
    if case.products == "float32":
        return
    with case.rounded():
        found = jax.jit(jnp.matmul)(jnp.full((256, 256), 1.01), jnp.eye(256))
    if float(found[0, 0]) == float(jnp.float32(1.01)):
        raise SettingError(
            expected=f"a device that rounds the products of {case.name} to bfloat16",
            found=f"{jax.devices()[0].device_kind}, which does not",
            remedy="set --precision float32, or choose others with --only",
        )
