"""A run of several workers: how they meet, and how one ends that has lost another.

A worker is a process of the run, started with the same flags as the others but ``--process-id``.
The first one, 0, listens at ``--coordinator``; it alone reads and writes the run folder. JAX joins
their devices.

The workers meet before JAX does, compare their settings, and keep those connections. A thread of
each notices the end of another at once, and its silence after ``--peer-timeout`` seconds; it writes
one line and ends its own worker. JAX would abort, or wait for ever.
"""

import contextlib
import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from experiments.running.console import write_error
from experiments.running.signals import Stopped
from jaxgen.errors import (
    NonFiniteError,
    SettingError,
    WorkerError,
    is_out_of_memory,
    require,
    require_positive,
)

BEAT_S = 0.2
"""Seconds between two signs of life."""
DAY_S = 86_400
MOST_DEVICES = 1024
"""Of a process; so many of a CPU take a second."""
GRACE_S = 5.0
"""Seconds in which a worker ends by itself after another has announced its own end."""
BEAT, LEAVING = b".", b"x"
"""Messages between workers: a sign of life, and an end with a reason of its own."""
MOST_BYTES = 65_536
"""Of what is said at the meeting."""
SAME = "start all of them with the same flags but --process-id"
"""The remedy where workers do not meet."""


def _is_address(text: str) -> bool:
    """Whether a text is a host, which may be a name, and a port."""
    host, _, port = text.rpartition(":")
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    number = port.isascii() and port.isdigit() and len(port) < 6
    return bool(host) and number and 0 < int(port) < 65536


@dataclass(frozen=True)
class Cluster:
    """The devices and the workers that share a run."""

    devices: int = 1
    """Devices of each process that share the seeds and the batches."""
    coordinator: str = "127.0.0.1:51423"
    """Where the first of several processes listens: its address, as all of them reach it, and a
    free port. Only that address is listened at, so the default serves one machine."""
    num_processes: int = 1
    """Processes that share the run."""
    process_id: int = 0
    """Number of this process, from 0, the first."""
    peer_timeout: int = 60
    """Seconds after which a process that does not answer counts as lost."""

    def __post_init__(self) -> None:
        require_positive(self, "devices", "num_processes", "peer_timeout")
        most = f"of at most {MOST_DEVICES}"
        require(self, "devices", self.devices <= MOST_DEVICES, most)
        require(self, "peer_timeout", self.peer_timeout <= DAY_S, f"of at most {DAY_S}, a day")
        if not 0 <= self.process_id < self.num_processes:
            raise SettingError(
                expected=f"--process-id from 0 to {self.num_processes - 1}, below --num-processes",
                found=str(self.process_id),
                remedy="set --process-id",
            )
        if not _is_address(self.coordinator):
            raise SettingError(
                expected="--coordinator as ADDRESS:PORT",
                found=self.coordinator,
                remedy="set it, for example, to 127.0.0.1:51423",
            )

    @property
    def first(self) -> bool:
        """Whether this process reads and writes the run folder."""
        return self.process_id == 0

    def alone(self) -> "Cluster":
        """This process by itself, with its devices."""
        return replace(self, num_processes=1, process_id=0)

    @property
    def several(self) -> bool:
        """Whether other processes share the run."""
        return self.num_processes > 1


def use_devices(num: int) -> None:
    """Makes the CPU that many devices; an accelerator has those it has."""
    if num > 1:
        with contextlib.suppress(RuntimeError):  # JAX has begun; `chosen_devices` takes what it has
            jax.config.update("jax_num_cpu_devices", num)


def chosen_devices(cluster: Cluster) -> list[jax.Device]:
    """The devices that share the work, of all processes that are joined; those of 0 come first.

    Errors:
        SettingError: a process has fewer than were asked for.
    """
    found: list[jax.Device] = []
    mine = jax.process_index()
    for process in range(cluster.num_processes) if cluster.several else (mine,):
        own = [device for device in jax.devices() if device.process_index == process]
        if len(own) < cluster.devices:
            raise SettingError(
                expected=f"{cluster.devices} devices for --devices",
                found=f"{len(own)} of {jax.devices()[0].device_kind} in process {process}",
                remedy="set --devices to at most that",
            )
        found += own[: cluster.devices]
    return found


def _address(cluster: Cluster) -> tuple[str, int]:
    host, _, port = cluster.coordinator.rpartition(":")
    return host.strip("[]"), int(port)


