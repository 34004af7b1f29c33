"""The flags that every experiment shares, and the data set that they name."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from experiments.running import loggers
from experiments.running.cluster import Cluster, chosen_devices
from experiments.running.signals import before_leaving
from jaxgen import data
from jaxgen.errors import MAX_SIZE, DataMissingError, SettingError, require, require_positive
from jaxgen.report.page import counted
from jaxgen.runs.manifest import PLACE
from jaxgen.training import steps_in_epoch
from jaxgen.training.sharding import layout

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger("jaxgen")

LEAST_UPDATES = 16
"""Of an epoch of the user's own images, where no batch size is asked for."""


@dataclass(frozen=True)
class RunArgs:
    """Flags that every experiment shares."""

    dataset: str = "auto"
    """mnist, fashion_mnist, kmnist, digits; a folder of images; a .npy or .npz file; tfds:NAME or
    hf:NAME. auto: MNIST if it can be had or --manual-dir is given, else the embedded digits."""
    images: data.ImageOptions = field(default_factory=data.ImageOptions)
    data_dir: Path | None = None
    """Folder of prepared data sets; TFDS's own default if not given."""
    manual_dir: Path | None = None
    """A folder with the original files, or with one such folder per data set."""
    out: Path | None = None
    """Run folder; runs/<experiment>-<dataset>-seed<seed> if not given. Behind the experiment stand
    a preset that is typed and the word quick of a quick run, before the seed the word conditional
    of a conditional one."""
    preset: str = "lab"
    """Named set of defaults; other flags change single values of it."""
    epochs: int = 100
    """Passes over the training set."""
    batch_size: int = 100
    """Images per update."""
    flip: bool = False
    """Mirror training images left to right, each with probability 1/2 at every visit; for small
    sets of what may stand either way round."""
    seed: int = 0
    """Root of all randomness."""
    seeds: tuple[int, ...] = ()
    """Train these seeds in one program, instead of --seed."""
    resume: bool = False
    """Go on from the newest good checkpoint in the run folder; start if there is none."""
    overwrite: bool = False
    """Replace an earlier run in the run folder."""
    quick: bool = False
    """The whole path by a short training, of the embedded digits where no data set is named, in a
    minute at most there."""
    deterministic: bool = False
    """Ask an accelerator for deterministic kernels and full float32 products."""
    tensorboard: bool = False
    """Write TensorBoard event files as well; the same as --log tensorboard."""
    log: tuple[loggers.Name, ...] = ()
    """Log to these services as well: tensorboard, wandb, mlflow."""
    log_every: int = 100
    """Steps over which logged metrics are averaged; the end of an epoch ends an interval too."""
    stream: bool = False
    """Bring the training set to the device in windows, as is done anyway with one that takes more
    than a quarter of the memory there; the results are the same."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints; with inf the last state alone is saved."""
    cluster: Cluster = field(default_factory=Cluster)

    shorten: ClassVar[str] = "--epochs or --quick"
    """Flags that a run which takes long names."""
    immaterial: ClassVar[frozenset[str]] = PLACE | {
        *("preset", "model", "dataset", "images", "seed", "seeds", "quick", "study", "cluster"),
        *("log_every", "deterministic"),
    }
    """Settings in which runs of the same model may differ; `model` is compared field by field. An
    experiment adds those that shape its report alone."""

    def __post_init__(self) -> None:
        require_positive(self, "epochs", "batch_size", "log_every")
        require(self, "dataset", "\0" not in self.dataset, "of a name or a path")
        require(self, "checkpoint_seconds", self.checkpoint_seconds >= 0, "of at least 0")
        for flag, seed in (("--seed", self.seed), *(("--seeds", seed) for seed in self.seeds)):
            if not 0 <= seed < 2**32:
                expected = f"{flag} from 0 to 4294967295"
                raise SettingError(expected=expected, found=str(seed), remedy=f"set {flag}")
        once = not (self.resume and self.overwrite)
        require(self, "overwrite", once, "not beside --resume, which goes on with what it replaces")
        require(self, "seeds", len({*self.seeds}) == len(self.seeds), "with each seed once")

    @property
    def epochs_in_words(self) -> str:
        """How long a run trains; an experiment of several stages names each of them."""
        return counted(self.epochs, "epoch")

    @property
    def loggers(self) -> tuple[str, ...]:
        """The services that numbers go to besides the log."""
        return (*("tensorboard",) * self.tensorboard, *self.log)

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Flags of epochs that a run keeps when it goes on, because its updates depend on them."""
        return ()

    @property
    def batches_in_step(self) -> int:
        """Mini-batches that a step takes."""
        return 1

    def num_updates(self, dataset: data.Dataset) -> int:
        """Of all epochs."""
        num = len(dataset.train.images)
        return self.epochs * steps_in_epoch(num, self.batch_size, self.batches_in_step)

    def fit_to(self, dataset: data.Dataset) -> Self:
        """The settings with those that the data set decides, before `check`."""
        del dataset
        return self

    def check(self, dataset: data.Dataset, folder: Path) -> None:
        """Raises if the settings cannot work on the data, before the run folder is touched."""
        del folder  # for experiments that start from another run
        loggers.require_installed(self.loggers)
        num = len(dataset.train.images)
        steps = steps_in_epoch(num, self.batch_size, self.batches_in_step)
        most = MAX_SIZE // steps
        require(
            self, "epochs", self.epochs <= most, f"of at most {most:,}, with {steps:,} updates each"
        )
        layout(chosen_devices(self.cluster), len(self.seeds) or 1, self.batch_size)


AnyArgs = TypeVar("AnyArgs", bound=RunArgs)
Settings = TypeVar("Settings", bound="DataclassInstance")


def quicken(args: Settings, quick: Mapping[str, Any]) -> Settings:
    """The settings with the values of `quick`; a mapping replaces single fields of a part."""
    values = {
        name: dataclasses.replace(getattr(args, name), **value)
        if isinstance(value, Mapping)
        else value
        for name, value in quick.items()
    }
    return dataclasses.replace(args, **values)


def changes(value: Any, default: Any) -> dict[str, Any]:
    """The fields in which two settings of the same kind differ, with the first one's values."""
    names = [field.name for field in dataclasses.fields(value)]
    return {n: getattr(value, n) for n in names if getattr(value, n) != getattr(default, n)}


