"""The data sets: TFDS in, uint8 arrays on the host out, once.

`load` takes the first of these that is there:

1. the arrays as an earlier `load` cached them, trusted only if their digest still matches;
2. what `prepare` prepared, in ``<data_dir>/jaxgen/<name>``;
3. what stock TFDS prepared, in ``<data_dir>/<name>``;
4. the four original files in ``manual_dir``;
5. a download from where TFDS has them.

The last two pass through `prepare`. Rows come in TFDS's order, which is the same whoever prepared
them. A cached load imports neither TFDS nor JAX.
"""

import contextlib
import fcntl
import io
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from jaxgen.data.dataset import Dataset, Split, digest_of
from jaxgen.data.sources import command, find_originals, one_line
from jaxgen.errors import DataError, DataMissingError, JaxgenError, SettingError, WriteError
from jaxgen.files import appearing_whole, expanded, make_folder, remove_leftovers, require_file

Name: TypeAlias = Literal["mnist", "fashion_mnist", "kmnist", "digits"]
"""Data sets that `load` knows; another one is a builder more, and a name here."""
NAMES = get_args(Name)
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
    """What a data set is known to hold."""

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


def load(name: str, data_dir: Path | None = None, manual_dir: Path | None = None) -> Dataset:
    """Loads a data set; see the top of this file for where it looks.

    Args:
        name: one of `NAMES`.
        data_dir: TFDS's folder; None is ``$TFDS_DATA_DIR`` or ``~/tensorflow_datasets``.
        manual_dir: the folder with the four original files, packed or not, or one that holds them
            in a folder called `name` or as torchvision has them. None leaves the download.

    Raises:
        SettingError: there is no data set of this name.
        DataMissingError: the data set is nowhere to be had.
        DataError: files are truncated, corrupted or those of another data set.
        WriteError: the data set could not be written.
    """
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
    with _quiet_tfds():
        from jaxgen.data import builders

        return _dataset("digits", *builders.embedded_digits())


def _check_name(name: str) -> None:
    if name not in NAMES:
        remedy = "choose one of these"
        raise SettingError(expected=" or ".join(NAMES), found=repr(name), remedy=remedy)


def data_root(data_dir: Path | None) -> Path:
    """Returns `data_dir`, or TFDS's own default when that is None."""
    default = os.environ.get("TFDS_DATA_DIR") or Path("~") / "tensorflow_datasets"
    return expanded(Path(default if data_dir is None else data_dir)).absolute()


def prepare(name: str, data_dir: Path | None = None, manual_dir: Path | None = None) -> Path:
    """Returns the folder in which TFDS's files of a data set lie, and writes them if need be.

    Arguments and errors are those of `load`.
    """
    _check_name(name)
    root = data_root(data_dir)
    prepared = find_prepared(name, root)
    if prepared is not None:
        return prepared
    own = root / "jaxgen" / name / VERSIONS[name]
    originals = None if name == "digits" else find_originals(name, root, manual_dir)
    if originals:
        logger.info("%s is made from %s", name, ", ".join(str(x.path) for x in originals.values()))
    try:
        with _alone(own.parent), _quiet_tfds():
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
    """Returns the folder in which a data set lies prepared, by us or by stock TFDS, or None."""
    root = data_root(data_dir)
    own = root / "jaxgen" / name / VERSIONS[name]
    stock = root / name / VERSIONS[name]
    # TFDS renames a folder to its final name only when it is whole.
    for folder in (own,) if name == "digits" else (own, stock):
        if os.path.isfile(folder / "dataset_info.json"):
            return folder
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Owns the folder of a data set, made where it is missing; waits for another owner to end.

    What a process that was killed there left is removed.
    """
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
            for path in folder.glob("incomplete.*"):
                shutil.rmtree(path, ignore_errors=True)
        yield
    finally:
        os.close(handle)


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


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Imports TFDS and keeps it from printing and drawing progress bars."""
    import tensorflow_datasets as tfds
    from absl import logging as absl_logging

    tfds.disable_progress_bar()
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl_logging.set_verbosity(verbosity)


def _read_prepared(name: str, folder: Path) -> Dataset:
    """Reads what TFDS prepared; raises DataError if it is not whole."""
    with _quiet_tfds():
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
