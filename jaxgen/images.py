"""Raw images, the input of every model: the check of what is given, and the converter to them.

Raw images are uint8 from 0 to 255, [num, height, width, channels]. Numbers of another range would
train as nearly black images, without a word and with a fabulous likelihood; so they are refused,
with the call that converts them.
"""

import math
import mmap
from collections.abc import Iterator
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Num, UInt8

from jaxgen.errors import SettingError, is_whole

ImageShape: TypeAlias = tuple[int, int, int]
"""[height, width, channels]."""

ROUNDING = 1e-5
"""How far outside [0, 1] a resizing may put an image."""
DARK = 32
"""Training images whose largest byte is below this are of another range, such as 0 to 16."""
BLOCK_BYTES = 2**26
"""Of the images that a pass over a whole set has in hand at a time."""
RAW = "raw images, uint8 from 0 to 255, [num, height, width, channels]"


def to_uint8(
    images: Num[np.ndarray, "*shape"], low: float, high: float
) -> UInt8[np.ndarray, "*shape"]:
    """Raw images from numbers between `low`, which becomes 0, and `high`, which becomes 255.

    Every number is rounded to the nearest of the 256 levels, (x - low) / (high - low) 255.

    Args:
        images: numbers or booleans, of any shape.
        low: the value of black, for example 0, or -1 for numbers in [-1, 1].
        high: the value of white, for example 1, or 65535 for 16 bits.

    Errors:
        SettingError: a number is NaN, masked or outside the range; or the range is empty, or too
            narrow or wide for a float.

    Example:
        >>> data.to_uint8(np.array([-1.0, 0.0, 1.0]), low=-1, high=1)
        array([  0, 128, 255], dtype=uint8)
    """
    found = np.asarray(as_array(images))
    black, white = _as_float(low), _as_float(high)
    scale = 255.0 / (white - black) if black < white else math.nan
    if found.dtype.kind not in "biuf" or not 0.0 < scale < math.inf:
        raise SettingError(
            expected="numbers, and low below high, by what a float can divide by",
            found=f"{found.dtype}, low={black:g} and high={white:g}",
            remedy="name the values of black and white",
        )
    if found.size and not (black <= found.min() and found.max() <= white):  # NaN is neither
        raise SettingError(
            expected=f"numbers from {black:g} to {white:g}",
            found=_range_of(found),
            remedy="name the values of black and white, or cut off what lies outside",
        )
    return np.rint((found.astype(np.float64) - black) * scale).astype(np.uint8)


def check_images(
    images: Any, image_shape: tuple[int, ...] | None = None, *, whole_set: bool = False
) -> Any:
    """Raises SettingError for what are no raw images, with the call that converts them.

    Of an array in a program that is being traced, shape and dtype are checked alone. Bytes of 0 and
    1 alone are taken for binary images, unless all are 0.

    Args:
        images: to check.
        image_shape: [H, W, C] that they must have; any where None.
        whole_set: whether they are a training set: one image may be dark, and all of them are not,
            so their largest byte must be `DARK` or more.

    Returns:
        The images; what is no array of NumPy or JAX, such as a list of images, as an array.
    """
    if hasattr(images, "_fields"):
        remedy = "give its images, such as dataset.train.images"
        raise SettingError(expected=RAW, found=f"a {type(images).__name__}", remedy=remedy)
    images = as_array(images)
    shape = tuple(images.shape)
    if images.dtype != np.uint8:
        raise _refusal(images, _conversion(images))
    if len(shape) != 4 or 0 in shape:
        raise _refusal(images, _added_axis(shape, image_shape) if len(shape) == 3 else "")
    if image_shape is not None and shape[1:] != tuple(image_shape):
        text = f"images of {_listed(image_shape)}"
        raise _refusal(images, "take others, or a model of their shape", text)
    if shape[1] in (1, 3, 4) and shape[3] > 4:
        raise _refusal(images, "put the channels last: images.transpose(0, 2, 3, 1)")
    least = DARK if whole_set else 2
    if not _is_traced(images) and 0 < (largest := _largest(images, least)) < least:
        raise _refusal(images, _call(0, largest))
    return images


