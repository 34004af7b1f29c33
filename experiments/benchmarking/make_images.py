"""Writes made-up colour images as one .npy file, to try what a set larger than memory takes.

    python -m experiments.benchmarking.make_images --out images.npy

writes 1,000,000 images of 64x64x3, 12.3 GB, in one to two minutes. Each is a grid of random colours
of its own: pictures of nothing, and read as slowly as photographs.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from jaxgen.errors import require_positive
from jaxgen.files import appearing_whole

GRID = 4
"""Colours along a side."""
BLOCK = 256
"""Images written at a time."""


@dataclass(frozen=True)
class Args:
    """Write made-up colour images as one .npy file."""

    out: Path = Path("images.npy")
    """The file."""
    num: int = 1_000_000
    """Images."""
    size: int = 64
    """Pixels along a side."""
    seed: int = 0
    """Of the colours."""

    def __post_init__(self) -> None:
        require_positive(self, "num", "size")


def write_images(args: Args) -> None:
    """Writes the file, uint8 [num, size, size, 3]; errors as `jaxgen.files.appearing_whole`."""
    rng = np.random.default_rng(args.seed)
    shape = (args.num, args.size, args.size, 3)
    cells = np.arange(args.size) * GRID // args.size
    with appearing_whole(args.out) as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, args.num, BLOCK):
            colours = rng.integers(0, 256, (min(BLOCK, args.num - start), GRID, GRID, 3), np.uint8)
            file.write(colours[:, cells][:, :, cells].tobytes())
    show(f"{args.out}: {args.num:,} images of {args.size}x{args.size}x3")


def repeat(
    images: np.ndarray, rows: range, size: int | None = None, channels: int | None = None
) -> np.ndarray:
    """Some rows of a set that is repeated without end; of another size, the nearest pixels.

    Further channels repeat the first ones.
    """
    found: np.ndarray = images[np.asarray(rows) % len(images)]
    if size is not None:
        vertical, horizontal = (np.arange(size) * n // size for n in images.shape[1:3])
        found = found[:, vertical][:, :, horizontal]
    return found if channels is None else found[..., np.arange(channels) % images.shape[3]]


def write_repeated(
    path: Path, images: np.ndarray, num: int, size: int | None = None, channels: int | None = None
) -> None:
    """Writes `num` of them as one .npy file, few at a time; otherwise as `repeat`."""
    shape = (num, *repeat(images, range(1), size, channels).shape[1:])
    with appearing_whole(path) as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, num, BLOCK):
            rows = range(start, min(start + BLOCK, num))
            file.write(repeat(images, rows, size, channels).tobytes())


def main() -> int:
    """Parses and writes; returns the exit code (see jaxgen.errors)."""
    return exit_code(lambda: write_images(parse_flags(Args)))


if __name__ == "__main__":
    sys.exit(main())
