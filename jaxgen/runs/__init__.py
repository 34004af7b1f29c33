"""A run on disk: its folder, its manifest, its log of metrics, and the trained model in it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgen.runs.loader import load
    from jaxgen.runs.run import Run

__all__ = ["Run", "load"]


def __getattr__(name: str) -> Any:
    """Imports what reads a run, and JAX with it, when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxgen.runs import loader

    return getattr(loader, name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
