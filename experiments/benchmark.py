"""How fast the learners train, and against what: one run, interleaved, the same machine.

    python -m experiments.benchmark --only rbm-lab --against torch

Prints one row per learner and preset; `--json FILE` and `--markdown FILE` keep them. An epoch is
timed as `fit` runs it, with its log intervals, on MNIST where it can be had, otherwise on the
digits repeated to 60,000. About 30 seconds on two cores for rbm-lab.
"""

import time

STARTED = time.perf_counter()  # before the imports, for they count too

import importlib  # noqa: E402
import os  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Literal  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import tyro  # noqa: E402

from experiments import common, run_folder  # noqa: E402
from experiments.benchmark_cases import Case, cases  # noqa: E402
from jaxgen.data import Dataset  # noqa: E402
from jaxgen.errors import JaxgenError, SettingError  # noqa: E402
from jaxgen.files import write_atomically, write_json  # noqa: E402
from jaxgen.report import Table, markdown, number  # noqa: E402
from jaxgen.train import Progress, Schedule, fit  # noqa: E402

IMPORT_S = time.perf_counter() - STARTED
NUM_IMAGES = 60_000
PEAK_SIZE = 2048
PEERS = {"torch": "PyTorch", "torch_channels_last": "PyTorch channels_last"}


@dataclass(frozen=True)
class Args:
    """Measure the speed of the learners, alone or against PyTorch in the same run."""

    only: tuple[str, ...] = ()
    """Names, <experiment>-<preset>, for example rbm-lab; all of them where none is given."""
    against: Literal["none", "torch"] = "none"
    """Peer to run in turn with ours; torch needs the extra `benchmark`."""
    batch_size: int | None = None
    """Images per update; each preset's own where not given."""
    repeats: int = 7
    """Epochs timed; the median is reported, with the fastest and the slowest."""
    json: Path | None = None
    """File for the rows."""
    markdown: Path | None = None
    """File for the rows as a table, with the machine and the versions."""


def timed(function: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def matmul_peak() -> float:
    """Operations per second of a float32 matrix product of size 2048, the best of ten."""
    a = jnp.ones((PEAK_SIZE, PEAK_SIZE))
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    best = min(timed(lambda: product(a, a).block_until_ready()) for _ in range(10))
    return 2 * PEAK_SIZE**3 / best


def torch_epoch(case: Case, images: np.ndarray, options: Mapping[str, str]) -> Callable[[], None]:
    """The PyTorch program of the same updates, as a function that trains one epoch."""
    try:
        baseline = importlib.import_module(f"experiments.baselines.torch_{case.experiment}")
    except ModuleNotFoundError as error:
        raise SettingError(
            expected=f"PyTorch and a baseline for {case.experiment}",
            found=str(error),
            remedy="type pip install -c constraints.txt -e '.[benchmark]'",
        ) from error
    batch_size, model = case.args.batch_size, case.args.model
    epoch: Callable[[], None] = baseline.epoch_runner(images, batch_size, model, **options)
    return epoch


def measure(case: Case, dataset: Dataset, against: str, repeats: int) -> dict[str, Any]:
    """Times epochs of `fit`, each followed by one of every peer; the first of each warms up."""
    num = max(case.subject.num_images or NUM_IMAGES, case.args.batch_size)
    images = np.resize(dataset.train.images, (num, *dataset.train.images.shape[1:]))
    learner = case.subject.learner(case.args.model, images.shape[1:])
    peers = case.subject.peers if against == "torch" else {}
    others = {name: torch_epoch(case, images, options) for name, options in peers.items()}
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in others}
    first_step: list[float] = []
    began = mark = time.perf_counter()

    def hook(progress: Progress) -> None:
        nonlocal mark
        first_step.append(time.perf_counter() - began)
        if progress.step % progress.steps_per_epoch == 0:
            ours.append(time.perf_counter() - mark)
            for name, other in others.items():
                theirs[name].append(timed(other))
            mark = time.perf_counter()

    result = fit(learner, images, Schedule(repeats + 1, case.args.batch_size), (0,), hook=hook)
    steps = num // case.args.batch_size
    per_step = [seconds / steps for seconds in ours[1:]]
    row = row_of(case, per_step, result.compile_s, first_step[0])
    for name, seconds in theirs.items():
        row |= ratio_of(name, per_step, [each / steps for each in seconds[1:]])
    return row


