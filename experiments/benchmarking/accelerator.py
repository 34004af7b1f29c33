"""All that is wanted of one accelerator, measured in a time that is kept by construction.

Each part has a share of the time. A part is some processes, each a call of the benchmark; a process
has an even share of what its part has left, after which it begins nothing more, and is killed at
twice that share or where the part ends. So no part takes time from a later one, and what one leaves
the next ones have. Page and rows are written after each process.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from experiments.benchmarking.cases import cases
from experiments.benchmarking.measure import NUM_IMAGES
from experiments.benchmarking.page import (
    Columns,
    Row,
    head,
    known,
    measures,
    megabytes,
    name_of,
    table,
    timing,
)
from jaxgen.report.page import escape, number
from jaxgen.runs import manifest as run_manifest

Rows = list[dict[str, Any]]
InTime = Callable[[Mapping[str, Any], float, float], tuple[Rows, str]]
"""(settings of the benchmark, seconds to share, seconds until it is killed) -> rows, failure."""

DCGAN, EPOCHS = "dcgan-lab", 20
"""The lab's longest training."""
SEEDS = (1, 4, 16, 64)
SHARES = {"learners": 0.45, "DCGAN": 0.15, "digests": 0.2, "seeds": 0.1, "largest batch": 0.1}
"""Of the time, for each part, in the order of their importance."""
SOFT = 0.75
"""Part of a process's share after which it begins no further row or baseline."""
LEAST_S = 3.0
"""Seconds in which no process gets anywhere."""
LATE = "no time was left", "did not end within"
"""Phrases in the lines of things left out if the time was too short."""
MORE, LEAST_MINUTES = 3, 2.0
"""Times as much to try then, and the minutes that are worth a try."""
STEPS = 100
"""Of an epoch that is timed, where the preset's long updates would have a few."""


class Peak(NamedTuple):
    """Operations per second of a device by its maker's datasheet, in 10^12, without sparsity."""

    float32: float | None
    """As JAX rounds float32 by default: TF32 on NVIDIA's, bfloat16 on a TPU."""
    bfloat16: float | None
    highest: float | None
    """Of full float32 products; None where they are made of several of fewer bits."""
    source: str


_HOPPER, _AMPERE = "NVIDIA H100 and H200 datasheets", "NVIDIA A100 datasheet"
_TPU = "Cloud TPU documentation, system architecture"
PEAKS = {
    "NVIDIA H100 80GB HBM3": Peak(494.5, 989.5, 67.0, _HOPPER),
    "NVIDIA H100 PCIe": Peak(378.0, 756.0, 51.0, _HOPPER),
    "NVIDIA H200": Peak(494.5, 989.5, 67.0, _HOPPER),
    **dict.fromkeys(
        (
            "NVIDIA A100-SXM4-40GB",
            "NVIDIA A100-SXM4-80GB",
            "NVIDIA A100-PCIE-40GB",
            "NVIDIA A100 80GB PCIe",
        ),
        Peak(156.0, 312.0, 19.5, _AMPERE),
    ),
    "NVIDIA L4": Peak(60.0, 121.0, 30.3, "NVIDIA L4 datasheet"),
    "Tesla T4": Peak(8.1, None, 8.1, "NVIDIA T4 datasheet"),
    "TPU v2": Peak(22.5, 22.5, None, f"{_TPU}; half a chip"),
    "TPU v3": Peak(61.5, 61.5, None, f"{_TPU}; half a chip"),
    "TPU v4": Peak(275.0, 275.0, None, _TPU),
    **dict.fromkeys(("TPU v5 lite", "TPU v5e"), Peak(197.0, 197.0, None, _TPU)),
    **dict.fromkeys(("TPU v5", "TPU v5p"), Peak(459.0, 459.0, None, _TPU)),
    **dict.fromkeys(("TPU v6 lite", "TPU v6e"), Peak(918.0, 918.0, None, _TPU)),
}
"""By the name that JAX has for the device (`device_kind`); others have no share of a datasheet."""


