"""Checkpoints that are whole or refused: Orbax arrays, a sha256 per leaf, newest-good fallback.

One step is one folder, renamed into place when every byte is on the disk::

    step_00000600/arrays/          the leaves, numbered in the order of their dotted names
    step_00000600/log.jsonl        the log of the training up to this step, where it has one
    step_00000600/manifest.json    format, step, settings; sha256 of every leaf and every file

Orbax alone restores a flipped byte as it stands and never looks at an older step, so `restore`
checks the manifest against its own sha256, the files before Orbax reads them (its worker threads
print a page of tracebacks for each bad byte) and the leaves afterwards. Nothing is pickled.
In a job of several processes process 0 saves; arrays split over processes are not supported.
"""

import contextlib
import hashlib
import json
import logging
import math
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

from jaxgen.data.dataset import find_renamed
from jaxgen.errors import CheckpointError, SettingError
from jaxgen.export.safetensors import NumpyArray, digest, flatten, host_arrays, leaf_digests
from jaxgen.files import file_digest, flush, read_file, require_file, writing
from jaxgen.training import storage
from jaxgen.training.storage import check_space, reason

__all__ = ["Checkpoint", "digest", "leaf_digests", "restore", "save"]

logger = logging.getLogger("jaxgen")

_FORMAT = 1
_LOG = "log.jsonl"
_MAX_MANIFEST = 1 << 24
_MAX_BESIDES = 1 << 28
"""Bytes: of a manifest, and of a file besides twice the arrays; a larger one is none of ours."""
_STEP_FOLDER = re.compile(r"step_(\d+)(?:\.(\d+))?")  # step_00000600.1 replaces step_00000600
_TEMPORARY = "tmp_"
Settings: TypeAlias = Mapping[str, str]
_Manifest: TypeAlias = dict[str, Any]


class Checkpoint(NamedTuple):
    """A restored state: NumPy arrays in the structure of `like`, and the step they belong to."""

    step: int
    tree: Any
    log: bytes | None = None
    """The log up to the step; None where none was saved."""


class _Entry(NamedTuple):
    """A step folder; of two with the same step the higher attempt is the valid one."""

    step: int
    attempt: int
    path: Path


class _DamagedError(Exception):
    """A checkpoint whose bytes are not those that were written."""


def save(
    folder: Path,
    step: int,
    tree: Any,
    settings: Settings,
    keep: int = 3,
    log: bytes | None = None,
) -> Path:
    """Writes one step and returns its folder; a kill at any moment leaves the older ones whole.

    Saving a step again is a no-op when the same bytes are there, and replaces other or damaged
    ones. Of the steps up to this one the `keep` newest stay; the rest goes once this one is safe.
    Steps beyond this one are left alone: `restore` refused them, and training will rewrite them.

    Args:
        folder: Where the step folders lie; made if it is missing. One writer at a time.
        step: How many steps `tree` has been trained for.
        tree: A tree of numeric arrays, at least one of them with an element.
        settings: Everything in the configuration that shapes the numbers, as text by name.
        keep: How many checkpoints to keep, at least 1.
        log: The log up to this step; `restore` gives it back.

    Raises:
        TypeError: A leaf cannot be stored; see `jaxgen.export.safetensors.flatten`.
        WriteError: The disk is full or may not be written to.
    """
    if jax.process_index() != 0:
        raise RuntimeError("expected process 0 to save, found another; Orbax would write nothing")
    if step < 0 or keep < 1:
        found = f"step={step} and keep={keep}"
        raise SettingError(expected="step >= 0 and keep >= 1", found=found, remedy="change it")
    arrays = host_arrays(tree)
    if not any(array.size for array in arrays.values()):
        raise TypeError("expected a tree with numbers in it, found none; there is nothing to save")
    body = {"format": _FORMAT, "step": step, "settings": {**settings}, "leaves": _leaves(arrays)}
    if log is not None:
        body["log"] = hashlib.sha256(log).hexdigest()
    folder = folder.absolute()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return _save(folder, arrays, body, keep, log)