def as_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the words of a command line: --epochs 3 --no-falling."""
    words = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        words.append(f"--no-{flag}" if value is False else f"--{flag}")
        values = value if isinstance(value, tuple) else (value,)
        words += [str(each) for each in values if not isinstance(each, bool)]
    return words


def in_small_batches(args: AnyArgs, dataset: data.Dataset) -> AnyArgs:
    """The settings with batches so small that an epoch of the user's own set has some updates."""
    num = len(dataset.train.images)
    most = max(1, min(max(2, num // LEAST_UPDATES), num // args.batches_in_step))
    if dataset.name in data.NAMES or args.batch_size <= most:
        return args
    there = "is 1 image" if num == 1 else f"are {num} images"
    logger.info("batches of %d, because there %s; --batch-size changes them", most, there)
    changes: dict[str, Any] = {"batch_size": most}
    return dataclasses.replace(args, **changes)


def condition_on_classes(args: AnyArgs, conditional: bool, dataset: data.Dataset) -> AnyArgs:
    """The settings whose model has the classes of the data set if it is to be conditional.

    Errors:
        SettingError: there are no two classes with training images, or a gain but no labels.
    """
    model: Any = getattr(args, "model", None)  # of an experiment whose model has classes
    if not conditional:
        if getattr(model, "num_classes", 0):
            raise SettingError(
                expected="--num-classes beside --conditional, which sets it",
                found=f"{model.num_classes} without it",
                remedy="add --conditional, or leave --num-classes out",
            )
        if getattr(model, "label_gain", 1.0) != 1.0:
            raise SettingError(
                expected="--label-gain beside --conditional",
                found=f"{model.label_gain:g} without it",
                remedy="add --conditional, or leave --label-gain out",
            )
        return args
    num = len(np.unique(dataset.train.labels)) if dataset.num_classes else 0
    if num < 2:
        raise SettingError(
            expected="--conditional with training images of two classes or more",
            found=f"{num} of them in {dataset.name}",
            remedy="leave --conditional out, or put the images into one folder per class",
        )
    if model.num_classes not in (0, dataset.num_classes):
        raise SettingError(
            expected=f"--num-classes {dataset.num_classes}, those of {dataset.name}",
            found=str(model.num_classes),
            remedy="leave --num-classes out: --conditional sets it",
        )
    model = dataclasses.replace(model, num_classes=dataset.num_classes)
    changes: dict[str, Any] = {"model": model}
    return dataclasses.replace(args, **changes)


def check_places(args: RunArgs) -> None:
    """Raises SettingError if the run would be written in the user's folder of images."""
    if args.dataset != "auto":
        data.place_of(args.dataset)
        data.check_outside(args.dataset, args.out or Path("runs"), "--out")


def load_dataset(args: RunArgs) -> data.Dataset:
    """Loads the data set of the flags; with `auto`, MNIST if it can be had, else digits.

    Whoever names a folder with original files wants MNIST.
    """
    name = "mnist" if args.dataset == "auto" else args.dataset
    try:
        with before_leaving(data.remove_unfinished):
            return data.load(name, args.data_dir, args.manual_dir, args.images)
    except DataMissingError as error:
        if args.dataset != "auto" or args.manual_dir:
            raise
        logger.warning("using the embedded digits, because MNIST cannot be had: %s", error)
        return data.load("digits", args.data_dir, options=args.images)
