"""What every experiment shares: its flags, its data and its training run.

An experiment is a frozen dataclass that extends `Args`, a table of presets, and two functions:
``train(args, session)`` trains all that its model needs, for one seed or for several at once, and
``report(args, session, result)`` writes the run folder of one seed. `launch.main` calls both.
"""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from flax.traverse_util import flatten_dict

from experiments.running import progress as monitor
from experiments.running import seeds as members
from experiments.running.cluster import Cluster, chosen_devices
from experiments.running.session import Session
from experiments.running.signals import Stopped, stop_signals
from jaxgen import data
from jaxgen.errors import DataMissingError, SettingError, require, require_positive
from jaxgen.learner import Learner, State
from jaxgen.training.loop import Result, Schedule, fit, steps_in_epoch
from jaxgen.training.sharding import layout

logger = logging.getLogger("jaxgen")


@dataclass(frozen=True)
class Args:
    """Flags that every experiment shares."""

    dataset: Literal["auto", "mnist", "fashion_mnist", "kmnist", "digits"] = "auto"
    """Data set. auto: MNIST where it can be had, otherwise the embedded digits."""
    data_dir: Path | None = None
    """Where prepared data sets lie; TFDS's own default where not given."""
    manual_dir: Path | None = None
    """A folder with the original files, or with one such folder per data set."""
    out: Path | None = None
    """Run folder; runs/<experiment>-<dataset>-seed<seed> where not given."""
    preset: str = "lab"
    """Named set of defaults; other flags change single values of it."""
    epochs: int = 100
    """Passes over the training set."""
    batch_size: int = 100
    """Images per update."""
    seed: int = 0
    """Root of all randomness."""
    seeds: tuple[int, ...] = ()
    """Train these seeds in one program, instead of --seed."""
    resume: bool = False
    """Go on from the newest good checkpoint in the run folder; start where there is none."""
    overwrite: bool = False
    """Replace an earlier run in the run folder."""
    quick: bool = False
    """The whole path in ten seconds to a minute: few epochs on the embedded digits."""
    deterministic: bool = False
    """Ask an accelerator for deterministic kernels and full float32 products."""
    tensorboard: bool = False
    """Write TensorBoard event files as well."""
    log_every: int = 100
    """Steps over which logged metrics are averaged; the end of an epoch ends an interval too."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints."""
    cluster: Cluster = field(default_factory=Cluster)

    shorten: ClassVar[str] = "--epochs or --quick"
    """Flags that a run which takes long names."""

    def __post_init__(self) -> None:
        require_positive(self, "epochs", "batch_size", "log_every")
        for flag, seed in (("--seed", self.seed), *(("--seeds", seed) for seed in self.seeds)):
            if not 0 <= seed < 2**32:
                expected = f"{flag} from 0 to 4294967295"
                raise SettingError(expected=expected, found=str(seed), remedy=f"set {flag}")
        require(self, "seeds", len({*self.seeds}) == len(self.seeds), "with each seed once")

    def check(self, dataset: data.Dataset, folder: Path) -> None:
        """Raises where the settings cannot work on the data, before the run folder is touched."""
        del folder  # for experiments that start from another run
        steps_in_epoch(len(dataset.train.images), self.batch_size)
        layout(chosen_devices(self.cluster), len(self.seeds) or 1, self.batch_size)


def load_dataset(args: Args) -> data.Dataset:
    """The data set that was asked for; with `auto`, MNIST where it can be had, else digits."""
    if args.dataset != "auto":
        return data.load(args.dataset, args.data_dir, args.manual_dir)
    try:
        return data.load("mnist", args.data_dir, args.manual_dir)
    except DataMissingError as error:
        logger.warning("using the embedded digits, for MNIST cannot be had: %s", error)
        return data.load("digits", args.data_dir)


def train(
    args: Args,
    learner: Learner,
    session: Session,
    model: Mapping[str, Any],
    evaluate: monitor.Evaluate = lambda _: {},
    state: State = None,
    seeds: Sequence[int] | None = None,
    notes: Mapping[str, str] = MappingProxyType({}),
    pictures: Callable[[State], np.ndarray] | None = None,
) -> Result:
    """Trains with everything a run folder needs: log, display, checkpoints, signals.

    Args:
        args: the shared flags.
        learner: what to train.
        session: where, on what and with which seeds.
        model: the learner's settings; with data, batch size and seeds they name the checkpoints.
        evaluate: measured on the state of one seed, about twenty times in a run.
        state: where to start instead of `learner.init`; of several seeds, with a leading axis.
        seeds: the seeds of members trained in one program; the session's where not given.
        notes: what every line of the log says besides its numbers.
        pictures: images of the state of one seed, drawn after every log interval; see
            `monitor.Watch`.

    Errors:
        Stopped: SIGINT or SIGTERM came; the state is saved.
    """
    seeds = tuple(seeds or session.seeds)
    identity = {
        "experiment": session.experiment,
        "data": session.dataset.digest,
        "batch_size": args.batch_size,
        "seeds": seeds,
        "model": model,
    }
    devices = chosen_devices(args.cluster)
    if len(devices) > 1:  # sums over several devices end in other last bits
        identity["devices"] = len(devices)
    settings = {name: str(value) for name, value in flatten_dict(identity, sep=".").items()}

    first = args.cluster.first

    def on_start() -> None:
        if first:
            session.record()
            session.folder.mkdir(parents=True, exist_ok=True)

    schedule = Schedule(args.epochs, args.batch_size, args.log_every, args.checkpoint_seconds)
    watch = monitor.Watch(
        evaluate=members.evaluated(evaluate, len(seeds)),
        every_epochs=max(1, args.epochs // 20),
        pictures=members.pictured(pictures, session) if pictures else None,
        tensorboard=args.tensorboard,
        shorten=args.shorten,
        notes=notes,
    )
    with stop_signals() as stopped, monitor.watching(session.folder, watch) as hook:
        result = fit(
            learner,
            session.dataset.train.images,
            schedule,
            seeds,
            state=state,
            folder=session.folder / "checkpoints",
            settings=settings,
            devices=devices,
            on_start=on_start,
            hook=hook if first else lambda _: None,
            should_stop=lambda: stopped() is not None,
        )
        signum = stopped()
    if signum is not None or not result.finished:
        logger.warning("saved step %d in %s; add --resume to go on", result.step, session.folder)
        raise Stopped(signum or signal.SIGTERM)  # without a signal, another process had one
    if first:
        members.split_log(session, result.step)
    return result
