"""A stranger's config.json: whatever stands in it, one line is all that happens."""

import dataclasses
import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from support.runs import contents, forge, only_line, read

import jaxgen
from experiments import compare, reproduce
from experiments.reproduction import runs as reproduce_runs
from experiments.running import experiment, stored
from jaxgen.errors import CheckpointError, JaxgenError, SettingError
from jaxgen.runs.settings import rebuild, to_json

NESTED: Any = {}
for _ in range(50):
    NESTED = {"a": NESTED}
EPOCHS: dict[str, Any] = {
    "completion": {"tyro_write_completion": ["bash", "victim.txt"]},
    "coordinator": {
        "epochs": 60,
        "num_processes": 2,
        "process_id": 1,
        "coordinator": "127.0.0.1:9",
    },
    "help": {"help": True},
    "a list": [60],
    "a text": "60",
    "a huge number": 10**400,
    "a fraction": 1.5,
    "NaN": float("nan"),
    "deep": NESTED,
}
CHANGES: dict[str, dict[str, Any]] = {
    **{f"epochs: {name}": {"epochs": value} for name, value in EPOCHS.items()},
    "seeds as flags": {"seeds": ["0", "--overwrite", "--out", "elsewhere"]},
    "seed in words": {"seed": "0; rm"},
    "a seed below 0": {"seed": -1},
    "a preset that is a list": {"preset": ["lab"]},
    "an unknown preset": {"preset": "--help"},
    "a model that is a list": {"model": [1, 2]},
    "a deep model": {"model": NESTED},
    "1,000,000,000 hidden units": {"model": {"num_hidden": 1_000_000_000}},
    "other hidden units": {"model": {"num_hidden": 50}},
    "another rate": {"model": {"learning_rate": 0.2}},
    "a rate that is NaN": {"model": {"learning_rate": float("nan")}},
    "an unknown setting": {"colour": "red"},
    "another folder's experiment": {"experiment": "../../rbm"},
    "an experiment that is a list": {"experiment": ["rbm"]},
    "several processes": {
        "cluster": {"num_processes": 2, "process_id": 1, "coordinator": "127.0.0.1:9"}
    },
    "a cluster that is a list": {"cluster": ["127.0.0.1:9"]},
    "a folder that is a mapping": {"out": {"out": "elsewhere"}},
}


@pytest.fixture(params=[(name, alone) for name in CHANGES for alone in (False, True)], ids=str)
def strange(request: pytest.FixtureRequest, finished: Path, tmp_path: Path) -> Path:
    """A finished run whose config.json is somebody else's: changed, or of the change alone."""
    (name, alone), folder = request.param, tmp_path / "run"
    shutil.copytree(finished, folder)
    change = CHANGES[name]
    if alone:
        (folder / "config.json").write_text(json.dumps({"experiment": "rbm"} | change))
        return folder
    model = change.get("model")
    if isinstance(model, dict):
        change = change | {"model": read(folder / "config.json")["model"] | model}
    forge(folder, **change)
    return folder


