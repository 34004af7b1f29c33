"""Named arrays: names are unambiguous, files come back bitwise, damage is never silent."""

import errno
import json
import os
import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxgen.errors import CheckpointError, WriteError
from jaxgen.export.safetensors import flatten, host_arrays, load_params, save_params

DTYPES = ["bfloat16", "float16", "float32", "float64", "uint8", "int8", "int32", "uint32", "bool"]


class State(NamedTuple):
    """Parameters and an optimiser's state."""

    params: dict[str, Any]
    opt_state: Any


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return sorted(a) == sorted(b) and all(
        (np.asarray(a[n]).dtype, a[n].shape, np.asarray(a[n]).tobytes())
        == (np.asarray(b[n]).dtype, b[n].shape, np.asarray(b[n]).tobytes())
        for n in a
    )


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A small file and what is in it."""
    tensors = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.ones(3, np.uint8)}
    save_params(tmp_path / "model.safetensors", tensors, {"model": "rbm"})
    return tmp_path / "model.safetensors", tensors


# --- names


def test_names_are_dotted_paths() -> None:
    params = {"w": jnp.zeros((2, 3)), "layers": [jnp.zeros(1), jnp.zeros(2)]}
    state = State(params, optax.adam(0.1).init({"w": params["w"]}))
    assert list(flatten(state)) == [
        "params.layers.0",
        "params.layers.1",
        "params.w",
        "opt_state.0.count",
        "opt_state.0.mu.w",
        "opt_state.0.nu.w",
    ]
    assert flatten(state)["params.w"] is params["w"]
    assert list(flatten(jax.eval_shape(lambda: state))) == list(flatten(state))


def test_two_leaves_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two called 'a\.b'"):
        flatten({"a.b": np.zeros(1), "a": {"b": np.zeros(1)}})


@pytest.mark.parametrize("leaf", [1.0, "text", jax.random.key(0), np.array(["a"])])
def test_what_is_no_array_is_refused(leaf: Any) -> None:
    with pytest.raises(TypeError, match="expected an array at 'a', found"):
        flatten({"a": leaf})


# --- files


def test_every_dtype_comes_back(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {"jax": jnp.arange(3.0), "transposed": np.arange(6.0).reshape(2, 3).T}
    for name in DTYPES:
        dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
        tensors[name] = np.arange(6).reshape(2, 3).astype(dtype)
        tensors[name + ".scalar"] = np.ones((), dtype)
        tensors[name + ".empty"] = np.zeros((0, 3), dtype)
    save_params(tmp_path / "new" / "model.safetensors", tensors, {})
    assert same(load_params(tmp_path / "new" / "model.safetensors"), tensors)


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.dictionaries(st.text("ab./'\"é\\\n", max_size=4), st.lists(st.integers(0, 3))),
    metadata=st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_any_names_and_metadata_come_back(
    shapes: dict[str, list[int]],
    metadata: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    tensors = {
        name: np.arange(int(np.prod(s)), dtype=np.int32).reshape(s) for name, s in shapes.items()
    }
    save_params(path, tensors, metadata)
    assert same(load_params(path), tensors)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata().items() >= metadata.items()


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    tensors = {"b": np.ones(3), "a": np.ones(2, np.float32)}
    metadata = {letter: letter for letter in "abcdefgh"}
    versions = set()
    for _ in range(10):
        save_params(tmp_path / "model", tensors, metadata)
        versions.add((tmp_path / "model").read_bytes())
    (data,) = versions
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["__metadata__"].items() >= metadata.items()


def test_a_foreign_file_without_checksum_is_read(tmp_path: Path) -> None:
    tensors = {"w": np.ones((2, 2), np.float32)}
    save_file(tensors, tmp_path / "foreign")
    assert same(load_params(tmp_path / "foreign"), tensors)


def test_a_dtype_that_safetensors_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="complex128"):
        save_params(tmp_path / "model", {"a": np.ones(2, np.complex128)}, {})


def test_a_dtype_that_numpy_lacks_is_named(tmp_path: Path) -> None:
    """Eight-bit floating-point numbers of another program."""
    tensor = {"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}
    header = json.dumps(tensor).encode()
    path = tmp_path / "foreign"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(CheckpointError, match="numbers of a kind that NumPy does not have"):
        load_params(path)


def test_host_arrays_are_plain_memory() -> None:
    arrays = host_arrays({"a": np.arange(6).reshape(2, 3).T, "b": np.arange(3).astype(">i4")})
    assert arrays["a"].flags.c_contiguous
    assert arrays["b"].dtype.isnative
    assert arrays["b"].tolist() == [0, 1, 2]


# --- damage


def test_damage_is_never_silent(saved: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, tensors = saved
    data = path.read_bytes()
    rng = random.Random(0)
    errors = 0
    for _ in range(400):
        place = rng.randrange(len(data))
        flipped = bytes([data[place] ^ (1 << rng.randrange(8))])
        cut = rng.random() < 0.25
        path.write_bytes(data[:place] if cut else data[:place] + flipped + data[place + 1 :])
        try:
            found = load_params(path)
        except CheckpointError:
            errors += 1
        else:
            assert same(found, tensors)
    assert errors > 300


def test_every_damaged_number_is_found(saved: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = saved
    data = path.read_bytes()
    for place in range(len(data) - 51, len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match="sha256") as error:
            load_params(path)
        assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    for path in [tmp_path / "missing", tmp_path]:
        with pytest.raises(CheckpointError, match="expected a safetensors file at"):
            load_params(path)


def test_a_full_disk_leaves_the_old_file(
    saved: tuple[Path, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tensors = saved

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(WriteError, match="found No space left on device"):
            save_params(path, {"w": np.zeros(3)}, {})
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert same(load_params(path), tensors)


def test_a_path_below_a_file_is_a_write_error(saved: tuple[Path, Any]) -> None:
    path, tensors = saved
    with pytest.raises(WriteError, match="expected to write"):
        save_params(path / "model", tensors, {})
