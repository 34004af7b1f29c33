"""The declaration of an experiment, and the one way to find experiments.

An experiment is a module directly in this package with a constant ``EXPERIMENT``. All that other
programs need to know of it is declared there: the comparison, the benchmark and the check of
reproducibility have no table of models. What is not declared takes the default below.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import experiments
from experiments.running.args import RunArgs
from experiments.running.session import Session
from jaxgen import models
from jaxgen.data import Dataset
from jaxgen.errors import SettingError
from jaxgen.images import ImageShape
from jaxgen.learner import Learner
from jaxgen.training import Result

A = TypeVar("A", bound=RunArgs)
V = TypeVar("V")
NUM_HEADLINES = 3


class Choice(NamedTuple):
    """The preset of a run for which none was typed."""

    preset: str
    reason: str
    """After "because": of the data or the device."""
    other: str = ""
    """A preset that may be wanted in its place, and for what; in the line that tells the choice."""

    def in_words(self) -> str:
        """The reason, and the other preset if there is one, behind the name of the preset."""
        return f", because {self.reason}{f'; {self.other}' if self.other else ''}"


@dataclass(frozen=True)
class Band:
    """The distance that two runs of the same settings may have if their last bits differ."""

    metric: str | None = None
    """Of `summary.json`; None is the first one there."""
    width: float = 0.0
    """Largest distance, as a part of the first value."""


@dataclass(frozen=True)
class Benchmark(Generic[A]):
    """The timing of the learner; the update of a preset is compared with that of other programs."""

    learner: Callable[[A, ImageShape], Learner] | None = None
    """None is the learner of the model that has the experiment's name."""
    flops: Callable[[Any, int, ImageShape], int] | None = None
    """(model's settings, batch size, image shape) -> multiplications and additions of one update,
    products alone; None is not counted."""
    num_images: int = 60_000
    """Images of an epoch that is timed: of long updates a few batches are enough."""
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Programs that ours is compared with: <library> or <library>_<variant>, with the options of
    `epoch_runner` in experiments/benchmarking/baselines/<library>_<experiment>.py."""
    presets: tuple[str, ...] | None = None
    """Those that are timed; None is all."""
    settings: Callable[[A], A] = lambda args: args
    """The timed settings of a preset, some of which follow from a run's data or length."""
    note: str = ""
    """A note for readers of its row."""


@dataclass(frozen=True)
class Comparison:
    """The runs of the experiment that the comparison of all models makes with `--train`."""

    order: int | None = 100
    """Place among the experiments, small numbers first; None where another's runs hold its own."""
    flags: tuple[str, ...] = ()
    """Flags of the run besides preset, seeds and data."""
    preset: str | None = None
    """On a data set with a name, the default one where not given; of a folder the images decide."""
    inner_runs: tuple[str, ...] = ()
    """Runs inside the run's folder that are compared as well."""
    summary_likelihoods: Mapping[str, str] = field(default_factory=dict)
    """Metrics of `summary.json` that are likelihoods of the test set, the best one last, to their
    kinds, with names of settings in braces. <metric>_error is the standard error, and absent
    where it is not known. The comparison shows these in the place of its own; by default there are
    none."""


@dataclass(frozen=True)
class Experiment(Generic[A]):
    """An experiment, as the constant ``EXPERIMENT`` of its module."""

    name: str
    """Of the module here and of the model in `jaxgen.models`."""
    presets: Mapping[str, A]
    """Named settings; the first is the default."""
    quick: Mapping[str, Any]
    """Changes of `--quick`; a mapping changes single fields of a part."""
    train: Callable[[A, Session], Result]
    """Trains all that the model needs, for the seeds of the session."""
    report: Callable[[A, Session, Result], Path]
    """Writes the run folder of one trained seed; returns its page."""
    choose: Callable[[A, Dataset], Choice | None] = lambda *_: None
    """The preset of a run for which none was typed, from its settings and data; None is the first.
    Whatever else was typed stays as it is."""
    band: Band = field(default_factory=Band)
    benchmark: Benchmark[A] = field(default_factory=Benchmark)
    comparison: Comparison = field(default_factory=Comparison)
    headlines: tuple[str, ...] = ()
    """Metrics of `summary.json` that the last lines of a run show, and the page of several seeds:
    the first three that the run has; the first ones there where none is named."""
    successor: Callable[[A], tuple[str, ...]] = lambda _: ()
    """The module to run after one with these settings, and its flags, with the run's ``{folder}``;
    `compare` where none is named."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Command lines that `--help` shows, to what each does and the time that it takes."""

    def headline(self, metrics: Mapping[str, V]) -> dict[str, V]:
        """The metrics of `headlines` that there are, by name; the first ones where none is."""
        names = [name for name in self.headlines if name in metrics] or [*metrics]
        return {name: metrics[name] for name in names[:NUM_HEADLINES]}

    @property
    def default(self) -> A:
        """The settings of the first preset."""
        return next(iter(self.presets.values()))

    def learner(self, args: A, image_shape: ImageShape) -> Learner:
        """The learner that the benchmark times."""
        if self.benchmark.learner:
            return self.benchmark.learner(args, image_shape)
        config = args.model  # type: ignore[attr-defined] # each experiment's own dataclass
        learner: Learner = models.module(self.name).learner(config, image_shape)
        return learner


def names() -> list[str]:
    """The experiments there are, in alphabetical order."""
    return [name for name in _modules() if _declared(name)]


def find(name: object) -> Experiment[Any]:
    """The experiment of that name.

    Errors:
        SettingError: there is none.
    """
    if name in _modules() and (declared := _declared(str(name))):
        return declared
    raise SettingError(
        expected=f"the name of an experiment: {', '.join(names())}",
        found=repr(name)[:80],
        remedy="type python -m experiments for a list",
    )


def _modules() -> list[str]:
    """The modules directly in the package."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


def _declared(name: str) -> Experiment[Any] | None:
    found = getattr(importlib.import_module(f"{experiments.__name__}.{name}"), "EXPERIMENT", None)
    return found if isinstance(found, Experiment) else None