def restore(folder: Path, like: Any, settings: Settings) -> Checkpoint | None:
    """Reads the newest checkpoint that is whole, or None where there is no checkpoint at all.

    A damaged checkpoint is skipped with one line of warning, and the next older one is tried.

    Args:
        folder: Where `save` put the step folders. Nothing in it is changed.
        like: A tree of the same structure, dtypes and shapes; `jax.eval_shape` is enough.
        settings: Those of the caller; the checkpoint's must be the same.

    Raises:
        CheckpointError: All are damaged, or the newest whole one belongs to another configuration
            or has other leaves than `like`, or one may not be read.
    """
    wanted = flatten(like)
    folder = folder.absolute()
    try:
        entries = _entries(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        found, remedy = reason(error), "choose another --out"
        raise CheckpointError(expected=f"to read {folder}", found=found, remedy=remedy) from error
    for entry in entries:
        try:
            manifest = _read_manifest(entry)
            _require_settings(entry.path, manifest, settings)
            _require_leaves(entry.path, manifest, wanted)
            arrays = _read_arrays(entry.path, manifest, wanted)
            log = (entry.path / _LOG).read_bytes() if "log" in manifest else None
        except _DamagedError as error:
            logger.warning("checkpoint skipped: %s", error)
        except PermissionError as error:
            found, remedy = reason(error), "make it readable, and type the command again"
            raise CheckpointError(
                expected=f"to read {error.filename or entry.path}", found=found, remedy=remedy
            ) from error
        else:
            tree = jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])
            return Checkpoint(step=entry.step, tree=tree, log=log)
    if entries:
        found = f"{len(entries)} damaged, the newest of them {entries[0].path.name}"
        remedy = "start again with --overwrite or another --out"
        raise CheckpointError(
            expected=f"a whole checkpoint in {folder}", found=found, remedy=remedy
        )
    return None


def require_settings(folder: Path, settings: Settings) -> None:
    """Refuses settings that are not those of the newest checkpoint, without reading its arrays.

    So nobody waits until a state is compiled for what `restore` would refuse. What cannot be read
    here is left to it.

    Raises:
        CheckpointError: the checkpoint belongs to another configuration.
    """
    with contextlib.suppress(OSError, _DamagedError):
        for entry in _entries(folder.absolute())[:1]:
            _require_settings(entry.path, _read_manifest(entry), settings)


def _save(
    folder: Path, arrays: dict[str, NumpyArray], body: _Manifest, keep: int, log: bytes | None
) -> Path:
    """Writes to a temporary folder, renames it into place, and only then removes what is old."""
    for path in folder.glob(f"{_TEMPORARY}*"):  # what killed saves left
        shutil.rmtree(path, ignore_errors=True)
    twins = [entry for entry in _entries(folder) if entry.step == body["step"]]
    if twins and _holds(twins[0], arrays, body):
        return twins[0].path
    name = f"step_{body['step']:08d}" + (f".{twins[0].attempt + 1}" if twins else "")
    temporary = folder / f"{_TEMPORARY}{name}"
    try:
        temporary.mkdir()
        num_bytes = sum(array.nbytes for array in arrays.values()) + len(log or b"")
        check_space(temporary, num_bytes + 2**20)
        if log is not None:
            (temporary / _LOG).write_bytes(log)
        _write(temporary, arrays, body)
        temporary.rename(folder / name)
    except BaseException:  # Ctrl-C too: a full disk is not kept full
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush(folder)
    old = [entry for entry in _entries(folder) if entry.step < body["step"]][keep - 1 :]
    for entry in twins + old:  # renamed first: no half folder ever bears a step's name
        entry.path.rename(folder / f"{_TEMPORARY}{entry.path.name}")
        shutil.rmtree(folder / f"{_TEMPORARY}{entry.path.name}", ignore_errors=True)
    return folder / name


def _write(folder: Path, arrays: dict[str, NumpyArray], body: _Manifest) -> None:
    """Writes the arrays and the manifest, and waits until all of it is on the disk."""
    storage.write(folder / "arrays", arrays)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    body = body | {"files": {p.relative_to(folder).as_posix(): file_digest(p) for p in files}}
    body = body | {"sha256": _body_digest(body)}
    (folder / "manifest.json").write_text(json.dumps(body, indent=1))
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def _leaves(arrays: dict[str, NumpyArray]) -> dict[str, dict[str, str]]:
    digests = leaf_digests(arrays)
    return {n: {"type": _type(array), "sha256": digests[n]} for n, array in arrays.items()}


