"""Every experiment on images of the user: an .npz of colours, not square, with labels."""

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from support.runs import call

import jaxgen
from experiments import compare
from experiments.running import experiment
from jaxgen import data
from jaxgen.errors import SettingError

pytestmark = pytest.mark.programs
SHAPE = (10, 7, 3)
CHAINS = ("--num-sampling-steps", "2", "--generation-steps", "2")
SMALL = {
    "rbm": ("--num-hidden", "3", *CHAINS),
    "dbn": ("--hidden-sizes", "4", "3", *CHAINS),
    "wake_sleep": ("--hidden-sizes", "4", "3", "--dbn-epochs", "1", *CHAINS),
    "dbm": ("--hidden-sizes", "4", "3", "--pretraining-epochs", "1", *CHAINS[:2]),
    "vae": ("--channels", "2", "3", "--latent-size", "2", "--bound-samples", "2"),
    "gan": ("--generator-sizes", "4", "--discriminator-sizes", "4", "--latent-size", "3"),
    "dcgan": ("--width", "0.02", "--latent-size", "3"),
}
"""The flags of a run that takes seconds; a new experiment has a line here."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images whose first half is reddish and whose second half is bluish."""
    rng, labels = np.random.default_rng(0), np.arange(60) // 30
    pixels = rng.integers(0, 128, (60, *SHAPE), dtype=np.uint8)
    pixels[..., 0] += np.uint8(120) * (labels == 0)[:, None, None].astype(np.uint8)
    pixels[..., 2] += np.uint8(120) * (labels == 1)[:, None, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("own") / "my images.npz"
    np.savez(path, images=pixels, labels=labels)
    return path


@pytest.mark.parametrize("name", experiment.names())
def test_trains_reports_and_reads_back(name: str, images: Path, tmp_path: Path) -> None:
    where = ("--dataset", str(images), "--data-dir", str(images.parent / "data"))
    short = ("--epochs", "1", "--batch-size", "9", "--out", str(tmp_path / "run"))
    assert call(*where, *short, *SMALL[name], experiment=module(name)) == 0
    run = jaxgen.load(tmp_path / "run")
    assert run.image_shape == SHAPE
    some = {"test_error", "test_log_likelihood"}  # of classes, and of few hidden units
    headlines = {*module(name).EXPERIMENT.headlines} - some
    assert headlines <= {*run.summary["metrics"]}
    assert run.class_names == ("0", "1")
    size = (64, 64) if name == "dcgan" else SHAPE[:2]
    assert run.sample(jax.random.key(0), 2).shape == (2, *size, 3)
    dataset = run.dataset(images.parent / "data")
    assert len(dataset.train.images) + len(dataset.test.images) == 60
    assert sorted(os.listdir(images.parent)) == ["data", "my images.npz"]
    for figure in (tmp_path / "run").glob("figures/*.png"):
        assert figure.stat().st_size > 0


def test_a_comparison_knows_its_runs_of_small_sets_again(images: Path, tmp_path: Path) -> None:
    """Their batches are smaller than the preset's, as the data decide."""
    folder = tmp_path / "run"
    where = ("--dataset", str(images), "--data-dir", str(images.parent / "data"))
    words = [*where, "--out", str(folder), "--epochs", "1", "--seeds", "0", *SMALL["rbm"]]
    assert call(*words, experiment=module("rbm")) == 0
    assert jaxgen.load(folder).settings["batch_size"] < 10
    compare._check_is_of(folder, words)
    with pytest.raises(SettingError, match="batch size"):
        compare._check_is_of(folder, [*words, "--batch-size", "11"])


def module(name: str) -> Any:
    return __import__(f"experiments.{name}", fromlist=["EXPERIMENT"])


def test_each_image_keeps_its_label(images: Path) -> None:
    found = data.load(images, images.parent / "data")
    for split in found.train, found.test:
        red, _, blue = np.moveaxis(split.images.mean(axis=(1, 2)), 1, 0)
        np.testing.assert_array_equal(split.labels, blue > red)
