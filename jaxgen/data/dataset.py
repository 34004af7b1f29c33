"""The result of every source of images: two splits of raw images with labels, and their digest."""

import contextlib
import hashlib
from collections.abc import Iterable
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Int32, UInt8

from jaxgen import notebook
from jaxgen.images import ImageShape, blocks

Name: TypeAlias = Literal["mnist", "fashion_mnist", "kmnist", "digits"]
"""Data sets that `jaxgen.data.load` knows; another one is a builder more, and a name here."""
NAMES = get_args(Name)
LOOKED_AT, MOST_NAMED = 1000, 10
"""Training images among which a notebook's are, and classes that it names."""


class Split(NamedTuple):
    """One split of a data set.

    Example:
        >>> data.load("digits").train
        <Split of 1,500 images [28, 28, 1]>
    """

    images: UInt8[np.ndarray, "num height width channels"]
    """Raw, 0 to 255; perhaps a memory map of a file."""
    labels: Int32[np.ndarray, " num"]
    """Classes, counted from 0; all 0 where the data set has none."""

    def __repr__(self) -> str:
        """The split in a line, without its arrays."""
        return f"<Split of {len(self.images):,} images {[*self.images.shape[1:]]}>"


class Dataset(NamedTuple):
    """Training and test images of one size, with their labels.

    Example:
        >>> data.load("digits")
        <Dataset digits: 1,500 train and 297 test images of 28x28x1, 10 classes>
    """

    name: str
    train: Split
    test: Split
    digest: str
    """The sha256 of names, dtypes, shapes and contents of its arrays."""
    class_names: tuple[str, ...] = ()
    """The class of each label; empty where there are no labels."""
    source: str = ""
    """Where the images came from, in words."""

    def __repr__(self) -> str:
        """The data set in a line, without its arrays."""
        shape = "x".join(map(str, self.image_shape))
        classes = f", {self.num_classes} classes" if self.class_names else ""
        numbers = f"{len(self.train.images):,} train and {len(self.test.images):,} test images"
        return f"<Dataset {self.name}: {numbers} of {shape}{classes}>"

    def _repr_html_(self) -> str | None:
        """The data set as a notebook shows it, with an image of each of its first classes."""
        with contextlib.suppress(Exception):  # then the line of __repr__ is shown
            facts: dict[str, object] = {
                "training images": f"{len(self.train.images):,}",
                "test images": f"{len(self.test.images):,}",
                "height, width, channels": " x ".join(map(str, self.image_shape)),
                "classes": ", ".join(self.class_names[:MOST_NAMED]) or "none",
                "source": self.source or "not known",
                "sha256": self.digest[:16],
            }
            if self.num_classes > MOST_NAMED:
                facts["classes"] = f"{self.num_classes}: {facts['classes']}, ..."
            rows = _examples(self.train.labels[:LOOKED_AT])
            alt = f"training images of {self.name}"
            return notebook.card(self.name, facts, self.train.images[rows], alt)
        return None

    @property
    def image_shape(self) -> ImageShape:
        """[H, W, C] of its images.

        Example:
            >>> data.load("digits").image_shape
            (28, 28, 1)
        """
        height, width, num_channels = self.train.images.shape[1:]
        return height, width, num_channels

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where there are no labels.

        Example:
            >>> data.load("digits").num_classes
            10
        """
        return len(self.class_names)


def _examples(labels: Int32[np.ndarray, " num"]) -> list[int]:
    """Rows of the first image of each class, and then of others, up to those that are shown."""
    first = np.unique(labels, return_index=True)[1].tolist()
    others = (row for row in range(len(labels)) if row not in first)
    return [*first, *others][: notebook.NUM_THUMBNAILS]


def find_renamed(theirs: Iterable[str], ours: Iterable[str]) -> tuple[str, str] | None:
    """The first class that two lists of names call otherwise, in the words of an error.

    None where they are the same. The digest of a data set is not of its names.
    """
    for pair in zip_longest(theirs, ours):
        if pair[0] != pair[1]:
            first, second = ("none" if name is None else repr(name[:60]) for name in pair)
            return first, second
    return None


def digest_of(train: Split, test: Split) -> str:
    """The digest of a data set with these splits."""
    digest = hashlib.sha256()
    arrays = {
        "train_images": train.images,
        "train_labels": train.labels,
        "test_images": test.images,
        "test_labels": test.labels,
    }
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()