class Part(NamedTuple):
    """One question about the accelerator."""

    name: str
    share: float
    """Of the time."""
    settings: tuple[Mapping[str, Any], ...]
    """Of the benchmark, for each process."""


@dataclass
class Found:
    """The measurements so far."""

    rows: Rows = field(default_factory=list)
    """Each with the name of its part."""
    left_out: list[str] = field(default_factory=list)
    """A line for each thing that did not fit, or failed."""
    seconds: float = 0.0
    budget_s: float = 0.0
    over: bool = False
    """Whether every part has had its turn."""
    command: str = field(default_factory=run_manifest.command)

    def of(self, part: str) -> Rows:
        """The rows of a part."""
        return [row for row in self.rows if row["part"] == part]

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {**vars(self)}


def learners(only: Sequence[str]) -> list[str]:
    """The first timed preset of every experiment, or `only` these; those of long updates last.

    They have what the others leave of the time.
    """
    found = cases(only)
    if not only:
        firsts = {case.experiment.name: case for case in reversed(found)}
        found = [case for case in found if firsts[case.experiment.name] is case]
    return [c.name for c in sorted(found, key=lambda c: -c.experiment.benchmark.num_images)]


def plan(only: Sequence[str], quick: bool, has_torch: bool) -> list[Part]:
    """The parts, in the order of their importance.

    Args:
        only: learners; the first timed preset of every experiment where none is named.
        quick: whether everything is tiny.
        has_torch: whether PyTorch is installed.
    """
    names = learners(only)
    size: dict[str, Any] = {"repeats": 5, "retries": 1, "together": True}
    if quick:
        size |= {"hidden_size": 8, "batch_size": 20, "images": 200, "repeats": 2, "retries": 0}
    both = ("bfloat16", "float32")  # the smaller first: a peak of memory is known where it rises

    def of(*only: str, **more: Any) -> dict[str, Any]:
        more_steps = {} if quick or only != (DCGAN,) else {"images": STEPS * 128}
        return {**size, "only": only, "precision": ("float32",), **more_steps, **more}

    against = "torch" if has_torch else "none"
    dense = [name for name in names if name != DCGAN]
    lab = [DCGAN] if DCGAN in names else []
    # A process of its own for each takes longer to start, and loses one learner if it fails.
    alone = [(name,) for name in names]
    groups = [tuple(group) for group in (dense, lab) if group]
    few = [(*dense[:1], *lab)] if quick else groups
    modes: tuple[dict[str, Any], ...] = ({"deterministic": True}, {"deterministic": True}, {})
    epochs = {"images": 400, "repeats": 1} if quick else {"images": NUM_IMAGES}
    whole = {"repeats": EPOCHS - 1, "retries": 0, **epochs}
    seeds = {"sweep": ("seeds",), "values": SEEDS[:2] if quick else SEEDS, "repeats": 2}
    processes: dict[str, list[dict[str, Any]]] = {
        "learners": [
            of(*group, precision=both, against=against) for group in (groups if quick else alone)
        ],
        "DCGAN": [of(name, **whole) for name in lab],
        "digests": [of(*group, **mode, repeats=2) for group in few for mode in modes],
        "seeds": [of(name, **seeds) for name in dense[-1 if quick else -2 :]],
        "largest batch": [
            of(names[-1], precision=(each,), largest_batch=True)
            for each in (both[1:] if quick else both[::-1])
        ],
    }
    parts = [Part(name, SHARES[name], (*processes[name],)) for name in SHARES]
    return [part for part in parts if part.settings]


