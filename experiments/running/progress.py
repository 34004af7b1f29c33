"""The view of a run in training: a progress bar or plain lines, a log, TensorBoard and others."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.running.console import show
from experiments.running.loggers import Loggers
from jaxgen.files import make_folder
from jaxgen.learner import State
from jaxgen.report import figures
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Progress, not_finite

logger = logging.getLogger("jaxgen")

LINE_SECONDS = 10.0
"""Least time between two plain lines, if there is no terminal for a bar."""
LONG_SECONDS = 1800.0
"""A run that takes longer is announced as soon as its time is known."""
EARLY_EPOCHS = (1, 5)
"""Epochs after which a state is measured in any case: each example seen once, and a few times."""

Evaluate = Callable[[State], Mapping[str, float]]


class Watch(NamedTuple):
    """Measures and pictures of a run in training, and where they go."""

    evaluate: Evaluate = lambda _: {}
    """Measures of the state, taken after `EARLY_EPOCHS`, every `every_epochs` and the last."""
    every_epochs: int = 1
    pictures: Callable[[State], Mapping[Path, np.ndarray]] | None = None
    """Images of the state, [N, H, W, C] in [0, 1], by the folder they go to: after every log
    interval `progress/latest.png`, and after every epoch `progress/epoch_0001.png`; to the loggers
    as well."""
    loggers: Sequence[str] = ()
    """Names in `loggers.KINDS`: where numbers and images go besides."""
    shorten: str = "--epochs"
    """Flags that make the run shorter, for one that takes long."""


def _check_finite(values: Mapping[str, Any], progress: Progress) -> None:
    """Raises NonFiniteError if a measure of the state is not finite."""
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise not_finite(f"{name} = {value} after step {progress.step}", progress.saved_step)


def _text(values: Mapping[str, Any]) -> str:
    """Metrics as one short line; of several seeds, their means."""
    words = [f"{name} {np.mean(value):.4g}" for name, value in values.items()]
    num_seeds = max((np.size(value) for value in values.values()), default=1)
    return "  ".join([f"mean of {num_seeds}:", *words] if num_seeds > 1 else words)


class Display:
    """A bar with rate and time left on a terminal; elsewhere a plain line now and then."""

    def __init__(self, shorten: str) -> None:
        """Shows nothing before the first update; `shorten` are flags that make a run shorter."""
        self._shorten: str | None = shorten
        self._bar: tqdm[Any] | None = None
        self._shown_at = -math.inf
        self._first: tuple[int, float] | None = None

    def update(self, progress: Progress) -> None:
        """Shows the step of the run, and once a warning if it takes long."""
        self._foresee(progress)
        if sys.stderr.isatty():
            self._update_bar(progress)
        elif progress.metrics and time.monotonic() - self._shown_at > LINE_SECONDS:
            self._print_line(progress)

    def _foresee(self, progress: Progress) -> None:
        """Warns of a long run. The first chunk warms up; the second one gives the time left."""
        if self._first is None:
            self._first = (progress.step, progress.train_s)
            if progress.first_step:
                steps = f"{progress.first_step} of {progress.num_steps}"
                show(f"going on from step {steps}")
        elif self._shorten is not None:
            left = (progress.num_steps - progress.step) * self._seconds_per_step(progress)
            if left > LONG_SECONDS:
                hours, minutes = divmod(round(left / 60), 60)
                logger.warning(
                    "this run takes about %d h %02d min; %s shorten it, and Ctrl-C saves it for "
                    "--resume",
                    hours,
                    minutes,
                    self._shorten,
                )
            self._shorten = None

    def _seconds_per_step(self, progress: Progress) -> float:
        """Seconds per step since the first chunk."""
        assert self._first is not None
        return (progress.train_s - self._first[1]) / max(progress.step - self._first[0], 1)

    def _update_bar(self, progress: Progress) -> None:
        if self._bar is None:
            first = progress.first_step
            self._bar = tqdm(total=progress.num_steps, initial=first, unit="step", leave=False)
        self._bar.update(progress.step - self._bar.n)
        if progress.metrics:
            self._bar.set_postfix_str(_text(progress.metrics))

    def _print_line(self, progress: Progress) -> None:
        assert progress.metrics is not None
        seconds = self._seconds_per_step(progress)
        left = (progress.num_steps - progress.step) * seconds
        epochs = f"{progress.step / progress.steps_per_epoch:.1f}"
        of = progress.num_steps // progress.steps_per_epoch
        note = f"epoch {epochs} of {of}  {1.0 / max(seconds, 1e-9):.3g} steps/s  {left:.0f} s left"
        show(f"{note}  {_text(progress.metrics)}")
        self._shown_at = time.monotonic()

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            self._bar.close()


def _pictures(folder: Path, progress: Progress, images: np.ndarray) -> None:
    """Writes images of the state as a sheet: the latest, and one per epoch."""
    epoch, rest = divmod(progress.step, progress.steps_per_epoch)
    make_folder(folder / "progress")
    for name in ("latest", f"epoch_{epoch:04}")[: 2 if rest == 0 else 1]:
        figures.save_pixels(images, folder / "progress" / f"{name}.png")


@contextlib.contextmanager
def watching(
    folder: Path, watch: Watch, log: metrics_log.Log
) -> Iterator[Callable[[Progress], None]]:
    """Yields the hook for `jaxgen.training.fit` that shows and logs a run in its folder."""
    display, others = Display(watch.shorten), None

    def hook(progress: Progress) -> None:
        nonlocal others
        if others is None:
            others = Loggers(watch.loggers, folder, progress.first_step)
        display.update(progress)
        values: dict[str, Any] = dict(progress.metrics or {})
        epoch, rest = divmod(progress.step, progress.steps_per_epoch)
        due = epoch in EARLY_EPOCHS or epoch % watch.every_epochs == 0
        if rest == 0 and (due or progress.step == progress.num_steps):
            values |= watch.evaluate(progress.state)
        _check_finite(values, progress)
        if values:
            log.write(progress, values)
        sheets = watch.pictures(progress.state) if watch.pictures and progress.metrics else {}
        for where, images in sheets.items():
            _pictures(where, progress, images)
        if values:
            others.scalars(progress.step, {name: float(np.mean(x)) for name, x in values.items()})
        for where, images in sheets.items():
            tag = "samples" if len(sheets) == 1 else f"samples/{where.name}"
            others.images(progress.step, tag, images)

    try:
        yield hook
    finally:
        display.close()
        if others is not None:
            others.close()
