"""Reference rows of the comparison: the best that a model can reach, and what any should beat.

Real images in the place of samples, a mixture of Bernoullis, whose likelihood is exact, and uniform
noise. Each is evaluated once and kept in the folder of the comparison.

    python -m experiments.comparison.reference --dataset mnist

prints the test accuracy of the data set's classifier; what real training images attain in the place
of samples, which is the best that a model can hope for, except that they count as copies; and how
well probes predict the labels from pixels. The first call trains the classifier, some minutes on
two CPU cores.
"""

import contextlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparison.measures import Measures, Settings, as_json, identity, read
from experiments.running.artifacts import NUM_SAMPLES
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.errors import CheckpointError
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import probes, sample_quality, suite
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.model import Likelihood, binary_input, in_size, mean_likelihood
from jaxgen.evaluation.probes import ProbeRow, pixels
from jaxgen.evaluation.resampling import Estimate
from jaxgen.evaluation.suite import Evaluation
from jaxgen.files import appearing_whole, write_json
from jaxgen.learner import named_key
from jaxgen.models import mixture
from jaxgen.runs.samples import read_arrays

logger = logging.getLogger("jaxgen")


class Reference(NamedTuple):
    """A row of the table: its measures, and the images to show."""

    measures: Measures
    images: np.ndarray


Given = tuple[np.ndarray, list[Likelihood]]
"""Images in the place of samples, and likelihoods."""


