"""The command prints the classifier's accuracy, measures of real images and probes of pixels."""

import functools
from pathlib import Path

import numpy as np
import pytest
from support.helpers import SMALL_CLASSIFIER

from experiments.comparison import reference
from experiments.running.cli import exit_code
from jaxgen import data
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import probes, suite
from jaxgen.evaluation.resampling import Estimate
from jaxgen.evaluation.suite import SampleMeasures


def test_the_command_prints_accuracy_measures_and_probes(
    digits_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = functools.partial(classifiers.load, config=SMALL_CLASSIFIER)
    monkeypatch.setattr(reference.classifiers, "load", load)
    monkeypatch.setattr(reference, "pixels", lambda images: probes.pixels(images[:, ::7, ::7]))
    monkeypatch.setattr(probes, "MLP_SEEN", 100)
    given = []

    def evaluate_samples(classifier: object, images: np.ndarray, *_: object) -> SampleMeasures:
        given.append(images)
        return SampleMeasures({"recall": Estimate(0.875, 0.75, 1.0, 30, 20)}, [])

    monkeypatch.setattr(suite, "evaluate_samples", evaluate_samples)
    reference.main(reference.Args("digits", digits_root, (10,)))
    digits = data.load("digits", digits_root)
    accuracy = load(digits, digits_root).accuracy
    first, measure, linear, mlp = capsys.readouterr().out.splitlines()
    assert f"{accuracy:.2%} of {len(digits.test.labels)} test images" in first
    assert measure.startswith("recall 0.875 [0.75, 1], 30 samples, 20 resamples: share of real")
    held_out = suite.num_held_out(digits)
    np.testing.assert_array_equal(given[0], digits.train.images[:-held_out])
    (row, _) = reference.probe_pixels(digits, (10,))
    assert linear.startswith(f"pixels, linear, 10 labels: {row.accuracy.value:.2%}")
    assert f"{probes.NUM_DRAWS} draws" in linear
    assert mlp.startswith("pixels, MLP, 10 labels: ")
    for wrong in (("nothing", digits_root), ("digits", digits_root, (3,))):
        assert exit_code(lambda wrong=wrong: reference.main(reference.Args(*wrong))) == 2
        assert capsys.readouterr().err.startswith("error: expected ")
