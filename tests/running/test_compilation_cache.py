"""Compiled programs between processes: where they are kept, and that the bits stay."""

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest
from support.runs import EPOCHS, Command, read

from experiments.running import compilation_cache


class Config(dict[str, object]):
    """JAX's settings in a process in which none is set, and what they become."""

    jax_compilation_cache_dir: str | None = None
    update = dict.__setitem__  # type: ignore[assignment]


@pytest.fixture
def changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The options that JAX is given; the user's cache is in the test's folder."""
    config = Config()
    monkeypatch.setattr(compilation_cache, "jax", SimpleNamespace(config=config))
    monkeypatch.setattr(compilation_cache.platformdirs, "user_cache_path", tmp_path.joinpath)
    return config


def test_programs_are_kept_in_a_folder_of_the_user_alone(tmp_path: Path, changes: Config) -> None:
    compilation_cache.keep_programs()
    place = Path(str(changes["jax_compilation_cache_dir"]))
    assert place.relative_to(tmp_path).parts[:2] == ("jaxgen", "programs")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert changes["jax_compilation_cache_max_size"] == 1 << 30


def test_each_number_of_threads_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA divides its work among them when it compiles."""
    found = set()
    for num in ("1", "2", "3"):
        monkeypatch.setenv("NPROC", num)
        found.add(compilation_cache.folder())
    assert len(found) == 3


def test_a_folder_in_which_others_write_is_left_alone(tmp_path: Path, changes: Config) -> None:
    compilation_cache.folder().mkdir(parents=True)
    compilation_cache.folder().chmod(0o777)
    compilation_cache.keep_programs()
    assert not changes


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_folder_that_cannot_be_used_turns_it_off_with_a_line(
    kind: str, tmp_path: Path, changes: Config, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "jaxgen"
    place.write_text("") if kind == "file" else place.symlink_to(place)
    compilation_cache.keep_programs()
    assert not changes
    (line,) = caplog.messages
    assert f"because {place} cannot be written (" in line
    assert line.endswith("; XDG_CACHE_HOME names another folder")
    changes.jax_compilation_cache_dir = str(place)
    compilation_cache.keep_programs()
    assert changes == {"jax_compilation_cache_dir": None}
    assert caplog.messages[1].endswith("; JAX_COMPILATION_CACHE_DIR names another folder")


def test_settings_of_jax_win(tmp_path: Path, changes: Config) -> None:
    changes.jax_compilation_cache_dir = str(tmp_path / "mine")
    compilation_cache.keep_programs()
    assert not changes
    assert not (tmp_path / "jaxgen").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    whole = {"jit_a-1-cache", "jit_a-1-atime"}
    for name in (*whole, "jit_b-2-cache", "jit_c-3-atime"):
        (tmp_path / name).write_bytes(b"12345678")
    compilation_cache.mend(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*whole, compilation_cache.LOCK}


def test_a_program_that_is_being_written_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation_cache, "PATIENCE", 0.0)
    (tmp_path / "jit_a-1-cache").write_bytes(b"123")
    lock = filelock.FileLock(tmp_path / compilation_cache.LOCK, is_singleton=False)
    with lock, pytest.raises(filelock.Timeout):
        compilation_cache.mend(tmp_path)
    assert (tmp_path / "jit_a-1-cache").exists()


@pytest.mark.programs
def test_runs_with_and_without_it_have_the_same_bits(
    command: Command, finished: Path, tmp_path: Path
) -> None:
    """Compiled; then taken, but for one program whose file is cut off."""
    environment = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "JAX_COMPILATION_CACHE_DIR": None,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": None,
    }

    def digest(name: str) -> str:
        done = command.run(*EPOCHS, "--log-every", "10", "--out", name, **environment)
        assert done.returncode == 0, done.stderr
        return str(read(command.folder / name / "summary.json")["digest"])

    expected = read(finished / "summary.json")["digest"]
    assert digest("compiled") == expected
    kept = sorted((tmp_path / "cache").rglob("*-cache"))
    assert kept
    os.truncate(kept[0], kept[0].stat().st_size // 2)
    times = [path.stat().st_mtime_ns for path in kept]
    assert digest("taken") == expected
    assert {*(tmp_path / "cache").rglob("*-cache")} >= {*kept}  # and what took longer this time
    assert [path.stat().st_mtime_ns for path in kept] == times
