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
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparison.measures import (
    Measures,
    Settings,
    as_json,
    describe_classifier,
    identity,
    read,
    require_label_counts,
)
from experiments.running.artifacts import NUM_SAMPLES
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show, working
from jaxgen import data
from jaxgen.data import Dataset, Split
from jaxgen.errors import CheckpointError
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import probes, suite
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.model import Likelihood, binary_input, in_size, mean_likelihood
from jaxgen.evaluation.probes import ProbeRow, pixels
from jaxgen.evaluation.resampling import Estimate
from jaxgen.evaluation.subset import most_rows, subset
from jaxgen.evaluation.suite import Evaluation
from jaxgen.files import appearing_whole, write_json
from jaxgen.learner import named_key
from jaxgen.models import mixture
from jaxgen.runs.samples import read_arrays

logger = logging.getLogger("jaxgen")


MIXTURE_PIXELS = 60_000 * 28 * 28
"""Of the images that the mixture learns, at most: its time grows with their number."""


class Reference(NamedTuple):
    """A row of the table: its measures, and the images to show."""

    measures: Measures
    images: np.ndarray


Given = tuple[np.ndarray, list[Likelihood]]
"""Images in the place of samples, and likelihoods."""


def _mixture(dataset: Dataset, num: int) -> Given:
    """The published baseline, with fewer components where the data set is small.

    Each channel of a colour is a binary pixel of its own. Of large images fewer are learned, as
    many as have the pixels of `MIXTURE_PIXELS`.
    """
    part = subset(dataset)
    images = part.train.images[: max(1, MIXTURE_PIXELS // math.prod(dataset.image_shape))]
    config = mixture.Config(num_components=max(1, min(500, len(images) // 100)))
    key = named_key(jax.random.key(0), "mixture")
    params = mixture.fit(config, images, named_key(key, "fit"))
    test = np.asarray(binary_input(part.test.images, "sample"))
    blocks = np.array_split(test, -(-len(test) // 1000))
    values = [mixture.log_likelihood(params, jnp.asarray(x)) for x in blocks]
    drawn = mixture.sample(params, named_key(key, "sample"), num)
    note = f"{config.num_components} components, {config.num_iterations} iterations of EM"
    likelihood = mean_likelihood(jnp.concatenate(values), "exact", note=note)
    return np.asarray(drawn).reshape(-1, *images.shape[1:]), [likelihood]


def _noise(dataset: Dataset, num: int) -> Given:
    """Every pixel uniform; as a model of binary pixels that is a fair coin each."""
    shape = (min(num, most_rows(dataset.image_shape)), *dataset.image_shape)
    drawn = np.random.default_rng(0).random(shape, dtype=np.float32)
    return drawn, [Likelihood("exact", -float(np.log(2)) * drawn[0].size, 0.0)]


def _training_images(dataset: Dataset, num: int) -> Given:
    """Real images that a model could at best have drawn; they are copies."""
    images = subset(dataset).train.images
    num = min(num, most_rows(dataset.image_shape), len(images) - suite.num_held_out(dataset))
    return images[: max(1, num)], []


def _there_and_back(size: tuple[int, int], dataset: Dataset, num: int) -> Given:
    """Training images in the size of a model's samples, and back, as these are resized."""
    images = _training_images(dataset, num)[0] / np.float32(255)
    height, width, num_channels = images.shape[1:]
    back = []
    for block in np.array_split(images, max(1, len(images) // 500)):
        shape = (len(block), *size, num_channels)
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
    with working(name.replace("_", " ")):
        computed = compute()
    with appearing_whole(sheet) as file:
        np.savez_compressed(file, images=computed.images)
    write_json(measures, computed.measures)
    return computed


def probe_pixels(
    dataset: Dataset, num_labels: tuple[int, ...] = probes.NUM_LABELS
) -> list[ProbeRow]:
    """Probes of the pixels, the baseline of all features; of large images fewer."""
    part, most = subset(dataset), most_rows(dataset.image_shape)
    part = part._replace(train=Split(*(each[:most] for each in part.train)))
    features = {"pixels": (pixels(part.train.images), pixels(part.test.images))}
    return probes.evaluate_features(features, part, num_labels)


def reference_rows(
    dataset: Dataset,
    classifier: Classifier,
    settings: Settings,
    folder: Path,
    sizes: set[tuple[int, int]],
) -> dict[str, Reference]:
    """The rows by their names; `sizes` [H, W] are those of samples that had to be resized."""
    fid = settings.inception is not None
    of = identity(classifier, dataset, settings, "") | {"fid": fid}

    def real() -> Reference:
        samples = suite.evaluate_test_images(classifier, dataset, inception=settings.inception)
        found = Evaluation([], samples, probe_pixels(dataset, settings.num_labels))
        images = subset(dataset).test.images[:NUM_SAMPLES] / np.float32(255)
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
            f"training images at {height}x{width} and back": partial(
                as_samples, partial(_there_and_back, (height, width))
            )
            for height, width in sorted(sizes)
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

    def __post_init__(self) -> None:
        require_label_counts(self)


def main(args: Args) -> None:
    """Prints the classifier's accuracy, the measures of real images and the probes of pixels."""
    dataset = data.load(args.dataset, args.data_dir)
    classifier = classifiers.load(dataset, args.data_dir)
    show(f"classifier of {dataset.name}: {describe_classifier(classifier)}")
    real, _ = _training_images(dataset, suite.NUM_FEATURES)
    for name, found in suite.evaluate_samples(classifier, real, dataset).estimates.items():
        show(describe_measure(name, found))
    for row in probe_pixels(dataset, args.num_labels):
        show(describe_probe(row))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
