"""The linear probe against scikit-learn's logistic regression; both where the answer is known."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxgen import data
from jaxgen.errors import SettingError
from jaxgen.evaluation import probes

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 6))


def drawn(num: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Features about one centre a class, on scales that differ."""
    labels = RNG.integers(0, 4, num)
    rows = CENTRES[labels] + spread * RNG.normal(size=(num, 6))
    return (rows * np.logspace(-2, 2, 6) + 5.0).astype(np.float32), labels


def test_coefficients_and_answers_are_those_of_scikit_learn() -> None:
    (features, labels), (test, test_labels) = drawn(200, 1.0), drawn(300, 1.0)
    l2 = 0.02
    fitted = probes.fit_probe(features, labels, [0.5, l2], num_classes=4, tolerance=1e-6)
    ours = fitted[-1]
    mean, scale = features.mean(axis=0), features.std(axis=0)
    theirs = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-8, max_iter=5000)
    theirs.fit(((features - mean) / scale).astype(np.float64), labels)
    np.testing.assert_allclose(ours.w.T, theirs.coef_, atol=2e-3)
    centred = ours.b - ours.b.mean()  # a number added to all biases changes nothing
    np.testing.assert_allclose(centred, theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)
    expected = theirs.predict((test - mean) / scale) == test_labels
    found = probes.correct(ours, test, test_labels)
    assert np.mean(found != expected) <= 0.01
    assert 0.5 < found.mean() < 0.99
    (alone,) = probes.fit_probe(features, labels, l2, num_classes=4, tolerance=1e-6)
    np.testing.assert_allclose(alone.w, ours.w, atol=2e-3)


def test_separable_classes_are_told_apart() -> None:
    found = probes.linear_probe(drawn(400, 0.01), drawn(100, 0.01), 100, RNG, num_classes=4)
    assert found.correct.all()
    assert found.num_labels == 100
    assert found.l2 == max(probes.L2)  # all are right; the strongest of them is taken


def test_noise_is_told_by_chance() -> None:
    features, labels = drawn(2000, 1.0)
    noise = RNG.normal(size=features.shape).astype(np.float32)
    test = (RNG.normal(size=(2000, 6)).astype(np.float32), RNG.integers(0, 4, 2000))
    found = probes.linear_probe((noise, labels), test, 1000, RNG, num_classes=4)
    assert abs(found.correct.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)


def test_a_constant_feature_changes_nothing() -> None:
    features, labels = drawn(100, 1.0)
    wide = np.concatenate([features, np.full((100, 1), 0.3, np.float32)], axis=1)
    (narrow,), (ours,) = (
        probes.fit_probe(rows, labels, 0.1, num_classes=4) for rows in (features, wide)
    )
    np.testing.assert_allclose(ours.w[:6], narrow.w, atol=1e-4)
    np.testing.assert_allclose(ours.w[6], 0.0, atol=1e-6)


def test_labels_that_are_not_kept_are_left_out() -> None:
    features, labels = drawn(100, 1.0)
    kept = np.arange(100) % 3 > 0
    spoilt = np.where(kept, labels, 0)
    first, second = (
        probes.fit_probe(features, targets, 0.1, kept=kept, num_classes=4)[0]
        for targets in (labels, spoilt)
    )
    np.testing.assert_array_equal(first.w, second.w)
    (without,) = probes.fit_probe(features, spoilt, 0.1, num_classes=4)
    assert not np.allclose(without.w, first.w, atol=0.01)


@pytest.mark.parametrize(
    "classify", [partial(probes.linear_probe, num_classes=4), probes.mlp_probe]
)
def test_only_the_labels_given_are_read(classify: Callable[..., probes.ProbeResult]) -> None:
    features, labels = drawn(300, 1.0)
    test = drawn(50, 1.0)
    chosen = np.random.default_rng(5).permutation(300)[:50]
    others = np.delete(np.arange(300), chosen)
    spoilt = labels.copy()
    spoilt[others] = 0
    rows = features.copy()
    rows[others] = 1e6
    first, second = (
        classify(train, test, 50, np.random.default_rng(5))
        for train in ((features, labels), (rows, spoilt))
    )
    np.testing.assert_array_equal(first.correct, second.correct)
    assert first.l2 == second.l2


