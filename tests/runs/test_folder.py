"""The run folder while it is used: what is removed is not made anew, what a kill left goes."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import one_line
from support.runs import SMALL, call, only_line

from experiments.lab.drawing import Drawing, error_curve
from experiments.running import artifacts
from jaxgen import data
from jaxgen.errors import RunFolderError, WriteError
from jaxgen.files import appearing_whole, check_writable, make_folder, write_json
from jaxgen.runs import folder as run_folder
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG
from jaxgen.training import Progress, checkpoint

WRITERS: dict[str, Callable[[Path], Any]] = {
    "a file": lambda folder: write_json(folder / "config.json", {}),
    "a file inside": lambda folder: write_json(folder / "seed0" / "summary.json", {}),
    "a folder": lambda folder: make_folder(folder / "figures"),
    "a checkpoint": lambda folder: checkpoint.save(
        folder / "checkpoints", 1, {"a": np.zeros(2)}, {}
    ),
    "a log": lambda folder: metrics_log.Log(folder / "metrics.jsonl", {}).synced(),
    "a line": lambda folder: metrics_log.Log(folder / "metrics.jsonl", {}).write(
        Progress(None, 1, 0, 1, 1, None, 0.0), {}
    ),
}


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_was_removed_is_not_written(
    name: str, replaced: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with run_folder.open_folder(folder, "rbm", resume=False, overwrite=False):
        WRITERS["a file"](folder)
        WRITERS[name](folder)
        shutil.rmtree(folder)
        if replaced:  # by another run, which has begun
            folder.mkdir()
            (folder / ".lock").touch()
        with pytest.raises(RunFolderError) as error:
            WRITERS[name](folder)
        assert f"{folder} to stay while it is used" in one_line(error)
    assert [path.name for path in tmp_path.rglob("*")] == (["run", ".lock"] if replaced else [])


@pytest.mark.parametrize("write", [check_writable, lambda path: write_json(path, {})])
def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path, write: Any) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WriteError, match="found a device or a pipe"):
        write(pipe)
    assert pipe.is_fifo()
    assert [*tmp_path.iterdir()] == [pipe]


def test_a_file_system_without_locks_is_used_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(run_folder.fcntl, "flock", none)
    with run_folder.open_folder(tmp_path / "run", "rbm", resume=False, overwrite=False):
        assert (tmp_path / "run").is_dir()
    assert "start no other run there" in caplog.text


@pytest.mark.parametrize("when", ["training", "report"])
def test_a_run_whose_folder_was_removed_ends_in_one_line(
    when: str,
    tmp_path: Path,
    digits_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    place: Any = metrics_log.Log if when == "training" else artifacts
    name = "write" if when == "training" else "write_samples"
    write = getattr(place, name)

    def remove_and_write(*args: Any) -> Any:
        shutil.rmtree(folder, ignore_errors=True)
        return write(*args)

    monkeypatch.setattr(place, name, remove_and_write)
    flags = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(folder))
    assert call(*flags, *SMALL, "--epochs", "2") == RunFolderError.exit_code
    assert "to stay while it is used" in only_line(capsys.readouterr().err)
    assert not folder.exists()


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"r\xffn")
    with (
        pytest.raises(RunFolderError) as error,
        run_folder.open_folder(folder, "rbm", resume=False, overwrite=False),
    ):
        pass
    assert "UTF-8" in one_line(error)
    assert str(error.value).isprintable()
    assert not folder.exists()


def test_what_a_kill_left_is_removed_by_the_next_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with run_folder.open_folder(folder, "rbm", resume=False, overwrite=False):
        write_json(folder / "config.json", {"experiment": "rbm"})
    left = [folder / f".{name}.{'0a' * 16}.tmp" for name in ("report.html", "metrics.jsonl")]
    left.append(folder / "seed0" / left[0].name)
    mine = [folder / ".notes.tmp", folder / "report.tmp"]
    (folder / "seed0").mkdir()
    for path in (*left, *mine):
        path.touch()
    with left[1].open("rb") as file, appearing_whole(folder / "page.html") as page:
        fcntl.flock(file, fcntl.LOCK_EX)  # as another process that is writing it
        with run_folder.open_folder(folder, "rbm", resume=True, overwrite=False):
            assert [path.exists() for path in (*left, *mine)] == [False, True, False, True, True]
        page.write(b"whole")
    assert (folder / "page.html").read_bytes() == b"whole"
    with run_folder.open_folder(folder, "rbm", resume=True, overwrite=False):
        assert not any(path.exists() for path in left)


def test_an_error_that_is_not_in_a_log_has_no_curve(digits_root: Path, tmp_path: Path) -> None:
    drawing = Drawing(data.load("digits", digits_root), tmp_path)
    (tmp_path / LOG).write_text('{"step": 1, "epoch": 1.0, "train_s": 0.5}\n')
    section = error_curve(drawing, {"test": tmp_path}, "how far off")
    assert "The error is not in the log." in section.answer
    assert not any("epoch" in words for words in section.answer)
