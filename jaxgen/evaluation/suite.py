"""The evaluation suite: every measure of a trained model, of its samples, features and likelihood.

Samples are measured through the features and the class probabilities of the data set's classifier
(`jaxgen.evaluation.classifier`), against real test images. The classifier has learned the training
images, so it is surer of them than of test images, and of copies of them too.

A measure that does not hold is left out: those of classes where the classifier has random weights,
and those of neighbours where there are too few images (`LEAST_IMAGES`).
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jaxgen.data import Dataset
from jaxgen.evaluation import precision_recall, probes, sample_quality
from jaxgen.evaluation.classifier import Classifier, as_inputs
from jaxgen.evaluation.inception import Inception
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    compute_features,
    compute_in_blocks,
    draw_labels,
    draw_samples,
)
from jaxgen.evaluation.parzen import CAVEAT, parzen
from jaxgen.evaluation.probes import ProbeRow
from jaxgen.evaluation.resampling import Estimate, bootstrap, resample_halves
from jaxgen.evaluation.subset import most_rows, subset
from jaxgen.learner import PRNGKey

stages = logging.getLogger("jaxgen.stages")
"""Logs the stage of a computation, for whoever waits."""

NUM_FEATURES = 10_000
"""Samples, and real test images, that moments and class frequencies are measured on."""
NUM_NEIGHBOURS = 5000
"""Of each, for balls about neighbours and for the kernel: their cost grows with the square."""
NUM_PIXELS = 1000
"""Samples and test images whose nearest training images are sought; test images for Parzen."""
NUM_HELD_OUT = 1000
"""Training images that choose the window's width, at most."""
LEAST_IMAGES = {
    "frechet_distance": 4,
    "frechet_extrapolated": 4,
    "squared_mmd": 4,
    "precision": 8,
    "recall": 8,
    "density": 12,
    "coverage": 12,
    "class_kl": 4,
    "fid": 4,
}
"""Samples, and real images, that a measure needs: half of them must have so many neighbours."""
FID_RESAMPLES = 5
"""Halves that the interval of the FID rests on: each takes half a minute with 2,048 features."""
POSITIVE, SHARE = (0.0, np.inf), (0.0, 1.0)
"""Ranges of measures, where their intervals end; what has no bias may be negative."""

TITLES = {
    "frechet_distance": "Frechet distance",
    "frechet_extrapolated": "Frechet distance, extrapolated",
    "squared_mmd": "MMD^2",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "class_kl": "KL of class frequencies",
    "inception_score": "Inception score on LeNet features",
    "class_accuracy": "accuracy on asked classes",
    "fid": "FID",
    "memorisation": "memorisation",
    "parzen": "Parzen (legacy)",
}
"""Names of the measures for readers."""
DESCRIPTIONS = {
    "frechet_distance": "squared Frechet distance on the classifier's features (no FID), of so "
    "many samples: biased upward, in proportion to 1 / samples, so the interval is of this number "
    "and not of the distance of the distributions; lower",
    "frechet_extrapolated": "the same, extrapolated to infinitely many samples by a line in 1 / "
    "samples; its interval is of the distance of the distributions; near 0 negative at times; "
    "lower",
    "squared_mmd": "squared maximum mean discrepancy, cubic kernel, on the classifier's features, "
    "unbiased; lower",
    "precision": "share of samples nearer to a real image than its 3rd nearest real one; higher",
    "recall": "share of real images nearer to a sample than its 3rd nearest sample; higher",
    "density": "number of real images that have a sample nearer than their 5th nearest real one, "
    "mean over samples, over 5; expected 1 for real images",
    "coverage": "share of real images with a sample nearer than their 5th nearest real one; higher",
    "class_kl": "KL of the samples' class frequencies from the data's, nats; lower",
    "inception_score": "exp mean KL(p(y|x) || p(y)), p of the classifier (no Inception); higher",
    "class_accuracy": "share of samples that are of the class asked for, by the classifier; "
    "classes are asked for as often as the training set has them; higher",
    "fid": "squared Frechet distance on Inception's features of samples and of training images, to "
    "compare with published figures of as many samples; lower",
    "memorisation": f"P(one of the first samples, at most {NUM_PIXELS:,}, is nearer to a training "
    "image than a test image is); 0.5 for unseen images",
    "parzen": f"log likelihood of at most {NUM_PIXELS:,} test images, nats, the window's width "
    f"chosen on training images, which models have seen. {CAVEAT}",
}

