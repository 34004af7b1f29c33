"""Settings as data: what is stored is rebuilt, and what a stranger stores can only be refused."""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import pytest
from support.helpers import one_line

from experiments.running import experiment
from jaxgen import models
from jaxgen.errors import RunFolderError, SettingError
from jaxgen.evaluation import classifier
from jaxgen.models import mixture
from jaxgen.runs import settings

PRESETS = [
    (name, preset) for name in experiment.names() for preset in experiment.find(name).presets
]
HOSTILE: dict[str, Any] = {
    "mapping": {"tyro_write_completion": ["bash", "victim.txt"]},
    "flags in a list": ["0", "--overwrite", "--out", "elsewhere"],
    "huge number": 10**400,
    "path outside": "../../../etc/passwd",
    "NaN": float("nan"),
    "infinity": float("inf"),
    "nothing": None,
}


def fields_of(stored: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value, and of every mapping, in stored settings."""
    for name, value in stored.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from fields_of(value, (*path, name))


def changed(stored: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The settings with another value at one place."""
    if not path:
        return value  # type: ignore[no-any-return]
    return stored | {path[0]: changed(stored[path[0]], path[1:], value)}


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_is_rebuilt_from_json(name: str, preset: str) -> None:
    args = experiment.find(name).presets[preset]
    stored = json.loads(json.dumps(settings.to_json(args)))
    assert settings.rebuild(type(args), stored) == args
    assert settings.unlike(type(args), stored) == []


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_run_of_every_preset_can_be_opened(name: str, preset: str) -> None:
    """A run stores the settings as they are before its length fills in what follows from it."""
    model = experiment.find(name).presets[preset].model
    shape = (28, 28, 1)
    wanted = models.params_shape(name, model, shape)
    state = jax.eval_shape(partial(models.state_of, name, model, shape), wanted)
    assert jax.tree.structure(state.params) == jax.tree.structure(wanted)
    assert jax.tree.leaves(state.params) == jax.tree.leaves(wanted)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", experiment.names())
def test_no_field_takes_what_is_not_of_its_type(
    name: str,
    value: Any,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value is refused in one line, or is one that the type has: a text, a path, a None."""
    monkeypatch.chdir(tmp_path)
    args = experiment.find(name).default
    stored = settings.to_json(args)
    refusals = []
    for path in fields_of(stored):
        try:
            found: Any = settings.rebuild(type(args), changed(stored, path, value))
        except SettingError as error:
            refusals.append(str(error))
            continue
        for part in path:
            found = getattr(found, part)
        assert found == value or found == Path(str(value)) or found == tuple(value), path
        assert not isinstance(value, dict | float | int), path
        assert not isinstance(value, list) or path[-1] not in ("seeds", "hidden_sizes"), path
    assert all("\n" not in text and len(text) < 400 for text in refusals)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


CONFIGS = [models.module(name).Config for name in models.names()]
CONFIGS += [mixture.Config, classifier.Config]
OF_ANY_SIGN = {"min_log_var"}
"""Numbers that may be negative."""
OR_NONE = {"decay_steps", "num_updates", "kl_warmup_steps", "first_stage_steps", "num_classes"}
"""Whole numbers that may be 0."""


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__module__.rpartition(".")[2])
def test_no_config_takes_a_number_with_which_nothing_can_be_computed(kind: Any) -> None:
    """Every number of every model's settings, made in Python: sign, NaN, infinity, size."""
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        hostile: list[Any] = []
        if type(value) is float:
            hostile = [math.nan, math.inf, -math.inf]
            hostile += [] if field.name in OF_ANY_SIGN else [-0.5, -1e-30]
            hostile += [0.0] if field.name == "learning_rate" else []
        elif type(value) is int:
            hostile = [-1, 2**31, 10**30, 2.5, 2.0, True]
            hostile += [] if field.name in OR_NONE else [0]
        elif value == ():  # of names
            hostile = [("",), (0,)]
        elif isinstance(value, tuple):
            hostile = [(), (-1,) * len(value), (0,) * len(value), (2**31,) * len(value)]
        for each in hostile:
            with pytest.raises(SettingError) as error:
                dataclasses.replace(kind(), **{field.name: each})
            assert f"--{field.name.replace('_', '-')} " in one_line(error), each


def test_an_infinite_number_of_seconds_is_kept_as_a_text() -> None:
    args = dataclasses.replace(experiment.find("rbm").default, checkpoint_seconds=math.inf)
    stored = json.loads(json.dumps(settings.to_json(args), allow_nan=False))
    assert stored["checkpoint_seconds"] == "inf"
    assert settings.rebuild(type(args), stored) == args


@dataclasses.dataclass(frozen=True)
class Few:
    """A field of each kind that others do not have."""

    pair: tuple[int, str] = (1, "a")
    size: float = 1.0
    maybe: int | None = None


def test_numbers_and_tuples_keep_their_types() -> None:
    found = settings.rebuild(Few, {"pair": [2, "b"], "size": 3, "maybe": None})
    assert found == Few((2, "b"), 3.0, None)
    assert type(found.size) is float
    assert settings.rebuild(Few, {}) == Few()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"sise": 1.0}, "fields of Few, found 'sise', which it has not"),
        ({"pair": [1]}, "a list of 2 for pair, found one of 1"),
        ({"pair": [1, 2]}, "a text for pair[1], found 2"),
        ({"maybe": True}, "a whole number for maybe, found True"),
        ({"size": "1"}, "a finite number for size, found '1'"),
        ({"size": 10**30}, "a finite number for size, found a huge number"),
        ({"a\nb": 1}, "fields of Few, found 'a?b', which it has not"),
    ],
)
def test_what_is_refused_is_named(stored: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as error:
        settings.rebuild(Few, stored)
    assert message in one_line(error)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"[1]", "something else"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b" " * (settings.MAX_BYTES + 1), "1,048,577 bytes"),
    ],
)
def test_a_file_that_holds_no_settings(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunFolderError) as error:
        settings.read_json(path)
    assert f"found {found};" in one_line(error)
    path.unlink()
    with pytest.raises(RunFolderError) as error:
        settings.read_json(path)
    assert "No such file" in one_line(error)
