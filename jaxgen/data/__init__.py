"""Data sets as arrays of bytes on the host, prepared by TFDS without TensorFlow."""

from jaxgen.data.loading import NAMES, Dataset, Name, Split, data_root, find_prepared, load, prepare

__all__ = ["NAMES", "Dataset", "Name", "Split", "data_root", "find_prepared", "load", "prepare"]
