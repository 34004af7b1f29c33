"""Every model on one yardstick: measures of samples by the data set's judge, with their floor.

Example::

    python -m experiments.comparison.yardstick --dataset mnist  # the judge, real images as samples

It prints the judge's test accuracy and what real training images attain in the place of samples:
what a model can hope for, but for copying, where they are copies. The judge has learned them, so it
is surer of them than of test images, and the floor holds that too. The first run trains the judge,
some minutes on two CPU cores; a later one takes a minute.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro

from experiments.comparison.judge import Judge, as_inputs, judge
from experiments.running.cli import exit_code
from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.evaluation import precision_recall, sample_quality
from jaxgen.evaluation.parzen import CAVEAT, parzen
from jaxgen.evaluation.resampling import Estimate, bootstrap, half_sampled

NUM_FEATURES = 10_000
"""Samples, and real test images, that moments and digits are measured on."""
NUM_NEIGHBOURS = 5000
"""Of each, for balls about neighbours and for the kernel: their cost grows with the square."""
NUM_PIXELS = 1000
"""Samples and test images whose nearest training images are sought; test images for Parzen."""
NUM_HELD_OUT = 1000
"""Training images that choose the window's width, at most."""
POSITIVE, SHARE = (0.0, np.inf), (0.0, 1.0)
"""Ranges of measures, where their intervals end; an unbiased kernel distance may be negative."""

TITLES = {
    "frechet_distance": "Frechet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "digits_kl": "KL of digits",
    "class_score": "class score",
    "copying": "copying",
    "parzen": "Parzen (legacy)",
}
"""What readers know the measures by."""
WHAT = {
    "frechet_distance": "squared Frechet distance on the judge's features (no FID); lower",
    "kernel_distance": "squared MMD, cubic kernel, on the judge's features, unbiased; lower",
    "precision": "share of samples nearer to a real image than its 3rd nearest real one; higher",
    "recall": "share of real images nearer to a sample than its 3rd nearest sample; higher",
    "density": "number of real images that have a sample nearer than their 5th nearest real one, "
    "mean over samples, over 5; expected 1 for real images",
    "coverage": "share of real images with a sample nearer than their 5th nearest real one; higher",
    "digits_kl": "KL of the digits drawn from the data's, nats; lower",
    "class_score": "exp mean KL(p(y|x) || p(y)) by the judge (no Inception); higher",
    "copying": f"P(one of the first samples, at most {NUM_PIXELS:,}, is nearer to a training image "
    "than a test image is); 0.5 for unseen images",
    "parzen": f"log likelihood of at most {NUM_PIXELS:,} test images, nats, the window's width "
    f"chosen on training images, which models have seen. {CAVEAT}",
}

Estimates = dict[str, Estimate]


class Measured(NamedTuple):
    """What the yardstick says of samples."""

    estimates: Estimates
    """By the names of `WHAT`."""
    digits: list[float]
    """Share of each class among the samples, as the judge reads them."""


