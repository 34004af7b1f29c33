"""Lines on standard error."""

import io
import sys

import pytest

from experiments.running.console import write_error


class Raw(io.RawIOBase):
    """A stream that remembers each write, as the system would see it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Remembers the bytes."""
        self.written.append(bytes(data))
        return len(data)


def test_an_error_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with `python -u`, whose standard error has no buffer."""
    raw = Raw()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, write_through=True))  # type: ignore[type-var]
    write_error("expected this, found that")
    assert raw.written == [b"error: expected this, found that\n"]
