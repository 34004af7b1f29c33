"""The images that measures are taken on: all of a small data set, a part of a large one.

A part is drawn without replacement, and so is the order of the images, because the images of a
folder or of an array may lie class by class: the first ones would be of one class. The data sets
of `jaxgen.data.NAMES`, which TFDS has shuffled, are taken as they lie.
"""

import zlib
from typing import Literal

import numpy as np

from jaxgen.data import NAMES, Dataset, Split
from jaxgen.images import ImageShape

NUM_TRAIN = 60_000
"""Training images that are measured, that the classifier learns, and that probes read, at most."""
NUM_TEST = 10_000
"""Test images, at most."""
MAX_BYTES = 1 << 30
"""Of training images, raw; and of test images or samples, as float32."""


def most_rows(image_shape: ImageShape) -> int:
    """The number of images [H, W, C] that `MAX_BYTES` hold as float32; at least 1."""
    return max(1, MAX_BYTES // (4 * int(np.prod(image_shape))))


def subset(dataset: Dataset) -> Dataset:
    """The part of a data set that is measured, in a fixed random order; see the module.

    Its name, its digest and its classes stay those of the whole.
    """
    if dataset.name in NAMES:
        return dataset
    most = most_rows(dataset.image_shape)
    return dataset._replace(
        train=some(dataset, "train", min(NUM_TRAIN, 4 * most)),
        test=some(dataset, "test", min(NUM_TEST, most)),
    )


def some(dataset: Dataset, split: Literal["train", "test"], num: int) -> Split:
    """`num` images of a split, or all where there are fewer, with their labels; see the module."""
    whole: Split = getattr(dataset, split)
    if dataset.name in NAMES:
        return Split(whole.images[:num], whole.labels[:num])
    rng = np.random.default_rng(zlib.crc32(split.encode()))
    rows = rng.permutation(len(whole.images))[:num]
    return Split(np.asarray(whole.images[rows]), np.asarray(whole.labels)[rows])
