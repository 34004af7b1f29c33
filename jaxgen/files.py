"""Files that appear whole or not at all, in folders that are still there."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxgen.errors import RunFolderError, SettingError, WriteError

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
_owned: dict[Path, Callable[[], bool]] = {}


@contextlib.contextmanager
def owning(folder: Path, is_there: Callable[[], bool]) -> Iterator[None]:
    """Inside the `with` block nothing is written below the folder once it is not there any more.

    So a folder that was removed or replaced is not made again, with half of its files.
    """
    _owned[folder.absolute()] = is_there
    try:
        yield
    finally:
        del _owned[folder.absolute()]


def _require_owned(path: Path) -> None:
    """Raises RunFolderError if a folder above the path, owned by this process, is not there."""
    for folder, is_there in _owned.items():
        if path.absolute().is_relative_to(folder) and not is_there():
            raise RunFolderError(
                expected=f"{folder} to stay while it is used",
                found="none, or another in its place",
                remedy="type the command again",
            )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says inside the `with` block into one line about `path`.

    Errors:
        WriteError: the disk is full, or the folder may not be made or written.
        RunFolderError: the path is in a folder of this process that was removed; see `owning`.
    """
    _require_owned(path)
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise WriteError(
            expected=f"to write {path}",
            found=error.strerror or str(error),
            remedy=f"{'free some space, or ' if full else ''}choose another --out, --data-dir, "
            "--markdown or --json, whichever it comes from",
        ) from error


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it; errors as `writing`."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def check_writable(path: Path) -> None:
    """Raises as `appearing_whole` would for this file; makes its folder, and leaves what is there.

    So that what takes long ends before it begins if its file cannot be written.
    """
    make_folder(path.parent)
    with writing(path):
        _require_replaceable(path)
        tempfile.TemporaryFile(dir=path.parent).close()


def _require_replaceable(path: Path) -> None:
    """Raises OSError for a folder, a device or a pipe, which a file must not replace."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe")


@contextlib.contextmanager
def appearing_whole(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name only when the `with` block ends well.

    Errors:
        WriteError: see `writing`.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _require_replaceable(path)
            with temporary.open("wb") as file:
                with contextlib.suppress(OSError):  # not every file system has locks
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Path) -> None:
    """Removes unfinished files, anywhere in the folder, of processes that were killed.

    A process that lives has its unfinished file locked.
    """
    for path in folder.rglob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file; errors as `appearing_whole`."""
    with appearing_whole(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON; NaN is refused, for JSON has none; errors as `appearing_whole`."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def real_path(path: Path) -> Path:
    """The absolute path without links; one in a loop of links stays, where `resolve` may raise."""
    return Path(os.path.realpath(path))


def normalise_path(path: Path) -> Path:
    """The absolute path, without ``..`` where leaving it out leads to the same place.

    Behind a link to a folder it may not; links stay as they are.
    """
    whole = path.absolute()
    short = Path(os.path.normpath(whole))
    with contextlib.suppress(OSError, ValueError):
        if short.samefile(whole):
            return short
    return whole


def expand_user(path: Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by that home folder.

    Errors:
        SettingError: there is no such user, or this one has no home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingError(
            expected=f"a home folder for {str(path)[:100]}",
            found="none",
            remedy="set HOME, or write the path out; --data-dir names the folder of data sets",
        ) from error


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_file(path: Path, most: int) -> None:
    """Raises OSError unless this is a file of at most so many bytes.

    A pipe, which would be waited for, is none; neither is a device, which has no end.
    """
    there = path.stat()
    if not stat.S_ISREG(there.st_mode):
        raise OSError(errno.EINVAL, "no file", str(path))
    if there.st_size > most:
        raise OSError(errno.EFBIG, f"{there.st_size:,} bytes", str(path))


def read_file(path: Path, most: int) -> bytes:
    """The content of a file of at most so many bytes; errors as `require_file`."""
    require_file(path, most)
    return path.read_bytes()


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
