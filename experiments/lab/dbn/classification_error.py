"""The test error of a classifier over its training, of which the mean of the last values counts."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.running.progress import LAST_EPOCHS
from experiments.running.seeds_page import series
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG

METRIC = "test_error"


class ErrorOverEpochs(NamedTuple):
    """The evaluations of one training; errors are shares of the test images."""

    epochs: list[float]
    errors: list[float]

    @property
    def last(self) -> list[float]:
        """The errors whose mean counts: after the last epochs; of few, the second half."""
        return self.errors[-min(LAST_EPOCHS, max(1, len(self.errors) // 2)) :]

    @property
    def mean(self) -> float:
        """The mean of the last errors: no epoch is chosen by test images."""
        return float(np.mean(self.last))

    @property
    def percent(self) -> list[float]:
        """All errors in percent, for a figure."""
        return [100 * error for error in self.errors]


def read(folder: Path) -> ErrorOverEpochs:
    """The evaluations in the metrics log of a run folder; empty without any."""
    log = folder / LOG
    lines = metrics_log.read_lines(log, None) if log.is_file() else []
    return ErrorOverEpochs(*map(list, series(lines, METRIC)))


def span(errors: list[float]) -> str:
    """Errors in percent, as a range."""
    return f"{100 * min(errors):.2f} to {100 * max(errors):.2f}"