def _type(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"


def _body_digest(manifest: _Manifest) -> str:
    body = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read_manifest(entry: _Entry) -> _Manifest:
    """Reads the manifest of one step and checks it against its own sha256."""
    path = entry.path / "manifest.json"
    try:
        manifest: _Manifest = json.loads(read_file(path, _MAX_MANIFEST))
        expected, found = _body_digest(manifest), manifest["sha256"]
    except PermissionError:
        raise
    except (OSError, ValueError, AttributeError, KeyError, RecursionError) as error:
        raise _DamagedError(f"{path}: expected a manifest, found {reason(error)}") from error
    if found != expected:
        raise _DamagedError(f"{path}: expected sha256 {found}, found {expected}")
    if manifest.get("format") == _FORMAT and not _is_manifest(manifest):
        raise _DamagedError(f"{path}: expected step, settings, leaves and files, found others")
    if manifest.get("step") != entry.step:
        raise _DamagedError(f"{path}: expected step {entry.step}, found {manifest.get('step')}")
    return manifest


def _is_manifest(manifest: _Manifest) -> bool:
    """Whether a manifest of this format has all its parts, and names no file of another folder."""
    texts = [manifest.get("settings"), manifest.get("files")]
    leaves = manifest.get("leaves")
    if not isinstance(leaves, dict) or type(manifest.get("step")) is not int:
        return False
    if any(not isinstance(leaf, dict) or {*leaf} != {"type", "sha256"} for leaf in leaves.values()):
        return False
    for part in [*texts, *leaves.values()]:
        if not isinstance(part, dict) or not all(isinstance(text, str) for text in part.values()):
            return False
    paths = [PurePosixPath(name) for name in manifest["files"]]
    inside = not any(path.is_absolute() or ".." in path.parts for path in paths)
    return inside and ("log" in manifest) == (_LOG in manifest["files"])


def _require_same(
    path: Path,
    kind: str,
    expected: Mapping[str, str],
    found: Mapping[str, str],
    remedy: str,
    absent: str = "absent",
) -> None:
    """Names the first difference; `absent` stands for what one of the two lacks."""
    for name in [*expected, *(name for name in found if name not in expected)]:
        wanted, there = expected.get(name, absent), found.get(name, absent)
        if wanted != there:
            raise CheckpointError(
                expected=f"the {kind}'{name}' of {path} to be {wanted}",
                found=f"it to be {there}",
                remedy=f"{remedy}, or choose another --out, or start again with --overwrite",
            )


_VERSION = "use the code version that wrote it"


def _require_leaves(path: Path, manifest: _Manifest, like: dict[str, Any]) -> None:
    """Refuses other leaves."""
    leaves = {name: leaf["type"] for name, leaf in manifest["leaves"].items()}
    types = {name: _type(leaf) for name, leaf in like.items()}
    _require_same(path, "array ", types, leaves, _VERSION)


def _require_settings(path: Path, manifest: _Manifest, settings: Settings) -> None:
    """Refuses another format or other settings."""
    form = {"format": str(manifest.get("format"))}
    _require_same(path, "", {"format": str(_FORMAT)}, form, _VERSION)
    there = manifest["settings"]
    if "classes" not in there:  # an older version did not name them
        settings = {name: text for name, text in settings.items() if name != "classes"}
    theirs = there.get("classes", "").split("\n")
    other = find_renamed(theirs, settings["classes"].split("\n")) if "classes" in settings else None
    instead = f"the class {other[1]} in the place of {other[0]}" if other else ""
    if (data := there.get("data")) and settings.get("data", data) != data:
        raise CheckpointError(
            expected=f"the images that {path} was trained on, sha256 {data[:16]}",
            found=", with ".join(filter(None, [f"others, {settings['data'][:16]}", instead])),
            remedy="give --dataset the same images, or choose another --out, or start again with "
            "--overwrite",
        )
    if other:
        raise CheckpointError(
            expected=f"the classes of the images that {path} was trained on",
            found=instead,
            remedy="name them as they were, or choose another --out, or start again with "
            "--overwrite",
        )
    flags = "type the flags of the original run"
    _require_same(path, "setting ", settings, there, flags, "at its default")


def _read_arrays(path: Path, manifest: _Manifest, like: dict[str, Any]) -> dict[str, NumpyArray]:
    """Reads the arrays of one step, of the types of `like`, and checks every file and leaf."""
    num_bytes = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in like.values())
    try:
        for file in (file for file in path.rglob("*") if not file.is_dir()):
            require_file(file, 2 * num_bytes + _MAX_BESIDES)
        for name, expected in manifest["files"].items():
            if (found := file_digest(path / name)) != expected:
                raise _DamagedError(f"{path / name}: expected sha256 {expected}, found {found}")
        arrays = storage.read(path / "arrays", like)
        leaves = _leaves({name: arrays[name] for name in like})
    except (_DamagedError, PermissionError):
        raise
    except Exception as error:  # Orbax and TensorStore raise whatever a damaged file leads to
        raise _DamagedError(f"{path}: expected Orbax arrays, found {reason(error)}") from error
    for name, leaf in manifest["leaves"].items():
        if leaves[name] != leaf:
            expected, found = " ".join(leaf.values()), " ".join(leaves[name].values())
            raise _DamagedError(f"{path}: expected '{name}' to be {expected}, found {found}")
    return arrays


def _holds(entry: _Entry, arrays: dict[str, NumpyArray], body: _Manifest) -> bool:
    """Whether the checkpoint on the disk is whole and has exactly these contents."""
    try:
        stored = _read_manifest(entry)
        same = all(stored.get(part) == body[part] for part in body)
        return same and bool(_read_arrays(entry.path, stored, arrays))
    except _DamagedError:
        return False


def _entries(folder: Path) -> list[_Entry]:
    """The step folders, newest first."""
    matches = [(path, _STEP_FOLDER.fullmatch(path.name)) for path in folder.iterdir()]
    found = [_Entry(int(m[1]), int(m[2] or 0), path) for path, m in matches if m]
    return sorted(found, reverse=True)
