"""Inception's features, with a stub in the place of its net: what it gets, and what is refused."""

import contextlib
import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.helpers import one_line

from jaxgen.data import Dataset, Split
from jaxgen.errors import DataError, DataMissingError, SettingError
from jaxgen.evaluation import inception
from jaxgen.evaluation.sample_quality import frechet_distance

URL = "https://example.org/weights-inception.pth"


def made(name: str, features: list[str], feature_extractor_weights_path: str) -> Any:
    """A net of two features: the means of an image's first and of its last colour."""
    assert (name, features) == ("inception-v3-compat", ["2048"])
    assert Path(feature_extractor_weights_path).is_file()

    def net(images: np.ndarray) -> tuple[Any]:
        assert (images.dtype, images.shape[1]) == (np.uint8, 3)
        found = images[:, [0, 2]].mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
        return (SimpleNamespace(numpy=lambda: found),)

    return net


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the weights, in which a file lies, under stubs of PyTorch and torch-fidelity."""

    def download(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    hub = SimpleNamespace(get_dir=lambda: str(tmp_path), download_url_to_file=download)
    torch = SimpleNamespace(hub=hub, from_numpy=lambda x: x, no_grad=contextlib.nullcontext)
    package, module = ModuleType("torch_fidelity"), ModuleType("net")
    module.URL_INCEPTION_V3, module.FeatureExtractorInceptionV3 = URL, made  # type: ignore[attr-defined]
    package.feature_extractor_inceptionv3 = module  # type: ignore[attr-defined]
    for name, stub in {"torch": torch, "torch_fidelity": package}.items():
        monkeypatch.setitem(sys.modules, name, stub)
    path = tmp_path / "checkpoints" / "weights-inception.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "DIGEST", hashlib.sha256(b"weights").hexdigest())
    return path


def dataset(channels: int) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (70, 4, 5, channels), dtype=np.uint8)
    split = Split(images, np.zeros(70, np.int32))
    return Dataset("mnist", split, split, "0" * 64)


def test_features_of_colour_and_of_grey_images_raw_or_not(weights: Path) -> None:
    given = dataset(3)
    found = inception.load(given)
    expected = given.train.images[..., [0, 2]].mean(axis=(1, 2))
    np.testing.assert_allclose(found.real, expected, rtol=1e-6)
    in_unit_range = given.train.images / np.float32(255.0)
    np.testing.assert_allclose(found.extract(in_unit_range), expected, rtol=1e-6)
    assert frechet_distance(found.extract(in_unit_range), found.real) == pytest.approx(0, abs=1e-6)
    grey = inception.load(dataset(1)).real
    np.testing.assert_array_equal(grey[:, 0], grey[:, 1])


def test_what_is_missing_is_named(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="for --fid, found 2 channels") as error:
        inception.load(dataset(2))
    one_line(error)
    weights.write_bytes(b"others")
    with pytest.raises(DataError, match="remove the file") as damaged:
        inception.load(dataset(3))
    one_line(damaged)
    weights.unlink()
    with pytest.raises(
        DataMissingError, match=f"no download: Network.* put {URL} there"
    ) as missing:
        inception.load(dataset(3))
    one_line(missing)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(SettingError, match=r"pip install -e '\.\[fid\]'") as extra:
        inception.load(dataset(3))
    one_line(extra)
