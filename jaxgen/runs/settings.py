"""Settings as data: a frozen dataclass as JSON holds it, and back, field by field.

``rebuild(cls, stored)`` is ``cls(**stored)`` with every value checked against its field's type. It
looks at data and calls the dataclass, and does nothing else: settings from a stranger can fail to
be settings, and that is all.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxgen.data import ImageOptions, name_of
from jaxgen.errors import RunFolderError, SettingError, without_controls
from jaxgen.files import read_file

Settings = TypeVar("Settings")

MAX_BYTES = 1 << 20
"""Of a JSON file that holds settings or a summary; a larger one is none of ours."""
MAX_DEPTH = 16
"""Of mappings and lists inside each other in such a file."""
MAX_INT = 2**63 - 1
MAX_NUMBER = 1e15
"""Of a measure."""
NEVER = "inf"
"""A number of seconds that is never over, as JSON holds it."""


def to_json(settings: Any) -> dict[str, Any]:
    """A dataclass as plain data: nested dataclasses as mappings, tuples as lists, paths as text.

    An infinite number, which JSON has none for, is the text `NEVER`.
    """
    plain: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            plain[field.name] = to_json(value)
        elif isinstance(value, tuple):
            plain[field.name] = list(value)
        elif value == math.inf:
            plain[field.name] = NEVER
        else:
            plain[field.name] = str(value) if isinstance(value, Path) else value
    return plain


def rebuild(cls: type[Settings], stored: Mapping[str, Any], *, where: str = "") -> Settings:
    """The dataclass whose fields have the stored values.

    A field that is not stored takes its value of `before`, or else its default.

    Args:
        cls: a dataclass whose fields are numbers, texts, paths, booleans, Literals, tuples of
            them, dataclasses, or None where the type says so.
        stored: as `to_json` gives it.
        where: what the settings are of, for the error's text.

    Errors:
        SettingError: a field is unknown, or a value is not of its field's type, or the dataclass
            refuses the values.
    """
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    earlier = {name: value for name, value in before(stored).items() if name in fields}
    values = {}
    for name, value in (earlier | {**stored}).items():
        if name not in fields:
            raise _misfit(where, f"fields of {cls.__name__}", f"{shown(name)}, which it has not")
        never = hints[name] is float and value == NEVER
        values[name] = math.inf if never else _value(hints[name], value, f"{where}{name}")
    return cls(**values)


@contextlib.contextmanager
def stored_in(place: Path | str) -> Iterator[None]:
    """Names the place of stored settings in an error about one of them.

    Such an error may advise a flag, which whoever reads settings back cannot type.
    """
    try:
        yield
    except SettingError as error:
        raise type(error)(
            expected=f"{error.expected} in {place}",
            found=error.found,
            remedy="put the setting back, or use the version of jaxgen that wrote it",
        ) from error


def image_options(stored: Mapping[str, Any]) -> ImageOptions:
    """How the pictures of a stored run became images; a run that does not have it left them alone.

    Errors:
        SettingError: a value is of another type, or impossible.
    """
    return _value(ImageOptions, stored.get("images", {}), "images")  # type: ignore[no-any-return]


def dataset_name(stored: Mapping[str, Any]) -> str:
    """The name of the data set that the settings of a stored run name by name or path."""
    text = stored.get("dataset")
    return name_of(text, image_options(stored)) if isinstance(text, str) else shown(text)


def fits(cls: type[Any], stored: Any) -> bool:
    """Whether these are the fields of a NamedTuple, all of them, each of its type.

    The squares of numbers must be numbers too, because statistics are made of them.
    """
    hints = get_type_hints(cls)
    if not isinstance(stored, Mapping) or {*stored} != {*hints}:
        return False
    lists = [value if isinstance(value, list) else [value] for value in stored.values()]
    numbers = [x for each in lists for x in each if type(x) in (int, float)]
    if not all(abs(number) <= MAX_NUMBER for number in numbers):
        return False
    try:
        for name, kind in hints.items():
            _value(kind, stored[name], name)
    except SettingError:
        return False
    return True


ADDED = {
    "visible": "binary",
    "gaussian_learning_rate": 0.005,
    "architecture": "dense",
    "channels": (16, 32, 64, 128),
    "images": {},
    "num_classes": 0,
    "conditional": False,
    "augment": (),
    "instance_noise": 0.0,
    "flip": False,
    "init_fan": "in",
    "native_size": False,
    "ema_corrected": False,
    "class_code": "learned",
    "stream": False,
    "log": (),
    "gibbs_phases": (),
    "falling": False,
    "num_updates": 0,
    "persistent_share": 0.0,
    "averaged_share": 0.0,
    "label_gain": 1.0,
    "sampler": "gibbs",
    "num_temperatures": 20,
    "backprop_epochs": 0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "persistent": False,
    "centred": False,
    "base_rates": False,
}
"""Settings that runs of older versions lack, with the values that are as before."""
NEW_TO_DBNS = ("momentum", "weight_decay", "persistent", "centred")
"""Those of `ADDED` that runs of an RBM always had, and their checkpoints have at any value."""


def _always_had(stored: Mapping[str, Any]) -> set[str]:
    """Those of `ADDED` that runs of the kind of these settings always had."""
    had = set() if "hidden_sizes" in stored else {*NEW_TO_DBNS}
    return had if "bound_samples" in stored else had | {"base_rates"}  # new to a VAE's alone


def before(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `ADDED`, for stored ones that may lack them.

    `class_code` is among them for conditional models alone; to others it is nothing.
    """
    absent = _always_had(stored) | (set() if stored.get("num_classes") else {"class_code"})
    return {name: x for name, x in ADDED.items() if name not in absent}


