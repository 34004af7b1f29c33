"""The metrics log of a run, `metrics.jsonl`: one JSON object per line, one line per log interval.

Each line has `step`, `epoch` and `train_s`, the seconds of training so far, and then the metrics:
numbers, or of several seeds lists of numbers. Steps increase from line to line.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxgen.errors import RunFolderError
from jaxgen.files import write_atomically, writing
from jaxgen.training.loop import Progress

NAME = "metrics.jsonl"
MAX_BYTES = 1 << 28
"""Of a log that is read; a larger one is none of ours."""

MAX_STEP = 2**53
"""Of a line, in steps and in seconds."""

Line: TypeAlias = dict[str, Any]
Series: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps [n], and a metric's values after them: [n], or [n, num_seeds] of several seeds."""


def read_lines(path: Path, last_step: int | None = None) -> list[Line]:
    """The lines of a metrics log up to a step, or all; none where there is no log.

    A last line that is no JSON was cut off when a process ended; it is dropped.

    Errors:
        RunFolderError: another line is damaged, or its step is not above that of the line before.
    """
    if not path.exists():
        return []
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise _damaged(path, "something else")
    lines: list[Line] = []
    texts = path.read_bytes().splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            if number == len(texts):
                break
            raise _damaged(path, f"no JSON in line {number}") from error
        before = lines[-1] if lines else {"step": -1}
        if not _is_line(line) or line["step"] <= before["step"]:
            raise _damaged(path, f"another order or other things in line {number}")
        lines.append(line)
    return [line for line in lines if last_step is None or line["step"] <= last_step]


def _is_line(line: Any) -> bool:
    """Whether this is a line with its step and its time."""
    if not isinstance(line, dict):
        return False
    step, seconds = line.get("step"), line.get("train_s")
    if type(step) is not int or not isinstance(seconds, int | float) or seconds is True:
        return False
    return 0 <= step <= MAX_STEP and 0 <= seconds <= MAX_STEP  # NaN is neither


def _damaged(path: Path, found: str) -> RunFolderError:
    return RunFolderError(
        expected=f"a whole metrics log in {path}",
        found=found,
        remedy="remove the damaged line, or the run with --overwrite",
    )


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes a whole metrics log."""
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def series(lines: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    """Every metric in the lines by its name; texts and numbers that are not finite are left out."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found: dict[str, Series] = {}
    for name in names:
        points = [(line["step"], _numbers(line[name])) for line in lines if name in line]
        taken = [(step, values) for step, values in points if values is not None]
        if len({values.shape for _, values in taken}) == 1:
            steps, values = zip(*taken, strict=True)
            found[name] = np.array(steps, np.int64), np.array(values, np.float64)
    return found


def _numbers(value: Any) -> NDArray[np.float64] | None:
    """A number, or those of several seeds; None for anything else."""
    kinds = {type(each) for each in (value if isinstance(value, list) else [value])}
    if not kinds <= {int, float}:
        return None
    try:
        numbers = np.array(value, np.float64)
    except OverflowError:
        return None
    return numbers if np.all(np.isfinite(numbers)) else None


class Log:
    """A metrics log that is appended as training goes on.

    A resumed run first drops the lines after its checkpoint, so the log reads as if the run had
    never stopped; `train_s` goes on from the last line that is kept.
    """

    def __init__(self, path: Path, first_step: int, notes: Mapping[str, str]) -> None:
        """Keeps the lines of the steps that are not trained again."""
        self._notes = notes
        kept = read_lines(path, first_step)
        self.earlier_s = kept[-1]["train_s"] if kept else 0.0
        write_lines(path, kept)
        self._path = path

    def write(self, progress: Progress, values: Mapping[str, Any]) -> None:
        """Appends one line: step, epoch, train_s, the notes and the given values."""
        line = {
            "step": progress.step,
            "epoch": round(progress.step / progress.steps_per_epoch, 4),
            "train_s": round(self.earlier_s + progress.train_s, 4),
            **self._notes,
            **{name: np.asarray(value).tolist() for name, value in values.items()},
        }
        with writing(self._path), self._path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
