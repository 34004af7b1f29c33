"""How fast the learners train, and against what: one run, interleaved, the same machine.

    python -m experiments.benchmark --only rbm-lab --against all

Prints one row per learner and preset; `--json FILE` and `--markdown FILE` keep them. An epoch is
timed as `fit` runs it, with its log intervals, on MNIST where it can be had, otherwise on the
digits repeated to 60,000, otherwise on noise. `--sweep batch_size` and the like print one row per
value and draw a plot. Each row comes from a process of its own, so that its import, its compilation
and its memory are its own. About half a minute on two cores for rbm-lab against nothing.

`--accelerator` measures all that is wanted of one accelerator, in under nine minutes; `--growth`
how time and memory grow with every size; `--start` how long a command takes to its first updates.
"""

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import STARTED
from experiments.benchmarking import accelerator, growth, machine, start
from experiments.benchmarking import page as benchmark_pages
from experiments.benchmarking.baseline import LIBRARIES, is_there, require_libraries
from experiments.benchmarking.cases import Patience, Precision, cases, require_rounding, with_values
from experiments.benchmarking.largest import largest_batch
from experiments.benchmarking.make_images import repeat, write_repeated
from experiments.benchmarking.measure import NUM_IMAGES, measure
from experiments.benchmarking.sweeps import SWEEPS, SweepName, plot, sweep_page
from experiments.running.args import RunArgs, as_words, changes, load_dataset
from experiments.running.cli import exit_code, make_deterministic, parse_flags
from experiments.running.cluster import use_devices
from experiments.running.console import show, working, write_error
from experiments.running.places import require_two_files
from experiments.running.signals import (
    before_leaving,
    child,
    shell_code,
    tell,
    temporary_folder,
)
from jaxgen.errors import (
    DataMissingError,
    SettingError,
    require,
    require_above_zero,
    require_positive,
)
from jaxgen.files import write_atomically, write_json

IMPORT_S = time.perf_counter() - STARTED
"""Seconds that a command takes to import its modules."""

EXAMPLES = {
    "python -m experiments.benchmark --only rbm-lab": "its speed on this machine: half a minute",
    "python -m experiments.benchmark --only rbm-lab --against flax": "in turn with Flax: a minute",
    "python -m experiments.benchmark --accelerator": "one accelerator: under nine minutes",
}
"""Of `--help`."""

