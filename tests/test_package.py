"""The package: what it declares, and what imports without the extras."""

import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Iterable
from typing import Any

import pytest
from support.helpers import ROOT, run_python

import experiments

TFDS = "tensorflow_datasets"


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def without(modules: Iterable[str], code: str) -> "subprocess.CompletedProcess[str]":
    """Runs code in a process that finds none of the modules."""
    return run_python("-c", f"import sys; sys.modules.update(dict.fromkeys({[*modules]}))\n{code}")


def test_the_library_imports_without_the_extra_and_without_tfds() -> None:
    """All of it but two modules of `jaxgen.data`; TFDS itself has a progress bar."""
    code = """
import jaxgen
from jaxgen import data, evaluation, export, models, report, runs, training
import importlib, pkgutil
for module in pkgutil.walk_packages(jaxgen.__path__, "jaxgen."):
    if module.name not in ("jaxgen.data.builders", "jaxgen.data.records"):
        importlib.import_module(module.name)
        print(module.name)
"""
    done = without((*experiments.EXTRA, TFDS), code)
    assert done.returncode == 0, done.stderr
    assert {"jaxgen.models.rbm", "jaxgen.training.loop"} <= {*done.stdout.split()}


def test_the_library_imports_without_jax() -> None:
    done = run_python("-c", "import jaxgen, sys; sys.exit('jax' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_commands_start_without_what_their_ends_need() -> None:
    """Modules that take a tenth of a second or more to import: for probes, figures, raw data."""
    late = ["sklearn", "scipy.stats", "scipy.spatial", "scipy.ndimage", "matplotlib", TFDS]
    names = [path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")]
    imports = "; ".join(f"import experiments.{name}" for name in names)
    done = run_python("-c", f"import sys; {imports}; print(*{{*sys.modules}} & {{*{late}}})")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("command", ["rbm", "compare", "prepare"])
def test_an_experiment_without_the_extra_says_what_to_type(command: str) -> None:
    code = f"import runpy; runpy.run_module('experiments.{command}', run_name='__main__')"
    done = without(experiments.EXTRA, code)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    words = "tyro, tqdm, tensorboardX, platformdirs, filelock"
    assert done.stderr.startswith(f"error: expected {words} beside the library")
    assert done.stderr.endswith(f"type: pip install {words.replace(',', '')}\n")


def test_the_extra_is_what_the_experiments_ask_for() -> None:
    extras = project()["optional-dependencies"]
    names = [re.split(r"[>=]", requirement)[0] for requirement in extras["experiments"]]
    assert tuple(names) == experiments.EXTRA
    assert all(importlib.util.find_spec(name) for name in names)
    assert "jaxgen[experiments]" in extras["test"]


def test_package_data_is_there() -> None:
    """A wheel without the template trains, and then fails to draw its page."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = table["package-data"]["jaxgen"]
    shipped = {path for pattern in patterns for path in (ROOT / "jaxgen").glob(pattern)}
    others = {
        path
        for path in (ROOT / "jaxgen").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert others == shipped
    assert ROOT / "jaxgen/py.typed" in shipped
    assert ROOT / "jaxgen/report/templates/report.html" in shipped


def test_citation_names_the_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project()['version']}\n" in text
    assert f"\nlicense: {project()['license']}\n" in text
