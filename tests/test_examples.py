"""The examples in the docstrings of the front door run, and each of its names has one."""

import doctest
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from support.helpers import FIXTURES
from support.runs import write_run

import jaxgen
from jaxgen import data, models, training
from jaxgen.models import dbn
from jaxgen.sklearn import RBM, VAE

MODULES = {"data", "evaluation", "export", "losses", "models", "runs", "training"}
NAMES: dict[str, Any] = {
    **{name: getattr(jaxgen, name) for name in {*jaxgen.__all__} - MODULES - {"__version__"}},
    **{f"data.{name}": getattr(data, name) for name in {*data.__all__} - {"NAMES", "Name"}},
    **{f"training.{name}": getattr(training, name) for name in training.__all__},
    **{
        f"{name}.{each}": getattr(models.module(name), each)
        for name in models.names()
        for each in ("learner", "Config")
    },
    "sklearn.RBM": RBM,
    "sklearn.VAE": VAE,
}
OWN = (jaxgen.Run, jaxgen.Dataset, data.ImageOptions)
"""Classes of which every public method and property has one too."""
LONG = {"Run.evaluate", "Run.log_likelihood", "sklearn.RBM", "sklearn.VAE"}
"""They compile programs that take seconds."""


def documented() -> Iterator[tuple[str, Any]]:
    """Every name with what has its docstring; each object once."""
    seen = set()
    for name, found in sorted(NAMES.items()):
        if id(found) not in seen:
            seen.add(id(found))
            yield name, found
            for each, member in vars(found).items() if found in OWN else ():
                function = getattr(member, "fget", getattr(member, "func", member))
                if inspect.isfunction(function) and not each.startswith("_"):
                    yield f"{found.__name__}.{each}", function


FOUND = dict(documented())


def test_the_front_door_is_all_there() -> None:
    assert {"fit", "load", "Run.sample", "Dataset.image_shape", "data.from_folder"} <= {*FOUND}
    assert {"vae.Config", "dcgan.learner", "training.steps_in_epoch", *LONG} <= {*FOUND}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and a folder of pictures."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(FIXTURES / "old_run" / "rbm", folder / "runs" / "rbm-digits-seed0")
    config = dbn.Config(hidden_sizes=(4, 3), num_sampling_steps=3, num_classes=10)
    names = {"class_names": [*map(str, range(10))]}
    write_run(folder / "runs" / "dbn-digits-seed0", "dbn", config, (28, 28, 1), **names)
    rng = np.random.default_rng(0)
    for index in range(6):
        side = "train" if index < 4 else "test"
        path = folder / "pictures" / side / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    return folder


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] * (each in LONG)) for each in FOUND]
)
def test_examples_run(
    name: str, place: Path, digits_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_root))
    monkeypatch.chdir(place)
    names = {"jax": jax, "np": np, "jaxgen": jaxgen, "data": data, "Path": Path}
    text = inspect.getdoc(FOUND[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples, f"no example for {name}"
    lines: list[str] = []  # of failures
    doctest.DocTestRunner(verbose=False).run(example, out=lines.append)
    assert lines == []
