"""A terminal that remembers what is to be seen on it."""

import io
import os

import pytest


class Terminal(io.StringIO):
    """A stream that is a terminal of `width` columns; longer lines wrap.

    Both outputs of this process go there until the test is over.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.width, self.is_one = 80, True
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(f"sys.{name}", self)
        monkeypatch.setenv("TERM", "xterm")
        size = "shutil.get_terminal_size"
        monkeypatch.setattr(size, lambda *_, **__: os.terminal_size((self.width, 24)))

    def isatty(self) -> bool:
        """Whether it is a terminal, and no file."""
        return self.is_one

    @property
    def lines(self) -> list[str]:
        """The lines from above to below, each as the last writer left it; empty ones left out."""
        shown = []
        for line in self.getvalue().split("\n"):
            last = line.rpartition("\r\x1b[2K")[2]
            shown += [last[i : i + self.width] for i in range(0, len(last), self.width)]
        return shown
