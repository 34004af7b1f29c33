"""Passes its standard input on to its standard error, but for what C++ says that helps no one.

    python -m experiments.running.peer_watch TEXT

JAX ends a process that lost another by abort(): log lines, then the frames of a C++ stack. In their
place comes one line, ``error: TEXT``, unless the process wrote such a line itself. Gloo, which
carries the sums of CPUs, prints a line each time it connects, which is left out.
"""

import re
import signal
import sys
from collections.abc import Iterable, Iterator

LOG = re.compile(rb"[EFW]\d{4} \d\d:\d\d:\d\d")
"""How a line of JAX's C++ log begins, from warnings upward."""
FATAL = re.compile(rb"F\d{4} \d\d:\d\d:\d\d")
CONNECTED = b"[Gloo] Rank "


def passed_on(lines: Iterable[bytes], text: str) -> Iterator[bytes]:
    """The lines to show: all until the log speaks, after it those that begin with ``error:``."""
    log, fatal, said = False, False, False
    for line in (line for line in lines if not line.startswith(CONNECTED)):
        log, fatal = log or bool(LOG.match(line)), fatal or bool(FATAL.match(line))
        said = said or line.startswith(b"error: ")
        if not log or line.startswith(b"error: "):
            yield line
    if fatal and not said:
        yield f"error: {text}\n".encode()


def main(text: str) -> None:
    """Runs until the process that writes to it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in passed_on(iter(sys.stdin.buffer.readline, b""), text):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1])
