"""Probes: how well the digits can be read from what a model makes of images.

Example::

    python -m experiments.comparison.probes --dataset mnist         # the baseline: pixels

It prints the test accuracy of multinomial logistic regression and of a small MLP with 100, 1,000
and all labels. Other features (hidden units, codes, a discriminator's units) go through
`probe_table` the same way.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro

from experiments.running.cli import exit_code
from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.evaluation import probe
from jaxgen.evaluation.resampling import Estimate, bootstrap

logger = logging.getLogger("jaxgen")

CLASSIFIERS = {"linear": probe.linear_probe, "MLP": probe.mlp_probe}
NUM_DRAWS = 5
"""Draws of the labels, each with its own probe, where not all are taken."""

Features = np.ndarray
"""[num, units], in the order of the data set's split."""


class Row(NamedTuple):
    """A probe of one kind of features with so many labels."""

    name: str
    classifier: str
    """One of `CLASSIFIERS`."""
    num_labels: int
    accuracy: Estimate
    """The mean over draws; the interval is of test images, the draws being given."""
    spread: float | None
    """Standard deviation of the accuracy over draws of the labels; None with one draw."""
    penalties: list[float]
    """The one chosen in each draw."""


def pixels(images: np.ndarray) -> Features:
    """The baseline: raw images as rows in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255.0)


def _row(
    name: str,
    classifier: str,
    both: tuple[Features, Features],
    dataset: Dataset,
    num_labels: int,
    seed: int,
) -> Row:
    num_draws = 1 if num_labels == len(dataset.train.labels) else NUM_DRAWS
    rngs = [np.random.default_rng([seed, num_labels, draw]) for draw in range(num_draws)]
    pairs = (both[0], dataset.train.labels), (both[1], dataset.test.labels)
    found = [CLASSIFIERS[classifier](*pairs, num_labels, rng) for rng in rngs]
    shares = np.mean([each.correct for each in found], axis=0)  # of the probes, by test image
    if classifier == "linear" and max(each.num_steps for each in found) >= probe.MAX_STEPS:
        logger.warning("a probe of %s with %d labels has not converged", name, num_labels)
    accuracy = bootstrap(lambda values: float(np.mean(values)), [shares], rngs[0])
    means = [float(np.mean(each.correct)) for each in found]
    spread = float(np.std(means, ddof=1)) if num_draws > 1 else None
    return Row(name, classifier, num_labels, accuracy, spread, [each.l2 for each in found])


def probe_table(
    features: Mapping[str, tuple[Features, Features]],
    dataset: Dataset,
    num_labels: Sequence[int] = probe.NUM_LABELS,
    seed: int = 0,
) -> list[Row]:
    """Probes each kind of features, given for train and test images, with each number of labels.

    Every classifier reads each kind, given the same labels. More labels than there are mean all.
    """
    numbers = sorted({min(num, len(dataset.train.labels)) for num in num_labels})
    return [
        _row(name, classifier, both, dataset, num, seed)
        for name, both in features.items()
        for classifier in CLASSIFIERS
        for num in numbers
    ]


def in_words(row: Row) -> str:
    """One line: the accuracy, its interval and spread, and the penalties."""
    accuracy, spread = row.accuracy, row.spread
    draws = "" if spread is None else f", {spread:.2%} over {len(row.penalties)} draws of labels"
    return (
        f"{row.name}, {row.classifier}, {row.num_labels} labels: {accuracy.value:.2%}"
        f" [{accuracy.low:.2%}, {accuracy.high:.2%}] of {accuracy.num_samples} test images{draws};"
        f" l2 {', '.join(f'{l2:g}' for l2 in row.penalties)}"
    )


@dataclass(frozen=True)
class Args:
    """Probes the pixels of a data set."""

    dataset: Literal["mnist", "fashion_mnist", "kmnist", "digits"] = "mnist"
    """The data set."""
    data_dir: Path | None = None
    """TFDS's folder; by default $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    num_labels: tuple[int, ...] = probe.NUM_LABELS
    """Numbers of labels; more than there are mean all."""


def main(args: Args) -> None:
    """Prints a line for each number of labels."""
    dataset = data.load(args.dataset, args.data_dir)
    both = (pixels(dataset.train.images), pixels(dataset.test.images))
    for row in probe_table({"pixels": both}, dataset, args.num_labels):
        print(in_words(row))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(Args))))
