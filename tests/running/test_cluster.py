"""A run of two workers on one machine: killed, frozen, stopped, resumed, or without the other."""

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.helpers import start_python
from support.runs import SMALL, call, lines_of, only_line, read, wait_until, without_times

from experiments.running import cluster
from experiments.running.cluster import Cluster, chosen_devices
from jaxgen.errors import SettingError, WorkerError

ENDS = (9, -signal.SIGABRT)
"""Exit codes of a worker that lost another: its own, and where JAX was faster."""
BOTH = ("--num-processes", "2", "--peer-timeout", "60")
EPOCHS = ("--epochs", "12", "--log-every", "5")
Process = subprocess.Popen[str]
LOST = re.compile(
    r"error: expected 2 processes to answer at 127\.0\.0\.1:\d+, found one that (.*); start all of "
    r"them again, each with its own --process-id, and --resume to go on\n"
)
"""The line of a worker that lost another. JAX writes to the same place, before it and after it."""


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


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """Programs of two processes, which the undisturbed ones write and the others take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield patch


@pytest.fixture(scope="module")
def undisturbed(
    digits_root: Path, compiled: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("two") / "run"
    with compiled.context() as patch:
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        both = start_both(digits_root, folder)
    for number, process in enumerate(both):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        (folder.parent / f"{number}.out").write_text(out)
        (folder.parent / f"{number}.err").write_text(err)
    return folder


def test_only_the_first_worker_reports(undisturbed: Path) -> None:
    """Gloo prints a line to standard output whenever it connects."""
    written = {path.name: path.read_text() for path in undisturbed.parent.glob("?.*")}
    assert f"report: {undisturbed}/report.html\n" in written["0.out"]
    assert "report: " not in written["1.out"]
    assert all("error: " not in text for text in written.values())


def test_two_processes_learn_what_one_learns(
    undisturbed: Path, digits_root: Path, tmp_path: Path
) -> None:
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
) -> None:
    folder = tmp_path / "run"
    for victim in (1, 0):
        count = len(lines_of(folder))
        both = start_both(digits_root, folder, "--resume", "--checkpoint-seconds", "0")
        wait_until(both[0], lambda count=count: len(lines_of(folder)) > count + 2)
        both[victim].send_signal(signal.SIGKILL)
        found = ended(*both)
        assert found[victim][0] == -signal.SIGKILL
        code, err = found[1 - victim]
        assert code in ENDS
        assert LOST.findall(err) == ["was lost"]
        assert err.count("error: ") == 1
        assert "Traceback" not in err
    assert [code for code, _ in ended(*start_both(digits_root, folder, "--resume"))] == [0, 0]
    assert read(folder / "summary.json")["first_step"] > 0
    assert read(folder / "summary.json")["digest"] == read(undisturbed / "summary.json")["digest"]
    assert without_times(lines_of(folder)) == without_times(lines_of(undisturbed))


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_with_several_devices_the_others_death_is_noticed(
    victim: int, digits_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    both = start_both(digits_root, folder, "--epochs", "100000", "--devices", "2")
    wait_until(both[0], lambda: len(lines_of(folder)) > 2)
    both[victim].send_signal(signal.SIGKILL)
    code, err = ended(*both)[1 - victim]
    assert code in ENDS
    assert LOST.findall(err) == ["was lost"]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_frozen_process_counts_as_lost(victim: int, digits_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = start_both(digits_root, folder, "--epochs", "100000", "--peer-timeout", "15")
    wait_until(both[0], lambda: len(lines_of(folder)) > 2)
    both[victim].send_signal(signal.SIGSTOP)
    try:
        ((code, err),) = ended(both[1 - victim])
    finally:
        both[victim].send_signal(signal.SIGKILL)
        both[victim].communicate()
    assert code == 9
    assert LOST.findall(err) == ["did not within 15 s"]


def test_a_signal_to_one_stops_both_after_saving(digits_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = start_both(digits_root, folder, "--epochs", "100000")
    wait_until(both[0], lambda: len(lines_of(folder)) > 2)
    both[1].send_signal(signal.SIGTERM)
    for code, err in ended(*both):
        assert code == 143
        assert re.search(r"saved step \d+ in .*; add --resume to go on", err)


def test_processes_that_are_set_differently_do_not_train(digits_root: Path, tmp_path: Path) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}")
    args = ("-m", "experiments.rbm", *where, *SMALL, *EPOCHS, *BOTH, *meeting)
    first = start_python(*args, "--process-id", "0")
    second = start_python(*args, "--process-id", "1", "--learning-rate", "0.2")
    (code, err), (other_code, other_err) = ended(first, second)
    assert other_code == 2
    assert "the same settings and data in every process" in other_err
    assert code in ENDS
    assert LOST.findall(err) == ["ended"]


def test_a_busy_port_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert call("--dataset", "digits", *BOTH, "--coordinator", address) == 2
    line = only_line(capsys.readouterr().err)
    assert f"expected to listen at {address}, found Address already in use" in line


def test_without_the_first_process_the_second_says_so(capsys: pytest.CaptureFixture[str]) -> None:
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
) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root))
    assert call(*where, *flags) == 2
    assert said in only_line(capsys.readouterr().err)


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(SettingError, match="expected 64 devices for --devices, found 1 "):
        chosen_devices(Cluster(devices=64))


def test_without_the_second_process_the_first_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = (*BOTH[:2], "--peer-timeout", "1", "--coordinator", address)
    assert call("--dataset", "digits", *flags) == 9
    line = only_line(capsys.readouterr().err)
    assert f"2 processes to meet at {address}, found none with --process-id 1 for 1 s" in line


def test_a_process_that_is_not_awaited_is_turned_away(capsys: pytest.CaptureFixture[str]) -> None:
    """The first worker of two has no place for a third, and goes on waiting."""
    address = f"127.0.0.1:{free_port()}"
    two = Cluster(num_processes=2, peer_timeout=2, coordinator=address)
    met: list[object] = []

    def meet() -> None:
        with pytest.raises(WorkerError) as raised:
            cluster._await_others(two)
        met.append(raised.value)

    first = threading.Thread(target=meet)
    first.start()
    flags = ("--num-processes", "3", "--process-id", "2", "--coordinator", address)
    assert call("--dataset", "digits", *flags) == 9
    first.join()
    assert "to wait for 3 processes, --process-id 2 among them" in only_line(
        capsys.readouterr().err
    )
    assert "none with --process-id 1 for 2 s" in str(met[0])


class Watch(NamedTuple):
    """A thread that watches a connection, the other end of it, and what the thread found."""

    other: socket.socket
    over: threading.Event
    found: list[str]


@contextlib.contextmanager
def watching(timeout: float) -> Iterator[Watch]:
    mine, other = socket.socketpair()
    mine.settimeout(cluster.BEAT_S)
    watch = Watch(other, threading.Event(), [])
    args = ([mine], timeout, watch.over, watch.found.append)
    thread = threading.Thread(target=cluster.watch, args=args)
    with mine, other:
        thread.start()
        yield watch
        watch.over.set()
        thread.join()


def until(found: list[str], seconds: float = 10.0) -> float:
    """Seconds until something was found."""
    began = time.monotonic()
    while not found and time.monotonic() - began < seconds:
        time.sleep(0.005)
    return time.monotonic() - began


def test_the_watch_notices_an_end_at_once_and_silence_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    with watching(60.0) as watch:
        watch.other.close()
        assert until(watch.found) < 5.0
        assert watch.found == ["one that was lost"]
    with watching(1.0) as watch:
        assert until(watch.found) > 0.9
        assert watch.found == ["one that did not within 1.0 s"]
    with watching(60.0) as watch:
        watch.other.send(cluster.LEAVING)
        assert until(watch.found) > 0.4
        assert watch.found == ["one that ended"]


def test_the_watch_lets_a_worker_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "GRACE_S", 2.0)
    with watching(60.0) as watch:
        watch.other.send(cluster.BEAT)
        assert watch.other.recv(1) == cluster.BEAT
        watch.other.send(cluster.LEAVING)
    assert watch.found == []
