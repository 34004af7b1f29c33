"""The run folder: one owner at a time, never overwritten unasked, a run by its config.json."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxgen.errors import RunFolderError
from jaxgen.files import owning, remove_leftovers, writing
from jaxgen.runs.files import CONFIG
from jaxgen.runs.settings import read_json, shown

logger = logging.getLogger("jaxgen")

LOCK = ".lock"
"""Hidden, as unfinished files are: hidden files make no run."""


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Owns the folder, made where it is missing; it is left as it was where no run began in it.

    The operating system frees the lock when the process ends, however.
    """
    _check_name(folder)
    with writing(folder):
        new = [path for path in (folder / LOCK, folder) if not path.exists()]
    handle = _lock(folder)
    try:
        with owning(folder, lambda: _is_file(handle, folder / LOCK)):
            yield
    finally:
        if _is_file(handle, folder / LOCK) and not read_config(folder):
            with contextlib.suppress(OSError):  # a folder that has something in it stays
                for path in new:
                    path.rmdir() if path.is_dir() else path.unlink()
        os.close(handle)


def _check_name(folder: Path) -> None:
    """Raises RunFolderError for a name that no text has, which logs and pages could not show."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise RunFolderError(
            expected="a run folder whose name, and those above it, are UTF-8",
            found=str(folder),
            remedy="choose another --out",
        ) from error


def _lock(folder: Path) -> int:
    """Takes the folder's lock."""
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise RunFolderError(
                expected=f"{folder} to be free",
                found="another run that is using it",
                remedy="wait for it to end or choose another --out",
            ) from error
        except OSError as error:  # not every file system has locks
            logger.warning("no lock in %s (%s): start no other run there", folder, error.strerror)
        if _is_file(handle, folder / LOCK):
            return handle
        os.close(handle)  # a run that was refused removed the file in between


def _is_file(handle: int, path: Path) -> bool:
    """Whether the open file is the one that has the name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; empty where there is none."""
    try:
        config = read_json(folder / CONFIG)
    except RunFolderError:
        return {}
    return config if "experiment" in config else {}


def _check_is_run(folder: Path, contents: list[Path], experiment: str | None) -> None:
    """Raises unless the folder holds a run, by its `config.json`; of that experiment, if named."""
    found = read_config(folder)
    if found and experiment not in (None, found["experiment"]):
        raise RunFolderError(
            expected=f"{folder} to be a run of {experiment}",
            found=f"one of {shown(found['experiment'])}",
            remedy="choose another --out",
        )
    if not found:
        raise RunFolderError(
            expected=f"{folder} to be a run folder, with the config.json of an experiment",
            found=f"a folder with {contents[0].name!r} in it",
            remedy="put its config.json back from a copy, or choose another --out",
        )


def _clear(contents: list[Path]) -> None:
    """Removes what a run left; `config.json` last, so that half an emptied folder is still one."""
    for path in sorted(contents, key=lambda path: path.name == CONFIG):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def open_folder(folder: Path, experiment: str, *, resume: bool, overwrite: bool) -> Iterator[Path]:
    """Owns a run folder inside the `with` block; an existing run is never overwritten unasked.

    Errors:
        RunFolderError: a run is there and neither `resume` nor `overwrite` is set, or it is in
            use; or the folder holds something else than a run, to `resume` one of `experiment`.
        WriteError: the folder cannot be created or written.
    """
    with _own(folder):
        contents = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if contents and not (resume or overwrite):
            run = read_config(folder).get("experiment")
            raise RunFolderError(
                expected=f"{folder} to be new or empty",
                found=f"{f'a run of {shown(run)}' if run else repr(contents[0].name)} in it",
                remedy="add --resume to go on with that run, --overwrite to replace it, or --out",
            )
        if contents:
            _check_is_run(folder, contents, None if overwrite else experiment)
        remove_leftovers(folder)
        if overwrite:
            _clear(contents)
        yield folder
