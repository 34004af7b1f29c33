"""Runs collected for others to load."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import FIXTURES

import jaxgen
from experiments import pretrained
from jaxgen.errors import CheckpointError, SettingError


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "run"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_collected_run_is_the_run(run_folder: Path, tmp_path: Path) -> None:
    change(run_folder / "config.json", data_dir="/home/somebody", out="/home/somebody/run")
    out = tmp_path / "collected"
    assert pretrained.main(pretrained.Args((run_folder,), out)) == 0
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    found, run = jaxgen.load(folder), jaxgen.load(run_folder)
    key = jax.random.key(3)
    np.testing.assert_array_equal(found.sample(key, 4), run.sample(key, 4))
    assert found.summary["metrics"] == run.summary["metrics"]
    text = "".join(p.read_text() for p in folder.glob("*.json"))
    assert "somebody" not in text
    names = ["config.json", "manifest.json", "metrics.jsonl", "params.safetensors", "summary.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    page = (out / "README.md").read_text()
    assert f'jaxgen.load("pretrained/{folder.name}")' in page
    assert f"| {folder.name} |" in page
    assert run.digest[:8] in page


def test_a_run_of_the_same_model_takes_the_place_of_the_other(
    run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "collected"
    for _ in range(2):
        pretrained.main(pretrained.Args((run_folder,), out))
    assert len([*out.iterdir()]) == 2  # no folder of a half one is left


def test_commands_with_places_of_a_machine_are_refused(run_folder: Path, tmp_path: Path) -> None:
    for command in ("python -m experiments.rbm --out /home/x", "python -m a --data-dir=~/data"):
        change(run_folder / "manifest.json", command=command)
        with pytest.raises(SettingError, match="absolute"):
            pretrained.main(pretrained.Args((run_folder,), tmp_path / "collected"))
    assert not (tmp_path / "collected").exists()


def test_damaged_runs_and_none_are_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="finished runs"):
        pretrained.main(pretrained.Args((), tmp_path / "collected"))
    (run_folder / "params.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError):
        pretrained.main(pretrained.Args((run_folder,), tmp_path / "collected"))
