"""A run of two processes on one machine: killed, stopped, resumed, or without the other one."""

import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from support.helpers import start_python
from support.runs import SMALL, call, lines_of, only_line, read, wait_until, without_times

from experiments.running.cluster import Cluster, chosen_devices
from experiments.running.peer_watch import passed_on
from jaxgen.errors import SettingError

BOTH = ("--num-processes", "2", "--peer-timeout", "20")
EPOCHS = ("--epochs", "12", "--log-every", "5")
Process = subprocess.Popen[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_both(data_root: Path, folder: Path, *flags: str) -> tuple[Process, Process]:
    """Starts the two processes of a small run."""
    where = ("--dataset", "digits", "--data-dir", str(data_root), "--out", str(folder))
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}")
    args = ("-m", "experiments.rbm", *where, *SMALL, *EPOCHS, *BOTH, *meeting, *flags)
    first, second = (start_python(*args, "--process-id", number) for number in "01")
    return first, second


def ended(*processes: Process) -> list[tuple[int, str]]:
    """Exit code and standard error of each, in time."""
    found = []
    for process in processes:
        _, err = process.communicate(timeout=120)
        found.append((process.returncode, err))
    return found


@pytest.fixture(scope="module")
def undisturbed(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("two") / "run"
    for number, process in enumerate(start_both(digits_root, folder)):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        (folder.parent / f"{number}.out").write_text(out)
        (folder.parent / f"{number}.err").write_text(err)
    return folder


def test_outputs_hold_what_the_run_says(undisturbed: Path):
    """And nothing that the library between the processes prints."""
    said = {path.name: path.read_text() for path in undisturbed.parent.glob("?.*")}
    assert said["0.out"].splitlines()[-1] == f"report: {undisturbed}/report.html"
    assert said["1.out"] == said["0.err"] == said["1.err"] == ""
    assert "Gloo" not in said["0.out"]


def test_two_processes_learn_what_one_learns(undisturbed: Path, digits_root: Path, tmp_path: Path):
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "one"))
    assert call(*where, *SMALL, *EPOCHS) == 0
    two, one = lines_of(undisturbed), lines_of(tmp_path / "one")
    assert [line["step"] for line in two] == [line["step"] for line in one]
    for name in set(one[0]) - {"train_s"}:
        assert two[0][name] == pytest.approx(one[0][name], rel=1e-4)
    error = "test_reconstruction_error"
    assert two[-1][error] == pytest.approx(one[-1][error], rel=0.02)


def test_a_killed_process_ends_the_other_and_both_resume(
    undisturbed: Path, digits_root: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    for victim in (1, 0):
        count = len(lines_of(folder))
        both = start_both(digits_root, folder, "--resume", "--checkpoint-seconds", "0")
        wait_until(both[0], lambda count=count: len(lines_of(folder)) > count + 2)
        both[victim].send_signal(signal.SIGKILL)
        found = ended(*both)
        assert found[victim][0] == -signal.SIGKILL
        code, err = found[1 - victim]
        assert code in (9, -signal.SIGABRT)
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        assert line.startswith("error: expected 2 processes to answer at 127.0.0.1:")
        assert line.endswith("each with its own --process-id, and --resume to go on")
        assert "Traceback" not in err
        assert " @ " not in err
    assert [code for code, _ in ended(*start_both(digits_root, folder, "--resume"))] == [0, 0]
    assert read(folder / "summary.json")["first_step"] > 0
    assert read(folder / "summary.json")["digest"] == read(undisturbed / "summary.json")["digest"]
    assert without_times(lines_of(folder)) == without_times(lines_of(undisturbed))


def test_a_signal_to_one_stops_both_after_saving(digits_root: Path, tmp_path: Path):
    folder = tmp_path / "run"
    both = start_both(digits_root, folder, "--epochs", "100000")
    wait_until(both[0], lambda: len(lines_of(folder)) > 2)
    both[1].send_signal(signal.SIGTERM)
    for code, err in ended(*both):
        assert code == 143
        assert re.search(r"saved step \d+ in .*; add --resume to go on", err)


def test_processes_that_are_set_differently_do_not_train(digits_root: Path, tmp_path: Path):
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}")
    args = ("-m", "experiments.rbm", *where, *SMALL, *EPOCHS, *BOTH, *meeting)
    first = start_python(*args, "--process-id", "0")
    second = start_python(*args, "--process-id", "1", "--learning-rate", "0.2")
    found = ended(first, second)
    assert found[1][0] == 2
    assert "the same settings and data in every process" in found[1][1]
    assert found[0][0] in (9, -signal.SIGABRT)


def test_a_busy_port_is_reported(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert call("--dataset", "digits", *BOTH, "--coordinator", address) == 2
    line = only_line(capsys.readouterr().err)
    assert f"expected to listen at {address}, found Address already in use" in line


def test_without_the_first_process_the_second_says_so(capsys: pytest.CaptureFixture[str]):
    address = f"127.0.0.1:{free_port()}"
    flags = (*BOTH[:2], "--peer-timeout", "1", "--process-id", "1", "--coordinator", address)
    assert call("--dataset", "digits", *flags) == 9
    line = only_line(capsys.readouterr().err)
    assert f"expected process 0 to listen at {address}, found Connection refused for 1 s" in line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--process-id", "1"), "--process-id from 0 to 0"),
        (("--coordinator", "localhost"), "--coordinator as ADDRESS:PORT"),
        (("--devices", "0"), "--devices of at least 1"),
    ],
)
def test_impossible_clusters_are_refused(
    flags: tuple[str, ...], said: str, digits_root: Path, capsys: pytest.CaptureFixture[str]
):
    where = ("--dataset", "digits", "--data-dir", str(digits_root))
    assert call(*where, *flags) == 2
    assert said in only_line(capsys.readouterr().err)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(SettingError, match="expected 64 devices for --devices, found 1 "):
        chosen_devices(Cluster(devices=64))


def test_one_line_takes_the_place_of_a_stack():
    before = [b"epoch 1\n", b"W1122 10:00:00.000000 1 x.cc:1] slow\n", b"  @ 0x7f\n"]
    fatal = [b"F1122 10:00:01.000000 1 client.h:80] Terminating\n", b"    @  0x7f  frame\n"]
    own = [b"error: expected more\n"]
    gloo = [b"[Gloo] Rank 0 is connected to 1 peer ranks.\n"]
    assert list(passed_on(gloo + before, "lost")) == before[:1]
    assert list(passed_on(before + fatal, "lost")) == [before[0], b"error: lost\n"]
    assert list(passed_on(fatal + own, "lost")) == own
