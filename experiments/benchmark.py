"""How fast the learners train, and against what: one run, interleaved, the same machine.

    python -m experiments.benchmark --only rbm-lab --against all

Prints one row per learner and preset; `--json FILE` and `--markdown FILE` keep them. An epoch is
timed as `fit` runs it, with its log intervals, on MNIST where it can be had, otherwise on the
digits repeated to 60,000, otherwise on noise. `--sweep batch_size` and the like print one row per
value and draw a plot. Each row comes from a process of its own, so that its import, its compilation
and its memory are its own. About half a minute on two cores for rbm-lab against nothing.
"""

import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import STARTED
from experiments.benchmarking import page as benchmark_pages
from experiments.benchmarking.baseline import LIBRARIES, require_libraries
from experiments.benchmarking.cases import Precision, cases, changed
from experiments.benchmarking.measure import NUM_IMAGES, measure
from experiments.benchmarking.sweeps import SWEEPS, plot, sweep_page
from experiments.running.args import RunArgs, load_dataset
from experiments.running.cli import exit_code, parse_flags
from experiments.running.cluster import use_devices
from experiments.running.console import show, working, write_error
from experiments.running.signals import child, temporary_folder
from jaxgen.errors import (
    DataMissingError,
    SettingError,
    require,
    require_positive,
)
from jaxgen.files import write_atomically, write_json

IMPORT_S = time.perf_counter() - STARTED
"""Seconds that a command takes to import its modules."""

EXAMPLES = {
    "python -m experiments.benchmark --only rbm-lab": "its speed on this machine: half a minute",
    "python -m experiments.benchmark --only rbm-lab --against flax": "in turn with Flax: a minute",
}
"""Of `--help`."""

logger = logging.getLogger("jaxgen")


