"""Where a command may write besides its run: inside none, and not among images."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxgen import data
from jaxgen.errors import RunFolderError, SettingError
from jaxgen.files import check_writable, real_path
from jaxgen.runs.summary import read_summary


def require_outside_runs(place: Path, flag: str = "--out") -> None:
    """Raises RunFolderError if the place of a flag, a folder or a file, lies inside a run."""
    if run := next(filter(read_summary, place.absolute().parents), None):
        raise RunFolderError(
            expected=f"{flag} outside a run",
            found=f"{place} in {run}",
            remedy=f"choose another {flag}",
        )


def require_two_files(json: Path | None, markdown: Path | None) -> None:
    """Raises unless measures can be written to the files of --json and --markdown, where given.

    Before anything is measured: they are two files, in no run, and the disk takes them.

    Errors:
        SettingError: they are one file.
        RunFolderError: one of them lies inside a run.
        WriteError: one of them cannot be written.
    """
    if json and markdown and real_path(json) == real_path(markdown):
        raise SettingError(
            expected="--json and --markdown to be two files",
            found=f"{json} for both",
            remedy="choose another name for one of them",
        )
    for flag, path in {"--json": json, "--markdown": markdown}.items():
        if path:
            require_outside_runs(path, flag)
            check_writable(path)


def require_kept(flag: str, run: Path, emptied: Path) -> None:
    """Raises SettingError if a run that a flag gives would be emptied by --overwrite."""
    if real_path(emptied) in (real_path(run), *real_path(run).parents):
        raise SettingError(
            expected=f"{flag} outside the run folder that --overwrite empties",
            found=f"{run} in {emptied}",
            remedy="set --out to another folder",
        )


def require_outside_images(datasets: Iterable[object], places: Mapping[str, Path | None]) -> None:
    """Raises SettingError if the place of a flag lies in a folder of images.

    Data sets are as runs' settings name them; what is no text is none.
    """
    for dataset, (flag, place) in itertools.product(datasets, places.items()):
        if place and isinstance(dataset, str):
            data.check_outside(dataset, place, flag)
