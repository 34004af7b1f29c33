"""A large set is measured by a part of it; images keep their labels; TFDS's order is left alone."""

import numpy as np
import pytest

from jaxgen.data import Dataset, Split
from jaxgen.evaluation import subset as module
from jaxgen.evaluation.subset import most_rows, subset


def made(name: str, num: int, num_test: int) -> Dataset:
    """Images that lie class by class; the pixels of each are its number."""

    def split(size: int) -> Split:
        rows = np.arange(size)
        images = np.broadcast_to(rows[:, None, None, None], (size, 2, 3, 1)).astype(np.uint8)
        return Split(images, (rows // 10).astype(np.int32))

    names = tuple(map(str, range(20)))
    return Dataset(name, split(num), split(num_test), "0" * 64, names)


def test_data_that_tfds_shuffled_are_taken_as_they_lie() -> None:
    dataset = made("mnist", 30, 20)
    assert subset(dataset) is dataset


def test_a_part_is_drawn_without_replacement_and_keeps_its_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = made("folder", 200, 50)
    whole = subset(dataset)
    assert sorted(whole.train.images[:, 0, 0, 0]) == [*range(200)]
    monkeypatch.setattr(module, "NUM_TRAIN", 60)
    monkeypatch.setattr(module, "NUM_TEST", 30)
    part = subset(dataset)
    for split, first, num in ((part.train, whole.train, 60), (part.test, whole.test, 30)):
        numbers = split.images[:, 0, 0, 0]
        np.testing.assert_array_equal(numbers, first.images[:num, 0, 0, 0])  # of more, the first
        assert len({*numbers.tolist()}) == num
        np.testing.assert_array_equal(split.labels, numbers // 10)
    assert len({*part.train.labels[:20].tolist()}) > 5  # no longer class by class
    assert part.digest == dataset.digest


def test_the_part_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 4 * 6 * 7)
    assert most_rows((2, 3, 1)) == 7
    assert most_rows((500, 500, 3)) == 1
    part = subset(made("folder", 200, 50))
    assert (len(part.train.images), len(part.test.images)) == (28, 7)  # raw, and as float32