def blocks(images: Any) -> Iterator[Any]:
    """Consecutive parts of an array of images, each of about `BLOCK_BYTES`.

    What is read of a memory map is not held: a pass over a set larger than the memory takes little.
    """
    image_bytes = max(math.prod(images.shape[1:]) * images.dtype.itemsize, 1)
    num = max(BLOCK_BYTES // image_bytes, 1)
    for start in range(0, len(images), num):
        try:
            yield images[start : start + num] if num < len(images) else images
        finally:
            release(images)


def release(images: Any) -> None:
    """Gives the pages of a memory map, of which this array is a part, back to the system.

    They are read again when they are used. Other arrays, and maps whose changes are not in their
    file, are left alone.
    """
    owner = None
    while isinstance(images, np.ndarray):
        owner, images = images, images.base
    of_file = isinstance(owner, np.memmap) and owner.mode != "c"
    if of_file and isinstance(images, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        images.madvise(mmap.MADV_DONTNEED)


def check_shape(image_shape: Any) -> ImageShape:
    """Height, width and number of channels of images.

    Errors:
        SettingError: they are no three whole numbers above 0.
    """
    listed = [*image_shape] if isinstance(image_shape, tuple | list) else []
    if len(listed) != 3 or not all(is_whole(each, 1) for each in listed):
        raise SettingError(
            expected="an image shape, (height, width, channels), each 1 or more",
            found=str(image_shape)[:80],
            remedy="give images.shape[1:] of images [num, height, width, channels]",
        )
    return int(listed[0]), int(listed[1]), int(listed[2])


def in_unit_range(images: Any) -> Float[np.ndarray, "num *shape"]:
    """Images as float32 in [0, 1], from raw ones or from numbers in [0, 1], such as samples.

    Numbers may lie outside by what a resizing rounds, and are left as they are.

    Errors:
        SettingError: they are neither.
    """
    found = np.asarray(as_array(images))
    if found.dtype == np.uint8:
        check_images(found)
        return np.asarray(found, np.float32) / np.float32(255.0)
    if (
        found.dtype.kind != "f"
        or found.ndim == 0
        or (found.size and not (found.min() >= -ROUNDING and found.max() <= 1 + ROUNDING))
    ):
        raise SettingError(
            expected="images in [0, 1], or raw ones, uint8 from 0 to 255",
            found=_describe(found),
            remedy=_conversion(found),
        )
    return np.asarray(found, np.float32)


def as_array(images: Any) -> Any:
    """An array of NumPy or JAX as it is, anything else as NumPy has it.

    Images of several sizes, and what is no array at all, become an array of objects.

    Errors:
        SettingError: numbers are masked.
    """
    if np.ma.is_masked(images):
        raise SettingError(
            expected="images without masked numbers",
            found=f"{int(np.sum(np.ma.getmaskarray(images))):,} masked",
            remedy="fill them: images.filled(0)",
        )
    if _is_jax(images) and isinstance(images.dtype, np.dtype):  # a key has another
        return images
    try:
        return np.asarray(images)
    except (ValueError, TypeError, RuntimeError):
        return np.empty(len(images) if isinstance(images, list | tuple) else (), np.object_)


def _largest(images: Any, enough: int) -> int:
    """The largest byte, or one of `enough` or more, with which a pass over a set soon ends.

    Of JAX's arrays NumPy takes it, also where a program that is being traced has them as constants.
    """
    largest = 0
    for block in blocks(np.asarray(images) if _is_jax(images) else images):
        largest = max(largest, int(np.max(block)))
        if largest >= enough:
            break
    return largest


def _as_float(value: Any) -> float:
    """A number as a float; NaN where a float does not hold it, or it is none."""
    try:
        return float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return math.nan


def _is_jax(images: Any) -> bool:
    """Whether this is an array of JAX."""
    if isinstance(images, np.ndarray | list | tuple):
        return False
    import jax  # data sets are loaded without it

    return isinstance(images, jax.Array)


def _is_traced(images: Any) -> bool:
    """Whether the numbers of an array are not known yet."""
    if not _is_jax(images):
        return False
    import jax

    return isinstance(images, jax.core.Tracer)


def _refusal(images: Any, remedy: str, expected: str = RAW) -> SettingError:
    found = f"{images.dtype} {_listed(images.shape)}" if _is_traced(images) else _describe(images)
    return SettingError(
        expected=expected, found=found, remedy=remedy or "give an array of that kind"
    )


def _listed(shape: Any) -> str:
    return str([*map(int, shape)])


def _describe(images: Any) -> str:
    """Dtype, shape and range."""
    kind = f"{images.dtype} {_listed(images.shape)}"
    array = np.asarray(images)
    return f"{kind} {_range_of(array)}" if array.size and array.dtype.kind in "biuf" else kind


def _range_of(array: np.ndarray) -> str:
    """From the least to the largest number; if some are not finite, in how many images."""
    array = np.atleast_1d(array)
    if num := int(np.sum(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))):
        return f"with NaN or infinity in {num:,} of {len(array):,} images"
    return f"from {float(array.min()):.4g} to {float(array.max()):.4g}"


def _added_axis(shape: tuple[int, ...], image_shape: tuple[int, ...] | None) -> str:
    """The axis that an array of three lacks: that of the images where it is an image itself."""
    if shape == image_shape or (image_shape is None and shape[2] in (1, 3)):
        return "add the axis of images: images[None]"
    return "add the axis of channels: images[..., None]"


def _call(low: float, high: float) -> str:
    return f"convert them: jaxgen.data.to_uint8(images, low={low:g}, high={high:g})"


def _conversion(images: Any) -> str:
    """The remedy for numbers of another dtype: the call, with the range that they seem to have."""
    if images.dtype.kind == "O":
        return "make one array of images of one size: numpy.stack(images)"
    if images.dtype.kind not in "biuf":
        return "give numbers"
    if _is_traced(images):
        return "convert them with jaxgen.data.to_uint8, which names the range"
    array = np.asarray(images)
    if not array.size:
        return "give one or more"
    if not np.all(np.isfinite(array)):
        return "leave these images out, and convert the others with jaxgen.data.to_uint8"
    return conversion(float(array.min()), float(array.max()))


def conversion(low: float, high: float) -> str:
    """The remedy for numbers from `low` to `high`: the call, with the range they seem to have."""
    if (guessed := guessed_range(low, high)) is not None:
        return _call(*guessed)
    if high <= min(low, 0.0):
        return "name the values of black and white: jaxgen.data.to_uint8(images, low, high)"
    return _call(min(low, 0.0), high)


def guessed_range(low: float, high: float) -> tuple[float, float] | None:
    """The usual range of which numbers from `low` to `high` fill more than half; None if none."""
    for black, white in ((0, 1), (-1, 1), (0, 255), (0, 65535)):
        filled = high > white / 2 and (black == 0 or low < black / 2)
        if black <= low and high <= white and filled:
            return black, white
    return None
