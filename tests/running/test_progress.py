"""The view of a run in training: its line, its pictures, its page, and TensorBoard."""

import logging
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.runs import EPOCHS, SMALL, call, stopped_after
from support.terminal import Terminal
from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments.running import progress, progress_page
from experiments.running.console import Handler
from experiments.running.progress import FIRST_LOOK_S, Looks, Watch, bar_line, watching
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG
from jaxgen.training.loop import Progress

HEADER, FOOTER = 12, 4
"""Bytes around an event: its length with a checksum, and its own checksum."""


def events(folder: Path) -> list[Event]:
    """All events of a folder, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[HEADER : HEADER + size]))
            data = data[HEADER + size + FOOTER :]
    return found


def shown(folder: Path) -> list[int]:
    """The steps that TensorBoard shows: where a session starts it drops that step and later ones.

    So `EventAccumulator._CheckForRestartAndMaybePurge` of TensorBoard has it.
    """
    steps: list[int] = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            steps = [step for step in steps if step < event.step]
        elif event.HasField("summary"):
            steps.append(event.step)
    return steps


def train(folder: Path, first_step: int, last_step: int) -> None:
    """Shows the steps after `first_step`."""
    log = metrics_log.Log(folder / LOG, {})
    with watching(folder, Watch(loggers=("tensorboard",)), log) as hook:
        for step in range(first_step + 1, last_step + 1):
            metrics = {"error": np.float32(1 / step)}
            hook(Progress(None, step, first_step, 100, 1000, metrics, float(step)))


def test_a_resumed_run_has_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    train(tmp_path, 0, 6)
    assert shown(folder) == [1, 2, 3, 4, 5, 6]
    (earlier,) = folder.iterdir()
    earlier.rename(folder / "events.out.tfevents.0.host")  # the names have the seconds
    train(tmp_path, 4, 8)
    assert shown(folder) == [1, 2, 3, 4, 5, 6, 7, 8]


# ---- the line on a terminal

WORDS = ["D loss 1.39", "G loss 0.693", "d_fake 0.2", "d_real 0.51"]


def at(step: int, metrics: dict[str, np.ndarray] | None = None, **running: float) -> Progress:
    """A run of 20 epochs of 468 steps."""
    means = {name: np.float32(value) for name, value in running.items()}
    return Progress(None, step, 0, 468, 9360, metrics, 1.95 * step, 0, means)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("seconds", [1.95, 0.002, None])
def test_a_line_fits_its_terminal_and_cuts_nothing(width: int, seconds: float | None) -> None:
    line = bar_line(at(140), seconds, WORDS, width - 1)
    assert len(line) < width
    whole = {"epoch 0.3/20", "1.95 s/step", "500 steps/s", "4:59:39 left", "18 s left", *WORDS}
    without_bar = re.sub(r" +\|.*\| ", "  ", line)
    assert {*without_bar.split("  ")} <= whole


def test_what_stands_in_the_line_of_a_usual_terminal() -> None:
    line = bar_line(at(140), 1.95, WORDS, 79)
    bar, rest = re.fullmatch(r"epoch 0.3/20  \|(.+)\| (.*)", line).groups()
    assert len(bar) >= progress.LEAST_BAR
    assert rest == "1.95 s/step  4:59:39 left  D loss 1.39  G loss 0.693"
    half = re.search(r"\|(.+)\|", bar_line(at(4680), 1.95, WORDS, 79))[1]
    assert len(half.rstrip()) == pytest.approx(len(half) / 2, abs=1)


@pytest.mark.parametrize("width", [79, 150])
def test_the_bar_does_not_jump(width: int) -> None:
    """Neither from 9.9 to 10 epochs, nor with the lengths of rate, time and metrics."""
    display, places = progress.Display("--epochs", {}), set()
    display.update(at(1, d_loss=1.25, g_loss=0.693))
    for step, loss in ((2000, 1.25), (4600, 1.2), (4700, 1.0), (9359, 1.25)):
        display.update(at(step, d_loss=loss, g_loss=0.693))
        line = display(width)
        places.add((line.index("|"), line.rindex("|")))
    assert len(places) == 1


SHOWN = {"d_loss": "D loss"}


def test_lines_of_a_run_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock while it compiles, losses from the first step on, and warnings on their own lines."""
    terminal = Terminal(monkeypatch)
    monkeypatch.setattr(logging.getLogger("jaxgen"), "handlers", [Handler()])
    log = metrics_log.Log(tmp_path / LOG, {})
    with watching(tmp_path, Watch(shown=SHOWN), log) as hook:
        assert terminal.lines == ["compiling  0 s"]
        hook(at(1, g_loss=0.7, d_loss=1.4))
        assert terminal.lines[-1].endswith("| D loss 1.4  g_loss 0.7")
        hook(at(5, g_loss=0.6, d_loss=1.3))
        *warning, bar = terminal.lines
        assert warning == [
            "this run takes about 5 h 04 min; --epochs shorten it, and Ctrl-C saves it for",
            "--resume",
        ]
        assert bar.startswith("epoch 0.0/20  |")
        assert bar.endswith(" 5:04:02 left  D loss 1.3  g_loss 0.6")
        terminal.width = 40
        hook(at(9, g_loss=0.6, d_loss=1.25))
        assert terminal.lines[-1] == "epoch 0.0/20  5:03:54 left  D loss 1.25"
        terminal.width = 80
    assert terminal.lines == warning


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = metrics_log.Log(tmp_path / LOG, {})
    with watching(tmp_path, Watch(), log) as hook:
        hook(at(1, d_loss=1.4))
        hook(at(2, d_loss=1.3))  # within ten seconds
    assert capsys.readouterr().out == "compiling\nepoch 0.0 of 20  d_loss 1.4\n"


