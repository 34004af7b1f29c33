"""Programs of StableHLO: written, read back and compared; a stranger's computes at most."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import one_line

from jaxgen.errors import CheckpointError
from jaxgen.export import stablehlo

WEIGHTS = jnp.arange(6.0).reshape(2, 3)


def test_a_function_is_read_back_with_its_constants(tmp_path: Path) -> None:
    path = tmp_path / "f.stablehlo"
    rows = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("n"), 2), jnp.float32)
    stablehlo.save(path, lambda x: jnp.tanh(x @ WEIGHTS), rows)
    found = stablehlo.load(path)
    for num in (1, 4):
        x = np.linspace(-1, 1, 2 * num, dtype=np.float32).reshape(num, 2)
        np.testing.assert_allclose(found(x), np.tanh(x @ np.asarray(WEIGHTS)), rtol=1e-6)


@pytest.mark.parametrize("content", [None, b"", b"no program", bytes(1000)])
def test_what_is_no_program_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "f.stablehlo"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="expected a program of StableHLO in") as error:
        stablehlo.load(path)
    one_line(error)


def test_a_cut_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.stablehlo"
    stablehlo.save(path, jnp.tanh, jax.ShapeDtypeStruct((2,), jnp.float32))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError):
        stablehlo.load(path)


def test_a_program_that_calls_something_is_refused(tmp_path: Path) -> None:
    """LAPACK here; any library function, or address, has such a call."""
    path = tmp_path / "f.stablehlo"
    square = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    stablehlo.save(path, jnp.linalg.cholesky, square)
    with pytest.raises(CheckpointError, match="found one that calls lapack_spotrf") as error:
        stablehlo.load(path)
    one_line(error)
