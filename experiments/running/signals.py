"""SIGINT and SIGTERM as a request to stop: the run saves its state first."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from typing import Any

logger = logging.getLogger("jaxgen")


class Stopped(Exception):  # noqa: N818 (a request, not an error)
    """A signal asked the run to stop; its state is saved."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Yields a function that returns the signal that came, or None; a second signal kills."""
    received: list[int] = []

    def note(signum: int, _: Any) -> None:
        received.append(signum)
        signal.signal(signum, previous[signum])
        logger.warning("stopping after this chunk of steps; once more to stop at once")

    previous: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number in previous:
        signal.signal(number, note)
    try:
        yield lambda: received[0] if received else None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
