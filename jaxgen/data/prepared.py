"""Prepared sets: the images of any source as memory-mapped arrays below the data folder.

``<data_dir>/jaxgen/images/<name>-<key>`` holds the images and labels of both splits as .npy files
and, written last, `found.json`: without it a set is not whole, and is prepared again. The key is a
digest of what the set is made from. Images reach the files one by one, so a set may be larger than
the memory.

An image is put aside to test if a hash of its content is below a tenth. So adding images moves
none, and equal images are on one side, on any machine.
"""

import array
import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import json
import logging
import math
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxgen.data.dataset import Dataset, Split, digest_of
from jaxgen.data.options import ImageOptions
from jaxgen.data.sources import one_line
from jaxgen.errors import DataError, without_controls
from jaxgen.files import make_folder, read_file, remove_leftovers, write_json, writing
from jaxgen.images import ImageShape

FOUND = "found.json"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
ASIDE = 0.1
"""The part of the images that is kept aside to test, where the source has no test images."""
LARGEST_SIDE, SIDE = 256, 64
"""Pictures of one size keep it up to the first; otherwise they get the second."""
BLOCK = 64
"""Pictures that are decoded at a time."""
MAX_FILE = 1 << 28
"""Bytes of a picture file; a larger one is skipped."""
MAX_FOUND = 1 << 22
"""Bytes of `found.json`."""
MOST_NAMED = 10
"""Skipped pictures, and classes, in the line."""
KEY_LENGTH = 16
"""Digits of the key in a folder's name."""
VERSION = 1
"""Of how images are made; another one prepares a set again."""
TEST, TRAIN = 0.0, 1.0
"""The hash of an image that its source has put on a side."""

logger = logging.getLogger(__name__)


class Item(NamedTuple):
    """One picture of a source."""

    name: str
    """For whoever is told that it was skipped."""
    content: Path | bytes | UInt8[np.ndarray, "height width channels"]
    label: int = 0
    place: float | None = None
    """`TEST` or `TRAIN`; None where its content decides."""


@dataclass
class Survey:
    """The findings, which become the line that is shown before a training."""

    num: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    num_skipped: int = 0
    skipped: list[str] = field(default_factory=list)

    def skip(self, name: str, why: str) -> None:
        """Counts a picture that was not read, and names the first of them."""
        self.num_skipped += 1
        if len(self.skipped) < MOST_NAMED:
            self.skipped.append(f"{printable(name)} ({why})")

    @property
    def in_words(self) -> str:
        """The skipped pictures, with the reasons."""
        more = self.num_skipped - len(self.skipped)
        named = "; ".join(self.skipped) + (f"; and {more:,} more" if more else "")
        return f"{self.num_skipped:,} that could not be read: {named}"


class Source(NamedTuple):
    """Where images come from, and how they are made one size."""

    name: str
    """Of the data set: short, and safe in the name of a file."""
    words: str
    """Where they come from."""
    items: Callable[[], Iterable[Item]]
    """All pictures, in the same order at every call."""
    num: int | None
    """How many there are, if that is known."""
    class_names: tuple[str, ...] = ()
    shape: ImageShape | None = None
    """[H, W, C] of images that have one shape already, as arrays have."""
    notes: tuple[str, ...] = ()
    """Further remarks on them."""


class Plan(NamedTuple):
    """How all images are made, until one of them shows that it must be otherwise."""

    size: tuple[int, int]
    theirs: bool
    """Whether it is the size of the pictures, which then must all have it."""
    colour: bool
    aside: float = ASIDE
    """Images whose hash is below are test images."""


def printable(text: str, most: int = 60) -> str:
    """A name as a line can hold it."""
    clean = without_controls(text)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def as_text(name: str) -> str:
    """A name of the file system without the letters that no encoding has."""
    return os.fsencode(name).decode(errors="replace")


