"""The benchmark's page: where, with what and how it was measured, and the rows as a table."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any

from experiments.benchmarking.baseline import TITLES
from experiments.benchmarking.machine import BUSY, UNEVEN
from experiments.benchmarking.measure import NUM_IMAGES
from jaxgen.report.page import Table, markdown, number
from jaxgen.runs import manifest as run_manifest

Row = Mapping[str, Any]
Columns = dict[str, Callable[[Row], str]]
"""The text of each column for a row, by the title of the column."""

FOLDER = "experiments/benchmarking/baselines"
VARIANTS = {
    "torch": "eager",
    "torch_channels_last": "with channels_last where there are convolutions",
    "torch_compiled": "with torch.compile",
}
"""PyTorch's programs, in words."""


def describe_baselines(rows: list[dict[str, Any]]) -> str:
    """How the baselines in the rows are measured and what they are; nothing where there is none."""
    baselines = [name for name in TITLES if any(f"ratio_to_{name}" in row for row in rows)]
    variants = [text for name, text in VARIANTS.items() if name in baselines]
    if {"torch_channels_last", "torch_compiled"} <= {*baselines}:
        variants[-1] += " (then with channels_last too)"
    if not baselines:
        return ""
    programs, rounded, busy = [], [], ""
    if "resident" in baselines:
        programs.append("The resident program is ours with all images on the device")
    if variants:
        eager = ", and ".join([", ".join(variants[:-1]), variants[-1]]).removeprefix(", and ")
        programs.append(f"PyTorch's programs are `{FOLDER}/torch_*.py`: {eager}")
        rounded.append("PyTorch runs under autocast")
        busy = "On a busy machine PyTorch's idle threads spin, and its times say little. "
    if "flax" in baselines:
        where = "are `" if variants else f"programs are `{FOLDER}/"
        how = "the straightforward program with a jitted step per batch"
        programs.append(f"Flax's {where}flax_*.py`, {how}")
        rounded.append("Flax's convolutions have that dtype")
    text = (
        " A baseline runs in turn with ours, in the same process; the ratio is our time over the "
        "baseline's, its range over the pairs of repeats. A slow baseline takes fewer steps, or "
        f"fewer turns, which its cell says. {busy}{'; '.join(programs)}."
    )
    if any(row["precision"] == "bfloat16" for row in rows):
        text += f" Where our products are of bfloat16, {' and '.join(rounded)}."
    return text


def describe_quiet(rows: list[dict[str, Any]]) -> str:
    """Other work of the machine while the rows were timed, and how it was dealt with, in words."""
    shares = [row["others"] for row in rows if row["others"] is not None]
    found = f"; most in a row: {max(shares):.2f}" if shares else ""
    loads = [row["load_before"] for row in rows if row["load_before"] is not None]
    before = f", the load before a row at most {max(loads):.2f}" if loads else ""
    clocks = [row["clock_mhz"] for row in rows if row["clock_mhz"] is not None]
    low, high = (number(f(clocks, default=0.0), 4) for f in (min, max))
    clock = f", the clock {low if low == high else f'{low} to {high}'} MHz" if clocks else ""
    busy = sum(bool(row["busy"]) for row in rows)
    marked = f"; {busy} of {len(rows)} rows stayed so, and are marked" if busy else ""
    return (
        f"Turns begin again if others had more than {BUSY} of the cores{found}{before}{clock}, "
        f"or if the slowest took more than {UNEVEN} times the fastest{marked}."
    )


def how(rows: list[dict[str, Any]]) -> str:
    """The content of the columns of the rows, and how it is measured."""
    baselines = describe_baselines(rows)
    convolutional = any(row["name"].startswith("dcgan") for row in rows)
    process = "Each row comes from a process of its own; its"
    if any(row.get("together") for row in rows):
        process = "Some rows share a process, and a peak is known if it is the highest so far;"
    counted = ", and convolutions as they are defined, of which Winograd's algorithm needs 9/16"
    return (
        f"{baselines}\n\n"
        "Compilation is what `fit` waits for; tracing is the part of it before XLA. The first step "
        "is counted from the call of `fit`. GFLOP/s counts matrix products alone"
        f"{counted if convolutional else ''}; the "
        f"share is of the product's peak in the row's precision. {process} "
        "peak memory (RSS) is read when our first epoch is done, "
        f"{'before a baseline is built, ' if baselines else ''}and holds the data set and what "
        f"compiling took. {describe_quiet(rows)}"
    )


def timing(row: Row, name: str, scale: float) -> str:
    """A median with its range."""
    low, high = row[f"{name}_range"]
    middle, low, high = (number(scale * value, 3) for value in (row[name], low, high))
    return f"{middle} ({low} to {high})"


