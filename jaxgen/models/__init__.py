"""One generative model a file: its settings, its Flax modules, its mathematics, its learner.

A model is a module of this package with a frozen dataclass ``Config`` and a function
``learner(config, image_shape) -> jaxgen.learner.Learner``; `names` finds them by that.

Where the state that the learner begins with does not have all parameters of the trained model, the
module has a function ``init_params(config, image_shape, key)`` that returns them untrained; where
``state._replace(params=params)`` is not the state with other parameters, it has a function
``from_params(config, image_shape, params)`` that returns it; where that state is another learner's
than the one of ``learner``, a function ``learner_of(config, image_shape, params)`` that returns
that one. Parts of the parameters that no sample depends on may be named in ``OPTIONAL_PARAMS``; a
run without them has an empty mapping there.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import jax

from jaxgen.images import ImageShape
from jaxgen.learner import Learner, State


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


def params_shape(name: str, config: Any, image_shape: ImageShape) -> Any:
    """Shapes and dtypes of a model's parameters, in their structure; nothing is computed.

    Returns:
        A tree of `jax.ShapeDtypeStruct`.
    """
    model = module(name)

    def init_params(key: jax.Array) -> Any:
        if hasattr(model, "init_params"):
            return model.init_params(config, image_shape, key)
        return model.learner(config, image_shape).init(key).params

    return jax.eval_shape(init_params, jax.random.key(0))


def optional_params(name: str) -> tuple[str, ...]:
    """The parts of a model's parameters that a run may lack, as samples do not depend on them."""
    return tuple(getattr(module(name), "OPTIONAL_PARAMS", ()))


def learner_of(name: str, config: Any, image_shape: ImageShape, params: Any) -> Learner:
    """The learner whose state is `state_of` the same arguments."""
    model = module(name)
    if hasattr(model, "learner_of"):
        learner: Learner = model.learner_of(config, image_shape, params)
    else:
        learner = model.learner(config, image_shape)
    return learner


def state_of(name: str, config: Any, image_shape: ImageShape, params: Any) -> State:
    """The learner's state that holds trained parameters; all else is as before the first step."""
    return restore_state(module(name), config, image_shape, params)


def restore_state(model: ModuleType, config: Any, image_shape: ImageShape, params: Any) -> State:
    """The same as `state_of`, for the module of any model, also of one that is not in this room."""
    if hasattr(model, "from_params"):
        return model.from_params(config, image_shape, params)
    return model.learner(config, image_shape).init(jax.random.key(0))._replace(params=params)


def _imported(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
