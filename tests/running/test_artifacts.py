"""Facts of a run's page from files that lie beside it."""

import json
from pathlib import Path

import pytest

from experiments.running.artifacts import MEASURES, MEASURES_PAGE, measures_fact
from jaxgen.report.page import Link


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