def measure_parts(
    parts: Sequence[Part], in_time: InTime, budget_s: float, write: Callable[[Found], None]
) -> Found:
    """Measures the parts one after the other, in at most `budget_s` seconds.

    Args:
        parts: what to measure.
        in_time: measures the rows of one process, and ends when it is told to.
        budget_s: seconds for all of them.
        write: keeps what is there, after each process.
    """
    found, began = Found(budget_s=budget_s), time.monotonic()
    whole, share = sum(part.share for part in parts), 0.0
    for part in parts:
        share += part.share
        end = began + budget_s * share / whole
        for index, settings in enumerate(part.settings):
            left = end - time.monotonic()
            mode = " in deterministic mode" if settings.get("deterministic") else ""
            what = f"{part.name} of {', '.join(settings['only'])}{mode}"
            if left < min(LEAST_S, budget_s / 20):
                found.left_out.append(f"{what}: no time was left")
                continue
            own = left / (len(part.settings) - index)
            rows, failure = in_time(settings, SOFT * own, min(left, 2 * own))
            found.rows += [row | {"part": part.name} for row in rows if "left_out" not in row]
            found.left_out += [f"{part.name}: {r['left_out']}" for r in rows if "left_out" in r]
            found.left_out += [
                f"{name_of(row)} without {title}: {reason}"
                for row in rows
                for title, reason in row.get("absent", {}).items()
            ]
            found.left_out += [f"{what}: {failure}"] if failure else []
            found.seconds = time.monotonic() - began
            write(found)
    found.seconds, found.over = time.monotonic() - began, True
    write(found)
    return found


# ---- the page


def peak_of(row: Row) -> float | None:
    """The datasheet's operations per second for a row; None where it is not known."""
    peak = PEAKS.get(row["environment"]["device"])
    if peak is None:
        return None
    name = row["precision"]
    if name == "float32" and row["matmul_precision"] in ("highest", "float32"):
        name = "highest"
    value: float | None = getattr(peak, name)
    return None if value is None else 1e12 * value


def share_of_datasheet(row: Row) -> str:
    """A row's operations per second over the datasheet's; empty where either is not known."""
    peak, reached = peak_of(row), row["gflops_per_s"]
    return "" if peak is None or reached is None else number(1e9 * reached / peak, 2)


def of_learners(rows: Rows) -> str:
    """Every learner in both precisions, against PyTorch's programs."""
    found = measures(rows)
    for title in ("import s", "trace s"):
        del found[title]
    columns: Columns = {"name": name_of, "batch": lambda row: str(row["batch_size"])}
    if any(share_of_datasheet(row) for row in rows):
        columns["share of the datasheet's"] = share_of_datasheet
    return table(rows, columns | found)


def alike(digests: Sequence[str]) -> str:
    """Whether digests are the same, of two or more."""
    if len(digests) < 2:
        return ""
    return "the same" if len({*digests}) == 1 else "different"


def of_digests(rows: Rows) -> str:
    """Deterministic and not: the times, and whether two processes end in the same bits."""
    pairs: dict[str, tuple[Rows, Rows]] = {}
    for row in rows:
        if row["precision"] == "float32":
            pairs.setdefault(row["name"], ([], []))[row["deterministic"]].append(row)
    shown = [
        {"name": name, "without": without, "with": with_}
        for name, (without, with_) in pairs.items()
        if without and with_
    ]
    columns: Columns = {
        "name": lambda row: row["name"],
        "ms/step (range)": lambda row: timing(row["without"][-1], "step_s", 1e3),
        "deterministic, ms/step (range)": lambda row: timing(row["with"][-1], "step_s", 1e3),
        "ratio": lambda row: number(row["with"][-1]["step_s"] / row["without"][-1]["step_s"], 3),
        "digests of two processes": lambda row: alike([r["digest"] for r in row["without"]]),
        "deterministic": lambda row: alike([r["digest"] for r in row["with"]]),
    }
    return table(shown, columns)


def of_seeds(rows: Rows) -> str:
    """Seeds in one program, and what each costs against one alone."""
    alone = {row["name"]: row["images_per_s"] for row in rows if row["num_seeds"] == 1}

    def cost(row: Row) -> str:
        one = alone.get(row["name"])
        return "" if one is None else number(one / row["images_per_s"], 3)

    columns: Columns = {
        "name": name_of,
        "seeds": lambda row: str(row["num_seeds"]),
        "ms/step (range)": lambda row: timing(row, "step_s", 1e3),
        "images/s": lambda row: number(row["images_per_s"], 3),
        "a seed's time, alone 1": cost,
        "share of peak": lambda row: known(row["share_of_peak"], 2),
        "peak device MB": lambda row: megabytes(row["peak_device_bytes"]),
    }
    return table(rows, columns)