@pytest.fixture
def guarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Calls a command that is to be refused: no process, no connection, no file, one line."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(reproduce_runs, "run", lambda *_: pytest.fail("a process is started"))
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("it is joined"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connects"))
    monkeypatch.setattr(socket.socket, "bind", lambda *_: pytest.fail("it listens"))
    before = contents(tmp_path)

    def call(act: Any) -> int:
        code = act()
        out, err = capsys.readouterr()
        assert out == ""
        only_line(err)
        assert contents(tmp_path) == before
        return code

    return call


def test_verify_refuses_it(strange: Path, guarded: Any) -> None:
    assert guarded(lambda: reproduce.main(["--verify", str(strange)])) in (2, 4, 6, 8)


def test_verify_logs_to_no_service_that_a_stranger_names(
    finished: Path, digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    config = read(folder / "config.json") | {"log": ["wandb", "mlflow"]}
    (folder / "config.json").write_text(json.dumps(config))
    asked: list[Any] = []

    def repeat(name: str, of: str, settings: Any, *_: Any) -> None:
        asked.append(settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce_runs, "repeat", repeat)
    with pytest.raises(KeyboardInterrupt):
        reproduce.verify(folder, reproduce.Args(data_dir=digits_root))
    assert [settings.loggers for settings in asked] == [()]


def test_compare_refuses_it(
    strange: Path,
    guarded: Any,
    digits_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if request.node.callspec.params["strange"] == ("several processes", False):
        pytest.skip("how many processes made a run is nothing to the comparison")
    argv = ["compare", str(strange), "--data-dir", str(digits_root)]
    out = tmp_path_factory.mktemp("compare") / "out"
    monkeypatch.setattr(sys, "argv", [*argv, "--out", str(out)])
    assert guarded(compare.entry) in (2, 4, 6)
    written = [path.name for path in out.iterdir() if path.name[0] != "."] if out.exists() else []
    assert written in ([], ["config.json"])


def test_load_refuses_what_it_reads(strange: Path) -> None:
    """Other settings than the model's stay data."""
    try:
        run = jaxgen.load(strange)
    except JaxgenError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert run.params["w"].shape == (784, 25)


@pytest.mark.parametrize("name", experiment.names())
def test_settings_come_back_as_they_were(name: str) -> None:
    declared = experiment.find(name)
    for preset, args in declared.presets.items():
        config = json.loads(json.dumps(to_json(args))) | {"experiment": name}
        assert stored.rebuild_args(config) == (declared, args)
        assert stored.rebuild_args({"experiment": name, "preset": preset}) == (declared, args)


def test_a_setting_that_an_older_version_had_not_is_that_of_the_preset() -> None:
    preset = experiment.find("rbm").presets["pcd16"]
    config = json.loads(json.dumps(to_json(preset))) | {"experiment": "rbm"}
    del config["base_rates"], config["model"]["persistent"]
    assert stored.rebuild_args(config)[1] == preset


def test_a_setting_that_came_later_is_as_it_was_before() -> None:
    """Also where the preset of that name has another value now."""
    preset = experiment.find("dcgan").presets["fast"]
    config = json.loads(json.dumps(to_json(preset))) | {"experiment": "dcgan"}
    del config["model"]["ema_corrected"], config["model"]["native_size"]
    found = dataclasses.asdict(stored.rebuild_args(config)[1])
    assert preset.model.ema_corrected
    assert not found["model"]["ema_corrected"]
    assert not found["model"]["native_size"]
    assert found | {"model": 0} == dataclasses.asdict(preset) | {"model": 0}


@pytest.mark.parametrize(("num_classes", "class_code"), [(3, "learned"), (0, "one_hot")])
def test_classes_are_as_they_were_where_there_are_some(num_classes: int, class_code: str) -> None:
    """A run without classes has the settings, and so the name, that it had."""
    preset = experiment.find("dcgan").presets["few"]
    config = json.loads(json.dumps(to_json(preset))) | {"experiment": "dcgan"}
    config["model"] |= {"num_classes": num_classes}
    del config["model"]["class_code"]
    model: Any = dataclasses.replace(preset.model, num_classes=num_classes, class_code=class_code)
    assert stored.rebuild_args(config)[1] == dataclasses.replace(preset, model=model)
    assert rebuild(type(model), config["model"]) == model


@pytest.mark.parametrize("name", experiment.names())
@pytest.mark.parametrize(
    "value", [NESTED, [NESTED], 10**400, "/../elsewhere\0", float("nan"), ["--help"]], ids=repr
)
def test_no_field_takes_what_it_cannot_be(name: str, value: Any) -> None:
    config = to_json(experiment.find(name).default) | {"experiment": name}
    for field in config:
        with pytest.raises((SettingError, CheckpointError)) as error:
            stored.rebuild_args(config | {field: value})
        assert "\n" not in str(error.value)
    for field in config["model"]:
        changed = config | {"model": config["model"] | {field: value}}
        with pytest.raises((SettingError, CheckpointError)) as error:
            stored.rebuild_args(changed)
        assert "\n" not in str(error.value)
