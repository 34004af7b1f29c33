"""Data sets as arrays of bytes on the host: by name, of your own pictures, of arrays."""

from jaxgen.data.arrays import from_arrays
from jaxgen.data.dataset import NAMES, Dataset, Name, Split
from jaxgen.data.loading import (
    check_outside,
    data_root,
    find_images,
    find_prepared,
    from_folder,
    load,
    name_of,
    place_of,
    prepare,
)
from jaxgen.data.options import ImageOptions
from jaxgen.data.prepared import remove_unfinished
from jaxgen.images import to_uint8

__all__ = [
    "NAMES",
    "Dataset",
    "ImageOptions",
    "Name",
    "Split",
    "check_outside",
    "data_root",
    "find_images",
    "find_prepared",
    "from_arrays",
    "from_folder",
    "load",
    "name_of",
    "place_of",
    "prepare",
    "remove_unfinished",
    "to_uint8",
]
