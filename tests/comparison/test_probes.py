"""The table of probes, on the digits and on features that give the label away."""

from pathlib import Path

import numpy as np
import pytest

from experiments.comparison import probes
from experiments.running.cli import exit_code
from jaxgen import data


def test_pixels_and_labels_as_features(digits_root: Path) -> None:
    digits = data.load("digits", digits_root)
    splits = (digits.train, digits.test)
    first, second = (probes.pixels(split.images[:, ::7, ::7]) for split in splits)
    told, asked = (np.eye(10, 16, dtype=np.float32)[split.labels] for split in splits)
    both = {"pixels": (first, second), "labels": (told, asked)}
    rows = probes.probe_table(both, digits, [100, 10**6])
    num = len(digits.train.labels)
    keys = [
        (name, classifier, labels)
        for name in both
        for classifier in ("linear", "MLP")
        for labels in (100, num)
    ]
    assert [(row.name, row.classifier, row.num_labels) for row in rows] == keys
    few, all_labels, mlp_few, _, nearly_sure, sure, *_ = rows
    assert mlp_few.accuracy.value != few.accuracy.value
    assert abs(mlp_few.accuracy.value - few.accuracy.value) < 0.2  # of the same labels
    assert sure.accuracy.value == 1.0
    assert nearly_sure.accuracy.value > 0.9  # of a digit that was drawn once little is known
    assert 0.4 < few.accuracy.value < all_labels.accuracy.value < 1.0
    assert len(few.penalties) == probes.NUM_DRAWS
    assert few.spread is not None
    assert few.spread > 0
    assert all_labels.spread is None
    line = probes.in_words(few)
    assert line.startswith(f"pixels, linear, 100 labels: {few.accuracy.value:.2%}")
    assert "5 draws" in line


def test_the_command_says_what_is_wrong(
    digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = probes.Args("digits", digits_root, (3,))
    assert exit_code(lambda: probes.main(args)) == 2
    assert capsys.readouterr().err.startswith("error: expected 5 to ")
