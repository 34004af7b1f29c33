"""Arrays of images, of a file or of Python, taken for raw images after saying what they are.

What numbers mean is not written in an array. These are told apart: uint8 from 0 to 255; booleans;
other numbers that fill more than half of [0, 1], [-1, 1], [0, 255] or [0, 65535]. All else is
refused, with the call that converts it. [N, H, W] has one channel, [N, C, H, W] is transposed, and
four channels are red, green, blue and opacity.

A .npz file has the images under `images`, `x`, `data` or `arr_0`, and perhaps `labels`, `y` or
`targets`; or `train_images` and `train_labels`, `test_images` and `test_labels`; or `x_train` and
`y_train`, `x_test` and `y_test`. An array that is alone is the images, whatever its name.
"""

import math
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from jaxgen.data.dataset import NAMES, Dataset, Split, digest_of
from jaxgen.data.prepared import (
    TEST,
    TRAIN,
    Item,
    Source,
    as_text,
    hash_of,
    printable,
    safe_name,
    tenth_aside,
)
from jaxgen.data.sources import one_line
from jaxgen.errors import DataError, JaxgenError, SettingError, restore_error
from jaxgen.images import DARK, as_array, conversion, guessed_range, to_uint8

BLOCK_BYTES = 1 << 24
"""Of the images that are looked at or converted at a time, as the array has them."""
IMAGES = ("train_images", "x_train", "images", "x", "data", "arr_0")
"""Names of the images in a .npz file, in small or capital letters; the first that is there."""
LABELS = ("train_labels", "y_train", "labels", "label", "y", "targets")
TEST_IMAGES, TEST_LABELS = ("test_images", "x_test"), ("test_labels", "y_test")


class _StoredArray:
    """An array in a file, read from the beginning to the end and never as a whole."""

    def __init__(self, open_stream: Callable[[], IO[bytes]]) -> None:
        self._open = open_stream
        with self._open() as stream:
            self.shape, self.in_fortran_order, self.dtype = self._read_header(stream)
        if min(self.shape, default=0) < 0:
            raise ValueError("a negative length")
        self.ndim = len(self.shape)

    @staticmethod
    def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        first = np.lib.format.read_magic(stream) == (1, 0)
        form = np.lib.format
        return (form.read_array_header_1_0 if first else form.read_array_header_2_0)(stream)

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self, num_rows: int) -> Iterator[np.ndarray]:
        """All rows, so many at a time."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self._open() as stream:
            self._read_header(stream)
            for start in range(0, len(self), num_rows):
                num = min(num_rows, len(self) - start)
                content = stream.read(num * row)
                yield np.frombuffer(content, self.dtype).reshape(num, *self.shape[1:])


class RawView(NamedTuple):
    """An array as raw images, converted a block at a time."""

    array: Any
    low: float
    high: float
    channels_first: bool
    taken_for: str
    """The assumed meaning of the numbers, in words."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, W, C] of the images."""
        num, *sides = self.array.shape
        if len(sides) == 2:
            return num, sides[0], sides[1], 1
        if self.channels_first:
            return num, sides[1], sides[2], sides[0]
        return num, sides[0], sides[1], sides[2]

    def blocks(self) -> Iterator[UInt8[np.ndarray, "num height width channels"]]:
        """The raw images, a block at a time."""
        for block in _blocks(self.array):
            if block.dtype != np.uint8 or (self.low, self.high) != (0, 255):
                block = to_uint8(block, self.low, self.high)
            if block.ndim == 3:
                block = block[..., None]
            yield block.transpose(0, 2, 3, 1) if self.channels_first else block


