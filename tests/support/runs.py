"""Runs of experiments for the tests: small ones, in this process or in another."""

import contextlib
import functools
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from support.helpers import run_python, start_python

import jaxgen
from experiments import rbm
from experiments.reproduction import checks as reproduce_checks
from experiments.reproduction import verdict as reproduce_verdict
from experiments.running import cli
from jaxgen import models
from jaxgen.export import safetensors
from jaxgen.jitted import jitted
from jaxgen.learner import named_key
from jaxgen.models import dbn
from jaxgen.runs import metrics_log
from jaxgen.runs.manifest import settings_digest
from jaxgen.runs.settings import to_json
from jaxgen.training.loop import Progress

SMALL = ("--num-hidden", "25", "--num-sampling-steps", "10", "--generation-steps", "5")
"""An RBM that is soon trained and drawn."""
EPOCHS = ("--epochs", "60")
STEPS = 60 * 15


class Command(NamedTuple):
    """The command line of a small run on digits."""

    data_root: Path
    folder: Path

    def args(self, *flags: str) -> list[str]:
        """The words behind the interpreter."""
        common_flags = ("--dataset", "digits", "--data-dir", str(self.data_root))
        return ["-m", "experiments.rbm", *common_flags, *SMALL, *flags]

    def run(self, *flags: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """Runs it to its end."""
        return run_python(*self.args(*flags), cwd=self.folder, **env)

    def start(self, *flags: str) -> "subprocess.Popen[str]":
        """Starts it."""
        return start_python(*self.args(*flags), cwd=self.folder)


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())


def forge(folder: Path, **settings: Any) -> None:
    """Changes settings of a run, and its summary so that it has these."""
    config, summary = read(folder / "config.json") | settings, read(folder / "summary.json")
    (folder / "config.json").write_text(json.dumps(config))
    if "settings_digest" in summary:
        summary["settings_digest"] = settings_digest(config)
    (folder / "summary.json").write_text(json.dumps(summary))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the metrics log."""
    path = folder / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines less what differs between equal runs."""
    return [{k: v for k, v in line.items() if k != "train_s"} for line in lines]


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file that is not hidden."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def only_line(text: str) -> str:
    """The text, which is to be one error that a user can act on."""
    assert text.count("\n") == 1, text
    assert text.startswith("error: expected "), text
    return text


def wait_until(process: "subprocess.Popen[str]", reached: Callable[[], bool]) -> None:
    """Returns as soon as a running process has got somewhere."""
    deadline = time.monotonic() + 60
    while not reached():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the run ended or hung: {process.communicate()}")
        time.sleep(0.005)


def call(*flags: str, experiment: ModuleType = rbm) -> int:
    """The same command inside this process, which saves imports and compilations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [experiment.EXPERIMENT.name, *flags])
        code: int = cli.main(experiment.EXPERIMENT)
        return code


@contextlib.contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """Stops a run in this process by SIGTERM, as soon as its log has passed a step."""
    write = metrics_log.Log.write

    def write_and_stop(log: metrics_log.Log, progress: Progress, values: Any) -> None:
        write(log, progress, values)
        if progress.step > step:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics_log.Log, "write", write_and_stop)
        yield


def refused(finished: Path, capsys: Any, digits_root: Path, *flags: str) -> tuple[int, str]:
    """Exit code and message of a run on a folder whose content stays as it is."""
    before = contents(finished)
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(finished))
    code = call(*where, *SMALL, *EPOCHS, *flags)
    out, err = capsys.readouterr()
    assert "report: " not in out  # what it would have done may be there
    assert contents(finished) == before
    return code, only_line(err)


def assert_reads_back(folder: Path) -> jaxgen.Run:
    """A finished run of an experiment gives its own numbers when it is loaded; returns it."""
    run = jaxgen.load(folder)
    summary = read(folder / "summary.json")
    assert safetensors.digest(run.params) == summary["digest"] == run.digest
    assert run.summary["metrics"] == summary["metrics"]
    with np.load(folder / "samples.npz") as file:
        stored = file["images"]
    drawn = run.sample(named_key(jax.random.key(run.seed), "sample"), len(stored))
    np.testing.assert_array_equal(drawn, stored)
    np.testing.assert_array_equal(run.stored_samples(), stored)
    return run


def said_twice(folder: Path) -> list[str]:
    """The settings of a finished run that its checkpoints or its summary contradict."""
    return [*reproduce_checks.find_changes(folder, reproduce_verdict.read_record(folder).config)]


@functools.cache
def trained_state(name: str, config: Any, shape: tuple[int, int, int]) -> Any:
    """A model's state that is not the one every learner begins with."""
    key = jax.random.key(5)
    if name == "dbn":
        return models.state_of(name, config, shape, dbn.init_params(config, shape, key))
    return jax.jit(models.module(name).learner(config, shape).init)(key)


@functools.cache
def drawn(name: str, config: Any, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """The samples that a run of such a state and seed has stored."""
    sample = jitted(models.module(name).learner(config, shape).sample, static_argnums=2)
    key = named_key(jax.random.key(seed), "sample")
    return np.asarray(sample(trained_state(name, config, shape), key, 4))


def write_run(
    folder: Path,
    name: str,
    config: Any,
    shape: tuple[int, int, int],
    seed: int = 0,
    **summary: Any,
) -> Path:
    """The files of a finished run of one seed that say what was trained; returns its folder."""
    folder.mkdir(parents=True)
    state = trained_state(name, config, shape)
    np.savez_compressed(folder / "samples.npz", images=drawn(name, config, shape, seed))
    params = safetensors.flatten(jax.device_get(state.params))
    safetensors.save_params(folder / "params.safetensors", params, {})
    line = {"step": 3, "epoch": 1.0, "train_s": 0.5, "test_error": 0.25, "binarisation": "sample"}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    content: dict[str, Any] = {"experiment": name, "dataset": "digits", "seed": seed}
    stored = content | {"model": to_json(config), "seeds": []}
    (folder / "config.json").write_text(json.dumps(stored))
    content |= {"digest": safetensors.digest(params), "data_digest": "d0"} | summary
    (folder / "summary.json").write_text(json.dumps({"metrics": {"test_error": 0.25}} | content))
    return folder