def ratio_text(row: Row, name: str) -> str:
    """A ratio with its range, and what was timed where that was less than of ours."""
    if f"ratio_to_{name}" not in row:
        return ""
    text = timing(row, f"ratio_to_{name}", 1.0)
    less = []
    if row[f"{name}_steps"] < row["steps"]:
        less.append(f"{row[f'{name}_steps']} of {row['steps']} steps")
    if row[f"{name}_repeats"] < row["repeats"]:
        less.append(f"{row[f'{name}_repeats']} of {row['repeats']} times")
    return f"{text}; {', '.join(less)}" if less else text


def name_of(row: Row) -> str:
    """The case, with its precision where that is not float32, and whether it is streamed."""
    name: str = row["name"]
    name += "" if row["precision"] == "float32" else f", {row['precision']}"
    return f"{name}, streamed" if row.get("stream") else name


def ratios(rows: list[dict[str, Any]]) -> Columns:
    """A column for each baseline that has run."""
    return {
        f"time of jaxgen / {title} (range)": partial(ratio_text, name=baseline)
        for baseline, title in TITLES.items()
        if any(f"ratio_to_{baseline}" in row for row in rows)
    }


def known(value: float | None, digits: int) -> str:
    """A number, if it is known; operations are not counted everywhere, for example."""
    return "" if value is None else number(value, digits)


def measures(rows: list[dict[str, Any]]) -> Columns:
    """The columns of time, rate and memory."""
    shown: Columns = {
        "import s": lambda row: number(row["import_s"], 3),
        "trace s": lambda row: known(row["trace_s"], 3),
        "compile s": lambda row: known(row["compile_s"], 3),
        "first step s": lambda row: number(row["first_step_s"], 3),
        "ms/step (range)": lambda row: timing(row, "step_s", 1e3),
        "images/s": lambda row: number(row["images_per_s"], 3),
        "GFLOP/s": lambda row: known(row["gflops_per_s"], 3),
        "share of peak": lambda row: known(row["share_of_peak"], 2),
        "peak RSS MB": lambda row: megabytes(row["peak_rss_bytes"]),
    }
    if any(row["peak_device_bytes"] for row in rows):
        shown["peak device MB"] = lambda row: megabytes(row["peak_device_bytes"])
    if any(row["busy"] for row in rows):
        shown["the machine was busy"] = lambda row: row["busy"]
    return shown | ratios(rows)


def megabytes(num_bytes: int | None) -> str:
    """A number of bytes in MB; empty where it is not known."""
    return "" if num_bytes is None else number(num_bytes / 1e6, 3)


def table(rows: list[dict[str, Any]], columns: Columns) -> str:
    """The rows in markdown."""
    cells = [[text(row) for text in columns.values()] for row in rows]
    return markdown(Table(list(columns), cells))


def describe_machine(rows: list[dict[str, Any]]) -> str:
    """The processor, the device and the versions, in words."""
    found = rows[0]["environment"]
    packages = found["packages"]
    if any("ratio_to_torch" in row for row in rows):
        packages = packages | {"torch": metadata.version("torch")}
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    cores = run_manifest.num_cores()
    return f"{found['processor']}, {cores} cores, {found['device']}; {versions}."


def head(title: str, rows: list[dict[str, Any]]) -> str:
    """The text before the tables."""
    peaks = {"float32": "peak_gflops_per_s", "bfloat16": "bfloat16_peak_gflops_per_s"}
    reached = " and ".join(
        f"{number(max(row[key] for row in rows), 3)} GFLOP/s in {dtype}"
        for dtype, key in peaks.items()
    )
    data = ", ".join(sorted({row["data"] for row in rows}))
    repeats = ", ".join(str(num) for num in sorted({row["repeats"] for row in rows}))
    return (
        f"# {title}\n\nGenerated by `{run_manifest.command()}`.\n\n"
        f"{describe_machine(rows)} Images: {data}. Products of float32 at JAX's precision "
        f"`{rows[0]['matmul_precision']}`; "
        f"one of size {rows[0]['peak_size']} reaches {reached}, measured beside every row.\n\n"
        f"Medians of {repeats} epochs after one that warms up, with the range.{how(rows)}"
    )


def page(rows: list[dict[str, Any]]) -> str:
    """One row per learner and preset."""
    epoch: Columns = {"s/epoch": lambda row: number(row["epoch_s"], 3)}
    columns: Columns = {"name": name_of, "batch": lambda row: str(row["batch_size"])}
    fewer = {
        f"{row['name'].partition('-')[0]} ({row['images']:,})": None
        for row in rows
        if row["images"] < NUM_IMAGES
    }
    notes = f"; fewer are timed of {' and '.join(fewer)}." if fewer else "."
    notes = " ".join([notes, *dict.fromkeys(row["note"] for row in rows if row["note"])])
    return (
        f"{head('Speed', rows)} s/epoch is of {NUM_IMAGES:,} images{notes}\n\n"
        f"{table(rows, columns | epoch | measures(rows))}"
    )
