"""Sets that other libraries name: TFDS's files, and a stand-in for the hub's library."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from support.helpers import one_line

from jaxgen import data
from jaxgen.data import hubs, records
from jaxgen.errors import DataError, DataMissingError, SettingError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)


class Coloured(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[misc, call-arg]
    """Seven colour images of three classes, as TFDS prepares them."""

    name = "coloured"
    VERSION = tfds.core.Version("1.2.0")

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["x", "y", "z"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: Any) -> Any:
        del dl_manager
        return {"train": self._generate_examples(0, 5), "test": self._generate_examples(5, 7)}

    def _generate_examples(self, first: int, last: int) -> Any:
        folder = Path(self.data_dir).parents[1]
        for row in range(first, last):
            path = folder / f"{row}.png"
            Image.fromarray(PIXELS[row]).save(path)
            yield row, {"image": str(path), "label": self.label_of(row)}

    def label_of(self, row: int) -> int:
        """The class of an image."""
        return row % 3


class Hidden(Coloured, skip_registration=True):  # type: ignore[misc, call-arg]
    """The same, with the labels of the test images hidden, as sets for competitions have it."""

    name = "hidden"

    def label_of(self, row: int) -> int:
        """The class of an image, or -1."""
        return -1 if row >= 5 else row % 3


@pytest.fixture
def root(tmp_path: Path) -> Path:
    builder = Coloured(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    return tmp_path


def test_what_tfds_has_prepared(root: Path) -> None:
    found = data.load("tfds:coloured", root)
    assert found.name == "tfds-coloured"
    assert found.class_names == ("x", "y", "z")
    assert (len(found.train.images), len(found.test.images)) == (5, 2)
    known = {image.tobytes(): row for row, image in enumerate(PIXELS)}
    for split, of_split in ((found.train, range(5)), (found.test, range(5, 7))):
        row = [known[image.tobytes()] for image in split.images]
        assert sorted(row) == [*of_split]
        assert split.labels.tolist() == [each % 3 for each in row]
    (file,) = root.glob("coloured/1.2.0/*train.array_record*")
    file.write_bytes(b"")
    with pytest.raises(DataError) as error:
        data.load("tfds:coloured", root, options=data.ImageOptions(image_size=(4,)))
    assert "run again" in one_line(error)


def test_hidden_test_labels_of_tfds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    builder = Hidden(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    with caplog.at_level("INFO", "jaxgen"):
        found = data.load("tfds:hidden", tmp_path)
    assert "the labels of its test split are hidden" in caplog.text
    known = {image.tobytes(): row for row, image in enumerate(PIXELS)}
    rows = [known[image.tobytes()] for split in (found.train, found.test) for image in split.images]
    assert sorted(rows) == [*range(5)]
    labels = [*found.train.labels.tolist(), *found.test.labels.tolist()]
    assert labels == [row % 3 for row in rows]


@pytest.mark.parametrize(
    "text", ["tfds:", "tfds:../x", "tfds:a:b:c", "tfds:a:b:", "tfds:a/b", f"tfds:{'a' * 4000}"]
)
def test_what_is_no_name_of_tfds(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        data.load(text, tmp_path)
    assert "tfds:" in one_line(error)
    assert len(one_line(error)) < 300


def test_without_files_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "is_reachable", lambda _: False)
    with pytest.raises(DataMissingError) as error:
        data.load("tfds:cifar10", tmp_path)
    assert "does not answer" in one_line(error)
    with pytest.raises(DataMissingError, match="no such data set"):
        data.load("tfds:no_such_set", tmp_path)


class HubImage:
    """The feature that the library `datasets` calls Image."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class HubSplit(list[Any]):
    """One split of the only set of this hub."""

    features: ClassVar = {
        "text": None,
        "picture": HubImage(),
        "kind": type("ClassLabel", (), {"names": ("cat", "dog")})(),
    }
    _fingerprint = "1"

    def cast_column(self, column: str, kind: HubImage) -> "HubSplit":
        """Leaves the pictures encoded."""
        assert (column, kind.decode) == ("picture", False)
        return self


def load_dataset(path: str, config: str | None) -> dict[str, HubSplit]:
    """The sets of this hub, which differ in their labels and in one picture."""
    pngs = [records.encode_png(image[..., 0]) for image in PIXELS]
    examples: list[Any] = [{"picture": {"bytes": png}, "kind": i % 2} for i, png in enumerate(pngs)]
    if path == "user/hidden":
        examples[4:] = [each | {"kind": -1} for each in examples[4:]]
    elif path == "user/gaps":
        examples[2]["kind"] = None
    elif path == "user/holes":
        examples[2]["picture"] = None
    elif (path, config) != ("user/pets", None):
        raise FileNotFoundError(f"no {path}\non the hub")
    return {"train": HubSplit(examples[:4]), "test": HubSplit(examples[4:])}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in, in the place of the library."""
    monkeypatch.setattr(hubs, "is_reachable", lambda _: True)
    label = type(HubSplit.features["kind"])
    module = SimpleNamespace(Image=HubImage, ClassLabel=label, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)


@pytest.mark.usefixtures("hub")
def test_hidden_test_labels_leave_the_test_split_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "jaxgen"):
        found = data.load("hf:user/hidden", tmp_path)
    assert "the labels of its test split are hidden" in caplog.text
    assert len(found.train.images) + len(found.test.images) == 4
    assert {*found.train.labels.tolist(), *found.test.labels.tolist()} == {0, 1}


@pytest.mark.usefixtures("hub")
def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        data.load("hf:user/gaps", tmp_path)
    assert "none for image 2 of train" in one_line(error)


@pytest.mark.usefixtures("hub")
def test_a_row_without_a_picture_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "jaxgen"):
        found = data.load("hf:user/holes", tmp_path)
    assert "image 2 of train" in caplog.text
    assert len(found.train.images) == 3


@pytest.mark.usefixtures("hub")
def test_the_hub(tmp_path: Path) -> None:
    found = data.load("hf:user/pets", tmp_path)
    assert (found.name, found.class_names) == ("hf-user-pets", ("cat", "dog"))
    np.testing.assert_array_equal(found.train.images, PIXELS[:4, ..., :1])
    assert found.test.labels.tolist() == [0, 1, 0]
    with pytest.raises(DataMissingError) as error:
        data.load("hf:user/none", tmp_path)
    assert "no user/none on the hub" in one_line(error)
    with pytest.raises(SettingError, match="hf:NAME:CONFIG"):
        data.load("hf:user/pets:a:b", tmp_path)


def test_the_hub_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hubs, "is_reachable", lambda _: True)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingError) as error:
        data.load("hf:user/pets", tmp_path)
    assert "[hf]" in one_line(error)
