"""Files that appear whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxgen.errors import SettingError, WriteError


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says inside the `with` block into one line about `path`.

    Errors:
        WriteError: the disk is full, or the folder may not be made or written.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise WriteError(
            expected=f"to write {path}",
            found=error.strerror or str(error),
            remedy=f"{'free some space, or ' if full else ''}choose another --out or --data-dir",
        ) from error


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
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a whole file; errors as `appearing_whole`."""
    with appearing_whole(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON; NaN is refused, for JSON has none; errors as `appearing_whole`."""
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def expanded(path: Path) -> Path:
    """The path with a leading ``~`` or ``~user`` replaced by that home folder.

    Errors:
        SettingError: there is no such user, or this one has no home.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise SettingError(
            expected=f"a home folder for {path}",
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


def file_digest(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