def as_before(name: str, value: Any) -> bool:
    """Whether a setting, with its dotted name, is one of `ADDED` that changes nothing."""
    name = name.rpartition(".")[2]
    return name in ADDED and name not in NEW_TO_DBNS and bool(ADDED[name] == value)


def unlike(cls: type[Any], stored: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names that the dataclass has and the stored settings lack, or the other way round.

    Settings of `ADDED` may be lacking, but for those that runs of the kind always had.
    """
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    there = {*stored, *ADDED.keys() - _always_had(stored)}
    found = [f"no {prefix}{name}" for name in names if name not in there]
    others = [printable(name, 60) for name in stored if name not in names]
    found += [f"{prefix}{name}, unknown here" for name in others]
    for name in names:
        if dataclasses.is_dataclass(hints[name]) and isinstance(stored.get(name), Mapping):
            found += unlike(hints[name], stored[name], f"{prefix}{name}.")
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run folder.

    Errors:
        RunFolderError: the file is missing, too large, or holds something else.
    """
    found = "something else"
    content: Any = None
    try:
        content = json.loads(read_file(path, MAX_BYTES))
    except OSError as error:
        found = error.strerror or "none"
    except (ValueError, RecursionError):
        found = "no JSON"
    if isinstance(content, dict) and _depth(content) > MAX_DEPTH:
        content, found = None, "too many mappings inside each other"
    if not isinstance(content, dict):
        raise RunFolderError(
            expected=f"a JSON object in {path}",
            found=found,
            remedy="put it back from a copy, or name the folder of another run",
        )
    return content


def _depth(content: dict[str, Any]) -> int:
    """How many mappings and lists lie inside each other; counting ends above `MAX_DEPTH`."""
    level: list[Any] = [content]
    depth = 0
    while level and depth <= MAX_DEPTH:
        parts = [each.values() if isinstance(each, dict) else each for each in level]
        level = [x for part in parts for x in part if isinstance(x, dict | list)]
        depth += 1
    return depth


def _value(kind: Any, value: Any, name: str) -> Any:
    """A stored value as a field of this type holds it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not NoneType)
        return _value(kind, value, name)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise _misfit(name, "a mapping", shown(value))
        return rebuild(kind, value, where=f"{name}.")
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
        raise _misfit(name, f"one of {', '.join(map(str, arguments))}", shown(value))
    if origin is tuple:
        return _sequence(arguments, value, name)
    if kind is float and type(value) in (int, float) and abs(value) <= MAX_INT:
        return float(value)
    if kind is float and type(value) is float and math.isfinite(value):
        return value
    if kind is int and type(value) is int and abs(value) <= MAX_INT:
        return value
    if kind in (bool, str) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise _misfit(name, _KINDS.get(kind, "another value"), shown(value))


_KINDS = {
    float: "a finite number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
}


def _sequence(kinds: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    """A list whose entries are of the types of a tuple: tuple[X, ...] or tuple[X, Y]."""
    if not isinstance(value, list | tuple):
        raise _misfit(name, "a list", shown(value))
    if kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise _misfit(name, f"a list of {len(kinds)}", f"one of {len(value)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(_value(kind, each, f"{name}[{i}]") for i, (kind, each) in enumerate(pairs))


def shown(value: Any) -> str:
    """A stored or a given value in an error's text, in one short line; of arrays the shape."""
    if isinstance(value, Mapping):
        return "a mapping"
    if getattr(value, "ndim", 0):
        return f"{value.dtype} {[*value.shape]}"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, int) and abs(value) > MAX_INT:
        return "a huge number"
    text = printable(str(value), 60)
    return repr(text) if isinstance(value, str) else text


def printable(text: str, most: int = 200) -> str:
    """A stranger's text in one line of at most so many letters, without control characters."""
    return without_controls(text[:most])


def _misfit(where: str, expected: str, found: str) -> SettingError:
    name = where.removesuffix(".")
    return SettingError(
        expected=f"{expected} for {name}" if name else expected,
        found=found,
        remedy="use the version of jaxgen that wrote the settings, or mend them",
    )
