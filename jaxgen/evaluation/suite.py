"""The evaluation suite: every measure of a trained model, of its samples, features and likelihood.

Samples are measured through the features and the class probabilities of the data set's classifier
(`jaxgen.evaluation.classifier`), against real test images. The classifier has learned the training
images, so it is surer of them than of test images, and of copies of them too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.data import Dataset
from jaxgen.evaluation import precision_recall, probes, sample_quality
from jaxgen.evaluation.classifier import Classifier, as_inputs
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    compute_features,
    draw_samples,
)
from jaxgen.evaluation.parzen import CAVEAT, parzen
from jaxgen.evaluation.probes import ProbeRow
from jaxgen.evaluation.resampling import Estimate, bootstrap, half_sampled
from jaxgen.learner import PRNGKey

NUM_FEATURES = 10_000
"""Samples, and real test images, that moments and class frequencies are measured on."""
NUM_NEIGHBOURS = 5000
"""Of each, for balls about neighbours and for the kernel: their cost grows with the square."""
NUM_PIXELS = 1000
"""Samples and test images whose nearest training images are sought; test images for Parzen."""
NUM_HELD_OUT = 1000
"""Training images that choose the window's width, at most."""
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
    """Share of each class among the samples, the most probable class of each being taken."""


class Evaluation(NamedTuple):
    """Every measure of one trained model."""

    likelihoods: list[Likelihood]
    """The best one last; empty where the model has none."""
    samples: SampleMeasures
    probes: list[ProbeRow]
    """The highest features last; empty where the model has none."""


def num_held_out(dataset: Dataset) -> int:
    """Last training images that choose the window's width; a tenth of a small data set."""
    return min(NUM_HELD_OUT, len(dataset.train.images) // 10)


def _measure_features(found: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Estimates:
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
        "frechet_extrapolated": half_sampled(
            frechet, [found, real], rng.spawn(1)[0], extrapolate=True
        ),
        "squared_mmd": half_sampled(sample_quality.squared_mmd, pair, rng, 20),
        "precision": half_sampled(precision_recall.precision, pair, rng, 20, SHARE),
        "recall": half_sampled(recall, pair, rng, 20, SHARE),
        "density": half_sampled(density, pair, rng, 20, POSITIVE),
        "coverage": half_sampled(coverage, pair, rng, 20, SHARE),
    }


def _measure_classes(probs: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> Estimates:
    """Which classes the classifier finds, and how surely."""
    shares = sample_quality.class_frequencies(dataset.train.labels)

    def divergence(labels: np.ndarray) -> float:
        return sample_quality.kl_divergence(sample_quality.class_frequencies(labels), shares)

    return {
        "class_kl": half_sampled(divergence, [np.argmax(probs, axis=1)], rng, within=POSITIVE),
        "inception_score": bootstrap(sample_quality.inception_score, [probs], rng),
    }


def _measure_pixels(images: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> Estimates:
    """Nearness to training images, and the Parzen window; its interval is of test images alone."""
    train, test = dataset.train.images, as_inputs(dataset.test.images, NUM_PIXELS)
    distances = [
        sample_quality.nearest_distance(each, train) for each in (images[:NUM_PIXELS], test)
    ]
    held_out = as_inputs(train[-num_held_out(dataset) :], NUM_HELD_OUT)
    window = parzen(test, held_out, images)
    found = bootstrap(lambda values: float(np.mean(values)), [window.log_densities], rng)
    return {
        "memorisation": bootstrap(sample_quality.memorisation_score, distances, rng),
        "parzen": found._replace(num_samples=len(images)),
    }


def _class_frequencies(probs: np.ndarray) -> list[float]:
    """The shares of the classes, the most probable one of each image being taken."""
    return [float(share) for share in sample_quality.class_frequencies(np.argmax(probs, axis=1))]


def evaluate_samples(
    classifier: Classifier, images: np.ndarray, dataset: Dataset, seed: int = 0
) -> SampleMeasures:
    """Every measure of `TITLES`, of the first `NUM_FEATURES` samples against real test images.

    Args:
        classifier: the data set's classifier.
        images: samples of the data's size, bytes or numbers in [0, 1], in the order drawn.
        dataset: what the samples are to be like.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    inputs = as_inputs(images, NUM_FEATURES)
    features, probs = classifier(inputs)
    estimates = {
        **_measure_features(features, classifier.test.features[:NUM_FEATURES], rng),
        **_measure_classes(probs, dataset, rng),
        **_measure_pixels(inputs, dataset, rng),
    }
    return SampleMeasures(estimates, _class_frequencies(probs))


def evaluate_test_images(classifier: Classifier, dataset: Dataset, seed: int = 0) -> SampleMeasures:
    """Real test images in the place of samples, against as many training images.

    Measures that have training images, or test images, as their standard are left out.
    """
    rng, test = np.random.default_rng(seed), classifier.test
    train, _ = classifier(as_inputs(dataset.train.images, len(test.features)))
    estimates = {
        **_measure_features(test.features[:NUM_FEATURES], train[:NUM_FEATURES], rng),
        **_measure_classes(test.probs[:NUM_FEATURES], dataset, rng),
    }
    return SampleMeasures(estimates, _class_frequencies(test.probs[:NUM_FEATURES]))


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
) -> Evaluation:
    """Every measure of a trained model: likelihoods of test images, samples, probes of features.

    Args:
        model: see `jaxgen.evaluation.adapters.evaluated_model`.
        dataset: the one that the model was trained on.
        classifier: of that data set; see `jaxgen.evaluation.classifier.load`.
        key: of the samples.
        num_samples: how many are drawn and measured, at most `NUM_FEATURES`.
        num_labels: numbers of labels that probes are given; more than there are mean all.
        budget: how much is computed for likelihoods.
        likelihoods: those that are known already, in the place of computed ones.
    """
    height, width, _ = dataset.test.images.shape[1:]
    images = draw_samples(model, key, num_samples, (height, width))
    if likelihoods is None:
        test, train = dataset.test.images, dataset.train.images
        likelihoods = model.likelihoods(test, budget, train) if model.likelihoods else []
    features = compute_features(model, dataset)
    return Evaluation(
        likelihoods=likelihoods,
        samples=evaluate_samples(classifier, images, dataset),
        probes=probes.evaluate_features(features, dataset, num_labels),
    )
