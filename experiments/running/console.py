"""Lines on standard error."""

import sys


def write_error(error: object) -> None:
    """Writes the line ``error: TEXT`` in one piece.

    With `print` and an unbuffered Python the newline is a second write, and the line of another
    writer, such as JAX's log, may come between.
    """
    sys.stderr.write(f"error: {error}\n")
    sys.stderr.flush()