Estimates = dict[str, Estimate]


class SampleMeasures(NamedTuple):
    """The measures of a set of samples."""

    estimates: Estimates
    """By the names of `TITLES`."""
    class_frequencies: list[float]
    """Share of each class among the samples, the most probable class of each being taken; empty
    where the classifier has random weights."""


class Evaluation(NamedTuple):
    """Every measure of one trained model."""

    likelihoods: list[Likelihood]
    """The best one last; empty where the model has none."""
    samples: SampleMeasures
    probes: list[ProbeRow]
    """The highest features last; empty where the model has none, or the data no labels."""
    test_error: Estimate | None = None
    """Part of the test images that the model itself classifies wrongly; None where it does not."""

    def __str__(self) -> str:
        """A line for each number: its standard error after ±, or its 95% interval in brackets."""
        rows = {f"log likelihood, nats: {each.kind}": _in_nats(each) for each in self.likelihoods}
        rows |= {TITLES[name]: str(found) for name, found in self.samples.estimates.items()}
        for row in self.probes:
            name = f"{row.probe} probe of {row.features}, {row.num_labels:,} labels"
            rows[f"{name}, accuracy"] = str(row.accuracy)
        if self.test_error is not None:
            rows["test error"] = str(self.test_error)
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {text}" for name, text in rows.items())


def _in_nats(likelihood: Likelihood) -> str:
    """A likelihood with its standard error and what speaks against it."""
    error = likelihood.standard_error
    words = f"{likelihood.value:.2f}" + ("" if error is None else f" ± {error:.2f}")
    return ", but ".join(filter(None, (words, likelihood.doubt)))