def _mixture(dataset: Dataset, num: int) -> Given:
    """The published baseline, with fewer components where the data set is small."""
    images = dataset.train.images
    config = mixture.Config(num_components=min(500, len(images) // 100))
    key = named_key(jax.random.key(0), "mixture")
    params = mixture.fit(config, images, named_key(key, "fit"))
    test = np.asarray(binary_input(dataset.test.images, "sample"))
    blocks = np.array_split(test, -(-len(test) // 1000))
    values = [mixture.log_likelihood(params, jnp.asarray(x)) for x in blocks]
    drawn = mixture.sample(params, named_key(key, "sample"), num)
    note = f"{config.num_components} components, {config.num_iterations} iterations of EM"
    likelihood = mean_likelihood(jnp.concatenate(values), "exact", note=note)
    return np.asarray(drawn).reshape(-1, *images.shape[1:]), [likelihood]


def _noise(dataset: Dataset, num: int) -> Given:
    """Every pixel uniform; as a model of binary pixels that is a fair coin each."""
    shape = dataset.train.images.shape[1:]
    drawn = np.random.default_rng(0).random((num, *shape), dtype=np.float32)
    return drawn, [Likelihood("exact", -float(np.log(2)) * drawn[0].size, 0.0)]


def _training_images(dataset: Dataset, num: int) -> Given:
    """Real images that a model could at best have drawn; they are copies."""
    return dataset.train.images[: -suite.num_held_out(dataset)][:num], []


def _there_and_back(side: int, dataset: Dataset, num: int) -> Given:
    """Training images enlarged and shrunk again, as a model's larger samples are shrunk."""
    images = _training_images(dataset, num)[0] / np.float32(255)
    height, width, num_channels = images.shape[1:]
    back = []
    for block in np.array_split(images, max(1, len(images) // 500)):
        shape = (len(block), side, side, num_channels)
        larger = jax.image.resize(jnp.asarray(block), shape, "bilinear", antialias=False)
        back.append(np.asarray(in_size(larger, (height, width))))
    return np.concatenate(back), []


def _read_or_compute(
    name: str, folder: Path, compute: Callable[[], Reference], of: dict[str, object]
) -> Reference:
    """A reference row from the folder, or computed and left there."""
    measures, sheet = folder / f"{name}.json", folder / f"{name}.npz"
    with contextlib.suppress(CheckpointError, KeyError):  # a damaged sheet
        if found := read(measures, of):
            return Reference(found, read_arrays(sheet)["images"])
    logger.info("evaluating %s", name.replace("_", " "))
    computed = compute()
    with appearing_whole(sheet) as file:
        np.savez_compressed(file, images=computed.images)
    write_json(measures, computed.measures)
    return computed


def probe_pixels(
    dataset: Dataset, num_labels: tuple[int, ...] = probes.NUM_LABELS
) -> list[ProbeRow]:
    """Probes of the pixels, the baseline of all features."""
    features = {"pixels": (pixels(dataset.train.images), pixels(dataset.test.images))}
    return probes.evaluate_features(features, dataset, num_labels)


def reference_rows(
    dataset: Dataset, classifier: Classifier, settings: Settings, folder: Path, sides: set[int]
) -> dict[str, Reference]:
    """The rows by their names; `sides` are the sizes of samples that had to be shrunk."""
    of = identity(classifier, dataset, settings, "")

    def real() -> Reference:
        samples = suite.evaluate_test_images(classifier, dataset)
        found = Evaluation([], samples, probe_pixels(dataset, settings.num_labels))
        images = dataset.test.images[:NUM_SAMPLES] / np.float32(255)
        return Reference(as_json(of, found), images)

    def as_samples(given: Callable[[Dataset, int], Given]) -> Reference:
        images, likelihoods = given(dataset, settings.num_samples)
        samples = suite.evaluate_samples(classifier, images, dataset)
        found = Evaluation(likelihoods, samples, [])
        return Reference(as_json(of, found), classifiers.as_inputs(images, NUM_SAMPLES))

    computed: dict[str, Callable[[], Reference]] = {
        "real test images": real,
        "real training images": partial(as_samples, _training_images),
        **{
            f"training images at {side}x{side} and back": partial(
                as_samples, partial(_there_and_back, side)
            )
            for side in sorted(sides)
        },
        "mixture of Bernoullis": partial(as_samples, _mixture),
        "uniform noise": partial(as_samples, _noise),
    }
    return {
        name: _read_or_compute(name.replace(" ", "_"), folder, compute, of)
        for name, compute in computed.items()
    }


def describe_measure(name: str, found: Estimate) -> str:
    """One line: the number, its interval, its samples and its definition."""
    return (
        f"{suite.TITLES[name]} {found.value:.4g} [{found.low:.4g}, {found.high:.4g}],"
        f" {found.num_samples} samples, {found.num_resamples} resamples:"
        f" {suite.DESCRIPTIONS[name]}"
    )


def describe_probe(row: ProbeRow) -> str:
    """One line: the accuracy, its interval and standard deviation, and the penalties."""
    accuracy, std = row.accuracy, row.std
    draws = "" if std is None else f", {std:.2%} over {len(row.penalties)} draws of labels"
    return (
        f"{row.features}, {row.probe}, {row.num_labels} labels: {accuracy.value:.2%}"
        f" [{accuracy.low:.2%}, {accuracy.high:.2%}] of {accuracy.num_samples} test images{draws};"
        f" l2 {', '.join(f'{l2:g}' for l2 in row.penalties)}"
    )


@dataclass(frozen=True)
class Args:
    """Measure real images and probe their pixels."""

    dataset: str = "mnist"
    """The data set."""
    data_dir: Path | None = None
    """TFDS's folder; by default $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    num_labels: tuple[int, ...] = probes.NUM_LABELS
    """Numbers of labels that probes are given; more than there are mean all."""


def main(args: Args) -> None:
    """Prints the classifier's accuracy, the measures of real images and the probes of pixels."""
    dataset = data.load(args.dataset, args.data_dir)
    classifier = classifiers.load(dataset, args.data_dir)
    score = sample_quality.inception_score(classifier.test.probs)
    show(
        f"classifier of {dataset.name}, weights {classifier.digest[:16]}:"
        f" {classifier.accuracy:.2%} of {len(classifier.test_correct)} test images correct;"
        f" {suite.TITLES['inception_score']} of these {score:.4g}"
    )
    real = dataset.train.images[: -suite.num_held_out(dataset)]
    for name, found in suite.evaluate_samples(classifier, real, dataset).estimates.items():
        show(describe_measure(name, found))
    for row in probe_pixels(dataset, args.num_labels):
        show(describe_probe(row))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
