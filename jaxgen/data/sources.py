"""Where the original files of a data set come from: a folder of the user or the network.

TFDS has the URL, the size and the sha256 of every file registered, and enforces them. It also
tries for minutes to reach a network that is not there, so what can be known beforehand is asked
beforehand, here, without importing TFDS.
"""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import os
import queue
import socket
import threading
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxgen.errors import DataError, DataMissingError
from jaxgen.files import expand_user, read_file

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
"""The data sets that are downloaded, and the folder in which torchvision has each."""
UNPACKED = {
    "mnist": {
        "train-images-idx3-ubyte.gz": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte.gz": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }
}
"""The sha256 of the IDX file in each original one. Those of Fashion-MNIST and KMNIST are not known
here, so their files are taken only as they were published."""
MAX_BYTES = 1 << 26
"""Of an original file, and of what it unpacks to; the largest has 47 MB."""


class RegisteredFile(NamedTuple):
    """One original file as TFDS has it registered."""

    url: str
    size: int
    sha256: str
    name: str


def registered_files(name: str) -> list[RegisteredFile]:
    """Returns what TFDS has registered for the original files of `name`.

    The table is read without importing TFDS, so that a missing file is told at once.
    """
    spec = importlib.util.find_spec("tensorflow_datasets")
    assert spec is not None
    assert spec.origin is not None
    table = Path(spec.origin).parent / "url_checksums" / f"{name}.txt"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    return [RegisteredFile(url, int(size), sha256, file) for url, size, sha256, file in rows]


class Original(NamedTuple):
    """An original file: where it was found, and the IDX file in it."""

    path: Path
    content: bytes


def find_originals(name: str, root: Path, manual_dir: Path | None) -> dict[str, Original] | None:
    """The original files by their registered names, or None if TFDS can download them.

    They are known by their contents, whatever their names and whether they are packed.
    """
    files = registered_files(name)
    if manual_dir is None:
        if is_reachable(files[0].url):
            return None
        raise DataMissingError(
            expected=f"{name} in {root} or a network to download it",
            found=f"neither ({urllib.parse.urlsplit(files[0].url).hostname} does not answer)",
            remedy=f"type `{command(name)}` with the four original files in FOLDER, "
            "or use `--dataset digits`, which needs none",
        )
    folder = expand_user(manual_dir)
    found = {file.name: [*_candidates(name, folder, file.name)] for file in files}
    if missing := [file for file, paths in found.items() if not paths]:
        raise DataMissingError(
            expected=f"the four original files of {name} in {folder}",
            found="no such folder" if not folder.is_dir() else f"no {', '.join(missing)}",
            remedy=f"fetch them from {urllib.parse.urljoin(files[0].url, '.')}, "
            f"then type `{command(name)}`",
        )
    return {file.name: _read_original(name, found[file.name], file) for file in files}


def _candidates(name: str, folder: Path, file: str) -> Iterator[Path]:
    """The files of that name in a folder, or in one of this data set in it; packed or not."""
    plain = file.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    raw = Path(TORCHVISION[name], "raw")
    for place in (folder / name, folder, folder / "raw", folder / raw, folder / name / raw):
        for each in (file, plain, dotted, f"{dotted}.gz"):
            if os.path.exists(place / each):
                yield place / each


def _read_original(name: str, paths: list[Path], file: RegisteredFile) -> Original:
    """The first of the files that has the contents of the registered one.

    Errors:
        DataError: there is none; the text names the data set that the first is from.
    """
    wrong, remedy = "", f"fetch {file.url} again, or give another --manual-dir"
    for path in paths:
        try:
            content = read_file(path, MAX_BYTES)
        except OSError as error:
            wrong = wrong or f"{path} ({error.strerror})"
            remedy = "make it readable" if isinstance(error, PermissionError) else remedy
            continue
        unpacked = _unpack(content)
        outside, inside = (hashlib.sha256(each).hexdigest() for each in (content, unpacked))
        if outside == file.sha256 or inside == UNPACKED.get(name, {}).get(file.name):
            return Original(path, unpacked)
        owner = _owner(outside, inside)
        wrong = wrong or f"{path} ({len(content)} bytes, sha256 {outside[:16]}{owner})"
    raise DataError(
        expected=f"{file.name} of {name} ({file.size} bytes, sha256 {file.sha256[:16]})",
        found=wrong,
        remedy=remedy,
    )


def _owner(*digests: str) -> str:
    """The data set that one of the digests is of, in words; nothing where none is known."""
    for name in TORCHVISION:
        known = {file.sha256 for file in registered_files(name)}
        if not known.union(UNPACKED.get(name, {}).values()).isdisjoint(digests):
            return f", a file of {name}"
    return ""


def _unpack(content: bytes) -> bytes:
    """Unpacks the content of a gzip file; any other, and a damaged or huge one, stays as it is."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        found = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        return content
    return content if len(found) > MAX_BYTES else found


def is_reachable(url: str, timeout: float = 1.5) -> bool:
    """Returns whether the host of `url`, or the proxy to it, accepts a connection in time.

    The attempt runs in a thread of its own, since a name server that is silent blocks for longer
    than any timeout of a socket.
    """
    from urllib.request import getproxies, proxy_bypass

    parts = urllib.parse.urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout).close()
        except OSError:
            answers.put(False)
        else:
            answers.put(True)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return False


@contextlib.contextmanager
def quiet_tfds() -> Iterator[None]:
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


def one_line(error: Exception) -> str:
    """Returns the kind and the text of an error, without line breaks and not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def command(name: str) -> str:
    """Returns what to type to prepare `name` from files that are there."""
    return f"python -m experiments.prepare --dataset {name} --manual-dir FOLDER"
