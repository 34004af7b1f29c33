"""The metrics log of a run, `metrics.jsonl`: one JSON object per line, one line per log interval.

Each line has `step`, `epoch` and `train_s`, the seconds of training so far, and then the metrics:
numbers, or of several seeds lists of numbers. Steps increase from line to line, and each end of an
epoch has a line, whatever the log interval is.
"""

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxgen.errors import CheckpointError, RunFolderError
from jaxgen.files import flush, read_file, write_atomically, writing
from jaxgen.runs.settings import printable
from jaxgen.training.loop import Progress, Start

logger = logging.getLogger("jaxgen")

MAX_BYTES = 1 << 28
"""Of a log that is read; a larger one is none of ours."""

MAX_STEP = 2**53
"""Of a line, in steps and in seconds."""

_COPY = "put the log back from a copy, or "

Line: TypeAlias = dict[str, Any]
Series: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Steps [n], and a metric's values after them: [n], or [n, num_seeds] of several seeds."""


def read_lines(path: Path, last_step: int | None = None) -> list[Line]:
    """The lines of a metrics log up to a step, or all; none where there is no log.

    A last line that is no JSON was cut off when a process ended; it is dropped.

    Errors:
        RunFolderError: another line is damaged, or its step is not above that of the line before,
            or the log cannot be read.
    """
    try:
        lines = _parse(read_file(path, MAX_BYTES))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _damaged(path, error.strerror or "none that can be read") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return [line for line in lines if last_step is None or line["step"] <= last_step]


def _parse(content: bytes) -> list[Line]:
    """The lines of a log; raises ValueError for damage, see `read_lines`."""
    lines: list[Line] = []
    texts = content.splitlines()
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            if number == len(texts):
                break
            raise ValueError(f"no JSON in line {number}") from error
        before = lines[-1] if lines else {"step": -1}
        if not _is_line(line) or line["step"] <= before["step"]:
            raise ValueError(f"another order or other things in line {number}")
        lines.append(line)
    return lines


def _refuse(constant: str) -> NoReturn:
    """Raises ValueError for NaN and infinities, which are no JSON."""
    raise ValueError(constant)


def _is_line(line: Any) -> bool:
    """Whether this is a line with its step, its epoch and its time."""
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return False
    numbers = [line.get(name) for name in ("step", "epoch", "train_s")]
    if not all(type(x) in (int, float) for x in numbers):
        return False
    return all(0 <= x <= MAX_STEP for x in numbers)  # type: ignore[operator]


def _check_lines(
    lines: Sequence[Line], start: Start, num_seeds: int, notes: Mapping[str, str]
) -> None:
    """Raises ValueError unless training can go on from these lines, up to the step of `start`.

    Every end of an epoch has one, and all of them have finite numbers, as many as there are seeds.
    """
    shape = () if num_seeds == 1 else (num_seeds,)
    for line in lines:
        for name, value in line.items():
            if name in notes and isinstance(value, str):
                continue
            numbers = _numbers(value)
            shared = name in ("step", "epoch", "train_s")
            if numbers is None or numbers.shape != (() if shared else shape):
                kind = "a finite number" if num_seeds == 1 else f"{num_seeds} finite numbers"
                where = f"{printable(name, 60)} at step {line['step']}"
                raise ValueError(f"something else than {kind} for {where}")
    there = {line["step"] for line in lines}
    wanted = range(start.steps_per_epoch, start.step + 1, start.steps_per_epoch)
    if missing := next((step for step in wanted if step not in there), None):
        raise ValueError(f"no line of step {missing}")


def _damaged(path: Path, found: str) -> RunFolderError:
    return RunFolderError(
        expected=f"a whole metrics log in {path}",
        found=found,
        remedy=f"{_COPY}start again with --overwrite",
    )


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes a whole metrics log."""
    write_atomically(path, b"".join(map(_as_text, lines)))


def _as_text(line: Mapping[str, Any]) -> bytes:
    """A line as it stands in the file."""
    return (json.dumps(line, allow_nan=False) + "\n").encode()


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
    """A metrics log that is appended as training goes on, and that every checkpoint holds.

    A run that goes on takes it from its checkpoint and not from the file, which anything may have
    happened to. So the log reads as if the run had never stopped; `train_s` goes on from its last
    line.
    """

    def __init__(self, path: Path, notes: Mapping[str, str], num_seeds: int = 1) -> None:
        """Touches no file yet."""
        self._path, self._notes, self._num_seeds = path, notes, num_seeds
        self._content, self.earlier_s = bytearray(), 0.0

    def begin(self, start: Start) -> None:
        """Takes the log up to the step from which training goes on, and touches no file.

        Errors:
            CheckpointError: the checkpoint's log is damaged: a line lacks step, epoch or time, or
                has no finite number for each seed, or an epoch up to that step has no line.
            RunFolderError: the checkpoint is of an older version and holds no log, and the file is
                damaged so.
        """
        in_file = start.log is None and start.step > 0
        try:
            lines = read_lines(self._path) if in_file else _parse(start.log or b"")
            lines = [line for line in lines if line["step"] <= start.step]
            _check_lines(lines, start, self._num_seeds, self._notes)
        except ValueError as error:
            kind = RunFolderError if in_file else CheckpointError
            source = "" if in_file else f"the checkpoint of step {start.step} for "
            raise kind(
                expected=f"the whole log up to step {start.step} in {source}{self._path}",
                found=str(error),
                remedy=f"{_COPY if in_file else ''}start again with --overwrite",
            ) from error
        self._content = bytearray().join(map(_as_text, lines))
        self.earlier_s = lines[-1]["train_s"] if lines else 0.0

    def write(self, progress: Progress, values: Mapping[str, Any]) -> None:
        """Appends one line: step, epoch, train_s, the notes and the given values."""
        text = _as_text(
            {
                "step": progress.step,
                "epoch": round(progress.step / progress.steps_per_epoch, 4),
                "train_s": round(self.earlier_s + progress.train_s, 4),
                **self._notes,
                **{name: np.asarray(value).tolist() for name, value in values.items()},
            }
        )
        self._content += text
        with writing(self._path), self._path.open("ab") as file:
            file.write(text)

    def synced(self) -> bytes:
        """The whole log, once the file is equal to it and on the disk; for a checkpoint to keep."""
        content, found = bytes(self._content), None
        with contextlib.suppress(OSError):
            found = read_file(self._path, MAX_BYTES)
        if found != content:
            if not (found or b"").startswith(content):
                logger.warning("%s is not as it was written; it is written again", self._path)
            write_atomically(self._path, content)
        with writing(self._path):
            flush(self._path)
        return content
