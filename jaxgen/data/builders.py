"""TFDS builders that prepare the data sets without TensorFlow.

TFDS's own MNIST builders need TensorFlow to unpack gzip and to write PNG. The builders here are
TFDS's own but for these two steps: URLs, registered checksums, features, homepage and citation
stay TFDS's, and so does the order of the rows. ``digits`` is a builder over the scans that
scikit-learn ships, so one data set works with no network at all.

Files are written as array_record, which stock TFDS reads too. Importing this module imports TFDS,
so `jaxgen.data` does it only when something has to be prepared.
"""

import gzip
import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from tensorflow_datasets.image_classification import mnist

from jaxgen.data.records import encode_png
from jaxgen.data.sources import Original
from jaxgen.errors import DataError

Examples: TypeAlias = Iterator[tuple[int, dict[str, Any]]]
"""Examples for TFDS: a key, from which it derives the order of the rows, and the features."""

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
"""The images and the labels of each split; MNIST, Fashion-MNIST and KMNIST share these names."""


def parse_idx(data: bytes) -> UInt8[np.ndarray, "..."]:
    """Parses one IDX file, the format of the MNIST family.

    The layout is two zero bytes, 0x08 for uint8, the number of dimensions, each dimension as a
    big-endian uint32, then the values. Source: http://yann.lecun.com/exdb/mnist/.

    Raises:
        DataError: the header is not that of uint8 values, or the length does not match it.
    """
    remedy = "fetch the file again"
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise DataError(
            expected="an IDX file of uint8 values (00 00 08 ..)",
            found=f"the first bytes {data[:4].hex(' ') or 'missing'}",
            remedy=remedy,
        )
    offset = 4 + 4 * data[3]
    if len(data) < offset:
        raise DataError(
            expected=f"an IDX header of {offset} bytes",
            found=f"a file of {len(data)} bytes",
            remedy=remedy,
        )
    shape = struct.unpack(f">{data[3]}I", data[4:offset])
    size = offset + math.prod(shape)
    if len(data) != size:
        raise DataError(
            expected=f"an IDX file of {size} bytes for the shape {shape}",
            found=f"{len(data)} bytes",
            remedy=remedy,
        )
    return np.frombuffer(data, np.uint8, offset=offset).reshape(shape)


def examples(images: Iterable[Any], labels: Iterable[Any]) -> Examples:
    """Yields the examples of one split, keyed by row as TFDS's own builders key them."""
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield index, {"image": encode_png(image), "label": int(label)}


class _FromIdx:
    """The two steps of TFDS's MNIST builder that need TensorFlow, without it."""

    URL: ClassVar[str]
    originals: Mapping[str, Original] = {}
    """The files of the user, which are downloaded where none are given."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        names = [name for pair in FILES.values() for name in pair]
        contents = {name: original.content for name, original in self.originals.items()}
        if not contents:
            paths = dl_manager.download({name: self.URL + name for name in names})
            contents = {name: gzip.decompress(Path(paths[name]).read_bytes()) for name in names}
        return {
            split: self._generate_examples(contents[images], contents[labels])
            for split, (images, labels) in FILES.items()
        }

    def _generate_examples(self, images: bytes, labels: bytes) -> Examples:
        return examples(parse_idx(images), parse_idx(labels))


class MNIST(_FromIdx, mnist.MNIST, skip_registration=True):  # type: ignore[misc, call-arg]
    """TFDS's ``mnist`` without TensorFlow."""

    name = "mnist"


class FashionMNIST(_FromIdx, mnist.FashionMNIST, skip_registration=True):  # type: ignore[misc, call-arg]
    """TFDS's ``fashion_mnist`` without TensorFlow."""

    name = "fashion_mnist"


class KMNIST(_FromIdx, mnist.KMNIST, skip_registration=True):  # type: ignore[misc, call-arg]
    """TFDS's ``kmnist`` without TensorFlow."""

    name = "kmnist"


class Digits(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]
    """The 1,797 scans that scikit-learn ships, in the format of MNIST; needs no network."""

    name = "digits"
    VERSION = tfds.core.Version("1.0.0")
    NUM_TRAIN: ClassVar[int] = 1500

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description="1,797 scanned digits, 8x8, scaled to 20x20 inside 28x28 as MNIST is.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/",
            citation="E. Alpaydin and C. Kaynak (1998). Optical Recognition of Handwritten Digits. "
            "UCI Machine Learning Repository. doi:10.24432/C50P49.",
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        del dl_manager
        images, labels = digits_arrays()
        num = self.NUM_TRAIN
        return {
            "train": self._generate_examples(images[:num], labels[:num]),
            "test": self._generate_examples(images[num:], labels[num:]),
        }

    def _generate_examples(self, images: Any, labels: Any) -> Examples:
        return examples(images, labels)


def digits_arrays() -> tuple[UInt8[np.ndarray, "1797 28 28"], Any]:
    """Returns scikit-learn's digits as MNIST frames them, and their labels.

    The scans are 8x8 with values 0 to 16. They are scaled bilinearly to 20x20 and to 0 to 255,
    then padded with four black pixels on every side.
    """
    from scipy import ndimage
    from sklearn import datasets

    scans = datasets.load_digits()
    scaled = ndimage.zoom(scans.images, (1, 2.5, 2.5), order=1)
    images = np.rint(scaled * (255 / 16)).clip(0, 255).astype(np.uint8)
    return np.pad(images, ((0, 0), (4, 4), (4, 4))), scans.target


def embedded_digits() -> list[np.ndarray]:
    """The splits of `Digits`, images and labels, as TFDS would read them; no file is written.

    TFDS orders the rows of a split by the md5 of the split's name and the key
    (`tensorflow_datasets/core/shuffle.py`).
    """
    images, labels = digits_arrays()
    num, found = Digits.NUM_TRAIN, []
    for split, part in (("train", slice(num)), ("test", slice(num, None))):
        keys = [hashlib.md5(f"{split}{row}".encode()).digest() for row in range(len(labels[part]))]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        found += [images[part][order][..., None], labels[part][order].astype(np.int32)]
    return found


BUILDERS = {builder.name: builder for builder in (MNIST, FashionMNIST, KMNIST, Digits)}


def build(name: str, root: Path, originals: Mapping[str, Original]) -> None:
    """Prepares the data set below `root`, from files or, where there are none, by download.

    TFDS's registered sha256 of every download is enforced. What TFDS raises is passed on.
    """
    config = tfds.download.DownloadConfig(try_download_gcs=False, force_checksums_validation=True)
    builder = BUILDERS[name](data_dir=str(root), file_format="array_record")
    builder.originals = originals
    builder.download_and_prepare(download_config=config)
