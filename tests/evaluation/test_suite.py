"""The measures put real images, noise and copies in their order; a model gets all that it can."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import SMALL_CLASSIFIER

from jaxgen import data
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import suite
from jaxgen.evaluation.adapters import evaluated_model
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.model import EvaluatedModel, Likelihood, LikelihoodBudget, draw_samples
from jaxgen.models import rbm


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    return data.load("digits", digits_root)


@pytest.fixture(scope="module")
def classifier(digits: data.Dataset, digits_root: Path) -> Classifier:
    return classifiers.load(digits, digits_root, SMALL_CLASSIFIER)


def test_measures_separate_real_images_from_noise_and_copies(
    digits: data.Dataset, classifier: Classifier
) -> None:
    num = len(digits.test.images)
    noise = np.random.default_rng(0).uniform(size=digits.test.images.shape).astype(np.float32)
    one_kind = digits.train.images[digits.train.labels == 3][:100]
    copies = digits.train.images[:num]
    found = [
        suite.evaluate_samples(classifier, images, digits) for images in (copies, noise, one_kind)
    ]
    real, noisy, same_digit = (each.estimates for each in found)
    read = np.argmax(classifier(one_kind).probs, axis=1)
    assert found[2].class_frequencies == [np.mean(read == digit) for digit in range(10)]
    assert np.argmax(found[2].class_frequencies) == 3
    assert set(real) == set(suite.TITLES) == set(suite.DESCRIPTIONS)
    for name in ("frechet_distance", "squared_mmd"):
        assert real[name].high < min(noisy[name].low, same_digit[name].low)
    for name in ("precision", "recall", "coverage"):
        assert real[name].value > 0.7
        assert noisy[name].value < 0.1
    assert same_digit["precision"].value > 0.7
    assert same_digit["recall"].value < 0.3
    assert real["inception_score"].low > same_digit["inception_score"].high
    assert real["class_kl"].value < 0.05
    assert same_digit["class_kl"].value > 1.5
    assert real["memorisation"].value == 1.0
    assert noisy["memorisation"].value == 0.0
    assert real["parzen"].value > noisy["parzen"].value
    assert real["frechet_distance"].num_samples == num


def test_a_model_is_evaluated_by_all_that_it_can(
    digits: data.Dataset, classifier: Classifier
) -> None:
    config = rbm.Config(num_hidden=5, num_sampling_steps=3)
    params = rbm.init(config, 784, jax.random.key(0)).params
    model = evaluated_model(config, (28, 28, 1), params)
    key, budget = jax.random.key(1), LikelihoodBudget(4, 10, 3)
    little = {"num_samples": 30, "num_labels": [50], "budget": budget}
    found = suite.evaluate(model, digits, classifier, key, **little)  # type: ignore[arg-type]
    assert [each.kind for each in found.likelihoods] == ["reverse AIS", "AIS", "exact"]
    images = draw_samples(model, key, 30, (28, 28))
    assert found.samples == suite.evaluate_samples(classifier, images, digits)
    rows = [(row.features, row.probe, row.num_labels) for row in found.probes]
    assert rows == [("hidden units", "linear", 50), ("hidden units", "MLP", 50)]


def test_a_model_that_only_samples_has_no_other_measures(
    digits: data.Dataset, classifier: Classifier
) -> None:
    given = [Likelihood("exact", -1.0, 0.1)]
    black = EvaluatedModel(lambda _, num: jnp.zeros((num, 14, 14, 1)))
    for likelihoods in (None, given):
        found = suite.evaluate(
            black, digits, classifier, jax.random.key(0), num_samples=20, likelihoods=likelihoods
        )
        assert found.likelihoods == (likelihoods or [])
        assert found.probes == []
        assert set(found.samples.estimates) == set(suite.TITLES)
