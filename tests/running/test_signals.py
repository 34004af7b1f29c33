"""Signals outside training, in small processes that import no JAX and in this one."""

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.helpers import ROOT, run_python, start_python

from experiments import benchmark, compare, prepare, reproduce
from experiments.running import cli, signals
from jaxgen.data import Dataset

LOADED = f"""
import gc, os, runpy, subprocess, sys
signals = runpy.run_path({str(ROOT / "experiments/running/signals.py")!r})
"""
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped"}


@pytest.mark.parametrize("number", WORDS)
def test_a_signal_in_a_callback_of_the_garbage_collector_ends_the_process(
    number: signal.Signals,
) -> None:
    """JAX has such a callback. What a handler raises in it is printed and dropped."""
    done = run_python(
        "-c",
        LOADED
        + f"gc.callbacks.append(lambda *_: os.kill(os.getpid(), {number}))\n"
        + "with signals['leaving_at_once']('type it again'):\n"
        + "    with signals['before_leaving'](lambda: os.write(1, b'undone')):\n"
        + "        gc.collect()\n"
        + "print('went on')\n",
    )
    assert (done.returncode, done.stdout) == (128 + number, "undone")
    assert done.stderr == f"{WORDS[number]}; type it again\n"


def test_neither_a_child_nor_a_temporary_folder_outlives_the_process(tmp_path: Path) -> None:
    child = "import sys; print('began', flush=True); sys.stdin.read()"
    process = start_python(
        "-c",
        LOADED
        + "with signals['leaving_at_once']('again'), signals['temporary_folder']() as folder:\n"
        + f"    command = [sys.executable, '-c', {child!r}]\n"
        + "    with signals['child'](command, stdout=subprocess.PIPE) as inner:\n"
        + "        inner.stdout.readline()\n"
        + "        print(inner.pid, folder, flush=True)\n"
        + "        inner.wait()\n",
        TMPDIR=str(tmp_path),
    )
    with process:
        assert process.stdout
        pid, folder = process.stdout.readline().split()
        assert Path(folder).is_dir()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "stopped; again\n")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        signals.os.kill(int(pid), 0)


def test_a_child_leaves_the_line_to_its_parent() -> None:
    """A terminal's Ctrl-C reaches both, and a signal to the parent goes on to the child."""
    waits = (
        "with signals['leaving_at_once']('again'):\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    process = start_python(
        "-c",
        LOADED
        + "with signals['leaving_at_once']('once'):\n"
        + f"    command = [sys.executable, '-c', {LOADED + waits!r}]\n"
        + "    with signals['child'](command, stdout=subprocess.PIPE) as inner:\n"
        + "        inner.stdout.readline()\n"
        + "        print(flush=True)\n"
        + "        inner.wait()\n",
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "stopped; once\n")


def test_a_child_leaves_after_its_parent_was_killed() -> None:
    waits = (
        "with signals['leaving_at_once']('again'):\n"
        "    print(flush=True)\n    signals['time'].sleep(60)\n"
    )
    process = start_python(
        "-c",
        LOADED
        + f"command = [sys.executable, '-c', {LOADED + waits!r}]\n"
        + "with signals['child'](command, stdout=subprocess.PIPE) as inner:\n"
        + "    inner.stdout.readline()\n"
        + "    print(inner.pid, flush=True)\n"
        + "    inner.wait()\n",
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        process.kill()
        _, err = process.communicate(timeout=30)  # until the child has closed it, too
    assert err == "stopped; again\n"


def test_two_signals_at_once_are_one_request(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As those of `timeout`, which signals a process and its group; a later one acts at once."""
    acted: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: acted.append(number))
    try:
        with signals.stop_signals() as stopped:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert (stopped(), acted) == (signal.SIGTERM, [])
            monkeypatch.setattr(signals, "TWICE_S", -1.0)
            signal.raise_signal(signal.SIGTERM)
            assert acted == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capfd.readouterr().err.count("stopping after this chunk") == 1


class Left(BaseException):
    """In place of the end of this process."""


@pytest.fixture
def leaves(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Left

    monkeypatch.setattr(signals.os, "_exit", leave)
    return lambda: codes


def interrupt(*_: Any, **__: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupted_growth_names_its_rows(
    leaves: Callable[[], list[int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    rows = iter([{"step_s": 1.0}])
    monkeypatch.setattr(benchmark, "measure_apart", lambda _: next(rows, None) or interrupt())
    flags = ["--growth", "--quick", "--only", "rbm-lab", "--sweep", "seeds"]
    monkeypatch.setattr(sys, "argv", ["program", *flags, "--plots", str(tmp_path)])
    with pytest.raises(Left):
        benchmark.main()
    assert leaves() == [130]
    *_, told, kept = capfd.readouterr().err.splitlines()
    assert told == "interrupted; type it again"
    assert re.fullmatch(r"1 of \d+ rows are in (.*); the command measures all of them again", kept)
    assert str(tmp_path / "growth.json") in kept
    assert json.loads((tmp_path / "growth.json").read_text()) == [{"step_s": 1.0, "sweep": "seeds"}]


@pytest.mark.parametrize(
    ("module", "busy", "run"),
    [
        (benchmark, "run", benchmark.main),
        (compare, "main", compare.entry),
        (reproduce, "reproduce", lambda: reproduce.main(["rbm"])),
        (cli, "execute", lambda: cli.main(reproduce.find("rbm"))),
    ],
)
def test_every_program_leaves_at_once(
    module: ModuleType,
    busy: str,
    run: Callable[[], int],
    leaves: Callable[[], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, busy, interrupt)
    monkeypatch.setattr(sys, "argv", ["program", *(["--train"] if module is compare else [])])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Left):
        run()
    assert leaves() == [130]
    assert capfd.readouterr().err.startswith("interrupted; ")
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_preparation_leaves_nothing_half_made(
    tmp_path: Path,
    leaves: Callable[[], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    others, mine = (tmp_path / f"jaxgen/mnist/incomplete.{name}_3.0.1" for name in ("A", "B"))
    others.mkdir(parents=True)

    def load(*_: Any) -> Dataset:
        mine.mkdir()
        (mine / "shard").write_bytes(b"half")
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("unreachable")

    monkeypatch.setattr(prepare.data, "load", load)
    with pytest.raises(Left):
        cli.exit_code(lambda: prepare.main(prepare.Config(data_dir=tmp_path)))
    assert leaves() == [143]
    assert capfd.readouterr().err == "stopped; type it again\n"
    assert (others.exists(), mine.exists()) == (True, False)


@pytest.mark.parametrize(("ignored", "code"), [("", 129), ("nohup", 0)])
def test_a_closed_terminal_ends_the_process_unless_that_is_ignored(ignored: str, code: int) -> None:
    done = run_python(
        "-c",
        LOADED
        + "import signal\n"
        + f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})\n"
        + "with signals['leaving_at_once']('type it again'):\n"
        + "    with signals['before_leaving'](lambda: os.write(1, b'undone')):\n"
        + "        os.kill(os.getpid(), signal.SIGHUP)\n",
    )
    assert (done.returncode, done.stdout) == (code, "" if ignored else "undone")