def raw_view(images: Any, what: str = "images", where: str = "") -> RawView:
    """The interpretation of an array of images.

    Errors:
        SettingError: it is none of those that are told apart; the text has the call.
    """
    found = images if isinstance(images, _StoredArray) else as_array(images)
    kind = f"{found.dtype} {[*map(int, found.shape)]}"

    def refuse(remedy: str, more: str = "") -> SettingError:
        return SettingError(
            expected=f"{what} [num, height, width, channels] of numbers{where}",
            found=f"{kind}{more}",
            remedy=remedy,
        )

    if found.dtype.kind == "O":
        raise refuse("make one array of images of one size: numpy.stack(images)")
    if found.dtype.kind not in "biuf":
        raise refuse("give numbers")
    if found.ndim == 2:
        raise refuse("give them their form: images.reshape(-1, 28, 28), for example")
    if found.ndim not in (3, 4) or 0 in found.shape:
        raise refuse("give one array of images")
    if found.ndim == 3 and found.shape[2] in (1, 3, 4):
        raise refuse(
            "of one image, add the axis of images: images[None]; of many grey ones, the axis of "
            "channels: images[..., None]"
        )
    first = found.ndim == 4 and found.shape[1] in (1, 3, 4) and found.shape[3] > 4
    channels = 1 if found.ndim == 3 else found.shape[1 if first else 3]
    if channels not in (1, 3, 4):
        raise refuse("give images of 1, 3 or 4 channels, the last axis")
    low, high, num_wrong = _range_of(found)
    if num_wrong:
        num = f" with NaN or infinity in {num_wrong:,} of {len(found):,} images"
        raise refuse("leave these images out, or fill them", num)
    numbers = f" from {low:.4g} to {high:.4g}"
    if found.dtype == np.bool_:
        black, white = 0.0, 1.0
    elif found.dtype == np.uint8 and (high >= DARK or high == 0):
        black, white = 0.0, 255.0
    else:
        guessed = guessed_range(low, high)
        if guessed is None or low == high:
            raise refuse(conversion(low, high), numbers)
        black, white = guessed
    words = [kind]
    if (found.dtype, black, white) != (np.uint8, 0.0, 255.0):
        words.append(f"taken for {black:g} (black) to {white:g} (white)")
    if first:
        words.append("[N, C, H, W] transposed to [N, H, W, C]")
    if channels == 4:
        words.append("four channels taken for red, green, blue and opacity")
    return RawView(found, black, white, first, ", ".join(words))


