"""The table of probes, on the digits and on features that give the label away."""

from pathlib import Path

import numpy as np
import pytest

from experiments import probes
from jaxgen import data


def test_pixels_and_labels_as_features(digits_root: Path) -> None:
    digits = data.load("digits", digits_root)
    told = tuple(
        np.eye(10, dtype=np.float32)[split.labels] for split in (digits.train, digits.test)
    )
    pixels = tuple(
        probes.pixels(split.images[:, ::4, ::4]) for split in (digits.train, digits.test)
    )
    both = {"pixels": (pixels[0], pixels[1]), "labels": (told[0], told[1])}
    rows = probes.probe_table(both, digits, [100, 10**6])
    num = len(digits.train.labels)
    keys = [("pixels", 100), ("pixels", num), ("labels", 100), ("labels", num)]
    assert [(row.name, row.num_labels) for row in rows] == keys
    few, all_labels, *sure = rows
    assert all(row.accuracy.value == 1.0 for row in sure)
    assert 0.6 < few.accuracy.value < all_labels.accuracy.value < 1.0
    assert len(few.penalties) == probes.NUM_DRAWS
    assert few.spread is not None
    assert few.spread > 0
    assert all_labels.spread is None
    line = probes.in_words(few)
    assert line.startswith(f"pixels, 100 labels: {few.accuracy.value:.2%}")
    assert "5 draws" in line


def test_the_command_says_what_is_wrong(
    digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probes.main(probes.Args("digits", digits_root, (3,))) == 2
    assert capsys.readouterr().err.startswith("error: expected 5 to ")
