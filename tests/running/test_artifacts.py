"""Facts of a run's page from files that lie beside it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from experiments.running.artifacts import MEASURES, MEASURES_PAGE, measures_fact, write_samples
from jaxgen.models import rbm
from jaxgen.report.page import Link
from jaxgen.runs import samples


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[1]",
        b'{"of": 1}',
        b'{"of": {"parameters": "d1"}}',
        b"[" * 100_000,
        b'{"of": ' * 100_000,
    ],
)
def test_measures_of_a_strangers_folder_are_those_of_other_parameters(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / MEASURES_PAGE).touch()
    (tmp_path / MEASURES).write_bytes(content)
    fact = measures_fact(tmp_path, "d0")
    assert isinstance(fact, str)
    assert f"experiments.compare {tmp_path}" in fact


def test_measures_of_these_parameters_are_linked(tmp_path: Path) -> None:
    assert isinstance(measures_fact(tmp_path, "d0"), str)
    (tmp_path / MEASURES).write_text(json.dumps({"of": {"parameters": "d0"}}))
    assert isinstance(measures_fact(tmp_path, "d0"), str)
    (tmp_path / MEASURES_PAGE).touch()
    assert isinstance(measures_fact(tmp_path, "d0"), Link)


@pytest.mark.parametrize(("room", "num"), [(1 << 20, 100), (3 * 48 + samples.HEADER, 3), (50, 1)])
def test_the_samples_of_large_images_are_as_many_as_are_read_again(
    room: int, num: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MAX_BYTES", room)
    learner = rbm.learner(rbm.Config(num_hidden=2, num_sampling_steps=1), (4, 3, 1))
    state: Any = SimpleNamespace(state=learner.init(jax.random.key(0)))
    where: Any = SimpleNamespace(folder=tmp_path)
    images = write_samples(SimpleNamespace(seed=0), where, learner, state)  # type: ignore[arg-type]
    assert images.shape == (num, 4, 3, 1)
    if num > 1:
        np.testing.assert_array_equal(samples.read_samples(tmp_path), images)
