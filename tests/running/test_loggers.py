"""Services beside the log: stand-ins take what is logged, and the real ones if they are there."""

import importlib.util
import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.helpers import one_line

from experiments.running import loggers
from experiments.running.loggers import Loggers
from jaxgen.errors import SettingError
from jaxgen.files import write_json

IMAGES = np.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5, 1)
CONFIG = {"experiment": "rbm", "model": {"num_hidden": 3}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_json(tmp_path / "config.json", CONFIG)
    return tmp_path


def train(name: str, folder: Path, first_step: int, last_step: int) -> None:
    """Logs the steps after `first_step`; a killed process has no other end."""
    found = Loggers([name], folder, first_step)
    for step in range(first_step + 1, last_step + 1):
        found.scalars(step, {"error": 1 / step})
        found.images(step, "samples", IMAGES)
    found.close()


class _Client:
    """The used part of `MlflowClient`, in a dictionary; as the real one it keeps a step twice."""

    def __init__(self) -> None:
        self.images: list[tuple[int, str, np.ndarray]] = []
        self.params: dict[str, str] = {}
        self.logged: list[Any] = []
        self.status = ""

    def __call__(self) -> "_Client":
        """Stands for the class."""
        return self

    def get_experiment_by_name(self, name: str) -> None:
        assert name == "jaxgen"

    def create_experiment(self, *_: str) -> str:
        return "7"

    def create_run(self, *_: str, **__: str) -> Any:
        assert not self.logged, "one run"
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def get_run(self, run: str) -> Any:
        assert run == "abc"
        metrics = {name: 0.0 for name, _, _ in self.logged}
        return SimpleNamespace(data=SimpleNamespace(metrics=metrics))

    def get_metric_history(self, _: str, name: str) -> list[Any]:
        return [SimpleNamespace(step=step) for each, _, step in self.logged if each == name]

    def update_run(self, _: str, status: str) -> None:
        self.status = status

    def log_param(self, _: str, name: str, value: str) -> None:
        self.params[name] = value

    def log_metric(self, _: str, name: str, value: float, step: int) -> None:
        self.logged.append((name, value, step))

    def log_image(self, _: str, image: np.ndarray, key: str, step: int) -> None:
        self.images.append((step, key, image))

    def set_terminated(self, _: str) -> None:
        self.status = "FINISHED"


def test_mlflow_has_each_step_of_a_resumed_run_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Client()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=client))
    train("mlflow", folder, 0, 6)
    train("mlflow", folder, 4, 8)
    assert client.logged == [("error", 1 / step, step) for step in range(1, 9)]
    assert [step for step, _, _ in client.images] == [*range(1, 9)]
    assert client.params == {"experiment": "rbm", "model.num_hidden": "3"}
    assert client.status == "FINISHED"
    _, name, image = client.images[0]
    assert name == "samples"
    np.testing.assert_array_equal(image[:, 5:10], np.rint(255 * IMAGES[1]))


class _Run(SimpleNamespace):
    """A run of W&B: what it was made with, and what was logged."""

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


def fake_wandb(runs: list[_Run]) -> Any:
    """The module, which adds its runs to a list."""

    def init(**given: Any) -> _Run:
        runs.append(_Run(**given, url=None, logged=[], finished=False))
        return runs[-1]

    return SimpleNamespace(init=init, Settings=dict, Image=np.asarray, Error=ConnectionError)


def test_wandb_goes_on_with_the_same_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs: list[_Run] = []
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(runs))
    train("wandb", folder, 0, 2)
    train("wandb", folder, 1, 2)
    train("wandb", folder, 0, 2)
    first, again, other = runs
    assert first.id == again.id != other.id
    assert {run.resume for run in runs} == {"allow"}
    assert first.config == CONFIG
    assert first.finished
    assert [step for step, _ in first.logged] == [1, 1, 2, 2]
    assert first.logged[0][1] == {"error": 1.0}
    assert capsys.readouterr().out.startswith("wandb: offline, in ")


def test_wandb_that_takes_no_run_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = fake_wandb([])

    def refuse(**given: Any) -> None:
        raise wandb.Error("no API key\nconfigured")

    wandb.init = refuse
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    client = _Client()
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=client))
    with pytest.raises(SettingError, match="found no API key; type: wandb login, or set") as error:
        Loggers(["mlflow", "wandb"], folder, 0)
    one_line(error)
    assert client.status == "FINISHED"  # that of the one that was open already


def test_a_service_that_fails_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, runs = _Client(), []
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=client))
    monkeypatch.setitem(sys.modules, "wandb", fake_wandb(runs))
    found = Loggers(["mlflow", "wandb"], folder, 0)
    client.log_metric = None  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.WARNING, "jaxgen"):
        for step in (1, 2):
            found.scalars(step, {"error": 0.5})
        found.close()
    assert [each.message.partition(":")[0] for each in caplog.records] == ["no more goes to mlflow"]
    assert [step for step, _ in runs[0].logged] == [1, 2]
    assert runs[0].finished


def test_an_id_that_is_none_is_not_sent(folder: Path) -> None:
    for content in ("", "[]", '{"wandb": 3}', '{"wandb": "../../x"}', "[" * 10_000):
        (folder / loggers.IDS).write_text(content)
        assert loggers._known_id(folder, "wandb") is None


@pytest.mark.parametrize("name", loggers.PACKAGES)
def test_an_absent_package_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loggers.require_installed(())
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    package = loggers.PACKAGES[name]
    with pytest.raises(SettingError, match=f"--log {name}, found none; type: pip") as error:
        loggers.require_installed((name,))
    assert one_line(error).endswith(f"pip install {package}")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="no mlflow")
def test_the_real_mlflow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.chdir(folder)
    train("mlflow", folder, 0, 6)
    train("mlflow", folder, 4, 8)
    from mlflow import MlflowClient

    run = loggers._known_id(folder, "mlflow")
    assert run
    history = MlflowClient().get_metric_history(run, "error")
    assert [(each.step, each.value) for each in history] == [(n, 1 / n) for n in range(1, 9)]
    assert MlflowClient().get_run(run).info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="no wandb")
def test_the_real_wandb_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train("wandb", folder, 0, 6)
    train("wandb", folder, 4, 8)
    files = [*folder.glob("wandb/offline-run-*/*.wandb")]
    assert {path.stem.removeprefix("run-") for path in files} == {
        loggers._known_id(folder, "wandb")
    }
    assert all(path.stat().st_size > 1000 for path in files)
