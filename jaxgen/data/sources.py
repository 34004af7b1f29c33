"""Where the original files of a data set come from: a folder of the user or the network.

TFDS has the URL, the size and the sha256 of every file registered, and enforces them. It also
tries for minutes to reach a network that is not there, so what can be known beforehand is asked
beforehand, here, without importing TFDS.
"""

import hashlib
import importlib.util
import os
import queue
import socket
import threading
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from jaxgen.errors import DataError, DataMissingError
from jaxgen.files import expanded

DOWNLOADED = ("mnist", "fashion_mnist", "kmnist")


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


def find_source(name: str, root: Path, manual_dir: Path | None) -> Path | None:
    """Returns the folder with the original files, checked, or None if TFDS can download them."""
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
    manual = expanded(manual_dir)
    folder = manual / name if (manual / name).is_dir() else manual
    missing = [file.name for file in files if not os.path.isfile(folder / file.name)]
    if missing:
        raise DataMissingError(
            expected=f"the four original files of {name} in {folder}",
            found="no such folder" if not folder.is_dir() else f"no {', '.join(missing)}",
            remedy=f"fetch them from {urllib.parse.urljoin(files[0].url, '.')}, "
            f"then type `{command(name)}`",
        )
    for file in files:
        _check_file(name, folder / file.name, file)
    return folder


def _check_file(name: str, path: Path, file: RegisteredFile) -> None:
    """Compares an original file with what TFDS registered, and names the data set it is from."""
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = "make it readable"
        raise DataError(expected=f"to read {path}", found=one_line(error), remedy=remedy) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 == file.sha256:
        return
    others = {f.sha256: other for other in DOWNLOADED for f in registered_files(other)}
    owner = f", the file of {others[sha256]}" if sha256 in others else ""
    raise DataError(
        expected=f"{file.name} of {name} ({file.size} bytes, sha256 {file.sha256[:16]})",
        found=f"{path} ({len(content)} bytes, sha256 {sha256[:16]}{owner})",
        remedy=f"fetch {file.url} again, or give another --manual-dir",
    )


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


def one_line(error: Exception) -> str:
    """Returns the kind and the text of an error, without line breaks and not too long."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def command(name: str) -> str:
    """Returns what to type to prepare `name` from files that are there."""
    return f"python -m experiments.prepare --dataset {name} --manual-dir FOLDER"
