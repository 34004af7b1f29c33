"""One generative model a file: its settings, its Flax modules, its mathematics, its learner.

A model is a module of this package with a frozen dataclass ``Config`` and a function
``learner(config, image_shape) -> jaxgen.learner.Learner``; `names` finds them by that.
"""

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """The models there are, in alphabetical order."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [name for name in found if hasattr(_imported(name), "learner")]


def module(name: str) -> ModuleType:
    """The module of a model.

    Errors:
        KeyError: there is no model of that name.
    """
    if name not in names():
        raise KeyError(name)
    return _imported(name)


def _imported(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
