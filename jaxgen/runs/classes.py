"""The classes that somebody asks for, by name or by number, as the numbers that models take."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgen.errors import SettingError
from jaxgen.runs.samples import NumpyArray
from jaxgen.runs.settings import printable, shown

MOST_NAMED = 10
"""Classes that an error names."""


def as_array(value: Any) -> NumpyArray:
    """A value as NumPy has it; of rows of several lengths, an array of no numbers."""
    try:
        return np.asarray(value)
    except ValueError:
        return np.empty(0, np.object_)


def labels_of(asked: Any, num: int, num_classes: int, names: Sequence[str]) -> NumpyArray:
    """The number of each asked class, int32 [num].

    Args:
        asked: one class for all, or one each: names, or numbers from 0 on.
        num: of images.
        num_classes: of the model.
        names: those of the classes, in the order of their numbers; may be empty.

    Errors:
        SettingError: one is no class of the model, or they are not as many as the images.
    """
    rows = as_array(None if np.ma.is_masked(asked) else asked)
    rows = np.broadcast_to(rows, num) if rows.ndim == 0 else rows
    found = _numbers_of(rows, names, num_classes) if rows.dtype.kind in "UO" else rows
    if not rows.size:
        what = "none"
    elif found.ndim != 1 or found.dtype.kind not in "iu":
        what = f"{rows.dtype} {[*rows.shape]}"
    elif len(found) != num:
        what = f"{len(found)} for {num} images"
    elif (wrong := (found < 0) | (found >= num_classes)).any():
        what = shown(rows[wrong].tolist()[0])
    else:
        return found.astype(np.int32)
    named = ", ".join(printable(str(name), 40) for name in names[:MOST_NAMED])
    named += ", ..." if len(names) > MOST_NAMED else ""
    numbers = f"{named}, or their numbers" if names else "numbers"
    raise SettingError(
        expected=f"labels of {num_classes} classes: {numbers} from 0 to {num_classes - 1}",
        found=what,
        remedy=f"give one for each of the {num} images, or one for all",
    )


def _numbers_of(labels: NumpyArray, names: Sequence[str], num_classes: int) -> NumpyArray:
    """Names of classes, or their numbers among them, as numbers; -1 for what is no class."""
    numbers: dict[str | int, int] = {name: number for number, name in enumerate(names)}
    numbers |= {number: number for number in range(num_classes)}
    found = [
        numbers.get(label, -1) if isinstance(label, str | int) else -1
        for label in labels.ravel().tolist()
    ]
    return np.array(found, np.int64).reshape(labels.shape)
