"""Classic generative models in JAX: pure functions, one file per model.

    import jax, jaxgen
    run = jaxgen.load("runs/rbm-mnist-seed0")
    images = run.sample(jax.random.key(0), 16)

Importing the package imports nothing else; each name below imports its module when it is first
used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgen import data, evaluation, export, losses, models, runs, training
    from jaxgen.data import Dataset
    from jaxgen.errors import JaxgenError
    from jaxgen.learner import Learner
    from jaxgen.runs.loader import load
    from jaxgen.runs.run import Run
    from jaxgen.training.loop import Result, Schedule, fit

    __version__: str

__all__ = [
    "Dataset",
    "JaxgenError",
    "Learner",
    "Result",
    "Run",
    "Schedule",
    "__version__",
    "data",
    "evaluation",
    "export",
    "fit",
    "load",
    "losses",
    "models",
    "runs",
    "training",
]

_HOMES = {
    "Dataset": "data",
    "JaxgenError": "errors",
    "Learner": "learner",
    "Result": "training.loop",
    "Run": "runs.run",
    "Schedule": "training.loop",
    "fit": "training.loop",
    "load": "runs.loader",
}
"""Modules of the public names that are no modules themselves."""


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = importlib.import_module(f"{__name__}.{_HOMES.get(name, name)}")
    value = getattr(found, name) if name in _HOMES else found
    globals()[name] = value
    return value


def _version() -> str:
    """The version that is installed; 0+unknown in a source tree that is not."""
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
