"""Refusals of the command line's parser, as one line in the place of its box."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator

from jaxgen.errors import SettingError

_FRAME = re.compile(r"^[╭╰│|+\s]+|[╮╯│|+\s]+$")
_RULE = re.compile(r"[─-]{5,}")
_STYLE = re.compile(r"\x1b\[[\d;]*m")
_MEANT = "Perhaps you meant:"
_PARSING = r"Error parsing (\S+): "
_WORDS = {
    _PARSING + r"invalid literal for int\(\) with base 10: (.*)": r"\1 with \2, no whole number",
    _PARSING + r"could not convert string to float: (.*)": r"\1 with \2, no number",
    _PARSING + r"Could not find valid parse for arguments: \[(.*)\]": r"\1 with \2",
    r"Missing value for argument '(.*)'\. Expected 1 values": r"\1 without a value",
    r"Invalid choice (.*) for argument '(.*)'\. Expected one of \((.*?),?\)": (
        r"\2 with \1, none of \3"
    ),
}
"""Sentences of tyro, of Python's conversions among them, and what stands in their place."""


@contextlib.contextmanager
def in_a_line(program: str) -> Iterator[None]:
    """Turns the box that tyro prints before it ends the program into an error of one line.

    A text of another form is printed as it is, and the program ends.

    Errors:
        SettingError: a flag is unknown, lacks its value, or has one of another type.
    """
    refused = io.StringIO()
    try:
        with contextlib.redirect_stderr(refused):
            yield
    except SystemExit as left:
        found = _found(refused.getvalue())
        if left.code != SettingError.exit_code or not found:
            raise
        refused = io.StringIO()
        raise SettingError(
            expected="flags and values as --help lists them",
            found=found,
            remedy=f"type `{program} --help`",
        ) from None
    finally:
        sys.stderr.write(refused.getvalue())


def _found(box: str) -> str:
    """The first part of the box below its title, and the flag that may have been meant."""
    text = " ".join(_FRAME.sub("", _STYLE.sub("", line)) for line in box.splitlines())
    _, *rest = [*filter(None, (" ".join(part.split()) for part in _RULE.split(text)))] or [""]
    meant = [re.findall(r"--[\w-]+", part) for part in rest if part.startswith(_MEANT)]
    hint = f" (perhaps you meant {meant[0][0]})" if meant and meant[0] else ""
    return _in_words(rest[0]) + hint if rest else ""


def _in_words(sentence: str) -> str:
    """A sentence of tyro as what was found."""
    plain = sentence.rstrip(". ")
    for pattern, words in _WORDS.items():
        if match := re.fullmatch(pattern, plain, re.IGNORECASE):
            return match.expand(words)
    return plain[:1].lower() + plain[1:]
