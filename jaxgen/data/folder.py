"""A folder of pictures as a source: flat, one folder per class, train/ and test/ above either.

Classes are the folders in the folder, in the order of their names, each with all that lies below
it. A folder that is alone in a folder is no class: it is looked at in place of that one. Links that
stay in the folder are followed, each folder once, so a circle ends. Runs of jaxgen are left out.
Nothing is ever written here.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.data.pictures import ENDINGS
from jaxgen.data.prepared import TEST, TRAIN, Item, Source, as_text
from jaxgen.errors import DataError

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
"""Names of the folders of either side, in small or capital letters; the first that is there is
taken."""
OUTSIDE = "images outside the folders of classes or of train and test"
LEAD_OUT = "links out of the folder"
MARKS_OF_RUN = ("summary.json", "manifest.json")
"""Beside config.json, either is in the folder of every run."""


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
    _check_sides(folder, files)
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

    kinds = [_counted(num, kind) for kind, num in ignored.items() if num]
    notes = [f"ignored {', '.join(kinds)}"] if kinds else []
    source = Source(
        name=name,
        words=f"the folder {as_text(str(folder))}",
        items=items,
        num=len(files),
        class_names=tuple(map(as_text, class_names)),
        notes=tuple(notes),
    )
    return source, ["folder", as_text(str(folder)), listed.hexdigest()]


def _files(folder: Path, ignored: Counter[str]) -> Iterator[_File]:
    """The picture files below a folder; counts the others."""
    visited, root = set(), os.path.realpath(folder)

    def refuse(error: OSError) -> None:
        if error.filename == str(folder):
            raise DataError(
                expected=f"a folder of images, {as_text(str(folder))}",
                found=error.strerror or "none",
                remedy="make it readable, or name another",
            ) from error
        ignored["folders that may not be read"] += 1

    def leads_out(path: str) -> bool:
        return os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(root)

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        try:
            here = os.stat(place)
        except OSError as error:  # it was there when it was listed
            refuse(error)
            folders.clear()
            continue
        if (here.st_dev, here.st_ino) in visited:
            folders.clear()
            continue
        visited.add((here.st_dev, here.st_ino))
        if place != str(folder) and (_is_run(place) or _holds_runs(place, folders)):
            ignored["folders of jaxgen's runs"] += 1
            folders.clear()
            continue
        for entries in (folders, names):
            seen = [each for each in sorted(entries) if not _is_hidden(each)]
            ignored["hidden items"] += len(entries) - len(seen)
            entries[:] = [each for each in seen if not leads_out(os.path.join(place, each))]
            ignored[LEAD_OUT] += len(seen) - len(entries)
        for each in names:
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


def _counted(num: int, kind: str) -> str:
    """So many of a kind, as in "2 other files"; of one the kind's first word in -s has none."""
    return f"{num:,} {kind if num > 1 else re.sub(r's(?= |$)', '', kind, count=1)}"


def _is_hidden(name: str) -> bool:
    """Whether a file or a folder is none of the user's; the second is what macOS puts into zips."""
    return name.startswith(".") or name == "__MACOSX"


def _is_run(place: str) -> bool:
    """Whether a folder holds a run, whose figures are no images to train on."""
    there = (os.path.isfile(os.path.join(place, name)) for name in MARKS_OF_RUN)
    return os.path.isfile(os.path.join(place, "config.json")) and any(there)


def _holds_runs(place: str, folders: list[str]) -> bool:
    """Whether a folder is the one that runs lie in where --out names no other."""
    own = os.path.basename(place) == "runs"
    return own and any(_is_run(os.path.join(place, each)) for each in folders)


def _is_alone(files: list[_File]) -> bool:
    """Whether all files are in one folder, which then is looked at in place of the one it is in."""
    return all(len(file.parts) > 1 for file in files) and len({x.parts[0] for x in files}) == 1


def _put_on_sides(files: list[_File], ignored: Counter[str]) -> list[_File]:
    """The files of train/ and test/, where both are there; otherwise all."""
    tops = {top.lower(): top for top in sorted({x.parts[0] for x in files if len(x.parts) > 1})}
    train, test = (
        next((tops[each] for each in names if each in tops), None)
        for names in (TRAIN_FOLDERS, TEST_FOLDERS)
    )
    if train is None or test is None:
        return files
    places = {train: TRAIN, test: TEST}
    ignored[OUTSIDE] += sum(file.parts[0] not in places for file in files)
    return [
        file._replace(parts=file.parts[1:], place=places[file.parts[0]])
        for file in files
        if file.parts[0] in places and len(file.parts) > 1
    ]


def _check_sides(folder: Path, files: list[_File]) -> None:
    """Raises DataError if the images of one side are in folders of classes, and the other's not."""
    classes, test = dict[str, set[str]](), ""
    for file in files:
        if file.place is not None:
            side = Path(file.path).parts[-len(file.parts) - 1]
            classes.setdefault(side, set()).update(file.parts[:-1][:1])
            test = side if file.place == TEST else test
    flat, other = [*sorted(classes, key=lambda side: len(classes[side])), "", ""][:2]
    if len(classes) == 2 and not classes[flat] and len(classes[other]) > 1:
        num = len(classes[other])
        flat, other, test = map(as_text, (flat, other, test))
        raise DataError(
            expected=f"folders of classes in {flat}/, as in {other}/, of {as_text(str(folder))}",
            found=f"no classes in {flat}/, and {num:,} in {other}/",
            remedy=f"put the images of {flat}/ into folders called like those of {other}/, or move "
            f"{test}/ elsewhere; without it a tenth of the images is kept aside",
        )
