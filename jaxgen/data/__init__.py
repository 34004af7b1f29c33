"""Data sets as arrays of bytes on the host, prepared by TFDS without TensorFlow."""

from jaxgen.data.dataset import Dataset, Split
from jaxgen.data.loading import NAMES, Name, data_root, find_prepared, load, prepare
from jaxgen.images import to_uint8

__all__ = [
    "NAMES",
    "Dataset",
    "Name",
    "Split",
    "data_root",
    "find_prepared",
    "load",
    "prepare",
    "to_uint8",
]
