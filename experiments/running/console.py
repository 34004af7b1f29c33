"""The lines of the programs: on standard output, and on standard error each in one write.

With `print` and an unbuffered Python the newline is a second write, and the line of another writer,
such as JAX's log, may come between.
"""

import contextlib
import os
import sys

from experiments.running.signals import reader_is_gone
from jaxgen.errors import WriteError


def accept_any_text() -> None:
    """Lets characters that the encoding of standard output lacks be written as escapes.

    What a stream is given that was closed when Python began goes nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process)
    with contextlib.suppress(AttributeError):  # a stream that others put in its place
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def write_line(text: str) -> None:
    """Writes a line to standard error; without a reader it is lost, and the program goes on."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def write_error(error: object) -> None:
    """Writes the line ``error: TEXT`` to standard error."""
    write_line(f"error: {error}")


def show(text: str = "", end: str = "\n") -> None:
    """Writes a line to standard output, or a part of one, at once.

    Where the reader is gone, as after ``| head -1``, the program is asked to stop, as by a signal.

    Errors:
        WriteError: the device is full, for example.
    """
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        without_reader()
    except OSError as error:
        _discard_output()
        raise WriteError(
            expected="to write to standard output",
            found=error.strerror or str(error),
            remedy="send it elsewhere",
        ) from error


def without_reader() -> None:
    """Asks this process to stop, because nobody reads its standard output any longer."""
    _discard_output()
    reader_is_gone()


def _discard_output() -> None:
    """Sends what standard output still holds, and all that follows, nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