def safe_name(text: str) -> str:
    """A short name of letters, digits, dots and dashes, which every file system and page holds."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)[:40].strip("-._") or "images"


def prepare(
    name: str, key: Sequence[Any], make: Callable[[], Source], options: ImageOptions, root: Path
) -> Dataset:
    """The data set of a source, from its prepared arrays; they are written where there are none.

    Args:
        name: of the data set, safe in the name of a file.
        key: all that decides the images besides the options, as JSON holds it.
        make: makes the source, where its images are not prepared.
        options: how its pictures become images of one size.
        root: the data folder.

    Raises:
        DataError: fewer than two different images, or too many that cannot be read.
        WriteError: the arrays cannot be written; nothing of them is left then.
    """
    made_from = [VERSION, key, dataclasses.asdict(options)]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    folder = folder_of(root) / f"{name}-{digest[:KEY_LENGTH]}"
    dataset = read(folder)
    if dataset is None:
        source = make()
        _remove_stale(folder.parent)
        with alone(folder):
            if (dataset := read(folder)) is None:  # or another process was faster
                _unfinished.add(folder)
                try:
                    _write(folder, source, options)
                except BaseException:
                    _clear(folder)
                    raise
                finally:
                    _unfinished.discard(folder)
                dataset = read(folder)
    if dataset is None:
        raise DataError(
            expected=f"the images of {folder} as they were written",
            found="others",
            remedy="look after the disk, and run again",
        )
    return dataset


def read(folder: Path) -> Dataset | None:
    """The data set that lies prepared in a folder; None where it is not whole.

    Its images are mapped into memory, and have the digest that they had when they were written.
    """
    try:
        found = json.loads(read_file(folder / FOUND, MAX_FOUND))
        arrays = [
            np.load(folder / f"{name}.npy", mmap_mode="r" if "images" in name else None)
            for name in ARRAYS
        ]
        train, test = Split(*arrays[:2]), Split(*arrays[2:])
        dataset = Dataset(
            str(found["name"]),
            train,
            test,
            digest_of(train, test),
            tuple(map(str, found["class_names"])),
            str(found["source"]),
        )
        if found["digest"] == dataset.digest:
            logger.info("%s", found["line"])
            return dataset
        logger.warning("the prepared images in %s are damaged, and made again", folder)
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged file makes NumPy raise anything
        logger.warning("the images in %s are prepared again (%s)", folder, one_line(error))
    return None


def folder_of(root: Path) -> Path:
    """Where prepared sets lie in a data folder."""
    return root / "jaxgen" / "images"


def options_of(folder: Path) -> ImageOptions:
    """The options that a whole set was prepared with."""
    found = json.loads(read_file(folder / FOUND, MAX_FOUND))["options"]
    return ImageOptions(**found | {"image_size": tuple(found["image_size"])})


def find(root: Path, digest: str, name: str, class_names: Sequence[str] | None) -> Path | None:
    """The folder of a prepared set with this digest and these classes; None where there is none.

    Of several the one of this name, if it is there: copies of a folder have one digest.
    """
    others = None
    for path in sorted(folder_of(root).glob(f"*/{FOUND}")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            found = json.loads(read_file(path, MAX_FOUND))
            same_classes = class_names is None or found["class_names"] == [*class_names]
            if found["digest"] == digest and same_classes:
                if found["name"] == name:
                    return path.parent
                others = others or path.parent
    return others


def _lock(folder: Path) -> int | None:
    """An open folder, made where it is missing, and locked; None if it is not there any more."""
    make_folder(folder)
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), os.stat(folder)):
            return handle
    os.close(handle)
    return None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Owns a folder, made where it is missing; waits for another owner to end."""
    while (handle := _lock(folder)) is None:
        pass  # the owner of before has removed it
    try:
        yield
    finally:
        os.close(handle)


_unfinished: set[Path] = set()


def remove_unfinished() -> None:
    """Removes what this process has written of sets that are not whole, before it is ended.

    Example:
        >>> data.remove_unfinished()
    """
    for folder in _unfinished:
        _clear(folder)


