"""A folder of pictures as a source: flat, one folder per class, train/ and test/ above either.

Classes are the folders in the folder, in the order of their names, each with all that lies below
it. A folder that is alone in a folder is no class: it is looked at in place of that one. Links to
folders are followed, each folder once, so a circle ends. Nothing is ever written here.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.data.pictures import ENDINGS
from jaxgen.data.prepared import TEST, TRAIN, Item, Source, as_text
from jaxgen.errors import DataError

TEST_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the folder of test images beside train/; the first that is there is taken."""
OUTSIDE = "images outside the folders of classes or of train and test"


class _File(NamedTuple):
    """A picture file, with what its name and the system know of it."""

    path: str
    """From the folder that was named."""
    parts: tuple[str, ...]
    """Folders, and the file's name, as far as they are looked at."""
    size: int
    changed: int
    place: float | None = None


def folder_source(folder: Path, name: str) -> tuple[Source, list[Any]]:
    """The pictures of a folder, and what decides them: names, sizes and times.

    Raises:
        DataError: the folder may not be read.
    """
    ignored: Counter[str] = Counter()
    files = [*_files(folder, ignored)]
    while _is_alone(files):
        files = [file._replace(parts=file.parts[1:]) for file in files]
    files = _put_on_sides(files, ignored)
    inside = [file for file in files if len(file.parts) > 1]
    class_names = sorted({file.parts[0] for file in inside})
    if len(class_names) > 1:
        ignored[OUTSIDE] += len(files) - len(inside)
        files, labels = inside, {each: label for label, each in enumerate(class_names)}
    else:
        class_names, labels = [], {}
    # In the order of a hash of their names, so that classes are mixed, as TFDS has it.
    files.sort(key=lambda file: hashlib.md5(os.fsencode(file.path)).digest())
    listed = hashlib.sha256()
    for file in files:
        known = (file.parts[0] if labels else "", file.size, file.changed, file.place)
        listed.update(os.fsencode(f"{file.path}\0{known}\n"))

    def items() -> Iterator[Item]:
        for file in files:
            label = labels.get(file.parts[0], 0)
            yield Item(as_text(file.path), folder / file.path, label, file.place)

    kinds = [f"{num:,} {kind}" for kind, num in ignored.items() if num]
    source = Source(
        name=name,
        words=f"the folder {as_text(str(folder))}",
        items=items,
        num=len(files),
        class_names=tuple(map(as_text, class_names)),
        notes=(f"ignored {', '.join(kinds)}",) if kinds else (),
    )
    return source, ["folder", as_text(str(folder)), listed.hexdigest()]


def _files(folder: Path, ignored: Counter[str]) -> Iterator[_File]:
    """The picture files below a folder; counts the others."""
    visited = set()

    def refuse(error: OSError) -> None:
        if error.filename == str(folder):
            raise DataError(
                expected=f"a folder of images, {as_text(str(folder))}",
                found=error.strerror or "none",
                remedy="make it readable, or name another",
            ) from error
        ignored["folders that may not be read"] += 1

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        ignored["hidden files and folders"] += sum(x.startswith(".") for x in folders + names)
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in visited:
            folders.clear()
            continue
        visited.add((here.st_dev, here.st_ino))
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in names:
            if each.startswith("."):
                continue
            if not each.lower().endswith(ENDINGS):
                ignored["other files"] += 1
                continue
            path = os.path.relpath(os.path.join(place, each), folder)
            try:
                there = os.stat(os.path.join(place, each))
                size, changed = there.st_size, there.st_mtime_ns
            except OSError:  # a link to nothing; whoever reads it is told
                size, changed = -1, 0
            yield _File(path, tuple(path.split(os.sep)), size, changed)


def _is_alone(files: list[_File]) -> bool:
    """Whether all files are in one folder, which then is looked at in place of the one it is in."""
    return all(len(file.parts) > 1 for file in files) and len({x.parts[0] for x in files}) == 1


def _put_on_sides(files: list[_File], ignored: Counter[str]) -> list[_File]:
    """The files of train/ and test/, where both are there; otherwise all."""
    tops = {file.parts[0] for file in files if len(file.parts) > 1}
    test = next((each for each in TEST_FOLDERS if each in tops), "")
    if not test or "train" not in tops:
        return files
    places = {"train": TRAIN, test: TEST}
    ignored[OUTSIDE] += sum(file.parts[0] not in places for file in files)
    return [
        file._replace(parts=file.parts[1:], place=places[file.parts[0]])
        for file in files
        if file.parts[0] in places and len(file.parts) > 1
    ]
