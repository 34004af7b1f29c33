"""Lines on standard error, each in one write.

With `print` and an unbuffered Python the newline is a second write, and the line of another writer,
such as JAX's log, may come between.
"""

import sys


def write_line(text: str) -> None:
    """Writes a line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def write_error(error: object) -> None:
    """Writes the line ``error: TEXT`` to standard error."""
    write_line(f"error: {error}")