def _listener(cluster: Cluster) -> socket.socket:
    """A socket at which the first worker waits for the others."""
    host, port = _address(cluster)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place, family=family)
    except OSError as error:
        # Python adds the address to the system's text, and numbers of name servers are negative.
        number = error.errno or 0
        raise SettingError(
            expected=f"to listen at {cluster.coordinator}",
            found=os.strerror(number) if number > 0 else error.strerror or str(error),
            remedy="set --coordinator to an address of this machine with a free port",
        ) from error


def _receive(link: socket.socket) -> bytes:
    """One byte of a connection; none if it ends, or its timeout passes, before."""
    with contextlib.suppress(OSError):
        return link.recv(1)
    return b""


def _send_json(link: socket.socket, content: Any) -> None:
    with contextlib.suppress(OSError):  # what is wrong is seen where an answer is awaited
        link.sendall(f"{json.dumps(content)}\n".encode())


def _receive_json(link: socket.socket, deadline: float) -> Any:
    """A value from `_send_json`; None for anything else, and if it is not whole at the deadline."""
    line = b""
    while not line.endswith(b"\n") and len(line) < MOST_BYTES:
        link.settimeout(max(deadline - time.monotonic(), 0.001))
        line += (more := _receive(link))
        if not more:
            return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(line)
    return None


def _await_others(cluster: Cluster, settings: Mapping[str, str]) -> list[socket.socket]:
    """Connections of the first worker to all others, whose settings are its own.

    Where one has others, it and all that come within `GRACE_S` are answered with the difference.
    Whoever greets otherwise, or with a number that is here already, is turned away.
    """
    deadline = time.monotonic() + cluster.peer_timeout
    awaited, unlike = {*range(1, cluster.num_processes)}, ""
    links: list[socket.socket] = []
    with contextlib.ExitStack() as unless_all_met:
        with _listener(cluster) as listener:
            while awaited:
                listener.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    link = unless_all_met.enter_context(listener.accept()[0])
                except TimeoutError as error:
                    if unlike:
                        break
                    missing = ", ".join(map(str, sorted(awaited)))
                    together = f"{cluster.num_processes} processes"
                    raise WorkerError(
                        expected=f"{together} to meet at {cluster.coordinator}",
                        found=f"none with --process-id {missing} for {cluster.peer_timeout} s",
                        remedy=SAME,
                    ) from error
                match _receive_json(link, min(deadline, time.monotonic() + GRACE_S)):
                    case [int(number), {**theirs}] if theirs != settings or number in awaited:
                        awaited.discard(number)
                        links.append(link)
                        if theirs != settings and not unlike:
                            unlike = _difference(settings, theirs, number)
                            deadline = min(deadline, time.monotonic() + GRACE_S)
                    case _:
                        link.close()
        for link in links:  # not before the port is free again, for JAX
            _send_json(link, unlike)
        _check_alike(unlike)
        unless_all_met.pop_all()
    return links


def _difference(mine: Mapping[Any, Any], theirs: Mapping[Any, Any], number: int) -> str:
    """The first setting in which two workers differ."""
    names = (name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name))
    name = next(names)
    return f"{name} {mine.get(name)} in process 0 and {str(theirs.get(name))[:60]} in {number}"


def _check_alike(difference: object) -> None:
    """Raises SettingError in each worker if two of them are set differently."""
    if difference:
        raise SettingError(
            expected="the same settings in every process of a run",
            found=str(difference),
            remedy=SAME,
        )


def _find_first(cluster: Cluster, settings: Mapping[str, str]) -> socket.socket:
    """A connection to the first worker, once all have met."""
    deadline = time.monotonic() + cluster.peer_timeout
    while True:
        try:
            link = socket.create_connection(_address(cluster), timeout=1.0)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise WorkerError(
                    expected=f"process 0 to listen at {cluster.coordinator}",
                    found=f"{error.strerror or error} for {cluster.peer_timeout} s",
                    remedy="start it with the same flags and --process-id 0",
                ) from error
            time.sleep(BEAT_S)
    with contextlib.ExitStack() as unless_all_met:
        unless_all_met.enter_context(link)
        _send_json(link, [cluster.process_id, {**settings}])
        # The first one's deadline comes before.
        answer = _receive_json(link, time.monotonic() + cluster.peer_timeout + GRACE_S)
        if answer == "":
            unless_all_met.pop_all()
            return link
    _check_alike(answer)
    raise WorkerError(
        expected=f"process 0 at {cluster.coordinator} to wait for {cluster.num_processes} "
        f"processes, --process-id {cluster.process_id} among them",
        found="that it did not",
        remedy=SAME,
    )


