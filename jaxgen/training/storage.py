"""Named arrays in a folder, by Orbax, without its chatter and with errors one can act on."""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen.export.safetensors import NumpyArray


def write(folder: Path, arrays: Mapping[str, NumpyArray]) -> None:
    """Writes named arrays, at least one of them with an element, to a new folder.

    Raises:
        OSError: The disk is full or may not be written to.
    """
    slots = _slots(arrays)
    full = {slots[n]: array for n, array in arrays.items() if array.size}  # it refuses empty ones
    try:
        with _orbax() as (checkpointer, ocp):
            checkpointer.save(folder, args=ocp.args.PyTreeSave(full))
    except ValueError as error:  # TensorStore reports the operating system's errors this way
        if (code := _error_code(error)) is None:
            raise
        raise OSError(code, os.strerror(code)) from error


def read(folder: Path, like: Mapping[str, Any]) -> dict[str, NumpyArray]:
    """Reads the arrays called as in `like`, which gives dtypes and shapes of the empty ones.

    Orbax and TensorStore raise whatever a damaged file leads to.
    """
    arrays = {n: np.zeros(leaf.shape, leaf.dtype) for n, leaf in like.items() if 0 in leaf.shape}
    slots = {slot: name for name, slot in _slots(like).items() if name not in arrays}
    with _orbax() as (checkpointer, ocp):
        as_numpy = {slot: ocp.RestoreArgs(restore_type=np.ndarray) for slot in slots}
        args = ocp.args.PyTreeRestore(restore_args=as_numpy)
        stored = checkpointer.restore(folder, args=args)
    return arrays | {slots[slot]: array for slot, array in stored.items()}


def check_space(folder: Path, size: int) -> None:
    """Takes so many bytes and gives them back: on a full disk Orbax's threads print tracebacks.

    Raises:
        OSError: The disk is full.
    """
    path, zeros = folder / "space", bytes(min(size, 2**20))
    with path.open("wb", buffering=0) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(1, size))
        else:
            for start in range(0, size, 2**20):
                file.write(zeros[: size - start])
    path.unlink()


def reason(error: Exception) -> str:
    """The error in one line."""
    code = _error_code(error)
    return os.strerror(code) if code else f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _slots(names: Iterable[str]) -> dict[str, str]:
    """A plain name for Orbax per leaf, as it reads meaning into some characters."""
    return {name: f"leaf_{index:05d}" for index, name in enumerate(sorted(names))}


@contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """A silent Orbax checkpointer for this process alone, and the Orbax module.

    Importing Orbax takes half a second, so it waits until here. Float parameters hardly compress,
    and without compression a large state is written four times as fast.
    """
    import orbax.checkpoint as ocp

    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=process, active_processes={process})
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    log = logging.getLogger("absl")
    disabled, log.disabled = log.disabled, True
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer, ocp
    finally:
        log.disabled = disabled


def _error_code(error: Exception) -> int | None:
    """The operating system's error number, also where TensorStore only mentions it in its text."""
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return error.errno if isinstance(error, OSError) else int(match[1]) if match else None