# ---- looks in between


def test_looks_are_further_and_further_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress, "FIRST_LOOK_S", FIRST_LOOK_S)
    looks, found = Looks(), []
    for second in range(1000):
        now = float(second)
        if looks.due():
            found.append(second)
    assert found[0] == FIRST_LOOK_S
    assert found == [60, 90, 135, 203, 305, 458, 687]  # each 1.5 times as late, in whole seconds


def test_pictures_in_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Looks, "due", lambda _: True)
    pages: list[int] = []
    watch = Watch(
        pictures=lambda state: {tmp_path: np.full((4, 2, 2, 1), state)},
        page=lambda progress: pages.append(progress.step),
    )
    with watching(tmp_path, watch, metrics_log.Log(tmp_path / LOG, {})) as hook:
        hook(at(7)._replace(state=0.0))
        hook(at(468)._replace(state=1.0))
    names = {path.name for path in (tmp_path / "progress").iterdir()}
    assert names == {"step_00000007.png", "epoch_0001.png", "latest.png"}
    for name, shade in (("step_00000007", 0), ("epoch_0001", 255), ("latest", 255)):
        with Image.open(tmp_path / "progress" / f"{name}.png") as image:
            assert np.asarray(image)[1, 1] == shade
    assert pages == [7, 468]


def test_the_epochs_after_which_a_state_is_measured(tmp_path: Path) -> None:
    """The first and the fifth, every so many, and each of the last five; never inside an epoch."""
    measured: list[float] = []

    def evaluate(state: float) -> dict[str, float]:
        measured.append(state)
        return {}

    watch = Watch(evaluate=evaluate, every_epochs=4)
    with watching(tmp_path, watch, metrics_log.Log(tmp_path / LOG, {})) as hook:
        for step in range(234, 9360 + 1, 234):
            hook(at(step)._replace(state=step / 468))
    assert measured == [1, 4, 5, 8, 12, 16, 17, 18, 19, 20]


@pytest.mark.programs
@pytest.mark.parametrize("seeds", [("--seed", "0"), ("--seeds", "0", "1")])
def test_a_stopped_run_has_a_page_until_it_is_finished(
    seeds: tuple[str, ...],
    digits_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(folder))
    flags = (*where, *SMALL, *EPOCHS, *seeds, "--log-every", "10")
    with stopped_after(450):
        assert call(*flags) == 128 + signal.SIGTERM
    assert f"page so far: {folder}/report.html\n" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    (epoch,) = {*re.findall(r"<title>.*stopped: epoch (.*) of 60</title>", page)}
    assert 30 < float(epoch) < 60
    pictures = seeds.count("1") + 1  # of each seed, drawn when it stopped
    assert page.count("data:image/png") == 4 + pictures  # the test error, and three of CD-1
    assert not (folder / "summary.json").exists()
    drawn: list[str] = []
    write_page = progress_page.write

    def keep(*args: Any) -> Path | None:
        path = write_page(*args)
        drawn.append((folder / "report.html").read_text())
        return path

    with monkeypatch.context() as patch:
        patch.setattr(progress_page, "write", keep)
        assert call(*flags, "--resume") == 0
    (last,) = drawn  # while the report is drawn
    assert "trained: epoch 60.0 of 60</title>" in last
    assert "training has ended; the report is being drawn" in last
    assert "stopped: epoch" not in (folder / "report.html").read_text()
    capsys.readouterr()
    with stopped_after(1000):  # more epochs of a finished run: its page stays until they are done
        assert call(*flags, "--resume", "--epochs", "90") == 128 + signal.SIGTERM
    assert "page so far" not in capsys.readouterr().out
    assert "stopped: epoch" not in (folder / "report.html").read_text()


def test_without_room_for_a_page_training_goes_on(
    digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is drawn in a temporary folder, which another disk may hold than that of the run."""
    asked: list[int] = []

    def full(*_: Any) -> None:
        asked.append(1)
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(progress_page, "write", full)
    monkeypatch.setattr(Looks, "due", lambda _: True)
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    assert call(*where, *SMALL, "--epochs", "2") == 0
    assert asked
