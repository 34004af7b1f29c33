"""Runs of `experiments.rbm` that are stopped, killed, resumed, or that fail on the way."""

import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from support.helpers import run_python
from support.runs import (
    EPOCHS,
    SMALL,
    STEPS,
    Command,
    call,
    contents,
    lines_of,
    only_line,
    read,
    refused,
    stopped_after,
    wait_until,
    without_times,
)

from jaxgen.training import windows

# ---- stopped and resumed


class Cut(NamedTuple):
    """A run that was stopped by signals and resumed to its end."""

    folder: Path
    stops: list[tuple[signal.Signals, int, str, str, int]]
    """Signal, exit code, output, what was said to stderr, the step of the last line in the log."""


@pytest.fixture(scope="module")
def cut(digits_root: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Cut:
    """SIGTERM, then SIGINT, then SIGKILL, each while it trains; then to the end.

    After `finished`, whose compiled programs these processes take.
    """
    command = Command(digits_root, tmp_path_factory.mktemp("cut"))
    flags = (*EPOCHS, "--log-every", "10", "--out", "run", "--resume")
    folder, stops = command.folder / "run", []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        count = len(lines_of(folder))
        with command.start(*flags, "--checkpoint-seconds", "0") as process:
            wait_until(process, lambda count=count: len(lines_of(folder)) > count + 4)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        stops.append((number, process.returncode, out, err, lines_of(folder)[-1]["step"]))
        manifest = read(folder / "manifest.json")
        assert manifest["command"].startswith("python -m experiments.rbm --dataset digits ")
    assert call(*command.args(*flags)[2:], "--out", str(folder)) == 0
    return Cut(folder, stops)


def test_signals_stop_a_run_after_saving(cut: Cut) -> None:
    steps = [step for *_, step in cut.stops]
    assert steps == sorted(set(steps))
    assert steps[-1] < STEPS
    for number, code, _, err, _ in cut.stops:
        if number == signal.SIGKILL:
            assert (code, err) == (-9, "")
        else:
            assert code == 128 + number
            first, second = err.splitlines()
            assert first.startswith("stopping after this chunk")
            assert re.fullmatch(r"saved step \d+ in run; add --resume to go on", second)


def test_a_resumed_run_says_where_it_goes_on(cut: Cut) -> None:
    (_, _, out, said, _), (_, _, resumed, _, _), _ = cut.stops
    saved = re.search(r"saved step (\d+)", said)
    assert saved
    assert f"going on from step {saved[1]} of {STEPS}\n" in resumed
    assert "going on" not in out


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(
    cut: Cut, finished: Path
) -> None:
    summary = read(cut.folder / "summary.json")
    assert summary["first_step"] > 0
    assert summary["digest"] == read(finished / "summary.json")["digest"]
    assert summary["metrics"] == read(finished / "summary.json")["metrics"]
    params = "params.safetensors"
    assert (cut.folder / params).read_bytes() == (finished / params).read_bytes()
    with np.load(cut.folder / "samples.npz") as a, np.load(finished / "samples.npz") as b:
        np.testing.assert_array_equal(a["images"], b["images"])


@pytest.mark.programs
def test_a_stopped_run_goes_on_streamed_with_the_same_bits(
    command: Command, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_BYTES", 1)  # windows of four steps
    folder = command.folder / "run"
    flags = command.args(*EPOCHS, "--log-every", "10", "--out", str(folder))[2:]
    with stopped_after(STEPS // 2):
        assert call(*flags) == 128 + signal.SIGTERM
    assert call(*flags, "--resume", "--stream") == 0
    for name in ("digest", "metrics"):
        assert read(folder / "summary.json")[name] == read(finished / "summary.json")[name]
    assert without_times(lines_of(folder)) == without_times(lines_of(finished))


def test_the_log_of_a_resumed_run_reads_as_if_it_had_never_stopped(
    cut: Cut, finished: Path
) -> None:
    lines = lines_of(cut.folder)
    assert without_times(lines) == without_times(lines_of(finished))
    assert [line["train_s"] for line in lines] == sorted(line["train_s"] for line in lines)


@pytest.mark.programs
def test_another_seed_and_two_runs_on_one_folder(
    finished: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = ("--seed", "1", "--epochs", "100000", "--log-every", "10")
    folder = command.folder / "run"
    with command.start(*endless, "--out", "run", "--tensorboard") as first:
        wait_until(first, lambda: len(lines_of(folder)) > 2)
        second = call(*command.args(*endless, "--out", str(folder), "--resume")[2:])
        first.terminate()
        first.communicate(timeout=60)
    assert second == 6
    assert "another run that is using it" in only_line(capsys.readouterr().err)
    assert first.returncode == 143
    for line, other in zip(lines_of(folder), lines_of(finished)[:3], strict=False):
        assert line["step"] == other["step"]
        assert line["hidden_mean"] != other["hidden_mean"]
    assert list(folder.glob("tensorboard/events.*"))


# ---- what goes wrong on the way


def test_numbers_that_are_not_finite(
    tmp_path: Path, digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    code = call(*where, *SMALL, "--learning-rate", "3e38", "--checkpoint-seconds", "0")
    assert code == 5
    text = only_line(capsys.readouterr().err)
    bad_step = int(re.search(r"at epoch 0, step (\d+) of the epoch", text)[1])
    assert bad_step > 0
    stored = [read(path)["step"] for path in tmp_path.glob("run/checkpoints/*/manifest.json")]
    assert stored
    assert max(stored) <= bad_step
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_measurement_that_is_not_finite(
    tmp_path: Path, digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    one_step = ("--epochs", "1", "--batch-size", "1500", "--learning-rate", "3e38")
    assert call(*where, *SMALL, *one_step) == 5
    text = only_line(capsys.readouterr().err)
    assert re.search(r"found \w+ = (nan|-?inf) after step 1;", text)
    assert list(tmp_path.glob("run/checkpoints/*")) == []


@pytest.mark.programs
def test_full_disk_leaves_the_earlier_checkpoints(
    command: Command,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = command.folder / "run"
    shutil.copytree(finished, folder)
    before = contents(folder / "checkpoints")
    args = command.args("--out", str(folder), "--resume", "--epochs", "70")[2:]
    limited = (
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, 70_000))\n"  # less than the state
        f"sys.argv = ['rbm', *{args!r}]\n"
        "runpy.run_module('experiments.rbm', run_name='__main__')"
    )
    done = run_python("-B", "-c", limited, cwd=command.folder)
    assert done.returncode == 7, done.stderr
    assert f"expected to write {folder}" in only_line(done.stderr)
    assert contents(folder / "checkpoints") == before
    # A checkpoint is found too far on only after all of it was read.
    code, text = refused(folder, capsys, command.data_root, "--resume", "--epochs=1")
    assert code == 4
    assert "found one of step 900" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_at_random_moments(command: Command) -> None:
    flags = ("--epochs", "150", "--log-every", "10", "--checkpoint-seconds", "0.05")
    whole = command.run(*flags, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    folder, rng = command.folder / "cut", random.Random(0)
    killed_at = []
    for _ in range(10):
        with command.start(*flags, "--out", "cut", "--resume") as process:
            if rng.random() < 0.8:  # in training; otherwise at any moment before
                count = len(lines_of(folder))
                wait_until(process, lambda n=count: len(lines_of(folder)) != n)
            time.sleep(rng.uniform(0.0, 0.4))
            process.kill()
            process.communicate(timeout=60)
        assert process.returncode == -9
        lines = lines_of(folder)
        killed_at.append(lines[-1]["step"] if lines else 0)
    assert sum(0 < step < 150 * 15 for step in killed_at) >= 5
    done = command.run(*flags, "--out", "cut", "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("digest", "steps", "metrics"):
        assert read(folder / "summary.json")[name] == read(
            command.folder / "whole" / "summary.json"
        ).get(name)
    assert without_times(lines_of(folder)) == without_times(lines_of(command.folder / "whole"))