def lost(cluster: Cluster, found: str) -> WorkerError:
    """The error of a worker that cannot go on without another."""
    return WorkerError(
        expected=f"{cluster.num_processes} processes to answer at {cluster.coordinator}",
        found=found,
        remedy="start all of them again, each with its own --process-id, and --resume to go on",
    )


def watch(
    links: Sequence[socket.socket],
    timeout: float,
    over: threading.Event,
    end: Callable[[str], None],
) -> None:
    """Sends signs of life and listens for them, until `over` is set or another worker is lost.

    Args:
        links: connections to other workers.
        timeout: seconds of silence after which the other counts as lost.
        over: set when this worker needs the others no longer.
        end: called once, with a description of the loss.
    """
    beat = time.monotonic()
    heard = dict.fromkeys(links, beat)
    while not over.is_set():
        now = time.monotonic()
        if now >= beat:
            beat = now + BEAT_S
            for link in links:
                with contextlib.suppress(OSError):  # what is wrong is seen where it is read
                    link.send(BEAT)
        for link in select.select(links, [], [], max(beat - time.monotonic(), 0.0))[0]:
            data = _receive(link)
            if data == LEAVING:
                if not over.wait(GRACE_S):
                    end("one that ended")
                return
            if not data:
                end("one that was lost")
                return
            heard[link] = time.monotonic()
        if now - min(heard.values()) > timeout:
            end(f"one that did not within {timeout} s")
            return


@contextlib.contextmanager
def _watch(cluster: Cluster, settings: Mapping[str, str]) -> Iterator[threading.Thread]:
    """Inside the `with` block a thread ends this process, in one line, if another is lost."""

    def end(found: str) -> None:
        error = lost(cluster, found)
        write_error(error)
        os._exit(error.exit_code)

    meet = _await_others if cluster.first else lambda *args: [_find_first(*args)]
    links = meet(cluster, settings)
    for link in links:
        link.settimeout(BEAT_S)
    over = threading.Event()
    thread = threading.Thread(
        target=watch, args=(links, cluster.peer_timeout, over, end), daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        over.set()
        thread.join()
        for link in links:
            with contextlib.suppress(OSError):
                link.send(LEAVING)
        # JAX aborts the others as soon as the first one is gone.
        deadline = time.monotonic() + 2 * GRACE_S
        for link in links:
            while cluster.first and time.monotonic() < deadline:
                if select.select([link], [], [], BEAT_S)[0] and not _receive(link):
                    break
            link.close()


@contextlib.contextmanager
def join_workers(cluster: Cluster, settings: Mapping[str, str]) -> Iterator[None]:
    """Inside the `with` block the devices of all workers are JAX's; after it only our own.

    Args:
        cluster: the workers.
        settings: what all of them must have alike, as text.

    Errors:
        SettingError: the coordinator's port is in use, or another worker has other settings.
        WorkerError: another worker is missing, or was lost.
    """
    use_devices(cluster.devices)
    if not cluster.several:
        yield
        return
    with _watch(cluster, settings) as watching:
        try:
            jax.distributed.initialize(
                cluster.coordinator,
                cluster.num_processes,
                cluster.process_id,
                initialization_timeout=cluster.peer_timeout,
                # JAX aborts a worker that has lost another; our own line comes before that.
                heartbeat_timeout_seconds=2 * cluster.peer_timeout + int(GRACE_S),
                shutdown_timeout_seconds=cluster.peer_timeout,
                coordinator_bind_address=cluster.coordinator,
            )
            yield
        except (Stopped, NonFiniteError):  # the other workers end likewise, as a rule
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                jax.distributed.shutdown()
            raise
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            if isinstance(error, ValueError) and "Gloo" not in str(error):
                raise
            if is_out_of_memory(error):  # of this worker, whatever the others do
                raise
            watching.join(cluster.peer_timeout)  # it ends this process where another is lost
            raise lost(cluster, "one that did not") from error
        jax.distributed.shutdown()
