"""What the benchmark measures: each experiment's learner and what its update costs."""

import difflib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple

from experiments.running.experiment import Experiment, ImageShape, find, names
from jaxgen.errors import SettingError
from jaxgen.learner import Learner

Precision = Literal["float32", "bfloat16"]


class Case(NamedTuple):
    """One learner with one preset, some of whose settings may be changed."""

    experiment: Experiment[Any]
    preset: str
    args: Any

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
        """What the factors of its products are rounded to."""
        precision: Precision = getattr(self.args.model, "precision", "float32")
        return precision

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the learner can have."""
        return ("float32", "bfloat16") if hasattr(self.args.model, "precision") else ("float32",)


def cases(only: Sequence[str] = ()) -> list[Case]:
    """Every preset that is timed of every experiment, or `only` these.

    Errors:
        SettingError: a name that none of them has.
    """
    found = [
        Case(experiment, preset, args)
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
