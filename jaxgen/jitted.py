"""`jax.jit` that knows a function again by what it is made of.

JAX finds what it has traced, lowered and compiled by the identity of a function. A learner is made
of objects of `functools.partial`, new ones in every learner: so a second training with the same
settings, or the samples of a run that was loaded, would be traced and compiled again.
"""

import dataclasses
from collections.abc import Callable, Hashable
from functools import lru_cache, partial
from typing import Any

import jax

MOST = 32
"""Functions that are kept, with what JAX has compiled of them."""


class _Parts:
    """A function and its options; equal to others of equal parts."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function, self.options = function, options
        self.key = _key((function, options))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Parts) and self.key == other.key


def jitted(function: Callable[..., Any], **options: Any) -> Any:
    """``jax.jit(function, **options)``, the same object for equal functions and options.

    Two partials are equal if their functions and their arguments are. Functions that close over
    values, and arguments that have no hash, as arrays, are compared with nothing.

    Args:
        function: a function of a module, or partials of one.
        options: of `jax.jit`.
    """
    try:
        parts = _Parts(function, options)
        hash(parts)
    except TypeError:
        return jax.jit(function, **options)
    return _made(parts)


@lru_cache(MOST)
def _made(parts: _Parts) -> Any:
    return jax.jit(parts.function, **parts.options)


def _key(value: Any) -> Hashable:
    """The key that equal values have in common.

    Raises:
        TypeError: It has no hash, or is a function that closes over values: these may be large.
    """
    if isinstance(value, partial):
        return partial, _key(value.func), _key(value.args), _key(value.keywords)
    if isinstance(value, dict):
        return dict, tuple((name, _key(each)) for name, each in sorted(value.items()))
    if isinstance(value, tuple):
        return type(value), tuple(map(_key, value))
    if callable(value) and not dataclasses.is_dataclass(value):
        if getattr(value, "__closure__", None):
            raise TypeError(f"{value} closes over values")
        return value, _key(getattr(value, "__wrapped__", None))  # a jitted function's own
    hash(value)  # before a large array is printed
    return type(value), value, repr(value)  # 1, 1.0 and True are equal, and traced otherwise