def test_the_mlp_reads_what_no_linear_probe_can() -> None:
    features = RNG.normal(size=(1500, 2)).astype(np.float32)
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.int64)
    train, test = (features[:1000], labels[:1000]), (features[1000:], labels[1000:])
    mlp = probes.mlp_probe(train, test, 1000, np.random.default_rng(0))
    assert mlp.correct.mean() > 0.9
    linear = probes.linear_probe(train, test, 1000, np.random.default_rng(0), num_classes=2)
    assert linear.correct.mean() < 0.65
    assert 5 < mlp.num_steps <= 200 * 5  # batches of 200


def test_the_same_generator_gives_the_same_mlp() -> None:
    train, test = drawn(100, 1.0), drawn(200, 1.0)
    first, again, other = (
        probes.mlp_probe(train, test, 50, np.random.default_rng(seed)).correct for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_impossible_settings() -> None:
    train = drawn(20, 1.0)
    for classify in (partial(probes.linear_probe, num_classes=4), probes.mlp_probe):
        with pytest.raises(SettingError, match="5 to 20 labels, found 21"):
            classify(train, train, 21, RNG)
    with pytest.raises(SettingError, match="penalties above 0"):
        probes.fit_probe(*train, [0.1, 0.0], num_classes=4)


def test_pixels_and_labels_as_features(digits_root: Path) -> None:
    digits = data.load("digits", digits_root)
    splits = (digits.train, digits.test)
    first, second = (probes.pixels(split.images[:, ::7, ::7]) for split in splits)
    told, asked = (np.eye(10, 16, dtype=np.float32)[split.labels] for split in splits)
    both = {"pixels": (first, second), "labels": (told, asked)}
    rows = probes.evaluate_features(both, digits, [100, 10**6])
    num = len(digits.train.labels)
    keys = [
        (name, probe, labels)
        for name in both
        for probe in ("linear", "MLP")
        for labels in (100, num)
    ]
    assert [(row.features, row.probe, row.num_labels) for row in rows] == keys
    few, all_labels, mlp_few, _, nearly_sure, sure, *_ = rows
    assert mlp_few.accuracy.value != few.accuracy.value
    assert abs(mlp_few.accuracy.value - few.accuracy.value) < 0.2  # of the same labels
    assert sure.accuracy.value == 1.0
    assert nearly_sure.accuracy.value > 0.9  # of a digit that was drawn once little is known
    assert 0.4 < few.accuracy.value < all_labels.accuracy.value < 1.0
    assert len(few.penalties) == probes.NUM_DRAWS
    assert few.std is not None
    assert few.std > 0
    assert all_labels.std is None


@pytest.mark.parametrize("spoilt", ["train", "test", "labels", "negative", "units"])
def test_every_probe_refuses_what_are_no_features_and_labels(spoilt: str) -> None:
    (features, labels), (test, test_labels) = drawn(50, 1.0), drawn(20, 1.0)
    features, test = features.copy(), test.copy()
    if spoilt == "train":
        features[3, 1] = np.nan
    elif spoilt == "test":
        test[3, 1] = np.inf
    elif spoilt == "units":
        test = test[:, :5]
    else:
        labels = labels + 4 if spoilt == "labels" else labels - 4
    pairs = (features, labels), (test, test_labels)
    with pytest.raises(SettingError):
        probes.linear_probe(*pairs, 20, RNG, num_classes=4)
    if spoilt != "labels":  # an MLP takes any number of classes
        with pytest.raises(SettingError):
            probes.mlp_probe(*pairs, 20, RNG)
    if spoilt in ("train", "labels", "negative"):
        with pytest.raises(SettingError):
            probes.fit_probe(features, labels, 0.1, num_classes=4)
    else:
        (probe,) = probes.fit_probe(features, labels, 0.1, num_classes=4, max_steps=1)
        if spoilt == "test":
            with pytest.raises(SettingError):
                probes.correct(probe, test, test_labels)