def of_largest(rows: Rows) -> str:
    """The largest batch that fitted."""

    def tried(row: Row) -> str:
        return ", ".join(f"{size:,}" + ("" if fits else " (no)") for size, fits in row["tried"])

    columns: Columns = {
        "name": name_of,
        "batch": lambda row: f"{row['batch_size']:,}",
        "images/s": lambda row: number(row["images_per_s"], 3),
        "share of peak": lambda row: known(row["share_of_peak"], 2),
        "peak device MB": lambda row: megabytes(row["peak_device_bytes"]),
        "of MB": lambda row: megabytes(row["limit_bytes"]),
        "tried": tried,
    }
    return table(rows, columns)


def of_dcgan(rows: Rows) -> str:
    """The lab's DCGAN for as many epochs as fitted."""
    columns: Columns = {
        "name": name_of,
        "epochs": lambda row: f"{1 + row['turns']} of {EPOCHS}",
        "s/epoch (range)": lambda row: timing(row, "epoch_s", 1.0),
        f"s for {EPOCHS}": lambda row: number(EPOCHS * row["epoch_s"], 3),
        "images/s": lambda row: number(row["images_per_s"], 3),
        "share of peak": lambda row: known(row["share_of_peak"], 2),
        "last means": lambda row: ", ".join(f"{k} {number(v)}" for k, v in row["metrics"].items()),
    }
    return table(rows, columns)


SECTIONS: Mapping[str, tuple[str, str, Callable[[Rows], str]]] = {
    "learners": (
        "Every learner, against PyTorch",
        "bfloat16 is the setting of the DCGAN; of the others JAX rounds the factors of products, "
        "and PyTorch runs under autocast. float32 is as both round it by default (TF32 on an "
        "NVIDIA of Ampere or later).",
        of_learners,
    ),
    "DCGAN": (
        "The lab's DCGAN",
        f"As many of its {EPOCHS} epochs of {NUM_IMAGES:,} images as fitted, of one seed; s/epoch "
        "is the median, without the first.",
        of_dcgan,
    ),
    "digests": (
        "Deterministic mode, and digests",
        "Deterministic kernels and full float32 products, against neither. A digest is of the "
        "parameters after one epoch; each of the two is of a process of its own.",
        of_digests,
    ),
    "seeds": (
        "Several seeds in one program",
        "On an accelerator they are vmapped, on a CPU they take turns.",
        of_seeds,
    ),
    "largest batch": (
        "The largest batch",
        "The device's memory is taken as a line in the batch, and the batch tried that fills it.",
        of_largest,
    ),
}


def page(found: Found) -> str:
    """Everything that is measured so far, as markdown."""
    title = "One accelerator"
    took = f"{found.seconds:.0f} of {found.budget_s:.0f} seconds"
    yet = "was measured" if found.over else "is measured yet"
    text = f"# {title}\n\nGenerated by `{found.command}` in {took}; nothing {yet}.\n"
    if found.rows:
        text = f"{head(title, found.rows)} All of it took {took}.\n"
    for part, (name, words, shown) in SECTIONS.items():
        rows = found.of(part)
        if part == "digests":  # the rows of the learners are without the mode, too
            rows = [*found.of("learners"), *rows] if rows else []
        if rows:
            text += f"\n## {name}\n\n{words}\n\n{shown(rows)}"
    if found.left_out:
        lines = "".join(f"- {escape(line)}\n" for line in found.left_out)
        text += f"\n## Left out\n\n{lines}"
    devices = {row["environment"]["device"] for row in found.rows} & {*PEAKS}
    if sources := {PEAKS[device].source for device in devices}:
        text += f"\nThe datasheet's peak, without sparsity: {'; '.join(sorted(sources))}.\n"
    if found.over and any(late in line for line in found.left_out for late in LATE):
        minutes = number(max(LEAST_MINUTES, MORE * found.budget_s / 60))
        left = "what was left out" if found.rows else "something"
        text += f"\nThe time was too short; to measure {left}, type `--minutes {minutes}`.\n"
    return text
