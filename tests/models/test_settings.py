"""Settings from Python: of NumPy's kinds, and of none that a setting may have."""

import dataclasses
from typing import Any, get_type_hints

import numpy as np
import pytest

from jaxgen.errors import SettingError
from jaxgen.evaluation import backprop, classifier
from jaxgen.evaluation.model import LikelihoodBudget
from jaxgen.models import dbm, dbn, dcgan, gan, mixture, rbm, vae, wake_sleep
from jaxgen.training import Schedule

SETTINGS = [
    *(each.Config() for each in (rbm, dbn, dbm, wake_sleep, vae, gan, dcgan, mixture, classifier)),
    backprop.Config(num_classes=3, num_updates=5),
    LikelihoodBudget(),
    Schedule(num_epochs=2, batch_size=3),
]
NAMES = [f"{type(each).__module__}.{type(each).__qualname__}" for each in SETTINGS]


def as_numpy(value: Any) -> Any:
    """A number as NumPy's smallest kind that holds it; of a tuple each entry."""
    if isinstance(value, tuple):
        return tuple(map(as_numpy, value))
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.min_scalar_type(value).type(value)
    return np.float64(value) if isinstance(value, float) else value


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_numbers_of_numpy_become_pythons(settings: Any) -> None:
    """Those would overflow: 2 * np.uint8(200) is 144."""
    plain = {each.name: getattr(settings, each.name) for each in dataclasses.fields(settings)}
    given = {name: as_numpy(value) for name, value in plain.items()}
    assert any(isinstance(value, np.generic) for value in given.values())
    found = type(settings)(**given)
    assert found == settings
    assert hash(found) == hash(settings)
    for name, value in plain.items():
        assert type(getattr(found, name)) is type(value)
        entries = getattr(found, name) if isinstance(value, tuple) else ()
        assert not any(isinstance(each, np.generic) for each in entries)


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("value", ["0.1", None, True, [0.1], np.ones(2)], ids=str)
def test_what_is_no_number_is_refused(settings: Any, value: Any) -> None:
    for name, kind in get_type_hints(type(settings)).items():
        if kind is float:
            typed = f"--{name.replace('_', '-')} a number|a number of at least 0 for {name}"
            with pytest.raises(SettingError, match=typed):
                dataclasses.replace(settings, **{name: value})


def test_sizes_of_small_integers_are_multiplied_without_overflow() -> None:
    """The encoder has 2 * 200 outputs, where NumPy has 144."""
    small = {"hidden_sizes": (np.uint8(4),), "latent_size": np.uint8(200)}
    wanted = {"hidden_sizes": (4,), "latent_size": 200}
    found, meant = (vae.nets(vae.Config(**each), (5, 1, 1)) for each in (small, wanted))
    assert found == meant
