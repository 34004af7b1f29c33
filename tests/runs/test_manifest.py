"""The environment that a run writes down: what its bits depend on, and nothing else."""

import errno
import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import pytest
from support.helpers import one_line, run_python

from jaxgen.errors import RunFolderError
from jaxgen.runs import manifest

COUNT = """
import json, os, pathlib, jax
from jax.extend import backend
from jaxgen.runs import manifest

found, before = [], 0
cores = os.sched_getaffinity(0)
for allowed, variables in [
    (cores, {}), ({min(cores)}, {}), ({min(cores)}, {"NPROC": " +2"}), (cores, {"NPROC": "x"}),
    (cores, {"PJRT_NPROC": "3", "NPROC": "5"}), (cores, {"PJRT_NPROC": "", "NPROC": "0"}),
]:
    for name in ("PJRT_NPROC", "NPROC"):
        os.environ.pop(name, None)
    os.environ.update(variables)
    os.sched_setaffinity(0, allowed)
    backend.clear_backends()
    jax.devices()
    names = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    number = names.count("tf_XLAEigen\\n")
    found.append([number - before, manifest.num_threads()])
    before = number  # those of earlier clients stay
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_are_counted_as_xla_counts_them() -> None:
    """By the cores that the process may use, and by two variables; XLA names its threads."""
    done = run_python("-c", COUNT)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert all(of_xla == ours for of_xla, ours in counts), counts
    assert counts[1:3] == [[1, 1], [2, 2]]
    assert counts[4:] == [[3, 3], [1, 1]]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="has no /proc")
def test_the_peak_of_memory_is_that_of_the_process_and_not_of_the_one_that_began_it() -> None:
    inner = "from jaxgen.runs.manifest import peak_memory; print(peak_memory())"
    outer = (
        "import subprocess, sys\n"
        "held = bytearray(1 << 30)\n"
        f"subprocess.run([sys.executable, '-c', {inner!r}], check=True)\n"
    )
    assert 1 << 20 < int(run_python("-c", outer).stdout) < 1 << 30


def test_two_threads_are_the_environment_of_before_and_others_are_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {}
    for number in (1, 2, 3, 4, 16):
        monkeypatch.setenv("NPROC", str(number))
        found[number] = manifest.environment()
    assert len({manifest.fingerprint(each) for each in found.values()}) == len(found)
    assert (found[1]["several_cores"], found[2]["several_cores"]) == (False, True)
    assert [each.get("threads") for each in found.values()] == [None, None, 3, 4, 16]


OTHERS: dict[str, Any] = {
    "jax_default_prng_impl": "rbg",
    "jax_exec_time_optimization_effort": 0.5,
    "jax_memory_fitting_effort": 0.5,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_random_seed_offset": 3,
    "jax_transfer_guard": "disallow",
}
"""Values that are not JAX's own; of what is on or off, the other one."""


@pytest.mark.parametrize("name", manifest.JAX_SETTINGS)
def test_settings_of_jax_are_part_of_the_environment_until_a_program_sets_them(name: str) -> None:
    before = manifest.environment()
    assert "jax_settings" not in before  # so the table has JAX's own values
    assert jax.config.values[name] == manifest.JAX_SETTINGS[name]
    other = OTHERS.get(name, not manifest.JAX_SETTINGS[name])
    try:
        jax.config.update(name, other)
        assert manifest.environment()["jax_settings"] == {name: other}
        assert json.dumps(manifest.changed_jax_settings())
    finally:
        changed = manifest.compute_as_jax_does()
    assert changed == {name: other}
    assert manifest.environment() == before


def test_variables_of_numbers_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert manifest.environment()["flags"]["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "HOME" in os.environ
    assert "HOME" not in manifest.environment()["flags"]


def test_a_source_tree_that_is_not_installed_has_an_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(manifest.metadata, "version", none)
    assert manifest.environment()["packages"]["jaxgen"] == "0+unknown"


def test_a_record_that_fails_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has a config.json is a run, which a second command would have to go on with."""
    write = manifest.write_json

    def fails(path: Path, content: Any) -> None:
        if path.name == "manifest.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(manifest, "write_json", fails)
    for begun in (False, True):
        if begun:
            (tmp_path / "config.json").write_text("{}")
        with pytest.raises(OSError, match="No space"):
            manifest.record(tmp_path, {"experiment": "rbm"}, "d0", (0,))
        assert (tmp_path / "config.json").exists() == begun


def test_a_folder_in_the_place_of_a_record_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(RunFolderError) as error:
        manifest.record(tmp_path, {"experiment": "rbm"}, "d0", (0,))
    assert "found a folder; move it elsewhere" in one_line(error)
    assert (tmp_path / "config.json").read_text() == "{}"
