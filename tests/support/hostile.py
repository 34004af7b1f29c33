"""JSON documents of a stranger: any value at any place."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

NESTED: Any = 1
for _ in range(40):
    NESTED = [{"a": NESTED}]
VALUES = [
    None,
    True,
    -1,
    2**70,
    10**400,
    1e308,
    float("nan"),
    "0; rm",
    "\n<b>",
    "a" * 5000,
    "../..",
]
VALUES += [[], [1], {}, {"a": 1}, NESTED, "absent", "\ud800"]
RAW = [b"", b"[]", b"12", b"null", b"\xff", b'{"a":' * 50_000, b'{"a": 1e999}']


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for name, value in pairs:
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at one place, or without it."""
    found = copy.deepcopy(content)
    *above, last = path
    part = functools.reduce(lambda part, name: part[name], above, found)
    if value == "absent":
        del part[last]
    else:
        part[last] = value
    return found
