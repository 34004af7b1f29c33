"""How long a command takes to its first updates: without compiled programs, and with kept ones.

Each start is a process of its own, `python -m experiments.<name> --preset <preset>` as people type
it, which is ended at its first line of metrics. The first one finds an empty folder of compiled
programs; the others find what it left there.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarking import machine
from experiments.benchmarking.cases import Case
from experiments.benchmarking.page import Columns, describe_machine, table, timing
from experiments.running.compilation_cache import MIN_SECONDS
from experiments.running.signals import child, shell_code, tell, temporary_folder
from jaxgen.report.page import number
from jaxgen.runs import manifest as run_manifest

MARKS = (b"compiling", b"epoch ")
"""How lines of a run begin, in their order: before its programs are built, and after updates."""


class Start(NamedTuple):
    """One start of a command, in seconds from the moment it was typed."""

    compiling_s: float
    """To the building of its programs: imports, data, the run folder."""
    metrics_s: float
    """To its first line of metrics, which stands after the first updates."""
    others: float | None
    """Share of the cores that others had meanwhile; None where not known."""


def environment(cache: Path) -> dict[str, str]:
    """The variables of a start whose compiled programs are kept in a folder."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(MIN_SECONDS),
    }


def time_start(words: Sequence[str], env: Mapping[str, str], log: Path) -> Start:
    """Starts a command, and ends it at its first line of metrics.

    A command that ends before has its lines of error written and its exit code taken.

    Args:
        words: the command.
        env: its variables.
        log: the file for its standard error.
    """
    seconds: list[float] = []
    since, worked = machine.reading(), _children_s()
    with log.open("wb") as stream:
        options = {"env": env, "stdout": subprocess.PIPE, "stderr": stream}
        with child(words, **options) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARKS[len(seconds)]):
                    seconds.append(time.perf_counter() - since.at)
                if len(seconds) == len(MARKS):
                    process.kill()
                    break
            process.stdout.close()
            code = process.wait()
    if len(seconds) < len(MARKS):
        tell(log.read_text(errors="replace").strip() or "error: no line of metrics was written")
        raise SystemExit(shell_code(code) or 1)
    now = machine.reading()
    now = now._replace(own=now.own + _children_s() - worked)
    compiling_s, metrics_s = seconds
    return Start(compiling_s, metrics_s, machine.others(since, now))


def _children_s() -> float:
    """Seconds that the ended children of this process have worked."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_starts(case: Case, flags: Sequence[str], repeats: int) -> dict[str, Any]:
    """The row of a case: its first start, and medians and ranges of those after it.

    Args:
        case: the experiment and its preset.
        flags: of the command besides, for the data.
        repeats: starts that find compiled programs.
    """
    found: dict[str, Any] = {"load_before": machine.load(), "clock_mhz": machine.clock_mhz()}
    with temporary_folder() as folder:
        words = [sys.executable, "-m", f"experiments.{case.experiment.name}"]
        words += ["--preset", case.preset, *flags]
        env = environment(folder / "programs")
        starts = [
            time_start([*words, "--out", str(folder / str(turn))], env, folder / "log")
            for turn in range(1 + repeats)
        ]
    first, *later = starts
    row = {"name": case.name, "repeats": repeats, "environment": machine.environment()}
    row |= {"first_compiling_s": first.compiling_s, "first_metrics_s": first.metrics_s}
    for name in ("compiling_s", "metrics_s"):
        values = [getattr(start, name) for start in later]
        row |= {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}
    shares = [start.others for start in starts]
    row["others"] = max((share for share in shares if share is not None), default=None)
    row["busy"] = machine.disturbance([start.metrics_s for start in later], shares)
    return row | found


def page(rows: list[dict[str, Any]]) -> str:
    """A row per command."""
    repeats = ", ".join(str(num) for num in sorted({row["repeats"] for row in rows}))
    columns: Columns = {
        "name": lambda row: row["name"],
        "compiling, first start, s": lambda row: number(row["first_compiling_s"], 3),
        "metrics, first start, s": lambda row: number(row["first_metrics_s"], 3),
        "compiling s (range)": lambda row: timing(row, "compiling_s", 1.0),
        "metrics s (range)": lambda row: timing(row, "metrics_s", 1.0),
    }
    if any(row["busy"] for row in rows):
        columns["the machine was busy"] = lambda row: row["busy"]
    return (
        f"# Starts\n\nGenerated by `{run_manifest.command()}`.\n\n"
        f"{describe_machine(rows)}\n\n"
        "Seconds from the command to the word `compiling`, that is imports, data and the run "
        "folder, and to its first line of metrics, which has the time of the first updates in it. "
        "The first start finds no compiled programs, the others find what it left; of these the "
        f"median of {repeats} and the range. A row is marked if others had more than "
        f"{machine.BUSY} of the cores during a start, or if the slowest took more than "
        f"{machine.UNEVEN} times the fastest.\n\n"
        f"{table(rows, columns)}"
    )
