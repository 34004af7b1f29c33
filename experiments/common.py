"""What every experiment shares: its flags, its data, its training run and its exit codes.

An experiment is a frozen dataclass that extends `Args`, a table of presets, and a function
``run(args, session)``; `main` parses, opens the run folder and turns errors into exit codes.
"""

import dataclasses
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn, TypeVar

import jax
import numpy as np
import tyro
from flax.traverse_util import flatten_dict

from experiments import monitor, run_folder
from experiments.signals import Stopped, stop_signals
from jaxgen import data
from jaxgen.errors import DataMissingError, JaxgenError, SettingError, WriteError, require_positive
from jaxgen.learner import Learner, State
from jaxgen.train import Result, Schedule, fit, steps_in_epoch

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

    shorten: ClassVar[str] = "--epochs or --quick"
    """Flags that a run which takes long names."""

    def __post_init__(self) -> None:
        require_positive(self, "epochs", "batch_size", "log_every")
        if not 0 <= self.seed < 2**32:
            raise SettingError(
                expected="--seed from 0 to 4294967295", found=str(self.seed), remedy="set --seed"
            )

    def check(self, dataset: data.Dataset, folder: Path) -> None:
        """Raises where the settings cannot work on the data, before the run folder is touched."""
        del folder  # for experiments that start from another run
        steps_in_epoch(len(dataset.train.images), self.batch_size)


AnyArgs = TypeVar("AnyArgs", bound=Args)


class Session(NamedTuple):
    """What `main` hands to an experiment: its name, its data, its folder."""

    experiment: str
    dataset: data.Dataset
    folder: Path
    record: Callable[[], None]
    """Writes down what is run and where; `train` calls it before the first step, once it is clear
    that the settings and the checkpoints found fit together."""


def quickened(args: AnyArgs, quick: Mapping[str, Any]) -> AnyArgs:
    """The settings with the values of `quick`; a mapping replaces single fields of a part."""
    values = {
        name: dataclasses.replace(getattr(args, name), **value)
        if isinstance(value, Mapping)
        else value
        for name, value in quick.items()
    }
    return dataclasses.replace(args, **values)


def parse(presets: Mapping[str, AnyArgs], quick: Mapping[str, Any], argv: Sequence[str]) -> AnyArgs:
    """Parses flags over a preset, the first where none is chosen; `quick` values lie between."""
    name = next(iter(presets))
    for index, flag in enumerate(argv):
        if flag == "--preset":
            name = "".join(argv[index + 1 : index + 2])
        elif flag.startswith("--preset="):
            name = flag.partition("=")[2]
    if name not in presets:
        raise SettingError(
            expected=f"--preset to be one of {', '.join(presets)}",
            found=repr(name),
            remedy="set --preset to one of them",
        )
    default = quickened(presets[name], quick) if "--quick" in argv else presets[name]
    return tyro.cli(
        type(default), default=default, args=list(argv), config=(tyro.conf.OmitArgPrefixes,)
    )


def load_dataset(args: Args) -> data.Dataset:
    """The data set that was asked for; with `auto`, MNIST where it can be had, else digits."""
    if args.dataset != "auto":
        return data.load(args.dataset, args.data_dir, args.manual_dir)
    try:
        return data.load("mnist", args.data_dir, args.manual_dir)
    except DataMissingError as error:
        logger.warning("using the embedded digits, for MNIST cannot be had: %s", error)
        return data.load("digits", args.data_dir)


def make_deterministic() -> None:
    """Asks XLA for deterministic kernels; must run before the first use of a device."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    jax.config.update("jax_default_matmul_precision", "highest")


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
        session: where and on what.
        model: the learner's settings; with data, batch size and seeds they name the checkpoints.
        evaluate: measured on the state about twenty times in a run.
        state: where to start instead of `learner.init`.
        seeds: the seeds of members trained in one program; the run's own seed where not given.
        notes: what every line of the log says besides its numbers.
        pictures: images of the state, drawn after every log interval; see `monitor.Watch`.

    Errors:
        Stopped: SIGINT or SIGTERM came; the state is saved.
    """
    seeds = tuple(seeds or (args.seed,))
    identity = {
        "experiment": session.experiment,
        "data": session.dataset.digest,
        "batch_size": args.batch_size,
        "seeds": seeds,
        "model": model,
    }
    settings = {name: str(value) for name, value in flatten_dict(identity, sep=".").items()}

    def on_start() -> None:
        session.record()
        session.folder.mkdir(parents=True, exist_ok=True)

    schedule = Schedule(args.epochs, args.batch_size, args.log_every, args.checkpoint_seconds)
    every = max(1, args.epochs // 20)
    watch = monitor.Watch(evaluate, every, pictures, args.tensorboard, args.shorten, notes)
    with stop_signals() as stopped, monitor.watching(session.folder, watch) as hook:
        result = fit(
            learner,
            session.dataset.train.images,
            schedule,
            seeds,
            state=state,
            folder=session.folder / "checkpoints",
            settings=settings,
            on_start=on_start,
            hook=hook,
            should_stop=lambda: stopped() is not None,
        )
        signum = stopped()
    if signum is not None:
        logger.warning("saved step %d in %s; add --resume to go on", result.step, session.folder)
        raise Stopped(signum)
    return result


def session_for(experiment: str, args: Args, dataset: data.Dataset, folder: Path) -> Session:
    """A session whose record is the `config.json` and the `manifest.json` of the folder."""
    config = dataclasses.asdict(args) | {"dataset": dataset.name, "experiment": experiment}
    record = partial(run_folder.record, folder, config, dataset.digest, args.seed)
    return Session(experiment, dataset, folder, record)


def _session(experiment: str, args: Args, run: Callable[[Any, Session], Path]) -> None:
    """Loads the data, owns the folder, runs the experiment."""
    if args.deterministic:
        make_deterministic()
    dataset = load_dataset(args)
    folder = args.out or Path("runs") / f"{experiment}-{dataset.name}-seed{args.seed}"
    args.check(dataset, folder)
    with run_folder.opened(folder, resume=args.resume, overwrite=args.overwrite):
        page = run(args, session_for(experiment, args, dataset, folder))
    print(f"report: {page}")


def main(
    experiment: str,
    run: Callable[[Any, Session], Path],
    presets: Mapping[str, Args],
    quick: Mapping[str, Any],
) -> int:
    """Runs an experiment from the command line; returns its exit code (see jaxgen.errors)."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("absl", "jax", "orbax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        _session(experiment, parse(presets, quick, sys.argv[1:]), run)
    except JaxgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print("interrupted; add --resume to go on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return WriteError.exit_code
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code; after Ctrl-C at once, for XLA may be compiling."""
    if code == 128 + signal.SIGINT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
