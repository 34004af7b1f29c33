"""A progress bar for `fit`, in a terminal or a notebook."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MOST_SHOWN = 3
"""Metrics beside the bar, which has one line."""


class Bar:
    """A bar of steps with their rate, the time left and metrics; without tqdm's it shows nothing.

    It reads "compiling" until `start`, from which the rate counts.
    """

    def __init__(self, bar: Any | None = None) -> None:
        """Shows `bar`, one of tqdm."""
        self._bar = bar

    def start(self) -> None:
        """Begins to count, because the program is compiled."""
        if self._bar is not None:
            self._bar.set_description("training", refresh=False)
            self._bar.unpause()

    def update(self, step: int, metrics: Mapping[str, Any] | None) -> None:
        """Shows the step and, if there are any, the first metrics; of several seeds their means."""
        if self._bar is not None:
            named = [*(metrics or {}).items()][:MOST_SHOWN]
            if named:
                words = [f"{name} {np.mean(value):.3g}" for name, value in named]
                self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.update(step - self._bar.n)


@contextlib.contextmanager
def progress_bar(shown: bool, num_steps: int, first_step: int) -> Iterator[Bar]:
    """Yields a bar that is at `first_step`; it shows nothing, and imports nothing, if not `shown`.

    tqdm finds out where it is: a widget in a notebook with ipywidgets, else text on standard error.
    """
    if not shown:
        yield Bar()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a notebook without ipywidgets
        from tqdm.auto import tqdm
    with tqdm(
        desc="compiling", total=num_steps, initial=first_step, unit="step", dynamic_ncols=True
    ) as bar:
        yield Bar(bar)
        bar.refresh()
