"""Pages of RBM, DBN and up-down on colour images that are not square and have no labels."""

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from support.runs import assert_reads_back

from experiments import dbn, rbm, wake_sleep
from experiments.running.session import session_for
from jaxgen.data import Dataset, Split
from jaxgen.data.dataset import digest_of
from jaxgen.models.rbm import VisibleUnits

SHAPE = (6, 9, 3)
GAUSSIAN = "the 3 channels of a pixel, each for itself, are Gaussian units"
BINARY = "the 3 channels of a pixel, each for itself, are binary units, drawn again at every visit"


def colour() -> Dataset:
    """Images of two halves in colours of their own."""
    halves = np.random.default_rng(0).integers(0, 256, (70, 1, 2, 3))
    images = np.repeat(np.repeat(halves, 6, axis=1), [4, 5], axis=2).astype(np.uint8)
    none = np.zeros(70, np.int32)
    train, test = Split(images[:50], none[:50]), Split(images[50:], none[50:])
    return Dataset("halves", train, test, digest_of(train, test))


def page_of(module: ModuleType, visible: VisibleUnits, folder: Path, **flags: Any) -> str:
    """Trains a tiny model in a folder, reads the run back and returns its page."""
    model = {"visible": visible, "num_sampling_steps": 2} | (
        {"num_hidden": 4, "learning_rate": 0.005} if module is rbm else {"hidden_sizes": (4, 3)}
    )
    args = module.Args(batch_size=10, epochs=2, generation_steps=2, log_every=5, **flags)
    args = dataclasses.replace(args, model=dataclasses.replace(args.model, **model))
    name, dataset = module.__name__.rpartition(".")[2], colour()
    session = session_for(name, args, dataset, folder)
    page: Path = module.report(args, session, module.train(args, session))
    run = assert_reads_back(folder)
    assert run.sample(jax.random.key(0), 1).shape == (1, *SHAPE)
    found = run.reconstruct(jax.random.key(0), dataset.test.images)
    assert np.isfinite(found).all()
    return page.read_text()


pytestmark = pytest.mark.programs


def test_a_page_of_gaussian_units(tmp_path: Path) -> None:
    page = page_of(rbm, "gaussian", tmp_path)
    assert GAUSSIAN in page
    assert page.count("data:image/png") == 9


@pytest.mark.parametrize(("visible", "words"), [("gaussian", GAUSSIAN), ("binary", BINARY)])
def test_pages_of_a_net(visible: VisibleUnits, words: str, tmp_path: Path) -> None:
    """The DBN that is trained first has a page of its own."""
    assert words in page_of(wake_sleep, visible, tmp_path, dbn_epochs=2)
    assert words in (tmp_path / "dbn" / "report.html").read_text()


@pytest.mark.slow
def test_the_study_of_gaussian_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.lab.rbm.study.DRIFT_STEPS", 2)
    page_of(rbm, "gaussian", tmp_path, study=True)
    study = (tmp_path / "study.md").read_text()
    assert "| rate 0.001 |" in study
    assert "grey input" not in study


@pytest.mark.slow
def test_a_top_as_wide_as_a_colour_image(tmp_path: Path) -> None:
    page_of(dbn, "binary", tmp_path, study=True)
    assert "| W2 from W1 transposed |" in (tmp_path / "study.md").read_text()
