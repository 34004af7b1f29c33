"""Lines on standard output and on standard error, and what becomes of them."""

import errno
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from support.helpers import ROOT
from support.runs import SMALL, call, lines_of, only_line, read
from support.terminal import Terminal

from experiments.running import cli, console, progress
from experiments.running.console import show, write_error


class Raw(io.RawIOBase):
    """A stream that remembers each write, as the system would see it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Remembers the bytes."""
        self.written.append(bytes(data))
        return len(data)


def test_an_error_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with `python -u`, whose standard error has no buffer."""
    raw = Raw()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, write_through=True))  # type: ignore[type-var]
    write_error("expected this, found that")
    assert raw.written == [b"error: expected this, found that\n"]


class Closed(io.RawIOBase):
    """A stream on which a write fails as the system has it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, _: bytes) -> int:  # type: ignore[override]
        """Fails."""
        raise OSError(self.number, os.strerror(self.number))


def test_an_error_line_that_nobody_reads_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = io.TextIOWrapper(Closed(errno.EPIPE), write_through=True)  # type: ignore[type-var]
    monkeypatch.setattr(sys, "stderr", broken)
    write_error("expected this, found that")


FULL = "error: expected to write to standard output, found No space left on device; "


@pytest.mark.parametrize(
    ("where", "to", "code", "said"),
    [
        ("console.show('line')", "| head -0", 141, ""),
        ("print('line')", "> /dev/full", 7, FULL),  # as tyro's --help does
    ],
)
def test_output_that_goes_nowhere(where: str, to: str, code: int, said: str) -> None:
    """`| head` ends a program as SIGPIPE does, without a word; training saves first."""
    program = (
        "import time; from experiments.running import cli, console; "
        f"cli.exit_code(lambda: [{where} or time.sleep(0.02) for _ in range(100)] and 0)"
    )
    run = f"import sys; {program.replace('cli.exit', 'code = cli.exit')}; sys.exit(code)"
    shell = f'set -o pipefail; "$1" -c "$2" {to}'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, run],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize(
    "allocate",
    [lambda: np.empty(10**16), lambda: jax.block_until_ready(jax.numpy.zeros((10**8, 10**8)))],
    ids=["NumPy", "XLA"],
)
def test_memory_that_is_not_there(
    allocate: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.exit_code(lambda: allocate() and 0) == 2
    line = only_line(capsys.readouterr().err)
    assert line.startswith("error: expected arrays that fit into ")
    assert "GiB of memory, found " in line
    assert "; set smaller numbers, such as of units" in line


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_was_closed_ends_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `2>&-`, for which Python has None."""
    monkeypatch.setattr(sys, name, None)
    assert cli.exit_code(lambda: show("a line") or write_error("another")) == 0
    with getattr(sys, name) as stream:
        assert not stream.isatty()


def test_names_that_the_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with PYTHONIOENCODING=ascii."""
    raw = Raw()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))  # type: ignore[type-var]
    assert cli.exit_code(lambda: show("report: réseau/report.html")) == 0
    assert b"".join(raw.written) == rb"report: r\xe9seau/report.html" + b"\n"


def test_a_strangers_name_does_nothing_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a folder with an escape sequence in it; line breaks of ours stay."""
    name = "odd\x1b[31m\x9b\r"
    log = logging.LogRecord("jaxgen", logging.INFO, "", 0, "from %s\nand on", (name,), None)
    console.Handler().emit(log)
    show(f"open: {name}\nreport: {name}")
    out, err = capsys.readouterr()
    assert out == "open: odd?[31m??\nreport: odd?[31m??\n"
    assert err == "from odd?[31m??\nand on\n"
    terminal = Terminal(monkeypatch)
    with console.live(lambda _: name):
        assert terminal.lines == ["odd?[31m??"]


def test_a_training_without_a_reader_is_saved(
    digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()

    def read_until_it_trains() -> None:
        with open(read_end) as lines:
            next(line for line in lines if line.startswith("epoch"))

    reader = threading.Thread(target=read_until_it_trains)
    reader.start()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with open(write_end, "w") as broken:  # noqa: SIM117 (the stream is flushed where it is open)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", broken)
            where = ("--dataset", "digits", "--data-dir", str(digits_root))
            endless = ("--epochs=100000", "--checkpoint-seconds=1000", "--log-every=1")
            code = call(*where, *SMALL, *endless, "--out", str(tmp_path / "run"))
    reader.join()
    assert code == 128 + signal.SIGPIPE
    (saved,) = (tmp_path / "run/checkpoints").glob("step_*/manifest.json")
    assert read(saved)["step"] == lines_of(tmp_path / "run")[-1]["step"]


# ---- the live line of a terminal


def test_no_line_lands_on_the_live_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, terminal = 100.0, Terminal(monkeypatch)
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.working("training vae", lambda: "step 1,200"):
        now = 165.0
        console.redraw()
        assert terminal.lines == ["training vae  step 1,200  1:05"]
        show("a line")
        write_error("expected this, found that")
        warned = logging.LogRecord("x", logging.WARNING, "", 0, "a %s", ("warning",), None)
        console.Handler().emit(warned)
        above = ["a line", "error: expected this, found that", "a warning"]
        assert terminal.lines == [*above, "training vae  step 1,200  1:05"]
        with console.working("drawing the page"):
            assert terminal.lines == [*above, "drawing the page  0 s"]
        assert terminal.lines == above  # it may end as well
        now = 166.0
        console.redraw()
        assert terminal.lines == [*above, "training vae  step 1,200  1 s"]
    assert terminal.lines == above


def test_the_live_line_is_drawn_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr(console, "TICK_S", 0.001)
    texts = iter("abcdefgh")
    with console.live(lambda _: next(texts, "end")):
        deadline = time.monotonic() + 10
        while terminal.lines != ["end"]:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_stages_of_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal behind the name of the model, elsewhere as lines."""
    terminal, stages = Terminal(monkeypatch), logging.getLogger(console.STAGES)
    monkeypatch.setattr(stages, "handlers", [console.Handler()])
    monkeypatch.setattr(stages, "propagate", False)
    stages.setLevel(logging.INFO)
    with console.working("vae-lab, seed 0"):
        stages.info("%s of %d samples", "recall", 500)
        assert terminal.lines == ["vae-lab, seed 0: recall of 500 samples  0 s"]
        terminal.width = 40
        stages.info("density of samples")
        assert terminal.lines == ["vae-lab,...: density of samples  0 s"]
        stages.info("a measure whose name is far too long for it")
        assert terminal.lines == ["a measure whose name is far...  0 s"]
        terminal.is_one = False
        stages.info("coverage")
    assert terminal.getvalue().endswith("coverage\n")


def test_a_terminal_that_cannot_move_has_no_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with console.working("training vae"):
        show("a line")
    assert terminal.getvalue() == "a line\n"