def num_held_out(dataset: Dataset) -> int:
    """Last training images that choose the window's width; a tenth of a small data set."""
    return min(NUM_HELD_OUT, len(dataset.train.images) // 10)


def _by_features(found: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Estimates:
    """Distances and balls, between features of samples and of real test images."""
    pair = [found[:NUM_NEIGHBOURS], real[:NUM_NEIGHBOURS]]

    def recall(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.precision(b, a)

    def density(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.density_coverage(a, b)[0]

    def coverage(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.density_coverage(a, b)[1]

    frechet = sample_quality.frechet_distance
    return {
        "frechet_distance": half_sampled(frechet, [found, real], rng, within=POSITIVE),
        "kernel_distance": half_sampled(sample_quality.kernel_distance, pair, rng, 20),
        "precision": half_sampled(precision_recall.precision, pair, rng, 20, SHARE),
        "recall": half_sampled(recall, pair, rng, 20, SHARE),
        "density": half_sampled(density, pair, rng, 20, POSITIVE),
        "coverage": half_sampled(coverage, pair, rng, 20, SHARE),
    }


def _by_classes(probs: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> Estimates:
    """Which digits the judge sees, and how surely."""
    shares = sample_quality.label_shares(dataset.train.labels)

    def divergence(labels: np.ndarray) -> float:
        return sample_quality.kl_divergence(sample_quality.label_shares(labels), shares)

    return {
        "digits_kl": half_sampled(divergence, [np.argmax(probs, axis=1)], rng, within=POSITIVE),
        "class_score": bootstrap(sample_quality.class_score, [probs], rng),
    }


def _by_pixels(images: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> Estimates:
    """Nearness to training images, and the Parzen window; its interval is of test images alone."""
    train, test = dataset.train.images, as_inputs(dataset.test.images, NUM_PIXELS)
    distances = [
        sample_quality.nearest_distance(each, train) for each in (images[:NUM_PIXELS], test)
    ]
    held_out = as_inputs(train[-num_held_out(dataset) :], NUM_HELD_OUT)
    window = parzen(test, held_out, images)
    found = bootstrap(lambda values: float(np.mean(values)), [window.log_densities], rng)
    return {
        "copying": bootstrap(sample_quality.copying_score, distances, rng),
        "parzen": found._replace(num_samples=len(images)),
    }


def _digits(probs: np.ndarray) -> list[float]:
    """The shares of the classes that the judge finds most probable."""
    return [float(share) for share in sample_quality.label_shares(np.argmax(probs, axis=1))]


def measure(judged: Judge, images: np.ndarray, dataset: Dataset, seed: int = 0) -> Measured:
    """Every measure of `WHAT`, of the first `NUM_FEATURES` samples against real test images.

    Args:
        judged: the data set's judge.
        images: samples of the data's size, bytes or numbers in [0, 1], in the order drawn.
        dataset: what the samples are to be like.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    inputs = as_inputs(images, NUM_FEATURES)
    features, probs = judged(inputs)
    estimates = {
        **_by_features(features, judged.test.features[:NUM_FEATURES], rng),
        **_by_classes(probs, dataset, rng),
        **_by_pixels(inputs, dataset, rng),
    }
    return Measured(estimates, _digits(probs))


def measure_test(judged: Judge, dataset: Dataset, seed: int = 0) -> Measured:
    """Real test images in the place of samples, against as many training images.

    What rests on training images, or on test images, as the standard is left out.
    """
    rng, test = np.random.default_rng(seed), judged.test
    train, _ = judged(as_inputs(dataset.train.images, len(test.features)))
    estimates = {
        **_by_features(test.features[:NUM_FEATURES], train[:NUM_FEATURES], rng),
        **_by_classes(test.probs[:NUM_FEATURES], dataset, rng),
    }
    return Measured(estimates, _digits(test.probs[:NUM_FEATURES]))


def in_words(name: str, found: Estimate) -> str:
    """One line: the number, its interval, what it rests on and what it is."""
    return (
        f"{name} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}], {found.num_samples}"
        f" samples, {found.num_resamples} resamples: {WHAT[name]}"
    )


@dataclass(frozen=True)
class Args:
    """Trains or loads the judge of a data set and measures real images with it."""

    dataset: Literal["mnist", "fashion_mnist", "kmnist", "digits"] = "mnist"
    """The data set."""
    data_dir: Path | None = None
    """TFDS's folder; by default $TFDS_DATA_DIR or ~/tensorflow_datasets."""


def main(args: Args) -> None:
    """Prints the judge's accuracy and the floor of each measure."""
    dataset = data.load(args.dataset, args.data_dir)
    judged = judge(dataset, args.data_dir)
    print(
        f"the judge of {dataset.name}, weights {judged.digest[:16]}, reads"
        f" {judged.accuracy:.2%} of {len(judged.test_correct)} test images right;"
        f" class score of these {sample_quality.class_score(judged.test.probs):.4g}"
    )
    real = dataset.train.images[: -num_held_out(dataset)]
    for name, found in measure(judged, real, dataset).estimates.items():
        print(in_words(name, found))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(Args))))