@dataclass(frozen=True)
class Args:
    """Measure the speed of the learners, alone or against others in the same run."""

    only: tuple[str, ...] = ()
    """Names, <experiment>-<preset>, for example rbm-lab; all of them where none is given, of a
    sweep rbm-lab."""
    against: Literal["none", "torch", "flax", "all"] = "none"
    """Programs to run in turn with ours; torch needs the extra `benchmark`."""
    batch_size: int | None = None
    """Images per update; each preset's own where not given."""
    hidden_size: int | None = None
    """Units of every hidden layer, of a DCGAN its base width; each preset's own where not given."""
    seeds: int = 1
    """Seeds trained in one program."""
    devices: int = 1
    """Devices that share the work; the CPU is made that many."""
    stream: bool = False
    """Stream the images from a memory map of a file, in turn with a training that has them on the
    device."""
    precision: Precision | None = None
    """Only the rows of this precision; every one that a learner has where not given."""
    sweep: tuple[Literal["batch_size", "hidden_size", "seeds", "devices"], ...] = ()
    """Settings of which one row is measured per value, and drawn."""
    values: tuple[int, ...] = ()
    """The values of a single sweep, instead of its own."""
    images: int | None = None
    """Images of an epoch that is timed; 60,000, fewer for long updates, where not given."""
    dataset: str = "auto"
    """Data set, repeated to as many images as are timed."""
    data_dir: Path | None = None
    """Where prepared data sets lie; TFDS's own default where not given."""
    manual_dir: Path | None = None
    """A folder with the original files, or with one such folder per data set."""
    synthetic: bool = False
    """Noise instead of a data set; taken anyway where none can be had."""
    repeats: int = 7
    """Epochs timed; the median is reported, with the fastest and the slowest."""
    json: Path | None = None
    """File for the rows; written after each."""
    markdown: Path | None = None
    """File for the rows as tables, with the machine and the versions."""
    plots: Path | None = None
    """Folder for the plots of a sweep; that of --markdown, or runs/benchmark, where not given."""

    def __post_init__(self) -> None:
        require_positive(self, "seeds", "devices", "repeats")
        require(self, "values", min(self.values, default=1) >= 1, "of 1 or more")
        if self.values and len(self.sweep) != 1:
            raise SettingError(
                expected="--values beside a single --sweep",
                found=f"{len(self.sweep)} of them",
                remedy="set --sweep to one of them",
            )

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the baselines."""
        return {"all": LIBRARIES, "none": ()}.get(self.against, (self.against,))


def flags(args: Args) -> list[str]:
    """The command line that says the settings, those that are not the defaults."""
    words = []
    for field in fields(args):
        value = getattr(args, field.name)
        if value != field.default:
            words.append(f"--{field.name.replace('_', '-')}")
            values = value if isinstance(value, tuple) else (value,)
            words += [str(word) for word in values if word is not True]
    return words


def single(args: Args) -> list[tuple[str | None, Args]]:
    """The sweep and the settings of every row."""
    changes: list[tuple[str | None, dict[str, Any]]] = [(None, {})]
    if args.sweep:
        args = replace(args, only=args.only or ("rbm-lab",))
        changes = [
            (name, {name: value})
            for name in args.sweep
            for value in args.values or SWEEPS[name].values
        ]
    alone = replace(args, sweep=(), values=(), json=None, markdown=None, plots=None)
    found = [
        (sweep, replace(alone, only=(case.name,), precision=precision, **change))
        for case in cases(args.only)
        for precision in case.precisions
        if args.precision in (None, precision)
        for sweep, change in changes
    ]
    if not found:
        raise SettingError(
            expected="--precision float32 for these learners",
            found=str(args.precision),
            remedy="set it, or choose others with --only",
        )
    return found


def load_images(args: Args) -> tuple[str, np.ndarray]:
    """The name and the training images of a data set, or else of noise."""
    if not args.synthetic:
        where = {name: getattr(args, name) for name in ("dataset", "data_dir", "manual_dir")}
        try:
            dataset = load_dataset(RunArgs(**where))
            return dataset.name, dataset.train.images
        except (ImportError, DataMissingError) as error:
            logger.warning("using noise, for no data set can be had: %s", error)
    noise = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 28, 28, 1), np.uint8)
    return "noise", noise


def measured_here(args: Args) -> dict[str, Any]:
    """One row, measured in this process."""
    use_devices(args.devices)
    (case,) = cases(args.only)
    case = changed(case, args.batch_size, args.hidden_size, args.precision)
    with working("loading the images"):
        name, images = load_images(args)
    num = max(args.images or case.experiment.benchmark.num_images, case.args.batch_size)
    images = np.resize(images, (num, *images.shape[1:]))
    how = (args.repeats, args.libraries, args.seeds, args.devices)
    with working(case.name):
        if args.stream:
            with temporary_folder() as folder:
                np.save(folder / "images.npy", images)
                mapped = np.load(folder / "images.npy", mmap_mode="r")
                row = measure(case, mapped, *how, stream=True)
        else:
            row = measure(case, images, *how)
    words = " ".join(flags(replace(args, json=None, markdown=None)))
    logger.info("%s: %.4g ms a step", words, 1e3 * row["step_s"])
    return row | {"import_s": IMPORT_S, "data": name, "hidden_size": args.hidden_size}


def measured_apart(args: Args) -> dict[str, Any]:
    """One row, measured by this program in a process of its own, which also says what failed."""
    with temporary_folder() as folder:
        path = folder / "rows.json"
        command = [sys.executable, "-m", "experiments.benchmark"]
        words = [*command, *flags(replace(args, json=path))]
        with child(words, stdout=subprocess.DEVNULL) as process:
            code = process.wait()
        if code < 0:
            write_error(f"{args.only[0]} ended by signal {-code}")
        if code:
            raise SystemExit(abs(code))
        row: dict[str, Any]
        (row,) = json.loads(path.read_text())
        return row


def run(args: Args) -> str:
    """Measures all rows and keeps what is to be kept; returns the page."""
    require_libraries(args.libraries)
    settings = single(args)
    rows: list[dict[str, Any]] = []
    for number, (sweep, setting) in enumerate(settings, start=1):
        if len(settings) > 1:
            logger.info("row %d of %d: %s", number, len(settings), " ".join(flags(setting)))
        row = measured_here(setting) if len(settings) == 1 else measured_apart(setting)
        rows.append(row | {"sweep": sweep})
        if args.json:
            write_json(args.json, rows)
    if not args.sweep:
        return benchmark_pages.page(rows)
    folder = args.plots or (args.markdown.parent if args.markdown else Path("runs/benchmark"))
    return sweep_page(rows, plot(rows, folder), args.markdown)


def main() -> int:
    """Parses, measures and prints; returns the exit code (see jaxgen.errors)."""

    def act() -> None:
        args = parse_flags(Args, EXAMPLES)
        text = run(args)
        show(text)
        if args.markdown:
            write_atomically(args.markdown, text.encode())

    return exit_code(act)


if __name__ == "__main__":
    sys.exit(main())