def num_held_out(dataset: Dataset) -> int:
    """Last training images that choose the window's width; a tenth of a small data set."""
    return min(NUM_HELD_OUT, max(1, len(dataset.train.images) // 10))


def applicable(
    classifier: Classifier,
    dataset: Dataset,
    num_samples: int,
    *,
    asked: bool = False,
    fid: bool = False,
) -> set[str]:
    """Names of the measures of so many samples that hold on a data set.

    Args:
        classifier: of the data set.
        dataset: what the samples are to be like.
        num_samples: measured, of which `most_rows` are kept.
        asked: whether the samples are of classes that the model was asked for.
        fid: whether Inception's features are there.
    """
    num = min(num_samples, most_rows(dataset.image_shape), len(classifier.test.features))
    missing = {name for name, least in LEAST_IMAGES.items() if num < least}
    if not classifier.num_classes:
        missing |= {"class_kl", "inception_score", "class_accuracy"}
    if len(np.unique(dataset.train.labels)) < dataset.num_classes:
        missing.add("class_kl")  # infinite where a class is drawn that training images lack
    if not asked:
        missing.add("class_accuracy")
    if not fid:
        missing.add("fid")
    return {*TITLES} - missing


def describe_left_out(classifier: Classifier, dataset: Dataset, num_samples: int) -> list[str]:
    """Sentences on the measures that do not hold on a data set, and why."""
    found, left_out = applicable(classifier, dataset, num_samples, fid=True), []
    num = min(num_samples, most_rows(dataset.image_shape), len(classifier.test.features))
    if few := [TITLES[x] for x, least in LEAST_IMAGES.items() if x not in found and num < least]:
        left_out.append(f"With {num} images to compare there is no {', no '.join(few)}.")
    if classifier.num_classes and num >= LEAST_IMAGES["class_kl"] and "class_kl" not in found:
        left_out.append(f"Training images lack a class, so there is no {TITLES['class_kl']}.")
    return left_out


def _measure_features(
    found: np.ndarray, real: np.ndarray, names: set[str], rng: np.random.Generator
) -> Estimates:
    """Distances and balls, between features of samples and of real test images."""
    pair = [found[:NUM_NEIGHBOURS], real[:NUM_NEIGHBOURS]]

    def recall(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.precision(b, a)

    def density(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.density_coverage(a, b)[0]

    def coverage(a: np.ndarray, b: np.ndarray) -> float:
        return precision_recall.density_coverage(a, b)[1]

    frechet = partial(resample_halves, sample_quality.frechet_distance, [found, real])
    measures: dict[str, Callable[[], Estimate]] = {
        "frechet_distance": lambda: frechet(rng, within=POSITIVE),
        "frechet_extrapolated": lambda: frechet(rng.spawn(1)[0], extrapolate=True),
        "squared_mmd": lambda: resample_halves(sample_quality.squared_mmd, pair, rng, 20),
        "precision": lambda: resample_halves(precision_recall.precision, pair, rng, 20, SHARE),
        "recall": lambda: resample_halves(recall, pair, rng, 20, SHARE),
        "density": lambda: resample_halves(density, pair, rng, 20, POSITIVE),
        "coverage": lambda: resample_halves(coverage, pair, rng, 20, SHARE),
    }
    estimates: Estimates = {}
    for name in (name for name in measures if name in names):
        stages.info("%s of %d samples", TITLES[name], len(found))
        estimates[name] = measures[name]()
    return estimates


def _measure_classes(
    probs: np.ndarray, dataset: Dataset, names: set[str], rng: np.random.Generator
) -> Estimates:
    """Which classes the classifier finds, and how surely."""
    frequencies = partial(sample_quality.class_frequencies, num_classes=probs.shape[1])

    def divergence(labels: np.ndarray) -> float:
        return sample_quality.kl_divergence(frequencies(labels), shares)

    found: Estimates = {}
    if "class_kl" in names:
        shares = frequencies(dataset.train.labels)
        read = [np.argmax(probs, axis=1)]
        found["class_kl"] = resample_halves(divergence, read, rng, within=POSITIVE)
    if "inception_score" in names:
        found["inception_score"] = bootstrap(sample_quality.inception_score, [probs], rng)
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _measure_pixels(images: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> Estimates:
    """Nearness to training images, and the Parzen window; its interval is of test images alone."""
    stages.info("nearest training images, and the Parzen window")
    part = subset(dataset)
    test = as_inputs(part.test.images, NUM_PIXELS)
    distances = [
        sample_quality.nearest_distance(each, dataset.train.images)
        for each in (images[:NUM_PIXELS], test)
    ]
    held_out = as_inputs(part.train.images[-num_held_out(part) :], NUM_HELD_OUT)
    window = parzen(test, held_out, images)
    found = bootstrap(_mean, [window.log_densities], rng)
    return {
        "memorisation": bootstrap(sample_quality.memorisation_score, distances, rng),
        "parzen": found._replace(num_samples=len(images)),
    }


def _fid(images: np.ndarray, inception: Inception) -> Estimate:
    """Between images and training images, on Inception's features."""
    stages.info("FID of %d samples", len(images))
    pair, rng = [inception.extract(images), inception.real], np.random.default_rng(0)
    frechet = sample_quality.frechet_distance
    return resample_halves(frechet, pair, rng, FID_RESAMPLES, POSITIVE)


def _class_frequencies(classifier: Classifier, probs: np.ndarray) -> list[float]:
    """The shares of the classes, the most probable one of each image being taken."""
    num = classifier.num_classes
    if not num:
        return []
    return [float(x) for x in sample_quality.class_frequencies(np.argmax(probs, axis=1), num)]


def evaluate_samples(
    classifier: Classifier,
    images: np.ndarray,
    dataset: Dataset,
    seed: int = 0,
    *,
    labels: np.ndarray | None = None,
    inception: Inception | None = None,
) -> SampleMeasures:
    """Every measure of `applicable`, of the first `NUM_FEATURES` samples against real test images.

    Args:
        classifier: the data set's classifier.
        images: samples of the data's size, bytes or numbers in [0, 1], in the order drawn.
        dataset: what the samples are to be like.
        seed: of the resampling.
        labels: the classes that they were asked for; None where none were.
        inception: for the FID; without it there is none.
    """
    rng = np.random.default_rng(seed)
    inputs = as_inputs(images, min(NUM_FEATURES, most_rows(dataset.image_shape)))
    features, probs = classifier(inputs)
    names = applicable(
        classifier, dataset, len(inputs), asked=labels is not None, fid=inception is not None
    )
    estimates = {
        **_measure_features(features, classifier.test.features[:NUM_FEATURES], names, rng),
        **_measure_classes(probs, dataset, names, rng),
        **_measure_pixels(inputs, dataset, rng),
    }
    if labels is not None and "class_accuracy" in names:
        correct = np.argmax(probs, axis=1) == labels[: len(inputs)]
        estimates["class_accuracy"] = bootstrap(_mean, [correct], rng)
    if inception is not None and "fid" in names:
        estimates["fid"] = _fid(inputs, inception)
    return SampleMeasures(estimates, _class_frequencies(classifier, probs))


def evaluate_test_images(
    classifier: Classifier, dataset: Dataset, seed: int = 0, *, inception: Inception | None = None
) -> SampleMeasures:
    """Real test images in the place of samples, against as many training images; FID against all.

    Other measures that have training images, or test images, as their standard are left out.
    """
    rng, test = np.random.default_rng(seed), classifier.test
    features, probs = test.features[:NUM_FEATURES], test.probs[:NUM_FEATURES]
    part = subset(dataset)
    train, _ = classifier(part.train.images[: len(features)])
    num = min(len(features), len(train))
    names = applicable(classifier, dataset, num, fid=inception is not None)
    estimates = {
        **_measure_features(features, train, names, rng),
        **_measure_classes(probs, dataset, names, rng),
    }
    if inception is not None and "fid" in names:
        estimates["fid"] = _fid(part.test.images[:NUM_FEATURES], inception)
    return SampleMeasures(estimates, _class_frequencies(classifier, probs))


def _test_error(model: EvaluatedModel, dataset: Dataset) -> Estimate | None:
    """The part of test images that the model classifies wrongly; None where it does not."""
    if model.classify is None or not model.num_classes:
        return None
    found = compute_in_blocks(jax.jit(model.classify), dataset.test.images)
    wrong = np.argmax(found, axis=1) != dataset.test.labels
    return bootstrap(_mean, [wrong], np.random.default_rng(0))


def evaluate(
    model: EvaluatedModel,
    dataset: Dataset,
    classifier: Classifier,
    key: PRNGKey,
    *,
    num_samples: int = NUM_FEATURES,
    num_labels: Sequence[int] = probes.NUM_LABELS,
    budget: LikelihoodBudget = DEFAULT_BUDGET,
    likelihoods: list[Likelihood] | None = None,
    inception: Inception | None = None,
) -> Evaluation:
    """Every measure of a trained model: likelihoods of test images, samples, probes of features.

    A conditional model is asked for classes as often as the training set has them.

    Args:
        model: see `jaxgen.evaluation.adapters.evaluated_model`.
        dataset: the one that the model was trained on; of a large one a part is measured, see
            `jaxgen.evaluation.subset`.
        classifier: of that data set; see `jaxgen.evaluation.classifier.load`.
        key: of the samples.
        num_samples: how many are drawn and measured, at most `NUM_FEATURES` and `most_rows`.
        num_labels: numbers of labels that probes are given; more than there are mean all.
        budget: how much is computed for likelihoods.
        likelihoods: those that are known already, in the place of computed ones.
        inception: for the FID; without it there is none.
    """
    part, most = subset(dataset), most_rows(dataset.image_shape)
    num_samples, labels = min(num_samples, NUM_FEATURES, most), None
    if model.num_classes:
        shares = sample_quality.class_frequencies(dataset.train.labels, model.num_classes)
        labels = draw_labels(key, num_samples, shares)
    stages.info("drawing %d samples", num_samples)
    images = draw_samples(model, key, num_samples, dataset.image_shape[:2], labels)
    if likelihoods is None:
        stages.info("log likelihood of the test images")
        test, train = part.test.images, part.train.images[:most]
        likelihoods = model.likelihoods(test, budget, train) if model.likelihoods else []
    stages.info("features of the images")
    features = compute_features(model, part) if dataset.num_classes > 1 else {}
    return Evaluation(
        likelihoods=likelihoods,
        samples=evaluate_samples(classifier, images, dataset, labels=labels, inception=inception),
        probes=probes.evaluate_features(features, part, num_labels),
        test_error=_test_error(model, part),
    )
