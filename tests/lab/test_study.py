"""The RBM study: every variant is trained, measured and shown; slow, for it trains eleven RBMs."""

import json

import pytest
from support.runs import Command, call

from experiments.lab.rbm import study as rbm_study
from jaxgen.models import rbm


def test_programs_change_one_thing_each() -> None:
    lab = rbm.Config()
    members = {n: c for program in rbm_study.programs(lab).values() for n, c in program.items()}
    changed = {
        name: [f for f in lab.__dataclass_fields__ if getattr(config, f) != getattr(lab, f)]
        for name, config in members.items()
    }
    assert all(len(fields) == 1 for fields in changed.values())
    steps = {c.num_gibbs_steps for c in members.values()} | {lab.num_gibbs_steps}
    assert steps == {1, 2, 5, 10}
    assert len({c.learning_rate for c in members.values()} | {lab.learning_rate}) >= 5
    assert {25, 400} <= {c.num_hidden for c in members.values()}
    assert "none" in {c.binarize for c in members.values()}


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
    assert all(f"{name} &middot;" in page for name in ("1.4", "1.5", "1.6", "1.8"))
    assert page.count("data:image/png") == 8
    table = (folder / "study.md").read_text()
    assert all(f"| {row['name']} |" in table for row in rows)
    for size in (25, 400):
        full = (folder / "study" / f"hidden{size}" / "report.html").read_text()
        assert all(f"{name} &middot;" in full for name in ("1.1", "1.2", "1.3", "1.7"))
