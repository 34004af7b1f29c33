"""The samples of a run, `samples.npz`: images of its own seed, in the order in which they came.

The file may be a stranger's: what it unpacks to is known, and bounded, before it is unpacked, and
nothing in it is run.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jaxgen.errors import CheckpointError
from jaxgen.runs.files import SAMPLES

MAX_BYTES = 1 << 28
"""Of all arrays in a file together, unpacked."""
HEADER = 128
"""Bytes before the numbers of an array of few axes, in NumPy's format."""

DAMAGE = (
    *(OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""Errors to which a damaged archive, or the header of an array in it, leads."""

NumpyArray: TypeAlias = NDArray[Any]


def most_images(shape: tuple[int, ...]) -> int:
    """How many float32 images of a shape a file holds that is read again, at least one."""
    return max(1, (MAX_BYTES - HEADER) // (4 * math.prod(shape)))


def read_samples(folder: Path) -> NumpyArray:
    """The images that a run drew, [num, height, width, channels], float32 in [0, 1].

    Errors:
        CheckpointError: there are none, or their file is damaged or holds something else.
    """
    path = folder / SAMPLES
    images = read_arrays(path).get("images")
    if images is None or images.dtype != np.float32 or images.ndim != 4 or not len(images):
        raise _unreadable(path, "no images in it")
    if not (np.all(images >= 0) and np.all(images <= 1)):  # NaN is neither
        raise _unreadable(path, "images that are not in [0, 1]")
    return images


def read_arrays(path: Path) -> dict[str, NumpyArray]:
    """The numeric arrays in a file of `numpy.savez`, by name.

    Errors:
        CheckpointError: there is no such file, it is damaged, or it unpacks to more than
            `MAX_BYTES`.
    """
    if not path.is_file():
        raise _unreadable(path, "no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if (size := sum(entry.file_size for entry in entries)) > MAX_BYTES:
                raise _unreadable(path, f"a file that unpacks to {size:,} bytes")
            return {
                entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries
            }
    except DAMAGE as error:
        raise _unreadable(path, "a damaged file") from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NumpyArray:
    """One array; its header is compared with the size of the entry before memory is taken.

    Reading an entry ends at the size that the archive names for it.
    """
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("another compression than NumPy's")
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version} of the format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        size = math.prod(shape) * dtype.itemsize
        sizes = all(type(length) is int and length >= 0 for length in shape)
        if not sizes or dtype.kind not in "biufc" or fortran_order or size > entry.file_size:
            raise ValueError("an array that is not in the file")
        content = file.read()
    return np.frombuffer(content, dtype).reshape(shape)


def _unreadable(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        expected=f"the samples of a run in {path}",
        found=found,
        remedy="type the run's command again with --resume",
    )
