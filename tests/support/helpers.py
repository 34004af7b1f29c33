"""Small things that several test files use."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxgen.evaluation import classifier

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
"""Stored numbers of other programs, with the scripts that made them."""

DIGITS = "223d063e9d8caaed2c32316a05259eb15a724a0cb13172944e1473e70b3d1fde"
"""The digest of the prepared digits."""
SMALL_CLASSIFIER = classifier.Config(
    channels=(4, 8), num_hidden=32, num_features=16, num_epochs=3, batch_size=25
)
"""Settings of a classifier that is soon trained."""


UNOPTIMISED = (
    "--xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)
"""With it XLA compiles in a sixth of the time; the tests' own processes run so."""
OPTIMISED = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
"""Of a program whose rounding counts: without vectors XLA adds long sums up one by one."""
AS_USERS = {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "").replace(UNOPTIMISED, "").strip() or None}
"""The environment of processes whose bits are those that users get; None removes a variable."""


def same(a: Any, b: Any) -> bool:
    """Whether two trees have the same containers, names, dtypes, shapes and bytes."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(
        (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        for x, y in ((np.asarray(x), np.asarray(y)) for x, y in pairs)
    )


def start_python(*args: str, cwd: Path = ROOT, **env: str | None) -> "subprocess.Popen[str]":
    """Starts this interpreter on this source tree, with both outputs in pipes."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | env
    return subprocess.Popen(
        [sys.executable, *args],
        cwd=cwd,
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(
    *args: str, cwd: Path = ROOT, timeout: float = 120, stdin: str = "", **env: str | None
) -> "subprocess.CompletedProcess[str]":
    """Runs `start_python` to its end; kills it when it takes too long."""
    with start_python(*args, cwd=cwd, **env) as process:
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    """The message of an error that a user can act on."""
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("expected ")
    return text


def to_idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file, the format of the original MNIST."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def sorted_rows(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """Images with their labels in an order that depends on nothing else."""
    rows = zip(images, labels, strict=True)
    return sorted(image.tobytes() + bytes([label]) for image, label in rows)
