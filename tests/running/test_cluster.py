"""A run of two workers on one machine: killed, frozen, stopped, resumed, or without the other."""

import contextlib
import dataclasses
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from support.helpers import start_python
from support.runs import SMALL, call, lines_of, only_line, read, wait_until, without_times

from experiments import rbm
from experiments.running import cli, cluster
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


def test_a_signal_to_one_stops_both_a_kill_ends_the_other_and_both_resume(
    undisturbed: Path, digits_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for number in (signal.SIGTERM, signal.SIGKILL):
        count = len(lines_of(folder))
        both = start_both(digits_root, folder, "--resume", "--checkpoint-seconds", "0")
        wait_until(both[0], lambda count=count: len(lines_of(folder)) > count + 2)
        both[1].send_signal(number)
        (code, err), (other_code, other_err) = ended(*both)
        if number == signal.SIGTERM:
            assert code == other_code == 143
            assert all(
                re.search(r"saved step \d+ in .*; add --resume to go on", x)
                for x in (err, other_err)
            )
        else:
            assert code in ENDS
            assert other_code == -signal.SIGKILL
            assert LOST.findall(err) == ["was lost"]
            assert err.count("error: ") == 1
            assert "Traceback" not in err
    assert [code for code, _ in ended(*start_both(digits_root, folder, "--resume"))] == [0, 0]
    assert read(folder / "summary.json")["first_step"] > 0
    assert read(folder / "summary.json")["digest"] == read(undisturbed / "summary.json")["digest"]
    assert without_times(lines_of(folder)) == without_times(lines_of(undisturbed))


@pytest.mark.programs
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


Met = list[int] | SettingError | WorkerError


def meet(*workers: tuple[Cluster, dict[str, str]]) -> list[Met]:
    """How many connections each worker has after the meeting, or why it has none."""

    def one(settings: Cluster, alike: dict[str, str]) -> Met:
        try:
            if settings.first:
                links = cluster._await_others(settings, alike)
            else:
                links = [cluster._find_first(settings, alike)]
        except (SettingError, WorkerError) as error:
            return error
        for link in links:
            link.close()
        return [len(links)]

    with ThreadPoolExecutor(len(workers)) as pool:
        return [*pool.map(lambda worker: one(*worker), workers)]


def workers(num: int, peer_timeout: int = 10) -> list[Cluster]:
    """The workers of a run."""
    address = f"127.0.0.1:{free_port()}"
    return [Cluster(1, address, num, number, peer_timeout) for number in range(num)]


SET = {"batch_size": "100", "model.num_hidden": "25"}


def test_workers_of_the_same_settings_meet() -> None:
    assert meet(*((each, SET) for each in workers(3))) == [[2], [1], [1]]


@pytest.mark.parametrize("name", ["batch_size", "model.num_hidden", "log_every"])
def test_workers_that_are_set_differently_all_end_in_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before JAX meets, which broadcasts arrays of other shapes or waits for ever."""
    monkeypatch.setattr(cluster, "GRACE_S", 1.0)
    began, (first, second, third) = time.monotonic(), workers(3)
    found = meet((first, SET), (second, SET | {name: "7"}), (third, SET))
    assert [type(each) for each in found] == [SettingError] * 3
    (line,) = {str(each) for each in found}
    assert f"found {name} {SET.get(name)} in process 0 and 7 in 1; start all" in line
    assert time.monotonic() - began < 5.0


def test_workers_of_another_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one of two, and a second one of three, whose third never comes."""
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    first, _ = workers(2)
    second = dataclasses.replace(first, num_processes=3, process_id=2)
    alike = [{"cluster.num_processes": str(each.num_processes)} for each in (first, second)]
    for each in meet((first, alike[0]), (second, alike[1])):
        assert "cluster.num_processes 2 in process 0 and 3 in 2" in str(each)


def test_a_full_memory_is_no_lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known at once, and as what it is."""
    first, _ = workers(2)
    watching = contextlib.nullcontext(threading.current_thread())  # which nobody can wait for
    monkeypatch.setattr(cluster, "_watch", lambda *_: watching)
    monkeypatch.setattr(cluster.jax.distributed, "initialize", lambda *_, **__: None)
    full = cluster.jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(type(full), match="Out of memory"), cluster.join_workers(first, SET):
        raise full


def test_what_workers_compare() -> None:
    """All but where files lie, how often is saved, and what is each process's own."""
    args = dataclasses.replace(rbm.PRESETS["cd25"], out=Path("run"), seeds=(3, 5))
    alike = cli._alike(rbm.EXPERIMENT, args)
    assert alike["model.num_hidden"] == "500"
    assert alike["seeds"] == "(3, 5)"
    assert {"experiment", "batch_size", "log_every", "epochs", "deterministic"} <= {*alike}
    assert {"cluster.num_processes", "cluster.devices"} <= {*alike}
    assert not {"out", "data_dir", "resume", "cluster.process_id", "cluster.coordinator"} & {*alike}


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[" * 5000 + b"\n", b"\xff\n"])
def test_a_stranger_at_the_port_neither_joins_nor_delays(
    words: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that sends a byte now and then, each within a timeout of its own."""
    monkeypatch.setattr(cluster, "GRACE_S", 0.5)
    first, second = workers(2, peer_timeout=3)
    over = threading.Event()

    def drip() -> None:
        link = cluster_connection(first)
        with contextlib.suppress(OSError), link:
            link.sendall(words)
            while not over.wait(0.1):
                link.sendall(b".")

    stranger = threading.Thread(target=drip)
    with ThreadPoolExecutor(2) as pool:
        met = pool.submit(meet, (first, SET))
        stranger.start()
        time.sleep(0.2)
        assert meet((second, SET)) == [[1]]
        assert met.result() == [[1]]
    over.set()
    stranger.join()


def test_strangers_do_not_outlast_the_time_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = workers(2, peer_timeout=1)
    with ThreadPoolExecutor(1) as pool:
        began, met = time.monotonic(), pool.submit(meet, (first, SET))
        with cluster_connection(first) as link:
            while not met.done() and time.monotonic() - began < 10:
                with contextlib.suppress(OSError):
                    link.sendall(b".")
                time.sleep(0.1)
    assert "none with --process-id 1 for 1 s" in str(met.result()[0])
    assert time.monotonic() - began < 3.0


def cluster_connection(first: Cluster) -> socket.socket:
    """A stranger's connection to the first worker, as soon as that listens."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(cluster._address(first))
        time.sleep(0.01)


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


def test_a_number_that_is_here_already_is_turned_away() -> None:
    """The first worker of three has one place for process 1, and goes on waiting for 2."""
    first, second, _ = workers(3, peer_timeout=2)
    met, *others = meet((first, SET), (second, SET), (second, SET))
    assert "none with --process-id 2 for 2 s" in str(met)
    for each in others:
        assert "to wait for 3 processes, --process-id 1 among them" in str(each)


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
