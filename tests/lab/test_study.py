"""The runner of studies, and the RBM study, which is slow because it trains eleven RBMs."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from support.runs import Command, call

from experiments.lab.rbm import study as rbm_study
from experiments.lab.study import Study, Variant, run
from experiments.rbm import Args
from experiments.running.session import Session, session_for
from jaxgen.data import Dataset, Split
from jaxgen.models import rbm
from jaxgen.report.page import Section, Table


def test_variants_change_one_thing_each() -> None:
    lab = rbm.Config()
    variants = {each.name: each for each in rbm_study.variants(Args())}
    models = {name: each.args.model for name, each in variants.items()}
    changed = {
        name: [f for f in lab.__dataclass_fields__ if getattr(config, f) != getattr(lab, f)]
        for name, config in models.items()
    }
    assert all(len(fields) == 1 for fields in changed.values())
    steps = {c.num_gibbs_steps for c in models.values()} | {lab.num_gibbs_steps}
    assert steps == {1, 2, 5, 10}
    assert len({c.learning_rate for c in models.values()} | {lab.learning_rate}) >= 5
    assert {25, 400} <= {c.num_hidden for c in models.values()}
    assert "none" in {c.binarize for c in models.values()}
    one_program = [name for name, each in variants.items() if each.folder == "rates"]
    assert all(changed[name] == ["learning_rate"] for name in one_program)
    assert len({each.folder for each in variants.values()}) == len(variants) - len(one_program) + 1


class Row(NamedTuple):
    """A model of a study that is nothing but its measures."""

    measures: dict[str, float]


def test_the_runner_trains_each_program_once_and_writes_every_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two variants of one folder are one program; rows stand in the order of their measure."""
    trained: list[tuple[list[str], str]] = []
    args, split = Args(), Split(np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int32))
    dataset = Dataset("tiny", split, split, "0" * 64)
    session = session_for("rbm", args, dataset, tmp_path)

    def train(variants: Sequence[Variant[Args]], place: Session) -> dict[str, Row]:
        trained.append(([each.name for each in variants], place.part))
        return {each.name: Row({"x": 1.0 / (1 + len(each.name))}) for each in variants}

    def sections(rows: Mapping[str, Row], table: Table) -> list[Section]:
        return [Section("one", "The rows", [", ".join(rows)], (), table)]

    names = {"a": "one", "bbb": "both", "bb": "both"}
    study = Study(
        title="A study",
        facts={"start": "the same"},
        variants=[Variant(name, folder, args) for name, folder in names.items()],
        train=train,
        sections=sections,
        columns={"x": "the measure"},
        order=lambda row: -row.measures["x"],
    )
    with caplog.at_level(logging.INFO, "jaxgen"):
        page = run(study, args, session, {"the run": Row({"x": 3.0})})
    assert trained == [(["a"], "study/one"), (["bbb", "bb"], "study/both")]
    assert "2 trainings follow, each takes about as long as the run: a, bbb, bb" in caplog.text
    assert "the run, a, bb, bbb" in page.read_text()
    rows = json.loads((tmp_path / "study.json").read_text())
    assert rows[:2] == [{"name": "the run", "x": 3.0}, {"name": "a", "x": 0.5}]
    markdown = (tmp_path / "study.md").read_text()
    assert "- start: the same\n- spread: one seed" in markdown
    assert "| variant | the measure |" in markdown
    assert "| bb | 0.3333 |" in markdown


@pytest.mark.slow
def test_study_on_digits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbm_study, "DRIFT_STEPS", 20)
    folder = command.folder / "run"
    flags = command.args("--out", str(folder), "--epochs", "2", "--study")[2:]
    assert call(*flags) == 0
    rows = json.loads((folder / "study.json").read_text())
    assert len(rows) == 11
    # The main run has 25 hidden units here, so one variant repeats it, and no other does.
    lab, twin = rows[0], next(row for row in rows if row["name"] == "25 hidden")
    assert {**lab, "name": ""} == {**twin, "name": ""}
    assert len({row["test_reconstruction_error"] for row in rows}) == 10
    page = (folder / "study.html").read_text()
    assert all(f'"number">{name}<' in page for name in ("1.4", "1.5", "1.6", "1.8"))
    assert page.count("data:image/png") == 8
    table = (folder / "study.md").read_text()
    assert all(f"| {row['name']} |" in table for row in rows)
    for size in (25, 400):
        full = (folder / "study" / f"hidden{size}" / "report.html").read_text()
        assert all(f'"number">{name}<' in full for name in ("1.1", "1.2", "1.3", "1.7"))
