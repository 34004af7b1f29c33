"""The data sets: names, folders, files of arrays, other libraries' sets in, raw images out.

`load` takes a name of `NAMES`, a folder of pictures (`jaxgen.data.folder`), a .npy or .npz file
(`jaxgen.data.arrays`), `tfds:NAME` or `hf:NAME` (`jaxgen.data.hubs`), or `prepared:NAME-KEY`, what
was made of one of them before. All but the names, whose images are as they are, pass through
`jaxgen.data.prepared`.

Of a name, it takes the first of these that is there:

1. the arrays as an earlier `load` cached them, trusted only if their digest still matches;
2. what `prepare` prepared, in ``<data_dir>/jaxgen/<name>``;
3. what stock TFDS prepared, in ``<data_dir>/<name>``;
4. the four original files in ``manual_dir``;
5. a download from where TFDS has them.

The last two pass through `prepare`. Rows come in TFDS's order, which is the same whoever prepared
them. A cached load imports neither TFDS nor JAX.
"""

import logging
import os
import re
import shutil
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxgen.data import prepared
from jaxgen.data.dataset import NAMES, Dataset, Split, digest_of
from jaxgen.data.options import ImageOptions
from jaxgen.data.prepared import KEY_LENGTH
from jaxgen.data.sources import command, find_originals, one_line, quiet_tfds
from jaxgen.errors import DataError, DataMissingError, JaxgenError, SettingError, WriteError
from jaxgen.files import (
    appearing_whole,
    expand_user,
    normalise_path,
    real_path,
    remove_leftovers,
    require_file,
)

VERSIONS = {"mnist": "3.0.1", "fashion_mnist": "3.0.1", "kmnist": "3.0.1", "digits": "1.0.0"}
MAX_PREPARED = 1 << 30
"""Bytes of a prepared file; a larger one is none of these data sets'."""
IMAGE_BYTES = 28 * 28 + 4
"""An image and its label."""

logger = logging.getLogger(__name__)


