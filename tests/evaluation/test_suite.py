"""The measures put real images, noise and copies in their order; a model gets all that it can."""

import re
from functools import partial
from pathlib import Path
from typing import Any

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
from jaxgen.evaluation.model import (
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    draw_labels,
    draw_samples,
)
from jaxgen.learner import PRNGKey
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
    assert set(suite.TITLES) == set(suite.DESCRIPTIONS)
    assert set(real) == set(suite.TITLES) - {"class_accuracy", "fid"}
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
    text = str(found)
    assert len(text.splitlines()) == 3 + len(found.samples.estimates) + 2
    exact = found.likelihoods[-1]
    assert f"{exact.value:.2f} ± {exact.standard_error:.2f}" in text
    low, high = rows_of(text)["linear probe of hidden units, 50 labels, accuracy"]
    assert low <= found.probes[0].accuracy.value <= high
    assert rows_of(text)["Frechet distance"] == pytest.approx(
        found.samples.estimates["frechet_distance"][1:3], rel=1e-3
    )


def rows_of(text: str) -> dict[str, tuple[float, float]]:
    """The intervals of printed measures by their names."""
    found = re.findall(r"^(\S.*?)  +\S+ \[(.*), (.*)\]$", text, re.MULTILINE)
    return {name: (float(low), float(high)) for name, low, high in found}


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
        assert set(found.samples.estimates) == suite.applicable(classifier, digits, 20)
        assert found.test_error is None


def test_a_conditional_model_is_asked_for_classes_and_graded(
    digits: data.Dataset, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws a training image of the class asked for; or of the next one; and errs on a class."""
    first = np.stack([digits.train.images[digits.train.labels == c][0] for c in range(10)])
    shown = jnp.asarray(first / np.float32(255.0))
    read = np.argmax(classifier(first).probs, axis=1) == np.arange(10)

    def sample(key: PRNGKey, num: int, labels: jax.Array | None = None, shift: int = 0) -> Any:
        return shown[(jnp.zeros(num, jnp.int32) if labels is None else labels + shift) % 10]

    def classify(images: Any) -> jax.Array:
        """The answers for test images in their order: right but for the class 4."""
        given = digits.test.labels[np.arange(len(images)) % len(digits.test.labels)]
        return jnp.log(jax.nn.one_hot(jnp.where(given == 4, 5, given), 10))

    monkeypatch.setattr(suite, "_measure_features", lambda *_: {})
    monkeypatch.setattr(suite, "_measure_pixels", lambda *_: {})
    for shift in (0, 1):
        model = EvaluatedModel(partial(sample, shift=shift), num_classes=10, classify=classify)
        found = suite.evaluate(model, digits, classifier, jax.random.key(0), num_samples=400)
        labels = draw_labels(jax.random.key(0), 400, np.bincount(digits.train.labels) / 1500)
        expected = np.mean(read[labels]) if shift == 0 else 0.0
        accuracy = found.samples.estimates["class_accuracy"].value
        assert accuracy == pytest.approx(expected, abs=0.0 if shift == 0 else 0.2)
        assert found.test_error is not None
        assert found.test_error.value == pytest.approx(np.mean(digits.test.labels == 4))


def tiny(num: int, num_test: int) -> data.Dataset:
    """A few small colour images without labels."""
    images = np.random.default_rng(0).integers(0, 256, (num + num_test, 6, 5, 3), dtype=np.uint8)
    labels = np.zeros(num + num_test, np.int32)
    train, test = data.Split(images[:num], labels[:num]), data.Split(images[num:], labels[num:])
    return data.Dataset("tiny", train, test, "0" * 64)


@pytest.mark.parametrize(
    ("num", "num_test", "missing"),
    [
        (100, 10, {"density", "coverage"}),
        (3, 1, {*suite.LEAST_IMAGES}),
    ],
)
def test_a_tiny_set_of_colours_without_labels_has_the_measures_that_hold(
    num: int, num_test: int, missing: set[str], tmp_path: Path
) -> None:
    dataset = tiny(num, num_test)
    small = classifiers.Config(num_hidden=8, num_features=6, num_classes=1)
    random = classifiers.load(dataset, tmp_path, small)
    assert random.random
    model = EvaluatedModel(
        lambda key, num: jax.random.uniform(key, (num, 6, 5, 3)),
        {"pixels": lambda images: images.reshape(len(images), -1) / 255.0},
    )
    found = suite.evaluate(model, dataset, random, jax.random.key(0), num_samples=100)
    of_classes = {"class_kl", "inception_score", "class_accuracy", "fid"}
    assert {*found.samples.estimates} == {*suite.TITLES} - missing - of_classes
    assert found.samples.class_frequencies == found.probes == []
    with_fid = suite.applicable(random, dataset, 100, fid=True)
    assert ("fid" in with_fid) == ("frechet_distance" in with_fid)  # half of them need a covariance
    assert all(np.isfinite(each.value) for each in found.samples.estimates.values())
    real = suite.evaluate_test_images(random, dataset)
    assert {*real.estimates} == {*found.samples.estimates} - {"memorisation", "parzen"}
    (told,) = suite.describe_left_out(random, dataset, 100)
    assert told.startswith(f"With {num_test} images to compare there is no ")
    assert ("no Frechet distance" in told) == (num_test < 4)
