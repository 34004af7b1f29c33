"""A run folder of an older release, see fixtures/old_run: it is read, gone on with and repeated."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import FIXTURES
from support.runs import call, contents, read

import jaxgen
from experiments.comparison import naming
from experiments.reproduction import checks, verdict
from experiments.running import stored
from jaxgen.errors import ReproduceError
from jaxgen.learner import named_key

FLAGS = ("--num-hidden", "3", "--num-sampling-steps", "5", "--generation-steps", "3")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "rbm")
    return tmp_path / "rbm"


def test_it_is_read(old: Path) -> None:
    run = jaxgen.load(old)
    assert (run.config.num_hidden, run.image_shape) == (3, (28, 28, 1))
    error = run.summary["metrics"]["test_reconstruction_error"]
    assert run.metrics["test_reconstruction_error"][1][-1] == error == pytest.approx(0.0366882)
    drawn = run.sample(named_key(jax.random.key(0), "sample"), 100)
    np.testing.assert_allclose(drawn, run.stored_samples(), atol=1e-5)


def test_it_has_its_name_in_the_comparison(old: Path) -> None:
    name = naming.label_of(jaxgen.load(old))
    assert name == "rbm-lab, num hidden 3, num sampling steps 5, epochs 2"


def test_its_settings_and_its_record_are_those_that_verify_repeats(old: Path) -> None:
    before = contents(old)
    run = verdict.read(old)
    experiment, args = checks.require_repeatable(old, run.record)
    assert (experiment, args) == ("rbm", stored.rebuild_args(read(old / "config.json"))[1])
    assert args.model.num_hidden == 3
    assert run.digests["parameters"] == jaxgen.load(old).digest
    assert verdict.promise(run.record, run.record)[0] == "A"
    assert contents(old) == before


def test_a_setting_that_came_later_has_its_default(old: Path) -> None:
    config = read(old / "config.json")
    assert not {"flip", "stream", "images"} & {*config}
    assert "visible" not in config["model"]
    _, args = checks.require_repeatable(old, verdict.read_record(old))
    assert args == stored.rebuild_args(config)[1]
    assert (args.flip, args.model.visible) == (False, "binary")
    whole = checks.complete(verdict.read_record(old), args)
    assert verdict.promise(whole, whole)[0] == "A"
    assert verdict.promise(verdict.read_record(old), whole)[0] == "C"
    for change, words in (({"later": 1}, "later, unknown here"), ({"base_rates": None}, "no base")):
        changed = {name: value for name, value in (config | change).items() if value is not None}
        (old / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ReproduceError, match=words):
            checks.require_repeatable(old, verdict.read_record(old))


@pytest.mark.programs
def test_it_goes_on(old: Path, digits_root: Path) -> None:
    before = read(old / "summary.json")
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(old), "--resume")
    assert call(*where, *FLAGS, "--epochs", "3") == 0
    after = read(old / "summary.json")
    assert (after["first_step"], after["steps"]) == (before["steps"], 45)
    assert after["image_shape"] == [28, 28, 1]
    assert jaxgen.load(old).metrics["free_energy_contrast"][0].tolist() == [15, 30, 45]