DIGIT_NAMES = tuple("0123456789")
CLASS_NAMES = {
    "mnist": DIGIT_NAMES,
    "fashion_mnist": (
        *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "digits": DIGIT_NAMES,
}
HOMEPAGES = {
    "mnist": "http://yann.lecun.com/exdb/mnist/",
    "fashion_mnist": "https://github.com/zalandoresearch/fashion-mnist",
    "kmnist": "http://codh.rois.ac.jp/kmnist/index.html.en",
    "digits": "https://archive.ics.uci.edu/dataset/80/",
}


class Contents(NamedTuple):
    """The known contents of a data set."""

    num_train: int
    num_test: int
    digest: str | None = None
    """As in `Dataset`; None where it is not known here."""


CONTENTS = {
    "mnist": Contents(
        60_000, 10_000, "28ae93e7462d5c798e2c46fb1a7353b8119f8a83c0e4c56103694bee887d3bc1"
    ),
    "fashion_mnist": Contents(60_000, 10_000),
    "kmnist": Contents(60_000, 10_000),
    "digits": Contents(
        1500, 297, "223d063e9d8caaed2c32316a05259eb15a724a0cb13172944e1473e70b3d1fde"
    ),
}


DEFAULT = ImageOptions()
ARRAY_ENDINGS = (".npy", ".npz")


class Place(NamedTuple):
    """The place that a text or a path names."""

    kind: Literal["name", "folder", "array", "tfds", "hf", "prepared"]
    text: str
    """As it means the same in any working folder."""


def place_of(dataset: str | Path) -> Place:
    """Decides what names a data set: the only place that does.

    A name wins over a folder that is called so, because a command must mean the same wherever it is
    typed: ``./mnist`` is the folder, and so is a `Path`. So do the prefixes.

    Errors:
        SettingError: it is nothing of the kind.

    Example:
        >>> data.place_of("mnist").kind
        'name'
    """
    text = str(dataset)
    if not isinstance(dataset, Path):
        if text in NAMES:
            return Place("name", text)
        for prefix in ("tfds", "hf", "prepared"):
            if text.startswith(f"{prefix}:"):
                return Place(prefix, text)
    found, remedy = "an empty text", "choose one of these"
    if text:
        path = normalise_path(expand_user(Path(text)))
        try:
            str(path).encode()
            mode = os.stat(path).st_mode
        except UnicodeEncodeError:
            found = f"{prepared.as_text(text)[:100]!r}, whose name is not in UTF-8"
            remedy = "rename it, or a folder above it"
        except (OSError, ValueError) as error:
            found = f"{text[:100]!r} ({getattr(error, 'strerror', None) or error})"
        else:
            if stat.S_ISDIR(mode):
                return Place("folder", str(path))
            if stat.S_ISREG(mode) and path.suffix.lower() in ARRAY_ENDINGS:
                return Place("array", str(path))
            found = f"{text[:100]!r}, a file of another kind"
    raise SettingError(
        expected=f"{' or '.join(NAMES)}, or a folder of images, a .npy or .npz file, tfds:NAME or "
        "hf:NAME",
        found=found,
        remedy=remedy,
    )


def name_of(dataset: str, options: ImageOptions = DEFAULT) -> str:
    """The name of a data set, from the text that `load` takes; nothing is looked up.

    A name as it is, a folder or a file by the last part of its path, with what the options change.
    Only MNIST is called mnist: a folder of that name is ``mnist-images``.

    Example:
        >>> data.name_of("pictures/cats", data.ImageOptions(image_size=(32,)))
        'cats-32x32'
    """
    if dataset.startswith("prepared:"):
        return dataset.removeprefix("prepared:")[: -(KEY_LENGTH + 1)]
    if dataset in NAMES:
        return f"{dataset}{options.suffix}"
    name = Path(dataset).name or "images"
    if dataset.startswith(("tfds:", "hf:")):
        name = dataset
    elif Path(dataset).suffix.lower() in ARRAY_ENDINGS:
        name = Path(dataset).stem
    name = prepared.safe_name(name)
    return f"{name}-images{options.suffix}" if name in NAMES else f"{name}{options.suffix}"


def load(
    dataset: str | Path,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    options: ImageOptions = DEFAULT,
) -> Dataset:
    """Loads a data set; see the top of this file for what it takes, and where it looks.

    Args:
        dataset: a name, a path, or the name of another library's set; see `place_of`.
        data_dir: TFDS's folder, where prepared images lie too; None is ``$TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``.
        manual_dir: of a name, the folder with the four original files, packed or not, or one that
            holds them in a folder of that name or as torchvision has them. None leaves the
            download.
        options: size, colour and form that the images are to have.

    Raises:
        SettingError: there is no such data set.
        DataMissingError: the data set is nowhere to be had.
        DataError: files are truncated, corrupted, too few, or those of another data set.
        WriteError: the data set could not be written.

    Example:
        >>> data.load("digits")
        <Dataset digits: 1,500 train and 297 test images of 28x28x1, 10 classes>
    """
    kind, text = place_of(dataset)
    if kind == "name" and options == DEFAULT:
        return load_named(text, data_dir, manual_dir)
    name, root = name_of(text, options), data_root(data_dir)
    if kind == "prepared":
        return _load_prepared(text, root, options)
    if kind == "name":
        from jaxgen.data.arrays import dataset_source

        named = load_named(text, data_dir, manual_dir)
        source = dataset_source(named)._replace(name=name)
        return prepared.prepare(name, [text, named.digest], lambda: source, options, root)
    if kind == "array":
        from jaxgen.data.arrays import array_source

        there = os.stat(text)
        key = ["array", text, there.st_size, there.st_mtime_ns]
        make = partial(array_source, Path(text), name)
        return prepared.prepare(name, key, make, options, root)
    if kind == "folder":
        from jaxgen.data.folder import folder_source

        check_outside(text, root, "--data-dir")
        source, key = folder_source(Path(text), name)
    else:
        from jaxgen.data import hubs

        source, key = (
            hubs.tfds_source(text, name, root) if kind == "tfds" else hubs.hub_source(text, name)
        )
    return prepared.prepare(name, key, lambda: source, options, root)


def check_outside(dataset: str, place: Path, flag: str) -> None:
    """Raises SettingError if what would be written lies in the user's folder of images.

    Args:
        dataset: as `load` takes it; anything but a folder that is there has no such place.
        place: where it would be written.
        flag: the flag that sets the place.

    Example:
        >>> data.check_outside("pictures", Path("runs"), "--out")
    """
    try:
        kind, text = place_of(dataset)
    except SettingError:
        return
    if kind == "folder" and real_path(place).is_relative_to(real_path(Path(text))):
        raise SettingError(
            expected=f"{flag} outside the folder of images, in which nothing is ever written",
            found=f"{prepared.as_text(str(place))} in {prepared.as_text(text)}",
            remedy=f"set {flag} to another folder",
        )


def from_folder(
    path: str | Path,
    *,
    image_size: int | Sequence[int] | None = None,
    grey: bool = False,
    colour: bool = False,
    crop: Literal["centre", "pad", "none"] = "centre",
    background: str = "white",
    data_dir: Path | None = None,
) -> Dataset:
    """The pictures of a folder: flat, one folder per class, train/ and test/ above either.

    Without test/ a tenth is kept aside to test, by a hash of each file's content, so that further
    files move none. The images are kept prepared below `data_dir`; nothing is written in `path`.

    Args:
        path: a folder of PNG, JPEG, WebP, BMP, GIF (first frame) or TIFF files.
        image_size: side, or height and width; None is theirs, if all are of one size and no side
            is above 256, else 64.
        grey: one channel; grey too, with neither, if every picture is grey.
        colour: three channels.
        crop: how a picture of another form fits: ``centre`` cuts it, ``pad`` adds background,
            ``none`` squeezes it.
        background: colour behind transparent pixels and beside padded pictures.
        data_dir: as in `load`.

    Raises:
        As `load`.

    Example:
        >>> data.from_folder("pictures", image_size=16)
        <Dataset pictures-16x16: 4 train and 2 test images of 16x16x1, 2 classes>
    """
    sides = () if image_size is None else (*np.ravel(image_size),) or (0,)  # which is refused
    options = ImageOptions(sides, grey, colour, crop, background)
    if not os.path.isdir(expand_user(Path(path))):
        raise SettingError(
            expected="a folder of pictures",
            found=f"{prepared.as_text(str(path))[:100]!r}, which is none",
            remedy="name a folder that is there; data.load takes data sets by name, and arrays",
        )
    return load(Path(path), data_dir, options=options)


def find_images(
    digest: str,
    data_dir: Path | None = None,
    name: str = "",
    class_names: Sequence[str] | None = None,
) -> str | None:
    """``prepared:NAME-KEY`` of the prepared images of this digest; None where there are none.

    It looks among what this computer's `load` has prepared, and opens nothing else. The digest
    knows nothing of names: of several sets the one of this `name` is taken, if there is one, and
    where `class_names` are given, none whose classes are called otherwise.

    Example:
        >>> data.find_images(data.from_folder("pictures", image_size=16).digest)[:18]
        'prepared:pictures-'
    """
    folder = prepared.find(data_root(data_dir), digest, name, class_names)
    return f"prepared:{folder.name}" if folder else None


def _load_prepared(text: str, root: Path, options: ImageOptions) -> Dataset:
    """Images that were prepared before, with these options or, if they are the default, any.

    Raises:
        SettingError: there are none of this name, or they are of other options.
    """
    folder, name = prepared.folder_of(root), text.removeprefix("prepared:")
    dataset = (
        prepared.read(folder / name) if re.fullmatch(r"[A-Za-z0-9][\w.-]{,99}", name) else None
    )
    others = dataset and options not in (DEFAULT, prepared.options_of(folder / name))
    if dataset is None or others:
        raise SettingError(
            expected=f"{prepared.printable(text, 100)} in {folder}{' of that size' * bool(others)}",
            found="others" if others else "none, or damaged ones",
            remedy="name the folder or the file that they were made from",
        )
    return dataset


def load_named(name: str, data_dir: Path | None = None, manual_dir: Path | None = None) -> Dataset:
    """One of `NAMES`, as it is; arguments and errors as `load`."""
    _check_name(name)
    try:
        root = data_root(data_dir)
    except SettingError:
        if name == "digits" and data_dir is None:  # a user without a home folder
            return _embedded_digits()
        raise
    cache = root / "jaxgen" / "cache" / f"{name}.npy"
    dataset = _read_cache(name, cache)
    if dataset is None:
        try:
            folder = prepare(name, root, manual_dir)
        except WriteError:
            if name != "digits":
                raise
            return _embedded_digits()
        dataset = _read_prepared(name, folder)
        _write_cache(cache, dataset)
    return dataset


def _embedded_digits() -> Dataset:
    """The digits where no folder can be written."""
    with quiet_tfds():
        from jaxgen.data import builders

        return _dataset("digits", *builders.embedded_digits())


def _check_name(name: str) -> None:
    if name not in NAMES:
        remedy = "choose one of these"
        raise SettingError(expected=" or ".join(NAMES), found=repr(name[:100]), remedy=remedy)


def data_root(data_dir: Path | None) -> Path:
    """Returns `data_dir`, or TFDS's own default when that is None.

    Example:
        >>> data.data_root(Path("/tmp/sets")).name
        'sets'
    """
    default = os.environ.get("TFDS_DATA_DIR") or Path("~") / "tensorflow_datasets"
    return expand_user(Path(default if data_dir is None else data_dir)).absolute()


def prepare(name: str, data_dir: Path | None = None, manual_dir: Path | None = None) -> Path:
    """Returns the folder in which TFDS's files of a data set lie, and writes them if need be.

    Arguments and errors are those of `load`, of a name.

    Example:
        >>> data.prepare("digits") == data.find_prepared("digits")
        True
    """
    _check_name(name)
    root = data_root(data_dir)
    if (there := find_prepared(name, root)) is not None:
        return there
    own = root / "jaxgen" / name / VERSIONS[name]
    originals = None if name == "digits" else find_originals(name, root, manual_dir)
    if originals:
        logger.info("%s is made from %s", name, ", ".join(str(x.path) for x in originals.values()))
    try:
        with prepared.alone(own.parent), quiet_tfds():
            for path in own.parent.glob("incomplete.*"):  # of a process that was killed
                shutil.rmtree(path, ignore_errors=True)
            if find_prepared(name, root) is None:  # or another process was faster
                if os.path.lexists(own):  # TFDS would read what lies there
                    raise DataError(
                        expected=f"{name} as TFDS prepares it in {own}",
                        found="no dataset_info.json",
                        remedy=f"delete {own} and run again",
                    )
                from jaxgen.data import builders

                builders.build(name, root / "jaxgen", originals or {})
    except JaxgenError:
        raise
    except Exception as error:
        # Without locks the second of two processes finds the folder of the first.
        if find_prepared(name, root) is None:
            explained = _explain(name, own, error)
            if explained is None:
                raise
            raise explained from error
    return own


def find_prepared(name: str, data_dir: Path | None = None) -> Path | None:
    """Returns the folder in which a data set lies prepared, by us or by stock TFDS, or None.

    Example:
        >>> data.find_prepared("kmnist", Path("nowhere")) is None
        True
    """
    root = data_root(data_dir)
    own = root / "jaxgen" / name / VERSIONS[name]
    stock = root / name / VERSIONS[name]
    # TFDS renames a folder to its final name only when it is whole.
    for folder in (own,) if name == "digits" else (own, stock):
        if os.path.isfile(folder / "dataset_info.json"):
            return folder
    return None


def _explain(name: str, folder: Path, error: Exception) -> JaxgenError | None:
    """Returns the user's error for what TFDS raised, or None if that is a defect of our own."""
    from requests import RequestException

    text = one_line(error)
    if isinstance(error, RequestException) or type(error).__name__ == "DownloadError":
        remedy = f"try again, or give the four original files: {command(name)}"
        return DataMissingError(expected=f"a download of {name}", found=text, remedy=remedy)
    if type(error).__name__ == "NonMatchingChecksumError":
        remedy = f"delete {folder.parents[1] / 'downloads'} and run again"
        return DataError(expected=f"the files of {name} as registered", found=text, remedy=remedy)
    # array_record has the system's text in that of a RuntimeError.
    if isinstance(error, OSError) or re.search(r"(open|write|close)\(\) failed", text):
        remedy = "free some space or choose another folder with --data-dir"
        return WriteError(expected=f"to write {folder}", found=text, remedy=remedy)
    return None


def _read_prepared(name: str, folder: Path) -> Dataset:
    """Reads what TFDS prepared; raises DataError if it is not whole."""
    with quiet_tfds():
        from jaxgen.data import records

        try:
            for path in (path for path in folder.iterdir() if not path.is_dir()):
                require_file(path, MAX_PREPARED)
            splits = [records.read_split(folder, split) for split in ("train", "test")]
        except ImportError:
            raise
        except Exception as error:  # a damaged file makes TFDS and its libraries raise anything
            unreadable = isinstance(error, PermissionError)
            raise DataError(
                expected=f"{name} as TFDS prepares it in {folder}",
                found=one_line(error),
                remedy=f"{'make it readable' if unreadable else f'delete {folder}'} and run again",
            ) from error
    dataset = _dataset(name, *(array for split in splits for array in split))
    if found := _difference(dataset):
        known = CONTENTS[name]
        raise DataError(
            expected=f"{name} as it is known, {known.num_train} and {known.num_test} images, in "
            f"{folder}",
            found=found,
            remedy=f"delete {folder} and run again",
        )
    return dataset


def _difference(dataset: Dataset) -> str:
    """How a data set differs from what is known of it, or nothing."""
    known, numbers = CONTENTS[dataset.name], [len(x.images) for x in (dataset.train, dataset.test)]
    if numbers != [known.num_train, known.num_test]:
        return f"{numbers[0]} and {numbers[1]} images"
    if known.digest not in (None, dataset.digest):
        return f"others, with the digest {dataset.digest[:16]}"
    return ""


def _dataset(name: str, *arrays: np.ndarray) -> Dataset:
    train, test = Split(*arrays[:2]), Split(*arrays[2:])
    return Dataset(name, train, test, digest_of(train, test), CLASS_NAMES[name], HOMEPAGES[name])


def _read_cache(name: str, path: Path) -> Dataset | None:
    """Reads the cached arrays: a digest, then the arrays, each as `numpy.save` writes it."""
    known = CONTENTS[name]
    try:
        require_file(path, (known.num_train + known.num_test) * IMAGE_BYTES + 4096)
        with path.open("rb") as file:
            digest, *arrays = (np.load(file, allow_pickle=False) for _ in range(5))
        dataset = _dataset(name, *arrays)
        if dataset.digest == str(digest) and not _difference(dataset):
            return dataset
        logger.warning("the cache %s does not match its digest and is rebuilt", path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except Exception as error:  # a damaged file makes NumPy raise anything
        logger.warning("the cache %s is rebuilt (%s)", path, one_line(error))
    return None


def _write_cache(path: Path, dataset: Dataset) -> None:
    """Writes the cache in one piece; a failure costs time at the next load, nothing else."""
    remove_leftovers(path.parent)
    try:
        with appearing_whole(path) as file:
            for array in (np.array(dataset.digest), *dataset.train, *dataset.test):
                np.save(file, array)
    except WriteError as error:
        logger.warning("the cache could not be written (%s)", error)