def _remove_stale(parent: Path) -> None:
    """Removes what processes that were killed left of sets."""
    for folder in parent.glob("*"):
        if not (folder / FOUND).exists():
            with contextlib.suppress(OSError):
                handle = os.open(folder, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not (folder / FOUND).exists():  # its owner may have ended meanwhile
                        _clear(folder)
                finally:
                    os.close(handle)


def _clear(folder: Path) -> None:
    """Removes what was written of a set."""
    remove_leftovers(folder)
    with contextlib.suppress(OSError):
        for name in (FOUND, *(f"{name}.npy" for name in ARRAYS)):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _write(folder: Path, source: Source, options: ImageOptions) -> None:
    """Writes arrays and, last, `found.json`; once more where a picture is not as was planned."""
    with warnings.catch_warnings(), writing(folder), ThreadPoolExecutor(_num_threads()) as pool:
        warnings.simplefilter("ignore")  # of Pillow, about files that it reads nevertheless
        plan: Plan | None = _first_plan(source, options)
        while plan is not None:
            survey, used = Survey(), plan
            plan = _write_arrays(folder, source, options, plan, survey, pool)
    train, test = (
        Split(*(np.load(folder / f"{side}_{kind}.npy", mmap_mode="r") for kind in Split._fields))
        for side in ("train", "test")
    )
    found = {
        "name": source.name,
        "source": source.words,
        "class_names": source.class_names,
        "digest": digest_of(train, test),
        "options": dataclasses.asdict(options),
        "line": line(source, survey, used, train.labels, len(test.labels)),
    }
    write_json(folder / FOUND, found)


def _num_threads() -> int:
    """As many as there are cores: Pillow decodes without Python's lock."""
    return min(8, os.cpu_count() or 1)


def _first_plan(source: Source, options: ImageOptions) -> Plan:
    """The images as the first picture that can be read has them, and grey."""
    if source.shape is not None:
        height, width, num_channels = source.shape
        colour = (options.colour or num_channels > 1) and not options.grey
        return Plan(options.size or (height, width), False, colour)
    if options.size:
        return Plan(options.size, False, options.colour)
    for item in source.items():
        size = _decode(item, None, options)
        if not isinstance(size, str):
            fits = max(size.size) <= LARGEST_SIDE
            return Plan(size.size if fits else (SIDE, SIDE), fits, options.colour)
    return Plan((SIDE, SIDE), False, options.colour)


class _Decoded(NamedTuple):
    """A picture as an image of the size that is planned."""

    image: UInt8[np.ndarray, "height width channels"]
    size: tuple[int, int]
    mode: str
    place: float


def _decode(item: Item, plan: Plan | None, options: ImageOptions) -> _Decoded | str:
    """Reads a picture; returns why it cannot be read, if it cannot."""
    from jaxgen.data import pictures

    try:
        content = item.content
        if isinstance(content, Path):
            content = read_file(content, MAX_FILE)
            if not content:
                return "empty"
        place = hash_of(content) if item.place is None else item.place
        if isinstance(content, np.ndarray) and plan is not None:
            channels = 3 if plan.colour else 1
            if content.shape == (*plan.size, channels):
                return _Decoded(content, plan.size, "", place)
        wanted = None if plan is None or plan.theirs else plan.size
        picture = pictures.read_picture(content, options, wanted)
        image = pictures.fit_picture(picture, wanted or picture.size, options)
        if plan is not None and not plan.colour:
            grey = pictures.in_grey(image)
            image = grey if options.grey or np.all(image == grey) else image
        return _Decoded(image, picture.size, picture.mode, place)
    except Exception as error:  # a damaged file makes Pillow raise anything
        return pictures.reason(error)


def hash_of(content: bytes | np.ndarray) -> float:
    """A number in [0, 1) that the content decides: the first 53 bits of its sha256."""
    data = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return (int.from_bytes(hashlib.sha256(data).digest()[:8]) >> 11) / 2.0**53


def tenth_aside(places: np.ndarray, aside: float = ASIDE) -> float:
    """The hash below which images are test images, if each side is to have one at least.

    Raises:
        ValueError: all images have one hash.
    """
    low, high = float(np.min(places, initial=1.0)), float(np.max(places, initial=0.0))
    if not low < high:
        raise ValueError("all images have one hash")
    return min(max(aside, math.nextafter(low, 2.0)), high)


class _GrowingArray:
    """A .npy file of images, which gets longer image by image; NumPy's header leaves room."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._shape, self.labels = shape, array.array("i")
        self._write_header()

    def append(self, image: np.ndarray, label: int) -> None:
        self._file.write(np.ascontiguousarray(image).data)
        self.labels.append(label)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):  # the disk is full
            self._file.close()

    def _write_header(self) -> None:
        shape = (len(self.labels), *self._shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


def _write_arrays(
    folder: Path,
    source: Source,
    options: ImageOptions,
    plan: Plan,
    survey: Survey,
    pool: ThreadPoolExecutor,
) -> Plan | None:
    """Writes the arrays of one plan; returns another plan if a picture needs one."""
    shape = (*plan.size, 3 if plan.colour else 1)
    places = array.array("d")
    with contextlib.ExitStack() as stack:
        test, train = (
            _GrowingArray(folder / f"{side}_images.npy", shape) for side in ("test", "train")
        )
        stack.callback(test.abandon)
        stack.callback(train.abandon)
        for item, decoded in _decode_all(source, options, plan, pool):
            if isinstance(decoded, str):
                survey.skip(item.name, decoded)
                continue
            if plan.theirs and decoded.size != plan.size:
                return plan._replace(size=(SIDE, SIDE), theirs=False)
            if decoded.image.shape[-1] != shape[-1]:
                return plan._replace(colour=True)
            survey.num += 1
            survey.sizes["{}x{}".format(*decoded.size)] += 1
            survey.modes[decoded.mode] += 1
            survey.labels[item.label] += 1
            places.append(decoded.place)
            side = test if decoded.place < plan.aside else train
            side.append(decoded.image, item.label)
        _check(source, survey)
        try:
            aside = tenth_aside(np.asarray(places), plan.aside)
        except ValueError as error:
            raise DataError(
                expected=f"two different images or more in {source.words}, one for each side",
                found="one" if survey.num == 1 else f"{survey.num:,} that are equal or on one side",
                remedy="add images",
            ) from error
        if aside != plan.aside:
            return plan._replace(aside=aside)
        for side, name in ((test, "test"), (train, "train")):
            side.close()
            np.save(folder / f"{name}_labels.npy", np.asarray(side.labels, np.int32))
    return None


def _decode_all(
    source: Source, options: ImageOptions, plan: Plan, pool: ThreadPoolExecutor
) -> Iterator[tuple[Item, _Decoded | str]]:
    """All pictures, decoded a block at a time by several threads; with a bar on a terminal."""
    from tqdm import tqdm

    items = iter(source.items())
    with tqdm(
        total=source.num, desc=f"preparing {source.name}", unit="image", leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:  # fmt: skip
        while block := [*itertools.islice(items, BLOCK)]:
            yield from zip(
                block, pool.map(lambda item: _decode(item, plan, options), block), strict=True
            )
            bar.update(len(block))


def _check(source: Source, survey: Survey) -> None:
    """Raises DataError if there are no pictures, or too many cannot be read.

    Up to ten are named in the line, so a small set may have them; more than half may not be.
    """
    total = survey.num + survey.num_skipped
    if total == 0:
        ignored = f" ({'; '.join(source.notes)})" if source.notes else ""
        raise DataError(
            expected=f"images in {source.words}",
            found=f"none{ignored}",
            remedy="name a folder of PNG, JPEG, WebP, BMP, GIF or TIFF files, or of one folder per "
            "class",
        )
    wrong = survey.num_skipped
    if 2 * wrong > total or (wrong > MOST_NAMED and 10 * wrong > total):
        raise DataError(
            expected=f"images that can be read in {source.words}, nine of ten or more",
            found=f"{survey.num:,}, and {survey.in_words}",
            remedy="mend these files, or move them elsewhere",
        )


def line(
    source: Source, survey: Survey, plan: Plan, train_labels: np.ndarray, num_test: int
) -> str:
    """The findings in one line."""
    height, width = plan.size
    made = f"{height}x{width}x{3 if plan.colour else 1}"
    words = [f"{source.name}: {survey.num:,} images from {source.words}"]
    if any(survey.modes):
        sizes, modes = (_count(counts) for counts in (survey.sizes, survey.modes))
        words.append(f"height x width {sizes}; mode {modes}")
    if source.class_names:
        counts: Counter[str] = Counter()
        for label, name in enumerate(source.class_names):
            counts[printable(name, 30)] += survey.labels[label]
        words.append(f"{len(source.class_names):,} classes: {_count(counts)}")
        trained = {*np.unique(train_labels).tolist()}
        without = [name for i, name in enumerate(source.class_names) if i not in trained]
        if without:
            more = f" and {len(without) - MOST_NAMED:,} more" * (len(without) > MOST_NAMED)
            named = ", ".join(printable(name, 30) for name in without[:MOST_NAMED])
            words.append(f"without training images: {named}{more}")
    else:
        words.append("no classes")
    words.append(f"as {made}, {num_test:,} of them to test")
    words += [f"skipped {survey.in_words}"] if survey.num_skipped else []
    return without_controls("; ".join([*words, *source.notes]))


def _count(counts: Counter[str]) -> str:
    """Names with their numbers, the first ten of them by number; or the only one."""
    if len(counts) == 1:
        return next(iter(counts))
    shown = ", ".join(f"{name} ({num:,})" for name, num in counts.most_common(MOST_NAMED))
    more = len(counts) - MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
