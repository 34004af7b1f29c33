"""The real MNIST, in one file, for preparing it takes longer than most tests."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from support.helpers import one_line, sorted_rows
from support.runs import call, read

from experiments import vae
from jaxgen import data
from jaxgen.data import builders, sources
from jaxgen.errors import DataError

pytestmark = pytest.mark.data
MNIST = "28ae93e7462d5c798e2c46fb1a7353b8119f8a83c0e4c56103694bee887d3bc1"


def test_mnist_is_mnist(mnist_root: Path, mnist_dir: Path) -> None:
    mnist = data.load("mnist", mnist_root)
    assert mnist.train.images.shape == (60000, 28, 28, 1)
    assert mnist.test.images.shape == (10000, 28, 28, 1)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.train.labels).tolist() == counts
    assert np.bincount(mnist.test.labels)[0] == 980
    assert mnist.train.images.mean() == pytest.approx(33.3184, abs=1e-4)
    assert mnist.digest == MNIST  # stock TFDS with TensorFlow gives the same rows in this order
    names = builders.FILES["test"]
    originals = [
        builders.parse_idx(gzip.decompress((mnist_dir / name).read_bytes())) for name in names
    ]
    assert sorted_rows(*mnist.test) == sorted_rows(*originals)


def test_mnist_files_are_not_fashion_mnist(mnist_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        data.load("fashion_mnist", tmp_path, mnist_dir)
    assert "a file of mnist" in one_line(error)


def test_mnist_as_torchvision_and_archives_have_it(mnist_dir: Path, tmp_path: Path) -> None:
    """The digests of the contents are those of the real files; a byte more and they are others."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    packed = {path.name: path.read_bytes() for path in mnist_dir.glob("*-ubyte.gz")}
    plain = {name: gzip.decompress(content) for name, content in packed.items()}
    for name, content in plain.items():
        (raw / name.removesuffix(".gz").replace("-idx", ".idx")).write_bytes(content)
    found = sources.find_originals("mnist", tmp_path, tmp_path)
    assert found is not None
    assert {name: original.content for name, original in found.items()} == plain
    assert {original.path.parent for original in found.values()} == {raw}
    labels = raw / "t10k-labels.idx1-ubyte"
    labels.write_bytes(gzip.compress(labels.read_bytes(), 1))
    assert sources.find_originals("mnist", tmp_path, raw) is not None
    labels.write_bytes(gzip.compress(plain["t10k-labels-idx1-ubyte.gz"] + b"\0", 1))
    with pytest.raises(DataError) as error:
        sources.find_originals("mnist", tmp_path, raw.parent)
    assert f"found {labels} (" in one_line(error)


@pytest.mark.programs
def test_one_epoch_of_the_rbm(mnist_root: Path, tmp_path: Path) -> None:
    where = ("--dataset", "mnist", "--data-dir", str(mnist_root), "--out", str(tmp_path / "run"))
    short = ("--num-sampling-steps", "10", "--generation-steps", "5")
    assert call(*where, *short, "--epochs", "1") == 0
    summary = read(tmp_path / "run" / "summary.json")
    assert summary["steps"] == 600
    assert summary["metrics"]["test_reconstruction_error"] < 0.03


@pytest.mark.slow
def test_ten_epochs_of_the_vae(mnist_root: Path, tmp_path: Path) -> None:
    where = ("--dataset", "mnist", "--data-dir", str(mnist_root), "--out", str(tmp_path / "run"))
    flags = ("--epochs", "10", "--batch-size", "100", "--bound-samples", "10")
    assert call(*where, *flags, experiment=vae) == 0
    found = read(tmp_path / "run" / "summary.json")["metrics"]
    assert -125 < found["test_elbo"] < -95
    assert found["test_active_units"] >= 10
