"""Runs of experiments in processes of their own: started, killed, resumed.

A program is a module in the package `experiments`: an experiment with the flags that it is given,
or `experiments.reproduction.worker` with a file of settings that `repeat` wrote.
"""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.reproduction.verdict import Run, read
from experiments.running import console
from experiments.running.args import RunArgs
from experiments.running.console import show
from experiments.running.signals import child, shell_code
from jaxgen.files import write_json
from jaxgen.runs.manifest import fingerprint
from jaxgen.runs.settings import to_json

POLL_SECONDS = 0.02
WORKER = "reproduction.worker"
KILL_AT = (1 / 3, 2 / 3)
"""Parts of the training after which a run is killed."""


class Failed(Exception):  # noqa: N818 (the run has written what is wrong)
    """A run ended with an exit code other than 0; `stderr` is what it wrote there."""

    def __init__(self, code: int, stderr: str) -> None:
        super().__init__(code)
        self.code, self.stderr = code, stderr


class Timed(NamedTuple):
    """A finished run and how it came about."""

    run: Run
    seconds: float
    """Seconds that its processes took; 0 where that is not known."""
    kills: Sequence[int] = ()
    """The steps it had saved when it was killed."""


@contextlib.contextmanager
def start(program: str, words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process that does not outlive the `with` block."""
    command = [sys.executable, "-m", f"experiments.{program}", *words]
    with log.open("ab") as file, child(command, stdout=subprocess.DEVNULL, stderr=file) as process:
        yield process


def run(
    program: str, words: Sequence[str], log: Path, until: Callable[[], bool] = lambda: False
) -> bool:
    """Runs a program to its end, or kills it once `until` holds; returns whether it was killed.

    Errors:
        Failed: it ended with another exit code than 0.
    """
    with start(program, words, log) as process:
        while process.poll() is None:
            if until():
                process.kill()
                if process.wait() == -signal.SIGKILL:
                    return True
            time.sleep(POLL_SECONDS)
    if code := process.returncode:
        raise Failed(shell_code(code), log.read_text(errors="replace"))
    return False


def trained_steps(folder: Path) -> int:
    """The step of the newest checkpoint, summed over all trainings in a run folder."""
    total = 0
    for path, folders, _ in os.walk(folder):
        if Path(path).name == "checkpoints":
            steps = [re.match(r"step_(\d+)", name) for name in folders]
            total += max((int(step[1]) for step in steps if step), default=0)
            folders.clear()
    return total


def _run_with_kills(
    experiment: str, words: Sequence[str], folder: Path, log: Path, num_steps: int
) -> Iterator[int]:
    """Runs an experiment to its end, with SIGKILL on the way; yields the step after each kill.

    It is killed where a checkpoint lies past a third, then two thirds of all `num_steps`. A run
    that ends before is not killed.
    """
    for share in KILL_AT:

        def past(share: float = share) -> bool:
            return share * num_steps <= trained_steps(folder) < num_steps

        if not run(experiment, words, log, past):
            return
        yield trained_steps(folder)
    run(experiment, words, log)


def working_on(text: str, folder: Path) -> contextlib.AbstractContextManager[None]:
    """Inside the `with` block a terminal shows the text, a clock and the steps saved in a run."""
    return console.working(text, lambda: f"step {trained_steps(folder):,}")


def once(
    name: str,
    experiment: str,
    words: Sequence[str],
    folder: Path,
) -> Timed:
    """One undisturbed run, and a line about it."""
    began = time.monotonic()
    with working_on(f"{name}: running", folder / name):
        run(experiment, [*words, f"--out={folder / name}"], folder / f"{name}.log")
    return _told(name, Timed(read(folder / name), time.monotonic() - began))


def repeat(
    name: str, experiment: str, args: RunArgs, folder: Path, watch: Callable[[], bool]
) -> Timed:
    """One undisturbed run with these settings, which reach its process as data."""
    began, file = time.monotonic(), folder / f"{name}.json"
    settings = to_json(dataclasses.replace(args, out=folder / name))
    write_json(file, {"experiment": experiment, **settings})
    with working_on(f"{name}: running", folder / name):
        run(WORKER, [str(file)], folder / f"{name}.log", watch)
    return _told(name, Timed(read(folder / name), time.monotonic() - began))


def _told(name: str, timed: Timed) -> Timed:
    """Writes the time of a run and the digest of its parameters."""
    show(f"{name}: {timed.seconds:.1f} s, parameters {short(timed.run, 'parameters')}")
    return timed


def kill_and_resume(experiment: str, words: Sequence[str], folder: Path, first: Timed) -> Timed:
    """The same run, killed and resumed; its checkpoints are close enough to be caught at one."""
    began, kills = time.monotonic(), []
    often = first.run.train_s / 20
    if often < float(first.run.record.config["checkpoint_seconds"]):  # infinity is a text there
        words = [*words, f"--checkpoint-seconds={often:.3f}"]
    target, num_steps = folder / "killed", trained_steps(folder / "first")
    words, log = [*words, f"--out={target}", "--resume"], folder / "killed.log"
    with working_on("killed: running", target):
        for step in _run_with_kills(experiment, words, target, log, num_steps):
            kills.append(step)
            show(f"killed: at step {step:,} of {num_steps:,}, and resumed")
    if not kills:
        show("killed: over before it could be")
    return _told("killed", Timed(read(target), time.monotonic() - began, kills))


def short(run: Run, kind: str) -> str:
    """The first digits of the digest of all parts of a kind."""
    parts = {name: d for name, d in run.digests.items() if kind in name.rpartition("/")[2]}
    return (next(iter(parts.values())) if len(parts) == 1 else fingerprint(parts))[:12]
