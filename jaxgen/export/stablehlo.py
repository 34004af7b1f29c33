"""Compiled functions as files of StableHLO, for other programs, and back; by `jax.export`.

A file is a program with its parameters as constants. JAX promises to read it for six months, and
other compilers of StableHLO take the module in it (`jax.export.Exported.mlir_module`).
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import export

from jaxgen.errors import CheckpointError
from jaxgen.files import read_file, write_atomically

MAX_BYTES = 1 << 31
"""Of a program that is read; a larger one is none of ours."""
HARMLESS = frozenset({"shape_assertion"})
"""Custom calls that compare the sizes of arguments, and call nothing."""


def save(
    path: Path, function: Callable[..., Any], *arguments: Any, platforms: Sequence[str] = ()
) -> None:
    """Writes a function of arrays as a program, which appears whole or not at all.

    Args:
        path: of the file.
        function: what is compiled; the arrays in it become constants.
        arguments: `jax.ShapeDtypeStruct` of each argument; sizes may be those of
            `jax.export.symbolic_shape`.
        platforms: that it is for, such as ("cpu", "cuda"); that of the default device if none.

    Errors:
        WriteError: the disk is full or may not be written to.
    """
    program = export.export(jax.jit(function), platforms=[*platforms] or None)(*arguments)
    write_atomically(path, bytes(program.serialize()))


def load(path: Path | str) -> Callable[..., Any]:
    """Reads a program as a compiled function of its arrays.

    The file may be a stranger's: it is a program, and calling it runs it. It can compute, and fail,
    and do nothing else, because one that calls functions outside itself is refused.

    Errors:
        CheckpointError: the file is missing, too large or damaged, or calls something.
    """
    try:
        program = export.deserialize(bytearray(read_file(Path(path), MAX_BYTES)))
        text = program.mlir_module()
    except Exception as error:  # a damaged file leads to many kinds of errors
        raise _unreadable(path, f"{error}".partition("\n")[0][:200] or "a damaged file") from error
    called = {*re.findall(r"custom_call\s+@?\"?([\w.$]+)", text)} - HARMLESS
    if called or text.count("custom_call") != len(re.findall(r"custom_call\s+@", text)):
        raise _unreadable(path, f"one that calls {', '.join(sorted(called)) or 'something'}")
    return jax.jit(program.call)


def _unreadable(path: Path | str, found: str) -> CheckpointError:
    return CheckpointError(
        expected=f"a program of StableHLO in {path}",
        found=found,
        remedy="write it again by run.export(folder)",
    )
