"""Cuts the first samples of the first models out of the picture of a comparison."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from jaxgen.errors import DataError
from jaxgen.files import write_atomically
from jaxgen.report.figures import PAPER

NUM_SHOWN = 10
"""Samples of each model."""
MARGIN = 8
"""White pixels around what is cut out."""
TOLERANCE = 40
"""Largest difference of a colour channel between the lines and `PAPER`, as they are scaled."""


def runs_of(flags: Bool[np.ndarray, " num"]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.pad(flags.astype(int), 1)))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]


def cut(picture: UInt8[np.ndarray, "height width 3"], num: int) -> UInt8[np.ndarray, "..."]:
    """The first `num` rows with their names, and the first `NUM_SHOWN` samples of each.

    The lines between the panels give the places: each row of panels has one above and one below,
    and a line stands left and right of each panel. Names stand left of their rows, or above.

    Errors:
        DataError: the picture has fewer rows or samples.
    """
    paper = [int(PAPER["gray"][i : i + 2], 16) for i in (1, 3, 5)]
    line = np.abs(picture.astype(int) - paper).max(axis=-1) < TOLERANCE
    across, down = (runs_of(line.mean(axis=axis) > 0.5) for axis in (1, 0))
    if len(across) < 2 * num or len(down) <= NUM_SHOWN:
        raise DataError(
            expected=f"{num} rows of {NUM_SHOWN} samples or more in the picture of the comparison",
            found=f"{len(across) // 2} rows of {max(len(down) - 1, 0)}",
            remedy="write it again with python -m experiments.compare",
        )
    top, bottom, right = across[0][0], across[2 * num - 1][1], down[NUM_SHOWN][1]
    between = slice(across[1][1] + 1, across[2][0]) if len(across) > 2 else slice(0, top)
    if (picture[between] < 255).any():  # names of rows stand above them
        top = max(0, top - (between.stop - between.start))
    inked = (picture[top : bottom + 1] < 255).any(axis=(0, 2))
    left = int(np.argmax(inked))
    found = picture[top : bottom + 1, left : right + 1]
    return np.pad(found, ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=255)


def write(source: Path, path: Path, num: int) -> Path:
    """Writes what `cut` cuts from a picture.

    Errors:
        DataError: as `cut`.
    """
    with Image.open(source) as image:
        picture = np.asarray(image.convert("RGB"))
    buffer = io.BytesIO()
    Image.fromarray(cut(picture, num)).save(buffer, format="png", optimize=True)
    write_atomically(path, buffer.getvalue())
    return path
