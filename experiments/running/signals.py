"""SIGINT and SIGTERM: in training the run saves its state first, elsewhere the process leaves.

So it does after SIGHUP, anywhere, because the terminal is gone; under `nohup` that is ignored.

No handler here raises. Python may run one inside a callback, such as JAX's of the garbage
collector, where an exception is printed and dropped, and the program would go on.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxgen.errors import printable_lines

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped"}
"""Signals by which a program is asked to stop, and the word for each."""
CHILD_S = 5.0
"""Seconds in which a child may save its state before it is killed."""

PARENT = "JAXGEN_PARENT"
"""The variable in which a child has the process that began it, and that writes for both."""
PARENT_S = 0.5
"""Seconds between a child's looks at whether that process is there."""

TWICE_S = 0.5
"""Seconds after a request to stop in which another one is no second request."""

_handlers: list[Callable[[int, Any], None]] = []
_cleanups: list[Callable[[], None]] = []
_leaving: list[int] = []


def shell_code(code: int) -> int:
    """The exit code that a shell gives a process which ended with `code`, -N for signal N."""
    return code if code >= 0 else 128 - code


class Stopped(Exception):  # noqa: N818 (a request, not an error)
    """A signal asked the run to stop; its state is saved."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _handlers_of(*signals: signal.Signals) -> dict[int, Any]:
    """The present handler of each of the signals."""
    return {number: signal.getsignal(number) for number in signals}


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None], before: Mapping[int, Any]) -> Iterator[None]:
    """Handles signals so inside the `with` block; `before` are their handlers until then."""
    for number in before:
        signal.signal(number, handler)
    _handlers.append(handler)
    try:
        yield
    finally:
        _handlers.pop()
        for number, previous in before.items():
            signal.signal(number, previous)


def tell(text: str) -> None:
    """Writes a line to standard error, not by `sys.stderr`: the signal may interrupt its write.

    On a terminal it begins below the line on which the echo of Ctrl-C or a progress bar stands.
    """
    start = "\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{printable_lines(text)}\n".encode())


@contextlib.contextmanager
def leaving_at_once(advice: str) -> Iterator[None]:
    """Inside the `with` block a signal writes a line and ends the process with 128 + its number.

    What `before_leaving` was given is done first. SIGPIPE needs no line.
    """

    def leave(signum: int, _: Any) -> None:
        _leaving.append(signum)
        try:
            word = SIGNALS.get(signal.Signals(signum))
            if word and os.environ.get(PARENT) != str(os.getppid()):
                tell(f"{word}; {advice}")
            for act in reversed(_cleanups):
                act()
        finally:
            os._exit(128 + signum)

    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    if PARENT in os.environ:
        threading.Thread(target=_leave_with_parent, daemon=True).start()
    with _handled(leave, _handlers_of(*SIGNALS, *(() if ignored else (signal.SIGHUP,)))):
        yield


def _leave_with_parent() -> None:
    """Stops this process as SIGTERM does when the one that began it is gone, killed for example."""
    while os.environ.get(PARENT) == str(os.getppid()):
        time.sleep(PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Yields a function that returns the signal that came, or None; a second one acts at once.

    One right behind the first is the same request: `timeout` signals a process and its group.
    """
    before, received = _handlers_of(*SIGNALS), list[int]()
    asked: list[float] = []

    def note(signum: int, _: Any) -> None:
        received.append(signum)
        if signum not in before:
            return
        if not asked:
            asked.append(time.monotonic())
            tell("stopping after this chunk of steps; once more to stop at once")
        elif time.monotonic() - asked[0] > TWICE_S:
            signal.signal(signum, before[signum])
            signal.raise_signal(signum)

    with _handled(note, before):
        yield lambda: received[0] if received else None


def is_leaving() -> bool:
    """Whether a signal ends this process now, so that nothing is drawn any more."""
    return bool(_leaving)


def reader_is_gone() -> None:
    """Does what a signal would do now: nobody reads what this process writes.

    Python ignores SIGPIPE, which would end the process where it stands, without saving.
    """
    if _handlers:
        _handlers[-1](signal.SIGPIPE, None)


@contextlib.contextmanager
def before_leaving(act: Callable[[], None]) -> Iterator[None]:
    """Inside the `with` block a signal that ends the process does this first."""
    _cleanups.append(act)
    try:
        yield
    finally:
        _cleanups.remove(act)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone after the `with` block."""
    with tempfile.TemporaryDirectory() as name, before_leaving(partial(_remove, Path(name))):
        yield Path(name)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that outlives neither the `with` block nor this process."""
    env = {**(options.pop("env", None) or os.environ), PARENT: str(os.getpid())}
    process = subprocess.Popen(command, env=env, **options)
    try:
        with before_leaving(partial(_end, process)):
            yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a child without Popen.wait, whose lock the interrupted code may hold."""
    deadline = time.monotonic() + CHILD_S
    with contextlib.suppress(ChildProcessError):  # it was waited for already
        if os.waitpid(process.pid, os.WNOHANG)[0]:
            return
        os.kill(process.pid, signal.SIGTERM)
        while not os.waitpid(process.pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
