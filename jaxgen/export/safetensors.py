"""Named arrays in one file: a tree's leaves by dotted name, and safetensors out and in.

A safetensors file is read by PyTorch, JAX and others, and holds no code. The format has no
checksum, so `save_params` adds the metadata entry ``sha256`` and `load_params` checks it if it is
there.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxgen.errors import CheckpointError
from jaxgen.files import write_atomically

NumpyArray: TypeAlias = NDArray[Any]


def flatten(tree: Any) -> dict[str, Any]:
    """Gives every leaf its dotted name, for example ``params.w`` or ``opt_state.0.mu.w``.

    A leaf is anything with a dtype and a shape: a JAX or NumPy array or a `jax.ShapeDtypeStruct`.

    Raises:
        TypeError: A leaf is no numeric array (a Python number, a typed PRNG key, a string).
        ValueError: Two leaves have the same name, as in ``{"a.b": x, "a": {"b": y}}``.
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in named:
            raise ValueError(f"expected one leaf per name, found two called '{name}'; rename one")
        if wrong := _why_no_array(leaf):
            raise TypeError(f"expected an array at '{name}', found {wrong}")
        named[name] = leaf
    return named


def host_arrays(tree: Any) -> dict[str, NumpyArray]:
    """Copies the leaves to the host, by dotted name: row-major, in the machine's byte order."""
    named = flatten(tree)
    leaves = zip(named, jax.device_get(list(named.values())), strict=True)
    return {name: np.asarray(a, dtype=a.dtype.newbyteorder("="), order="C") for name, a in leaves}


def leaf_digests(tree: Any) -> dict[str, str]:
    """Maps the dotted name of each leaf to the sha256 of its name, dtype, shape and bytes."""
    digests = {}
    for name, array in host_arrays(tree).items():
        hasher = hashlib.sha256(json.dumps([name, str(array.dtype), array.shape]).encode())
        hasher.update(array.reshape(-1).view(np.uint8).data)
        digests[name] = hasher.hexdigest()
    return digests


def digest(tree: Any) -> str:
    """The sha256 of a whole tree: over name, dtype, shape and bytes of every leaf, in name order.

    Only names count, not containers: a NamedTuple and a dict of the same leaves agree.
    """
    leaves = leaf_digests(tree)
    return hashlib.sha256("".join(leaves[name] for name in sorted(leaves)).encode()).hexdigest()


def save_params(
    path: Path, tensors: Mapping[str, jax.Array | NumpyArray], metadata: Mapping[str, str]
) -> None:
    """Writes named arrays of any shape to one safetensors file, which appears whole or not at all.

    Raises:
        TypeError: A value is no numeric array.
        WriteError: The disk is full or may not be written to.
    """
    write_atomically(path, file_content(tensors, metadata))


def file_content(
    tensors: Mapping[str, jax.Array | NumpyArray], metadata: Mapping[str, str]
) -> bytes:
    """The bytes of the file that `save_params` writes.

    Raises:
        TypeError: A value is no numeric array.
    """
    arrays = host_arrays(dict(tensors))
    try:
        data = save(arrays, {**metadata, "sha256": digest(arrays)})
    except SafetensorError as error:
        raise TypeError(f"expected dtypes that safetensors has, found {error}") from error
    return _sort_metadata(data)


def load_params(path: Path) -> dict[str, NumpyArray]:
    """Reads the arrays of a safetensors file by name, in the dtypes and shapes they were saved in.

    Raises:
        CheckpointError: The file is missing, truncated or damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays: dict[str, NumpyArray] = file.get_tensors()
    except Exception as error:  # a damaged header leads to many kinds of errors
        raise _unreadable(path, _in_line(error)) from error
    found = digest(arrays)
    if metadata.get("sha256", found) != found:
        raise _unreadable(path, f"sha256 {found} instead of {metadata['sha256']}")
    return arrays


def _in_line(error: Exception) -> str:
    """What is wrong with a file, in a line."""
    if isinstance(error, AttributeError):  # safetensors looks a dtype's name up in NumPy
        return "numbers of a kind that NumPy does not have"
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def halve(arrays: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
    """The same arrays with float16 in the place of float32, rounded to the nearest.

    Of numbers from 6.1e-5 to 65,504 the relative error is at most 2^-11, below 0.05 %; smaller ones
    are off by at most 3e-8.

    Raises:
        ValueError: A finite number is beyond float16.
    """
    found = {}
    for name, array in arrays.items():
        small = array
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                small = array.astype(np.float16)
            if not np.array_equal(np.isfinite(array), np.isfinite(small)):
                raise ValueError(f"expected numbers up to 65,504 in {name}, found larger ones")
        found[name] = small
    return found


def widen(arrays: Mapping[str, NumpyArray]) -> dict[str, NumpyArray]:
    """The same arrays with float32 in the place of float16, which holds its numbers exactly."""
    return {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in arrays.items()
    }


def _sort_metadata(data: bytes) -> bytes:
    """Sorts the metadata, which safetensors writes in random order: equal contents, equal bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # keeps the arrays aligned
    return len(text).to_bytes(8, "little") + text + data[start:]


def _why_no_array(leaf: Any) -> str | None:
    """The kind of `leaf` and a remedy, or None when it is a numeric array."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not hasattr(leaf, "shape"):
        return f"a Python {type(leaf).__name__}; wrap it in jnp.asarray"
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return f"a typed PRNG key ({dtype}); store jax.random.key_data(key) instead"
    if not (jnp.issubdtype(dtype, np.number) or dtype == np.bool_):
        return f"dtype {dtype}; store numbers or booleans"
    return None


def _unreadable(path: Path, found: str) -> CheckpointError:
    remedy = "write it again, in a run folder by the run's command with --resume"
    return CheckpointError(expected=f"a safetensors file at {path}", found=found, remedy=remedy)