def _blocks(array: Any) -> Iterator[np.ndarray]:
    """The rows of an array, so many at a time as have `BLOCK_BYTES`."""
    rows = max(1, BLOCK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    if isinstance(array, _StoredArray):
        yield from array.blocks(rows)
    else:
        for start in range(0, len(array), rows):
            yield np.asarray(array[start : start + rows])


def _range_of(array: Any) -> tuple[float, float, int]:
    """The least and the largest number, and in how many images some are not finite."""
    low, high, wrong = math.inf, -math.inf, 0
    for block in _blocks(array):
        if block.dtype.kind == "f":
            wrong += int(np.sum(~np.isfinite(block.reshape(len(block), -1)).all(axis=1)))
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return low, high, wrong


def classes_of(
    labels: Sequence[Any], nums: Sequence[int], class_names: Sequence[str] | None
) -> tuple[list[Int32[np.ndarray, " num"]], tuple[str, ...]]:
    """Labels of both splits, counted from 0, and the names of the classes.

    Without names, the classes are the values that there are, in their order.

    Errors:
        SettingError: they are not one whole number or text for each image, or have no name.
    """
    given = [_decode(np.asarray(each)) for each in labels]
    for each, num in zip(given, nums, strict=True):
        whole = each.dtype.kind in "iuUb" or (
            each.dtype.kind == "f"
            and bool(np.all(np.isfinite(each)) and np.all(each == np.rint(each)))
        )
        if each.ndim == 2 and each.shape[1] == 1:
            whole = False
        if each.shape != (num,) or not whole:
            many = " of one row for each image" if each.ndim == 2 else ""
            raise SettingError(
                expected=f"labels [{num}], a whole number or a text for each image",
                found=f"{each.dtype} {[*each.shape]}{many}",
                remedy="convert them: labels.argmax(axis=1) of one-hot rows, or labels[:, 0]"
                if each.ndim == 2
                else "give one for each image",
            )
    values, joined = np.unique(np.concatenate(given), return_inverse=True)
    if class_names is None:
        names = tuple(
            str(value) if values.dtype.kind == "U" else str(int(value)) for value in values
        )
    else:
        names = tuple(map(str, class_names))
        if twice := [name for name, num in Counter(names).items() if num > 1]:
            raise SettingError(
                expected="class_names that differ",
                found=f"{twice[0][:100]!r} more than once",
                remedy="give each class a name of its own",
            )
        if values.dtype.kind == "U" or values[0] < 0 or values[-1] >= len(names):
            raise SettingError(
                expected=f"labels from 0 to {len(names) - 1}, one for each of class_names",
                found=f"from {str(values[0])[:50]} to {str(values[-1])[:50]}",
                remedy="give as many names as there are classes",
            )
        joined = np.concatenate(given)
    split = np.split(joined.astype(np.int32), np.cumsum(nums)[:-1])
    return split, names


def _decode(labels: np.ndarray) -> np.ndarray:
    """Labels as texts where they are bytes, as HDF5 and C programs have them."""
    if labels.dtype.kind != "S":
        return labels
    return np.char.decode(labels, "utf-8", "backslashreplace")


def from_arrays(
    images: Any,
    labels: Any = None,
    *,
    test_images: Any = None,
    test_labels: Any = None,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
) -> Dataset:
    """A data set of arrays; `jaxgen.data.load` takes those of a file, of any size.

    Args:
        images: [N, H, W, C] or [N, H, W], numbers as the top of this file has them.
        labels: a whole number or a text for each image; none where there are no classes.
        test_images: kept aside; where not given, a tenth of the images, by a hash of their content,
            so that further images move none.
        test_labels: those of the test images.
        class_names: of the labels 0, 1, ...; the labels themselves where not given.
        name: of the data set, in the names of files and on pages; odd letters become dashes. That
            of a known set, such as mnist, is refused.

    Errors:
        SettingError: the numbers may mean several things, or shapes, labels or names do not fit.
        DataError: there are fewer than two different images.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
        >>> data.from_arrays(images, np.arange(40) % 2, class_names=["a", "b"])
        <Dataset arrays: 38 train and 2 test images of 8x8x1, 2 classes>
    """
    if not isinstance(name, str) or safe_name(name) in NAMES:
        raise SettingError(
            expected=f"a name that is not one of {', '.join(NAMES)}",
            found=repr(name)[:100],
            remedy="set name to another text",
        )
    if class_names is not None and labels is None:
        raise SettingError(
            expected="labels beside class_names",
            found="none",
            remedy="give the label of each image, or leave class_names out",
        )
    views = [raw_view(images)]
    if test_images is not None:
        views.append(raw_view(test_images, "test_images"))
    _check_alike(views, labels, test_images, test_labels)
    raw = [np.concatenate([*view.blocks()]) for view in views]
    if raw[0].shape[-1] == 4:
        raise SettingError(
            expected="images of 1 or 3 channels",
            found="4",
            remedy="save them as .npy, which load takes over a background, or leave one out",
        )
    nums, names = [len(each) for each in raw], tuple[str, ...]()
    classes = [np.zeros(num, np.int32) for num in nums]
    if labels is not None:
        given = [labels] if test_images is None else [labels, test_labels]
        classes, names = classes_of(given, nums, class_names)
    if test_images is None:
        places = np.array([hash_of(image) for image in raw[0]])
        try:
            is_test = places < tenth_aside(places)
        except ValueError as error:
            raise DataError(
                expected="two different images or more, one for each side",
                found=f"{len(places):,} that are equal",
                remedy="add images, or give test_images",
            ) from error
        train = Split(raw[0][~is_test], classes[0][~is_test])
        test = Split(raw[0][is_test], classes[0][is_test])
    else:
        train, test = (Split(*pair) for pair in zip(raw, classes, strict=True))
    words = f"arrays: {'; '.join(view.taken_for for view in views)}"
    return Dataset(safe_name(name), train, test, digest_of(train, test), names, words)


def _check_alike(views: list[RawView], labels: Any, test_images: Any, test_labels: Any) -> None:
    """Raises SettingError unless both splits have one shape and range, and both labels or none."""
    if len({view.shape[1:] for view in views}) > 1:
        raise SettingError(
            expected=f"test images of {[*views[0].shape[1:]]}, as the training images",
            found=str([*views[1].shape[1:]]),
            remedy="give images of one shape",
        )
    if len({view[1:4] for view in views}) > 1:
        raise SettingError(
            expected="training and test images of one range, and with the channels on one side",
            found=" and ".join(view.taken_for for view in views),
            remedy="convert both alike: jaxgen.data.to_uint8(images, low=..., high=...)",
        )
    if (test_labels is not None) != (labels is not None and test_images is not None):
        raise SettingError(
            expected="labels of both splits, or of none",
            found="those of one",
            remedy="give labels and test_labels beside test_images",
        )


def array_source(path: Path, name: str) -> Source:
    """The images of a .npy or .npz file.

    Raises:
        DataError: it is no such file, or damaged, or holds Python objects, which are not loaded, or
            what `from_arrays` refuses.
    """
    words = f"the file {as_text(str(path))}"
    try:
        arrays = _open(path)
        images, labels, test_images, test_labels = (
            next((arrays[each] for each in names if each in arrays), None)
            for names in (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)
        )
        if images is None and len(arrays) == 1:
            images = next(iter(arrays.values()))
        if images is None:
            raise DataError(
                expected=f"an array called {', '.join(IMAGES)} in {words}",
                found=printable(", ".join(map(as_text, arrays)), 100) or "none",
                remedy="save it as one: numpy.savez(path, images=..., labels=...)",
            )
        views = [raw_view(images, where=f" in {words}")]
        if test_images is not None:
            views.append(raw_view(test_images, "test images", f" in {words}"))
        _check_alike(views, labels, test_images, test_labels)
        nums, names = [len(view.array) for view in views], tuple[str, ...]()
        classes = [np.zeros(num, np.int32) for num in nums]
        if labels is not None:
            given = [labels] if test_images is None else [labels, test_labels]
            classes, names = classes_of(given, nums, None)
    except SettingError as error:
        raise restore_error(DataError, str(error)) from error
    except JaxgenError:
        raise
    except Exception as error:  # a damaged file makes NumPy and what unpacks it raise anything
        objects = "pickle" in str(error) or "Python objects" in str(error)
        raise DataError(
            expected=f"arrays of numbers in {words}",
            found="Python objects, which are never unpickled" if objects else one_line(error)[:200],
            remedy="save one array: numpy.save(path, numpy.stack(images))"
            if objects
            else "write the file again",
        ) from error

    def items() -> Iterator[Item]:
        places = (None,) if len(views) == 1 else (TRAIN, TEST)
        for view, of_split, place in zip(views, classes, places, strict=True):
            row = 0
            for block in view.blocks():
                for image in block:
                    yield Item(f"image {row}", image, int(of_split[row]), place)
                    row += 1

    return Source(
        name=name,
        words=words,
        items=items,
        num=sum(nums),
        class_names=names,
        shape=views[0].shape[1:],
        notes=("; test images ".join(view.taken_for for view in views),),
    )


def _open(path: Path) -> dict[str, Any]:
    """The arrays of a file by their names in small letters; large ones are read bit by bit."""
    names = ["images"]
    if path.suffix.lower() == ".npz":
        with zipfile.ZipFile(path) as file:
            names = [each for each in file.namelist() if each.endswith(".npy")]
    arrays: dict[str, Any] = {}
    for name in names:
        member = partial(_open_member, path, name)
        key, array = name.removesuffix(".npy").lower(), _StoredArray(member)
        arrays[key] = array
        if not (len(names) == 1 or key in (*IMAGES, *TEST_IMAGES)) or array.in_fortran_order:
            with member() as stream:
                arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
        elif array.dtype.hasobject:
            raise ValueError("Python objects")
    return arrays


def _open_member(path: Path, name: str) -> IO[bytes]:
    """An array of a .npz file, or the one of a .npy file."""
    if path.suffix.lower() == ".npy":
        return path.open("rb")
    with zipfile.ZipFile(path) as file:
        return file.open(name)


def dataset_source(dataset: Dataset) -> Source:
    """The images of a data set, to be made another size or another number of channels."""

    def items() -> Iterator[Item]:
        for split, place in ((dataset.train, TRAIN), (dataset.test, TEST)):
            for row, (image, label) in enumerate(zip(*split, strict=True)):
                yield Item(f"image {row}", image, int(label), place)

    return Source(
        name=dataset.name,
        words=dataset.source,
        items=items,
        num=len(dataset.train.images) + len(dataset.test.images),
        class_names=dataset.class_names,
        shape=dataset.image_shape,
    )
