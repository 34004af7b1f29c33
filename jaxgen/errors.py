"""Errors a user can act on: one line that says what was expected, what was found and what to type.

Exit codes, as every experiment returns them:

====  ==========================================================
0     done
1     a defect in jaxgen itself (a traceback is shown)
2     the command line or a setting is impossible, or needs more memory than there is
3     a data set is missing, truncated or wrong
4     no usable checkpoint, or it belongs to another configuration
5     training met a number that is not finite
6     the run folder exists already or is in use
7     a file could not be written (disk full, no permission)
8     a run does not repeat as promised, or cannot be compared
9     another process of the run is missing or was lost (134 where JAX itself ended this one)
129   the terminal was closed (SIGHUP), which `nohup` prevents; nothing half-written is left
130   interrupted by Ctrl-C; a training has saved its state
137   killed (SIGKILL), as by the system for lack of memory; `--resume` goes on
141   nobody reads standard output any longer (SIGPIPE); a training has saved its state
143   stopped by SIGTERM; a training has saved its state
====  ==========================================================
"""

import dataclasses
import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

MOST_FOUND = 1000
"""Letters of what was found, in an error's text: it may be a stranger's."""
MAX_SIZE = 2**31 - 1
"""Of any length of an array."""
MAX_FLOAT = (2.0 - 2.0**-23) * 2.0**127
"""The largest number of 32 bits."""


class JaxgenError(Exception):
    """An error with one line of text for the user and an exit code for the shell.

    Example:
        >>> try:
        ...     jaxgen.load("runs/none")
        ... except jaxgen.JaxgenError as error:
        ...     print(error.exit_code, str(error)[:40])
        4 expected a finished run in runs/none, fo
    """

    exit_code: ClassVar[int] = 1
    expected, found = "", ""
    """Parts of the text, which an error that went to another process lacks."""

    def __init__(self, *, expected: str, found: str, remedy: str) -> None:
        self.expected, self.found = expected, found[:MOST_FOUND]
        text = f"expected {expected}, found {self.found}; {remedy}"
        super().__init__(without_controls(text))

    def __reduce__(self) -> tuple[Any, ...]:
        """The error as a copy or another process has it, by its class and its text."""
        return restore_error, (type(self), str(self))


def without_controls(text: str) -> str:
    """A text in one line: a question mark stands for each letter that is not printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def printable_lines(text: str) -> str:
    """A text whose lines are each without controls, so that it does nothing to a terminal."""
    return "\n".join(map(without_controls, text.split("\n")))


def restore_error(kind: type[JaxgenError], text: str) -> JaxgenError:
    """An error of this class with the text of another."""
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


class SettingError(JaxgenError):
    """A setting, or a combination of settings, that cannot work."""

    exit_code = 2


class OutOfMemoryError(SettingError):
    """Settings whose arrays the memory does not hold."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether NumPy, XLA or a check before them found that the memory does not hold the arrays."""
    if isinstance(error, MemoryError | OutOfMemoryError):
        return True
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()


class DataError(JaxgenError):
    """A data set whose files are there but truncated or wrong."""

    exit_code = 3


class DataMissingError(DataError):
    """A data set that is neither prepared, nor given, nor downloadable."""


class CheckpointError(JaxgenError):
    """No checkpoint that can be trusted, or one that belongs to another configuration."""

    exit_code = 4


class NonFiniteError(JaxgenError):
    """A metric that is NaN or infinite, with the exact step at which it first was."""

    exit_code = 5


class RunFolderError(JaxgenError):
    """A run folder that exists already, is in use, or is not a run folder."""

    exit_code = 6


class WriteError(JaxgenError):
    """A file that could not be written."""

    exit_code = 7


class ReproduceError(JaxgenError):
    """A run that does not repeat as promised, or that cannot be compared."""

    exit_code = 8


class WorkerError(JaxgenError):
    """A run of several workers that cannot go on, because one is missing or was lost."""

    exit_code = 9


