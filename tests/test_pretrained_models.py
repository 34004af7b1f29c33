"""The models in `pretrained`: each loads, draws, and has the numbers that its page prints."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import ROOT

import jaxgen
from jaxgen import data
from jaxgen.evaluation import sample_quality
from jaxgen.evaluation.model import LikelihoodBudget

FOLDERS = sorted(path.parent for path in (ROOT / "pretrained").glob("*/summary.json"))
PAGE = ROOT / "pretrained" / "README.md"
MOST_BYTES = 20_000_000
KEY = jax.random.key(5)


def metrics(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "summary.json").read_text())["metrics"]
    return found


def with_metric(name: str) -> list[Path]:
    return [folder for folder in FOLDERS if name in metrics(folder)]


def names(folder: Path) -> str:
    return folder.name


def test_they_are_small_and_all_on_the_page() -> None:
    files = [path for path in (ROOT / "pretrained").rglob("*") if path.is_file()]
    assert FOLDERS
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    rows = [line.split(" | ")[0] for line in PAGE.read_text().splitlines() if " | mnist | " in line]
    assert rows == [f"| {folder.name}" for folder in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=names)
def test_it_loads_and_draws(folder: Path) -> None:
    run = jaxgen.load(folder)
    images = np.asarray(run.sample(KEY, 3))
    assert images.shape == (3, 28, 28, 1)
    assert 0.0 <= images.min() < images.max() <= 1.0
    trained = json.loads((folder / "manifest.json").read_text()).get("rounded_from", run.digest)
    assert f"| {trained[:8]} |" in PAGE.read_text()


@pytest.fixture(scope="module")
def mnist(mnist_root: Path) -> data.Dataset:
    return data.load("mnist", mnist_root)


@pytest.mark.programs
@pytest.mark.data
@pytest.mark.parametrize("folder", with_metric("test_reconstruction_error"), ids=names)
def test_its_reconstruction_error_is_that_of_its_page(folder: Path, mnist: data.Dataset) -> None:
    images = mnist.test.images
    again = np.asarray(jaxgen.load(folder).reconstruct(KEY, images))
    error = np.mean(np.square(again - images / np.float32(255)))
    assert error == pytest.approx(metrics(folder)["test_reconstruction_error"], rel=0.02)


@pytest.mark.programs
@pytest.mark.data
@pytest.mark.parametrize("folder", with_metric("test_error"), ids=names)
def test_its_test_error_is_that_of_its_page(folder: Path, mnist: data.Dataset) -> None:
    """Rounding to float16 moves a few images from one class to another at most."""
    labels, _ = jaxgen.load(folder).classify(mnist.test.images)
    wrong = np.mean(labels != mnist.test.labels)
    assert wrong == pytest.approx(metrics(folder)["test_error"], abs=0.0005)


@pytest.mark.programs
@pytest.mark.data
@pytest.mark.parametrize("folder", with_metric("test_bound"), ids=names)
def test_its_bound_lies_between_those_of_its_page(folder: Path, mnist: data.Dataset) -> None:
    """The bound of 50 codes is above the ELBO and below that of 5,000, of the same images."""
    found = jaxgen.load(folder).log_likelihood(
        KEY, mnist.test.images, LikelihoodBudget(num_weights=50)
    )
    assert metrics(folder)["test_elbo"] < found.value < metrics(folder)["test_bound"]


@pytest.mark.programs
@pytest.mark.data
@pytest.mark.parametrize("folder", with_metric("sample_distance"), ids=names)
def test_its_samples_are_as_near_as_on_its_page(folder: Path, mnist: data.Dataset) -> None:
    images = np.asarray(jaxgen.load(folder).sample(KEY, 500))
    distances = sample_quality.nearest_distance(images, mnist.train.images)
    assert distances.mean() == pytest.approx(metrics(folder)["sample_distance"], rel=0.04)
