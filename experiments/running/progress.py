"""The view of a run in training: a line with a bar or plain lines, pictures, a log, and loggers."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.running import console
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
LAST_EPOCHS = 5
"""At the end a state is measured after each of so many, because the mean of a noisy measure over
the last epochs is worth more than its last value, and no epoch can be chosen."""
FIRST_LOOK_S, LOOK_GROWTH = 60.0, 1.5
"""When pictures and page are first drawn besides the ends of intervals, and by what factor the time
grows until they are drawn again: so they take a part of the time that falls."""
LEAST_BAR, MOST_BAR = 5, 40
"""Columns of a bar; where there is not even room for the least, there is none."""

Evaluate = Callable[[State], Mapping[str, float]]


class Watch(NamedTuple):
    """Measures and pictures of a run in training, and where they go."""

    evaluate: Evaluate = lambda _: {}
    """Measures of the state, taken after `EARLY_EPOCHS`, every `every_epochs` and each of the
    `LAST_EPOCHS`."""
    every_epochs: int = 1
    pictures: Callable[[State], Mapping[Path, np.ndarray]] | None = None
    """Images of the state, [N, H, W, C] in [0, 1], by the folder they go to: after every log
    interval and at growing distances of time `progress/latest.png`, after every epoch
    `progress/epoch_0001.png`, at those times `progress/step_00000120.png`; to the loggers
    as well."""
    at_intervals: bool = True
    """Whether pictures are drawn after log intervals and epochs too, and not at looks alone."""
    page: Callable[[Progress], object] = lambda _: None
    """Draws the page of a run in training, at growing distances of time."""
    loggers: Sequence[str] = ()
    """Names in `loggers.KINDS`: where numbers and images go besides."""
    shorten: str = "--epochs"
    """Flags that make the run shorter, for one that takes long."""
    shown: Mapping[str, str] = MappingProxyType({})
    """Metrics that a line shows before the others, and what it calls them."""


class Looks:
    """Moments at growing distances, from `FIRST_LOOK_S` on, each `LOOK_GROWTH` times as late."""

    def __init__(self) -> None:
        """Counts from now."""
        self._began, self._next = time.monotonic(), FIRST_LOOK_S

    def due(self) -> bool:
        """Whether the next moment has come; then it is over."""
        elapsed = time.monotonic() - self._began
        if elapsed < self._next:
            return False
        self._next = LOOK_GROWTH * elapsed
        return True


def _check_finite(values: Mapping[str, Any], progress: Progress) -> None:
    """Raises NonFiniteError if a measure of the state is not finite."""
    for name, value in values.items():
        if not np.all(np.isfinite(value)):
            raise not_finite(f"{name} = {value} after step {progress.step}", progress.saved_step)


def _words(values: Mapping[str, Any], shown: Mapping[str, str], digits: int) -> list[str]:
    """Metrics with their names, those of `shown` in the lead; of several seeds, their means."""
    names = [*(x for x in shown if x in values), *(x for x in values if x not in shown)]
    return [f"{shown.get(name, name)} {np.mean(values[name]):.{digits}g}" for name in names]


def _text(values: Mapping[str, Any], first: Iterable[str] = ()) -> str:
    """Metrics as one line, some of them before the others."""
    num_seeds = max((np.size(value) for value in values.values()), default=1)
    words = _words(values, {name: name for name in first}, 4)
    return "  ".join([f"mean of {num_seeds}:", *words] if num_seeds > 1 else words)


def _pace(seconds_per_step: float) -> str:
    """Steps in a second, or seconds for a step."""
    if seconds_per_step > 1.0:
        return f"{seconds_per_step:.3g} s/step"
    return f"{1.0 / max(seconds_per_step, 1e-9):.3g} steps/s"


def bar_line(
    progress: Progress,
    seconds_per_step: float | None,
    words: Sequence[str],
    width: int,
    steady: Callable[[int, str], str] = lambda _, text: text,
) -> str:
    """Epoch, bar, rate, time left and metrics, as many of these as `width` columns hold.

    What does not fit is left out, and nothing is cut: first the third metric, then the bar, then
    metrics and rate.

    Args:
        progress: where the run is.
        seconds_per_step: None if it is not known yet.
        words: metrics with their names.
        width: of the terminal.
        steady: pads the text at a place behind the bar, so that the bar does not jump.
    """
    num_epochs = progress.num_steps // progress.steps_per_epoch
    digits = 1 if num_epochs < 100 else 0
    epoch = f"epoch {progress.step / progress.steps_per_epoch:.{digits}f}/{num_epochs}"
    pace, left = [], []
    if seconds_per_step is not None:
        seconds = (progress.num_steps - progress.step) * seconds_per_step
        pace, left = [_pace(seconds_per_step)], [f"{console.clock(seconds)} left"]
    behind = [steady(place, text) for place, text in enumerate([*pace, *left, *words[:3]])]
    whole = epoch.ljust(len(f"epoch {num_epochs:.{digits}f}/{num_epochs}"))
    for num in (3, 2):
        tail = "  ".join(behind[: len([*pace, *left]) + num])
        rest = len(f"{whole} || {tail}")
        if rest + LEAST_BAR <= width:
            line: str = tqdm.format_meter(
                *(progress.step, progress.num_steps, 0.0),
                ncols=min(width, rest + MOST_BAR),
                ascii="utf" not in str(sys.stderr.encoding).lower(),
                bar_format=f"{whole} |{{bar}}| {tail}",
            )
            return line
    parts = (
        *([epoch, *pace, *left, *words[:num]] for num in (2, 1)),
        *([epoch, *left, *words[:1]], [epoch, *pace, *left], [epoch, *left], [epoch]),
    )
    lines = ["  ".join(part) for part in parts]
    return next((line for line in lines if len(line) <= width), "")


class Display:
    """The line of a run on a terminal, see `bar_line`; elsewhere a plain one now and then."""

    def __init__(self, shorten: str, shown: Mapping[str, str] = MappingProxyType({})) -> None:
        """Compiles, until the first update.

        Args:
            shorten: flags that make a run shorter.
            shown: metrics that stand before the others, and what they are called.
        """
        self._shorten: str | None = shorten
        self._shown = shown
        self._compiling = console.Stage("compiling")
        self._progress: Progress | None = None
        self._values: dict[str, Any] = {}
        self._shown_at = -math.inf
        self._first: tuple[int, float] | None = None
        self._widest: dict[int, int] = {}

    def __call__(self, width: int) -> str:
        """The line for a terminal of so many columns."""
        if self._progress is None:
            return self._compiling(width)
        words = _words(self._values, self._shown, 3)
        pace = self._seconds_per_step(self._progress)
        return bar_line(self._progress, pace, words, width, self._steady)

    def _steady(self, place: int, text: str) -> str:
        """A text as wide as the widest at its place so far."""
        self._widest[place] = max(len(text), self._widest.get(place, 0))
        return text.ljust(self._widest[place])

    def update(self, progress: Progress) -> None:
        """Shows the step of the run, and once a warning if it takes long."""
        self._progress = progress._replace(state=None)  # which is gone after the hook
        self._values = {**self._values, **progress.running}
        self._foresee(progress)
        if console.is_terminal():
            console.redraw()
        elif progress.running and time.monotonic() - self._shown_at > LINE_SECONDS:
            self._print_line(progress)

    def add_measures(self, values: Mapping[str, Any]) -> None:
        """Shows measures of the state as well, from now on."""
        self._values = {**self._values, **values}

    def _foresee(self, progress: Progress) -> None:
        """Warns of a long run. The first chunk warms up; the second one gives the time left."""
        if self._first is None:
            self._first = (progress.step, progress.train_s)
            if progress.first_step:
                steps = f"{progress.first_step} of {progress.num_steps}"
                show(f"going on from step {steps}")
        elif self._shorten is not None:
            seconds = self._seconds_per_step(progress) or 0.0
            left = (progress.num_steps - progress.step) * seconds
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

    def _seconds_per_step(self, progress: Progress) -> float | None:
        """Seconds per step since the first chunk; None until there is another."""
        if self._first is None or progress.step == self._first[0]:
            return None
        return (progress.train_s - self._first[1]) / (progress.step - self._first[0])

    def _print_line(self, progress: Progress) -> None:
        epochs = f"{progress.step / progress.steps_per_epoch:.1f}"
        words = [f"epoch {epochs} of {progress.num_steps // progress.steps_per_epoch}"]
        if seconds := self._seconds_per_step(progress):
            left = (progress.num_steps - progress.step) * seconds
            words += [_pace(seconds), f"{left:.0f} s left"]
        show("  ".join([*words, _text(progress.running, self._shown)]))
        self._shown_at = time.monotonic()


def write_pictures(folder: Path, progress: Progress, images: np.ndarray, look: bool) -> None:
    """Writes images of the state as a sheet: the latest, one per epoch, and one per look."""
    epoch, rest = divmod(progress.step, progress.steps_per_epoch)
    make_folder(folder / "progress")
    names = ["latest"]
    if rest == 0:
        names.append(f"epoch_{epoch:04}")
    elif look:
        names.append(f"step_{progress.step:08}")
    for name in names:
        figures.save_pixels(images, folder / "progress" / f"{name}.png")


@contextlib.contextmanager
def watching(
    folder: Path, watch: Watch, log: metrics_log.Log
) -> Iterator[Callable[[Progress], None]]:
    """Yields the hook for `jaxgen.training.fit` that shows and logs a run in its folder.

    Until the first call of the hook the run compiles, and a clock shows it.
    """
    display, others, looks = Display(watch.shorten, watch.shown), None, Looks()

    def hook(progress: Progress) -> None:
        nonlocal others
        if others is None:
            others = Loggers(watch.loggers, folder, progress.first_step)
        display.update(progress)
        values: dict[str, Any] = dict(progress.metrics or {})
        epoch, rest = divmod(progress.step, progress.steps_per_epoch)
        left = progress.num_steps // progress.steps_per_epoch - epoch
        due = epoch in EARLY_EPOCHS or epoch % watch.every_epochs == 0 or left < LAST_EPOCHS
        if rest == 0 and due:
            measures = watch.evaluate(progress.state)
            display.add_measures(measures)
            values |= measures
        _check_finite(values, progress)
        if values:
            log.write(progress, values)
        look = looks.due()
        ended = progress.metrics is not None and watch.at_intervals
        drawn = watch.pictures if ended or look else None
        sheets = drawn(progress.state) if drawn else {}
        for where, images in sheets.items():
            write_pictures(where, progress, images, look)
        if look:
            watch.page(progress)
        if values:
            others.scalars(progress.step, {name: float(np.mean(x)) for name, x in values.items()})
        for where, images in sheets.items():
            tag = "samples" if len(sheets) == 1 else f"samples/{where.name}"
            others.images(progress.step, tag, images)

    if not console.is_terminal():
        show("compiling")
    try:
        with console.live(display):
            yield hook
    finally:
        if others is not None:
            others.close()