def row_of(case: Case, seconds: list[float], compile_s: float, first_step_s: float) -> dict:
    """What is reported of one learner, from the seconds that a step took; rates are of the median.

    An epoch is one of all `NUM_IMAGES`.
    """
    steps = NUM_IMAGES // case.args.batch_size
    step_s = statistics.median(seconds)
    operations = case.subject.operations(case.args)
    peak = matmul_peak()
    return {
        "name": case.name,
        "batch_size": case.args.batch_size,
        "import_s": IMPORT_S,
        "compile_s": compile_s,
        "first_step_s": first_step_s,
        "step_s": step_s,
        "epoch_s": step_s * steps,
        "epoch_s_range": [min(seconds) * steps, max(seconds) * steps],
        "images_per_s": case.args.batch_size / step_s,
        "operations_per_step": operations,
        "gflops_per_s": operations / step_s / 1e9,
        "peak_gflops_per_s": peak / 1e9,
        "share_of_peak": operations / step_s / peak,
        "peak_rss_bytes": run_folder.peak_memory(),
    }


def ratio_of(name: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Our time over a peer's: of the medians, and the range over the pairs of epochs."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        f"{name}_step_s": statistics.median(theirs),
        f"{name}_step_s_range": [min(theirs), max(theirs)],
        f"ratio_to_{name}": statistics.median(ours) / statistics.median(theirs),
        f"ratio_to_{name}_range": [min(ratios), max(ratios)],
    }


def ratio_text(row: dict[str, Any], name: str) -> str:
    """A ratio with its range; empty where that peer did not run."""
    if f"ratio_to_{name}" not in row:
        return ""
    least, most = row[f"ratio_to_{name}_range"]
    return f"{row[f'ratio_to_{name}']:.2f} ({least:.2f} to {most:.2f})"


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows with their units; the peer's columns where there is one."""
    shown = {
        "batch": lambda row: str(row["batch_size"]),
        "import s": lambda row: number(row["import_s"], 3),
        "compile s": lambda row: number(row["compile_s"], 3),
        "ms/step": lambda row: number(1e3 * row["step_s"], 3),
        "s/epoch": lambda row: number(row["epoch_s"], 3),
        "images/s": lambda row: number(row["images_per_s"], 3),
        "GFLOP/s": lambda row: number(row["gflops_per_s"], 3),
        "share of peak": lambda row: number(row["share_of_peak"], 3),
        "peak RSS MB": lambda row: number(row["peak_rss_bytes"] / 1e6, 3),
    }
    for peer, said in PEERS.items():
        if any(f"ratio_to_{peer}" in row for row in rows):
            shown[f"ratio to {said} (range)"] = partial(ratio_text, name=peer)
    lines = [[row["name"], *(text(row) for text in shown.values())] for row in rows]
    return Table(["name", *shown], lines)


def page(rows: list[dict[str, Any]], dataset: str, repeats: int) -> str:
    """The rows as a markdown page that says where, with what and how they were measured."""
    found = run_folder.environment()
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return (
        f"# Speed\n\nGenerated by `{run_folder.command()}`.\n\n"
        f"{found['processor']}, {os.cpu_count()} cores, {found['device']}; {packages}. "
        f"Medians of {repeats} epochs of {NUM_IMAGES:,} images ({dataset}) after one that warms "
        "up; of a GAN, of 12,000 images, of a DCGAN, of 512, which s/epoch scales up. A peer's "
        "epochs run in turn "
        "with ours; the ratio is our time over the peer's, its range over the pairs of epochs. "
        "GFLOP/s counts matrix products alone, and convolutions as they are defined, of which "
        "Winograd's algorithm needs 9/16; the peak is a float32 product of size "
        f"{PEAK_SIZE} in the same run. The peak RSS holds all that ran before in the process, "
        "peers included. dbn-lab is the second layer, above a first one that stays as it is.\n\n"
        f"{markdown(table(rows))}"
    )


def main(args: Args) -> int:
    """Measures what was asked for and prints it; returns the exit code."""
    try:
        chosen = cases(args.only, args.batch_size)
        dataset = common.load_dataset(common.Args())
        rows = [measure(case, dataset, args.against, args.repeats) for case in chosen]
        text = page(rows, dataset.name, args.repeats)
        print(text)
        if args.json:
            write_json(args.json, rows)
        if args.markdown:
            write_atomically(args.markdown, text.encode())
    except JaxgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
