"""A run of several processes: how they meet, and what one says that has lost another.

Every process is started with the same flags but ``--process-id``. The first one, 0, listens at
``--coordinator``; it alone reads and writes the run folder. JAX joins their devices.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax

from experiments.running.signals import Stopped
from jaxgen.errors import NonFiniteError, PeerError, SettingError, require_positive


@dataclass(frozen=True)
class Cluster:
    """Which devices and which processes share a run."""

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
        if not 0 <= self.process_id < self.num_processes:
            raise SettingError(
                expected=f"--process-id from 0 to {self.num_processes - 1}, below --num-processes",
                found=str(self.process_id),
                remedy="set --process-id",
            )
        host, _, port = self.coordinator.rpartition(":")
        if not (host and port.isdigit() and 0 < int(port) < 65536):
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
                found=f"{len(own)} ({own[0].device_kind}) in process {process}",
                remedy="set --devices to at most that",
            )
        found += own[: cluster.devices]
    return found


def _address(cluster: Cluster) -> tuple[str, int]:
    host, _, port = cluster.coordinator.rpartition(":")
    return host.strip("[]"), int(port)


def _check_free(cluster: Cluster) -> None:
    """Raises where the coordinator's port cannot be listened at; JAX would abort."""
    host, port = _address(cluster)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise SettingError(
            expected=f"to listen at {cluster.coordinator}",
            found=error.strerror or str(error),
            remedy="set --coordinator to an address of this machine with a free port",
        ) from error


def _wait_for_first(cluster: Cluster) -> None:
    """Returns when the first process listens; JAX would abort where it never does."""
    host, port = _address(cluster)
    deadline = time.monotonic() + cluster.peer_timeout
    while True:
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise PeerError(
                    expected=f"process 0 to listen at {cluster.coordinator}",
                    found=f"{error.strerror or error} for {cluster.peer_timeout} s",
                    remedy="start it with the same flags and --process-id 0",
                ) from error
            time.sleep(0.2)
        else:
            return


def lost(cluster: Cluster, found: str) -> PeerError:
    """What is said by a process that cannot go on without another."""
    return PeerError(
        expected=f"{cluster.num_processes} processes to answer at {cluster.coordinator}",
        found=found,
        remedy="start all of them again, each with its own --process-id, and --resume to go on",
    )


def _explain_aborts(cluster: Cluster) -> None:
    """Has one line said where JAX ends this process, for it does so with a page of C++ frames.

    From here on a small process passes on what this one writes to its standard error.
    """
    text = str(lost(cluster, f"one that did not within {cluster.peer_timeout} s"))
    reading, writing = os.pipe()
    subprocess.Popen([sys.executable, "-m", "experiments.running.peer_watch", text], stdin=reading)
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)


def _keep_stdout() -> None:
    """Leaves standard output to Python: what C++ prints there goes to standard error from here on.

    Gloo prints a line each time it connects; `peer_watch` has them pass no further.
    """
    sys.stdout.flush()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    own = os.dup(1)
    os.dup2(2, 1)
    # Stays open to the end; line by line, as Python does on a terminal.
    sys.stdout = os.fdopen(own, "w", buffering=1, encoding=encoding, errors=errors)


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """Inside the `with` block the devices of all processes are JAX's; after it only our own.

    Errors:
        SettingError: the coordinator's port is in use.
        PeerError: another process is missing, or was lost.
    """
    use_devices(cluster.devices)
    if not cluster.several:
        yield
        return
    (_check_free if cluster.first else _wait_for_first)(cluster)
    _explain_aborts(cluster)
    _keep_stdout()
    jax.distributed.initialize(
        cluster.coordinator,
        cluster.num_processes,
        cluster.process_id,
        initialization_timeout=cluster.peer_timeout,
        heartbeat_timeout_seconds=cluster.peer_timeout,
        shutdown_timeout_seconds=cluster.peer_timeout,
        coordinator_bind_address=cluster.coordinator,
    )
    try:
        yield
    except (Stopped, NonFiniteError):  # the other processes end likewise, as a rule
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.distributed.shutdown()
        raise
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if isinstance(error, ValueError) and "Gloo" not in str(error):
            raise
        raise lost(cluster, "one that was lost") from error
    jax.distributed.shutdown()
