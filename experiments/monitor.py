"""What a person sees while a run trains: a progress bar or plain lines, a log, TensorBoard."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from tqdm import tqdm

from jaxgen.errors import NonFiniteError
from jaxgen.files import write_atomically, writing
from jaxgen.learner import State
from jaxgen.train import Progress

LINE_SECONDS = 10.0
"""Least time between two plain lines, where there is no terminal for a bar."""

Evaluate = Callable[[State], Mapping[str, float]]


def earlier_lines(path: Path, last_step: int) -> list[dict[str, Any]]:
    """The whole lines of a metrics log up to a step; what came after is trained again."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return [line for line in lines if line["step"] <= last_step]


class Log:
    """`metrics.jsonl`: one JSON object per line, appended as it happens.

    A resumed run first drops the lines after its checkpoint, so the log reads as if the run had
    never stopped; `train_s` goes on from the last line that is kept.
    """

    def __init__(self, path: Path, first_step: int, notes: Mapping[str, str]) -> None:
        """Keeps the lines of the steps that are not trained again."""
        self._notes = notes
        kept = earlier_lines(path, first_step)
        self.earlier_s = kept[-1]["train_s"] if kept else 0.0
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
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


def _check_finite(values: Mapping[str, Any], step: int) -> None:
    """Raises NonFiniteError where something measured after a step is not finite."""
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NonFiniteError(
                expected="finite metrics",
                found=f"{name} = {value} after step {step}",
                remedy="lower --learning-rate; the last good checkpoint is kept",
            )


def _text(values: Mapping[str, Any]) -> str:
    """Metrics as one short line, the first of several seeds."""
    firsts = {name: value if value.ndim == 0 else value.flat[0] for name, value in values.items()}
    return "  ".join(f"{name} {value:.4g}" for name, value in firsts.items())


class Display:
    """A bar with rate and time left on a terminal; elsewhere a plain line now and then."""

    def __init__(self) -> None:
        """Shows nothing before the first update."""
        self._bar: tqdm[Any] | None = None
        self._shown_at = -math.inf
        self._first: tuple[int, float] | None = None

    def update(self, progress: Progress) -> None:
        """Shows where the run is."""
        if sys.stderr.isatty():
            self._update_bar(progress)
        elif self._first is None:
            self._first = (progress.step, progress.train_s)
        elif progress.metrics and time.monotonic() - self._shown_at > LINE_SECONDS:
            self._print_line(progress)

    def _update_bar(self, progress: Progress) -> None:
        if self._bar is None:
            first = progress.first_step
            self._bar = tqdm(total=progress.num_steps, initial=first, unit="step", leave=False)
        self._bar.update(progress.step - self._bar.n)
        if progress.metrics:
            self._bar.set_postfix_str(_text(progress.metrics))

    def _print_line(self, progress: Progress) -> None:
        assert self._first is not None
        assert progress.metrics is not None
        steps, seconds = progress.step - self._first[0], progress.train_s - self._first[1]
        rate = steps / max(seconds, 1e-9)
        left = (progress.num_steps - progress.step) / max(rate, 1e-9)
        epochs = f"{progress.step / progress.steps_per_epoch:.1f}"
        of = progress.num_steps // progress.steps_per_epoch
        note = f"epoch {epochs} of {of}  {rate:.0f} steps/s  {left:.0f} s left"
        print(f"{note}  {_text(progress.metrics)}", flush=True)
        self._shown_at = time.monotonic()

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def watching(
    folder: Path,
    evaluate: Evaluate,
    every_epochs: int,
    tensorboard: bool,
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Callable[[Progress], None]]:
    """Yields the hook for `jaxgen.train.fit` that shows and logs a run.

    Args:
        folder: the run folder; the log is `metrics.jsonl`.
        evaluate: measured on the state every `every_epochs` epochs, and after the last.
        every_epochs: distance between two evaluations.
        tensorboard: whether to write event files as well.
        notes: what every line of the log says besides its numbers.
    """
    log: Log | None = None
    display, writer = Display(), None

    def hook(progress: Progress) -> None:
        nonlocal log, writer
        if log is None:
            log = Log(folder / "metrics.jsonl", progress.first_step, notes)
            writer = _tensorboard_writer(folder) if tensorboard else None
        display.update(progress)
        values = dict(progress.metrics or {})
        epoch, rest = divmod(progress.step, progress.steps_per_epoch)
        if rest == 0 and (epoch % every_epochs == 0 or progress.step == progress.num_steps):
            values |= evaluate(progress.state)
        _check_finite(values, progress.step)
        if values:
            log.write(progress, values)
        if writer is not None:
            for name, value in values.items():
                writer.add_scalar(name, float(np.mean(value)), progress.step)

    try:
        yield hook
    finally:
        display.close()
        if writer is not None:
            writer.close()


def _tensorboard_writer(folder: Path) -> Any:
    """An event file writer; imported only here, for it is slow to import."""
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))