OF_DATA = ("dataset", "data_dir", "manual_dir")
OF_START = (*OF_DATA, "start", "only", "repeats", "json", "markdown")
"""Settings that name the data, and all that `--start` takes."""

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
    latent_size: int | None = None
    """Numbers of a code, of a VAE or a GAN; each preset's own where not given."""
    image_size: int | None = None
    """Pixels along a side of the images; the data set's own where not given."""
    channels: int | None = None
    """Channels of the images; the data set's own where not given."""
    seeds: int = 1
    """Seeds trained in one program."""
    devices: int = 1
    """Devices that share the work; the CPU is made that many."""
    stream: bool = False
    """Stream the images from a memory map of a file, in turn with a training that has them on the
    device."""
    resident: bool = True
    """Beside --stream: the training that has the images on the device takes turns."""
    precision: tuple[Precision, ...] = ()
    """The rows of these precisions, also of a learner without a setting of it: JAX then rounds its
    products, if the device does; every one that a learner has a setting for where none is given."""
    deterministic: bool = False
    """Ask an accelerator for deterministic kernels and full float32 products."""
    sweep: tuple[SweepName, ...] = ()
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
    retries: int = 2
    """Times that they are timed again if something else ran on the machine; a row that was
    disturbed to the end is marked."""
    together: bool = False
    """All rows from one process: soon begun, and a row's peak of memory is known if it is the
    highest so far."""
    largest_batch: bool = False
    """Find the largest batch that the device holds."""
    accelerator: bool = False
    """Measure all that is wanted of one accelerator, in --minutes: every learner in both precisions
    against PyTorch, deterministic and not, digests, seeds, the largest batch, the lab's DCGAN."""
    growth: bool = False
    """Measure how time and memory grow with every size, in a quarter of an hour on two cores;
    --only and --sweep choose parts."""
    start: bool = False
    """Measure how long each command takes to its first updates, without compiled programs and then
    --repeats times with kept ones."""
    quick: bool = False
    """Tiny sizes, to try --accelerator or --growth: two minutes."""
    minutes: float = 8.5
    """Of --accelerator; what does not fit is left out with a line."""
    seconds: float | None = None
    """Share these among the rows; a baseline that would begin later, or fails, is left out."""
    json: Path | None = None
    """File for the rows; written after each. Of --growth and --accelerator in runs/benchmark where
    not given."""
    markdown: Path | None = None
    """File for the rows as tables, with the machine and the versions."""
    plots: Path | None = None
    """Folder for the plots of a sweep; that of --markdown, or runs/benchmark, where not given."""

    def __post_init__(self) -> None:
        require_positive(self, "seeds", "devices", "repeats")
        sizes = ("batch_size", "hidden_size", "latent_size", "image_size", "channels", "images")
        require_positive(self, *(name for name in sizes if getattr(self, name) is not None))
        require(self, "retries", self.retries >= 0, "of at least 0")
        limits = (name for name in ("minutes", "seconds") if getattr(self, name) is not None)
        require_above_zero(self, *limits)
        self._require_one_task()
        require(self, "values", min(self.values, default=1) >= 1, "of 1 or more")
        if self.values and len(self.sweep) != 1:
            raise SettingError(
                expected="--values beside a single --sweep",
                found=f"{len(self.sweep)} of them",
                remedy="set --sweep to one of its words, for example batch_size",
            )

    def _require_one_task(self) -> None:
        """Raises SettingError where settings of one task stand beside another that has no use."""
        names = ("accelerator", "growth", "largest_batch", "start")
        tasks = [name for name in names if getattr(self, name)]
        if len(tasks) > 1:
            raise SettingError(
                expected="one of --accelerator, --growth, --largest-batch and --start",
                found=" ".join(f"--{name.replace('_', '-')}" for name in tasks),
                remedy="type them one after the other",
            )
        whole = self.accelerator or self.growth
        require(self, "quick", whole or not self.quick, "beside --accelerator or --growth")
        require(self, "sweep", not (self.accelerator and self.sweep), "without --accelerator")
        require(self, "values", not (whole and self.values), "without --accelerator or --growth")
        if self.start:
            for name in (name for name in changes(self, Args()) if name not in OF_START):
                flag = f"--{name.replace('_', '-')}"
                raise SettingError(
                    expected="--start with the flags of the data alone, --only and --repeats",
                    found=flag,
                    remedy=f"leave {flag} out, because commands are started as they are",
                )

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of the baselines."""
        chosen = {"all": LIBRARIES, "none": ()}.get(self.against, (self.against,))
        return (*chosen, *("resident",) * (self.stream and self.resident))


def flags(args: Args) -> list[str]:
    """The command line that says the settings, those that are not the defaults."""
    return as_words(changes(args, Args()))


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
    nothing: dict[str, Any] = {"sweep": (), "values": (), "together": False, "seconds": None}
    alone = replace(args, **nothing, json=None, markdown=None, plots=None)
    return [
        (sweep, replace(alone, only=(case.name,), precision=(precision,), **change))
        for case in cases(args.only)
        for precision in args.precision or case.precisions
        for sweep, change in changes
    ]


def load_images(args: Args) -> tuple[str, np.ndarray]:
    """The name and the training images of a data set, or else of noise."""
    if not args.synthetic:
        where = {name: getattr(args, name) for name in OF_DATA}
        try:
            dataset = load_dataset(RunArgs(**where))
            return dataset.name, dataset.train.images
        except (ImportError, DataMissingError) as error:
            logger.warning("using noise, for no data set can be had: %s", error)
    noise = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 28, 28, 1), np.uint8)
    return "noise", noise


def measure_here(
    args: Args, until: float = math.inf, keep: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """One row, measured in this process; for `until` see `Patience`, for `keep` `measure`."""
    if args.deterministic:
        make_deterministic()
    use_devices(args.devices)
    (case,) = cases(args.only)
    precision = args.precision[0] if args.precision else None
    case = with_values(case, args.batch_size, args.hidden_size, precision, args.latent_size)
    require_rounding(case)
    with working("loading the images"):
        name, images = load_images(args)
    num = max(args.images or case.experiment.benchmark.num_images, case.args.batch_size)
    shape = args.image_size, args.channels
    origin = {"import_s": IMPORT_S, "data": name, "deterministic": args.deterministic}
    origin |= {"hidden_size": args.hidden_size, "environment": machine.environment()}
    origin |= {"latent_size": getattr(case.args.model, "latent_size", None)}
    with working(case.name), temporary_folder() as folder:
        if args.stream:
            write_repeated(folder / "images.npy", images, num, *shape)
            found = np.load(folder / "images.npy", mmap_mode="r")
        else:
            found = repeat(images, range(num), *shape)
        origin |= {"image_size": found.shape[1], "channels": found.shape[3]}
        patience = Patience(args.repeats, args.retries, until)
        if args.largest_batch:
            row = largest_batch(case, found, patience)
        else:
            how = (args.libraries, args.seeds, args.devices, args.stream)
            keep_whole = None if keep is None else lambda row: keep(row | origin)
            row = measure(case, found, patience, *how, keep_whole)
    words = " ".join(flags(replace(args, json=None, markdown=None)))
    logger.info("%s: %.4g ms a step", words, 1e3 * row["step_s"])
    return row | origin


def measure_together(args: Args) -> list[dict[str, Any]]:
    """All rows from this process, written after each.

    Where there are seconds to share, a row that fails becomes the line of what was left out.
    """
    rows: list[dict[str, Any]] = []
    settings = single(args)
    in_time = args.seconds is not None
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds

    def write(*unfinished: dict[str, Any]) -> None:
        if args.json:
            write_json(args.json, [*rows, *unfinished])

    for number, (sweep, setting) in enumerate(settings):
        now = time.monotonic()
        until = now + (end - now) / (len(settings) - number)
        try:
            if now > end:
                raise TimeoutError("no time was left")
            keep = partial(_keep, write, sweep) if in_time and args.libraries else None
            row = measure_here(setting, until, keep)
        except Exception as error:
            if not in_time:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            names = f"{setting.only[0]}, {setting.precision[0]}"
            value = f", {sweep} {getattr(setting, sweep)}" if sweep else ""
            row = {"left_out": f"{names}{value}: {reason}"}
        rows.append(row | {"sweep": sweep, "together": True})
        write()
    return rows


def _keep(write: Callable[[dict[str, Any]], None], sweep: str | None, row: dict[str, Any]) -> None:
    """Writes a row that is not finished yet."""
    write(row | {"sweep": sweep, "together": True})


def measure_apart(args: Args) -> dict[str, Any]:
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
            raise SystemExit(shell_code(code))
        row: dict[str, Any]
        (row,) = json.loads(path.read_text())
        return row


def measure_in_time(args: Args, limit: float) -> tuple[list[dict[str, Any]], str]:
    """Rows from a process of its own that is killed after so many seconds, and why it failed.

    The rows are those that it had written.
    """
    with temporary_folder() as folder:
        path, log = folder / "rows.json", folder / "log"
        words = [sys.executable, "-m", "experiments.benchmark", *flags(replace(args, json=path))]
        # The accelerator is shared with PyTorch, or is for the largest batch alone.
        alone = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
        shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        env = os.environ | (alone if args.largest_batch else shared)
        with log.open("wb") as stream:
            output = {"stdout": subprocess.DEVNULL, "stderr": stream}
            with child(words, env=env, **output) as process:
                try:
                    code = process.wait(limit)
                    lines = log.read_text(errors="replace").strip().splitlines()
                    failed = f"exit code {code}: {lines[-1] if lines else ''}" if code else ""
                except subprocess.TimeoutExpired:
                    process.kill()
                    failed = f"it did not end within {limit:.0f} s"
        return (json.loads(path.read_text()) if path.exists() else []), failed


def run_accelerator(args: Args) -> str:
    """Measures an accelerator part by part; writes the page and the rows after each process."""
    folder = Path("runs/benchmark")
    paths = args.json or folder / "accelerator.json", args.markdown or folder / "accelerator.md"
    plain = replace(args, accelerator=False, quick=False, json=None, markdown=None, only=())
    plan = accelerator.plan(args.only, args.quick, is_there("torch"))
    if args.quick:  # it tries the way alone, and compiling took most of its time
        flags_before = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags_before} --xla_backend_optimization_level=0".strip()

    def in_time(
        settings: Mapping[str, Any], seconds: float, limit: float
    ) -> tuple[list[dict[str, Any]], str]:
        return measure_in_time(replace(plain, **settings, seconds=seconds), limit)

    def write(found: accelerator.Found) -> None:
        write_json(paths[0], found.document())
        write_atomically(paths[1], accelerator.page(found).encode())

    found = accelerator.measure_parts(plan, in_time, 60 * args.minutes, write)
    return accelerator.page(found)


def run_growth(args: Args) -> str:
    """Measures how time and memory grow, line by line, and draws it."""
    folder = args.plots or (args.markdown.parent if args.markdown else Path("runs/benchmark"))
    path = args.json or folder / "growth.json"
    plain = replace(args, growth=False, quick=False, sweep=(), json=None, markdown=None, plots=None)
    rows: list[dict[str, Any]] = []
    lines = growth.choose_lines(args.only, args.sweep, args.quick)
    points = [(line, value) for line in lines for value in line.values]
    with before_leaving(lambda: tell(growth.kept_in_words(len(rows), len(points), path))):
        for number, (line, value) in enumerate(points, start=1):
            words = f"{line.case}, {line.sweep} {value}"
            logger.info("row %d of %d: %s", number, len(points), words)
            setting = {**line.settings, "only": (line.case,), "precision": ("float32",)}
            row = measure_apart(replace(plain, **{**setting, line.sweep: value}))
            rows.append(row | {"sweep": line.sweep})
            write_json(path, rows)
    picture = growth.draw(rows, folder / "growth.png")
    return growth.page(rows, picture, args.markdown)


def run_start(args: Args) -> str:
    """Measures the starts of every command, written after each."""
    given = changes(args, Args())
    data = as_words({name: given[name] for name in OF_DATA if name in given})
    rows: list[dict[str, Any]] = []
    for case in cases(args.only):
        with working(case.name):
            rows.append(start.measure_starts(case, data, args.repeats))
        seconds = rows[-1]["first_metrics_s"], rows[-1]["metrics_s"]
        logger.info("%s: metrics after %.3g s, in a second start after %.3g s", case.name, *seconds)
        if args.json:
            write_json(args.json, rows)
    return start.page(rows)


def run(args: Args) -> str:
    """Measures all rows and keeps what is to be kept; returns the page."""
    require_two_files(args.json, args.markdown)
    if args.accelerator:
        return run_accelerator(args)
    if args.start:
        return run_start(args)
    require_libraries(args.libraries)
    if args.growth:
        return run_growth(args)
    settings = single(args)
    rows: list[dict[str, Any]] = []
    if args.together or args.seconds is not None:
        rows = measure_together(args)
        settings = []
    for number, (sweep, setting) in enumerate(settings, start=1):
        if len(settings) > 1:
            logger.info("row %d of %d: %s", number, len(settings), " ".join(flags(setting)))
        row = measure_here(setting) if len(settings) == 1 else measure_apart(setting)
        rows.append(row | {"sweep": sweep})
        if args.json:
            write_json(args.json, rows)
    rows = [row for row in rows if "left_out" not in row]
    if not args.sweep or not rows:
        return benchmark_pages.page(rows) if rows else "nothing was measured"
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
