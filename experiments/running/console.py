"""The lines of the programs: on standard output, and on standard error each in one write.

With `print` and an unbuffered Python the newline is a second write, and the line of another writer,
such as JAX's log, may come between.

On a terminal there is one live line below all others, drawn again every second, such as a progress
bar or a clock beside what is computed. Every other line of this module erases it, is written, and
draws it again, so that none lands on it.
"""

import contextlib
import logging
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

from experiments.running.signals import is_leaving, reader_is_gone
from jaxgen.errors import WriteError, printable_lines, without_controls

STAGES = "jaxgen.stages"
"""The logger of what is computed now, such as the measure in a long evaluation."""
TICK_S = 1.0
"""Seconds between two drawings of the live line."""
FALLBACK = (80, 24)
"""Columns and lines of a terminal that does not tell them."""
LEAST_WHOLE = 12
"""Columns of the name of what has parts; where there are fewer, the part stands alone."""
_ERASE = "\r\x1b[2K"

Text: TypeAlias = Callable[[int], str]
"""(columns) -> the live line, empty for none."""

_lock = threading.RLock()
_live: list[Text] = []
"""The innermost last; it alone is shown."""
_drawn = ""
_stages: list["Stage"] = []


def accept_any_text() -> None:
    """Lets characters that the encoding of standard output lacks be written as escapes.

    What a stream is given that was closed when Python began goes nowhere.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process)
    with contextlib.suppress(AttributeError):  # a stream that others put in its place
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


# ---- the live line


def is_terminal() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    return (
        sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    )


def columns() -> int:
    """The width of the terminal now, less the last column, in which a line may wrap."""
    with contextlib.suppress(OSError, ValueError):  # a stream without a descriptor
        if (width := os.get_terminal_size(sys.stderr.fileno()).columns) > 0:
            return width - 1
    return shutil.get_terminal_size(FALLBACK).columns - 1


def _draw(text: str) -> None:
    """Puts a text in the place of the live line."""
    global _drawn
    if text == _drawn:
        return
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{_ERASE}{without_controls(text)}")
        sys.stderr.flush()
    _drawn = text


def redraw() -> None:
    """Draws the live line as it is now, if there is one."""
    with _lock:
        if _live and is_terminal() and not is_leaving():
            width = columns()
            _draw(_live[-1](width)[:width])


def begin(text: str) -> None:
    """Shows a text on a terminal until the first line, or the first live one, takes its place."""
    if is_terminal():
        _draw(text)


def _tick(over: threading.Event) -> None:
    while not over.wait(TICK_S):
        redraw()


@contextlib.contextmanager
def live(text: Text) -> Iterator[None]:
    """Inside the `with` block this is the last line of the terminal, in place of an outer one."""
    over = threading.Event()
    thread = threading.Thread(target=_tick, args=(over,), daemon=True)
    with _lock:
        _live.append(text)
        if len(_live) == 1 and is_terminal():
            thread.start()
    redraw()
    try:
        yield
    finally:
        over.set()
        with _lock:
            _live.pop()
            if _live and isinstance(_live[-1], Stage):
                _live[-1].come_back()
            if _drawn:
                _draw("")
        if thread.ident:
            thread.join()
        redraw()


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Inside the `with` block there is no live line, so that another can be written."""
    with _lock:
        if _drawn:
            _draw("")
        try:
            yield
        finally:
            redraw()


def clock(seconds: float) -> str:
    """A time as 7 s, 1:05 or 2:03:04."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Stage:
    """The present computation, and a clock beside it."""

    def __init__(self, text: str, detail: Callable[[], str] | None = None) -> None:
        """Begins now.

        Args:
            text: what it is; an empty one shows nothing.
            detail: how far it is, asked at every drawing.
        """
        self._whole, self._part = text, ""
        self._detail = detail
        self.restart()

    def restart(self) -> None:
        """Sets the clock to 0."""
        self._began, self._back = time.monotonic(), False

    def come_back(self) -> None:
        """Begins again after what stood in its place; it shows from `TICK_S` on, if it lasts."""
        self.restart()
        self._back = True

    def turn_to(self, part: str) -> None:
        """Begins a part of it."""
        self._part = part
        self.restart()

    def __call__(self, width: int) -> str:
        """The computation, its part and the clock; what does not fit is cut between words."""
        seconds = time.monotonic() - self._began
        if not (self._whole or self._part) or (self._back and seconds < TICK_S):
            return ""
        behind = f"  {clock(seconds)}"
        if self._detail:
            behind = f"  {self._detail()}{behind}"
        room = width - len(behind)
        words, room_for_whole = self._part or self._whole, room - len(self._part) - 2
        if self._whole and self._part and room_for_whole >= LEAST_WHOLE:
            words = f"{fit_width(self._whole, room_for_whole)}: {self._part}"
        return f"{fit_width(words, room)}{behind}"


def fit_width(text: str, width: int) -> str:
    """A text that is at most so wide, if need be without its last words."""
    if len(text) <= width:
        return text
    return f"{text[: width - 3].rpartition(' ')[0] or text[: width - 3]}..."


def shorten(text: str, width: int) -> str:
    """A text that is at most so wide, if need be without its middle, as a path is."""
    if len(text) <= width:
        return text
    end = 2 * (width - 3) // 3  # a folder's own name says more than where it lies
    return f"{text[: width - 3 - end]}...{text[-end:]}"


def fitting(path: str, behind: int) -> str:
    """A path as a line of a terminal holds it behind so many columns; whole in a file or a pipe."""
    return shorten(path, columns() - behind) if sys.stdout.isatty() else path


def wrap(text: str) -> str:
    """A text whose lines break between words where a terminal would break them anywhere."""
    if not is_terminal():
        return text
    lines = textwrap.TextWrapper(columns(), break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines.fill(line) for line in text.split("\n"))


@contextlib.contextmanager
def working(text: str = "", detail: Callable[[], str] | None = None) -> Iterator[None]:
    """Inside the `with` block a terminal shows this text and a clock; a file or pipe nothing.

    What the logger `STAGES` is told is shown behind the text. For `detail` see `Stage`.
    """
    stage = Stage(text, detail)
    _stages.append(stage)
    try:
        with live(stage):
            yield
    finally:
        _stages.pop()


def turn_to(part: str) -> None:
    """Shows on a terminal that a part of what is computed begins; a file or pipe gets nothing."""
    if _stages and is_terminal():
        _stages[-1].turn_to(part)
        redraw()


class Handler(logging.Handler):
    """Log records as lines on standard error; those of `STAGES` as the live line of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record."""
        if record.name == STAGES and _stages and is_terminal():
            turn_to(record.getMessage())
        else:
            write_line(wrap(self.format(record)))


# ---- lines


def write_line(text: str) -> None:
    """Writes a line to standard error; without a reader it is lost, and the program goes on."""
    with _apart(), contextlib.suppress(OSError):
        sys.stderr.write(f"{printable_lines(text)}\n")
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
        with _apart():
            print(printable_lines(text), end=end, flush=True)
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