def is_whole(value: object, least: int, most: int = MAX_SIZE) -> bool:
    """Whether this is a whole number from `least` to `most`; True and 1.0 are none."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    return least <= int(value) <= most


def require(settings: object, name: str, holds: bool, wanted: str) -> None:
    """Raises SettingError for the named field unless what is asked of it holds.

    A switch that is on can only be left out.
    """
    if not holds:
        flag, value = f"--{name.replace('_', '-')}", getattr(settings, name)
        found = (" ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)
        out = value is True or wanted.startswith(("off", "not beside", "without"))
        remedy = f"leave out {flag}" if out else f"set {flag}"
        raise SettingError(expected=f"{flag} {wanted}", found=found, remedy=remedy)


def require_whole(name: str, value: object, least: int, most: int = MAX_SIZE) -> None:
    """Raises SettingError unless an argument is a whole number from `least` to `most`."""
    if not is_whole(value, least, most):
        expected = f"a whole number from {least:,} to {most:,} for {name}"
        raise SettingError(expected=expected, found=str(value), remedy=f"set {name}")


def require_positive(settings: object, *names: str) -> None:
    """Raises SettingError for the first of the named whole numbers below 1 or above `MAX_SIZE`."""
    for name in names:
        value = getattr(settings, name)
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        require(settings, name, whole, "a whole number of at least 1")
        require(settings, name, value >= 1, "of at least 1")
        require(settings, name, value <= MAX_SIZE, f"of at most {MAX_SIZE:,}")


def require_counts(settings: object, *names: str, most: int = MAX_SIZE) -> None:
    """Raises SettingError for the first of the named fields that is no whole number up to `most`.

    Each may be 0, and is at most what an update's number, an int32, can be.
    """
    for name in names:
        holds = is_whole(getattr(settings, name), 0, most)
        require(settings, name, holds, f"a whole number from 0 to {most:,}")


def require_layer_sizes(settings: object, *names: str, least: int = 1) -> None:
    """Raises SettingError for the first of the named tuples that holds no sizes of layers.

    At least so many, each from 1 to `MAX_SIZE`.
    """
    for name in names:
        value = getattr(settings, name)
        wanted = f"of {least} or more numbers from 1 to {MAX_SIZE:,}"
        holds = len(value) >= least and all(is_whole(size, 1) for size in value)
        require(settings, name, holds, wanted)


def require_above_zero(settings: object, *names: str) -> None:
    """Raises SettingError for the first of the named fields that is not above 0 and finite.

    Nor may it be above `MAX_FLOAT`, which is finite here and infinite where it is used.
    """
    for name in names:
        require(settings, name, 0 < getattr(settings, name) < math.inf, "above 0 and finite")
        require(settings, name, getattr(settings, name) <= MAX_FLOAT, f"of at most {MAX_FLOAT:g}")


def require_not_negative(settings: object, *names: str) -> None:
    """Raises SettingError for the first of the named fields below 0, above `MAX_FLOAT` or NaN."""
    for name in names:
        require(settings, name, 0 <= getattr(settings, name) < math.inf, "at least 0 and finite")
        require(settings, name, getattr(settings, name) <= MAX_FLOAT, f"of at most {MAX_FLOAT:g}")


def check_fields(settings: Any) -> None:
    """Checks the fields of a frozen dataclass by their annotations, which Python does not.

    NumPy's numbers become Python's. A misspelt Literal would be whatever the last `else` computes;
    of a tuple of Literals each entry must be one.

    Raises:
        SettingError: for the first field that is no number where it should be one, or none of its
            names.
    """
    make_numbers_plain(settings)
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        kind, value = hints[field.name], getattr(settings, field.name)
        if kind is float:
            holds = isinstance(value, Real) and not isinstance(value, bool)
            require(settings, field.name, holds, "a number")
        values, wanted = (value,), "one of"
        if get_origin(kind) is tuple:
            kind, values, wanted = get_args(kind)[0], value, "a tuple of names among"
        if get_origin(kind) is Literal:
            choices = get_args(kind)
            holds = isinstance(values, tuple) and all(each in choices for each in values)
            require(settings, field.name, holds, f"{wanted} {', '.join(map(str, choices))}")


def make_numbers_plain(settings: Any) -> None:
    """Makes NumPy's numbers in a frozen dataclass Python's, which do not overflow."""
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, _plain(getattr(settings, field.name)))


def _plain(value: Any) -> Any:
    """A scalar of NumPy or JAX as Python's number; of a tuple each entry."""
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in value)
    return value.item() if getattr(value, "shape", None) == () else value
