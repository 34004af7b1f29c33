"""The file formats of data sets: IDX, TFRecord, PNG, and what stock TFDS prepared."""

import io
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.helpers import one_line, to_idx
from tensorboardX.record_writer import masked_crc32c
from tensorflow_datasets.proto import tf_example_pb2

from jaxgen import data
from jaxgen.data import builders, loading
from jaxgen.data import records as data_records
from jaxgen.errors import DataError

# ---- the IDX and TFRecord parsers

shapes = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@given(shapes, st.data())
def test_idx_round_trip_and_truncation(shape: list[int], draw: st.DataObject) -> None:
    size = int(np.prod(shape))
    array = np.frombuffer(draw.draw(st.binary(min_size=size, max_size=size)), np.uint8)
    encoded = to_idx(array.reshape(shape))
    np.testing.assert_array_equal(builders.parse_idx(encoded), array.reshape(shape))
    for wrong in [encoded[:end] for end in range(len(encoded))] + [encoded + b"\0"]:
        with pytest.raises(DataError) as error:
            builders.parse_idx(wrong)
        one_line(error)


@given(st.binary(max_size=40))
def test_idx_takes_any_bytes(content: bytes) -> None:
    try:
        array = builders.parse_idx(content)
    except DataError:
        return
    assert to_idx(array) == content


def to_tfrecord(records: list[bytes]) -> bytes:
    file = b""
    for record in records:
        length = struct.pack("<Q", len(record))
        file += length + struct.pack("<I", masked_crc32c(length))
        file += record + struct.pack("<I", masked_crc32c(record))
    return file


records = st.lists(st.binary(max_size=20), max_size=4)


@given(records)
def test_tfrecord_round_trip_and_truncation(contents: list[bytes]) -> None:
    file = to_tfrecord(contents)
    assert data_records.split_tfrecords(file, len(contents)) == contents
    for wrong in [file[:end] for end in range(len(file))] + [file + b"\0"]:
        with pytest.raises(ValueError, match="whole records"):
            data_records.split_tfrecords(wrong, len(contents))


@given(records.filter(len), st.data())
def test_tfrecord_flipped_bit(contents: list[bytes], draw: st.DataObject) -> None:
    file = bytearray(to_tfrecord(contents))
    file[draw.draw(st.integers(0, len(file) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"whole records|wrong checksum"):
        data_records.split_tfrecords(bytes(file), len(contents))


def pil_png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_png_codec_agrees_with_pil(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    smooth = np.cumsum(noise // 32, axis=1, dtype=np.uint8)
    images = np.concatenate([noise, smooth, np.cumsum(smooth, axis=2, dtype=np.uint8)])
    ours = [data_records.encode_png(image) for image in images]
    pils = [pil_png(image) for image in images]
    for image, png in zip(images, ours, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image)
    np.testing.assert_array_equal(data_records.decode_pngs(pils + ours), np.tile(images, (2, 1, 1)))


def test_png_of_another_kind() -> None:
    for image in (np.zeros((28, 27), np.uint8), np.zeros((28, 28, 3), np.uint8)):
        with pytest.raises(ValueError, match="28x28"):
            data_records.decode_pngs([pil_png(image)])


# ---- what stock TFDS prepared


def write_stock(folder: Path, splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Writes what stock TFDS 4.9 with TensorFlow writes for MNIST, but with few images."""
    folder.mkdir(parents=True)
    module = "tensorflow_datasets.core.features"
    shape = {"dimensions": ["28", "28", "1"]}
    features = {
        "image": {
            "image": {"dtype": "uint8", "shape": shape},
            "pythonClassName": f"{module}.image_feature.Image",
        },
        "label": {
            "classLabel": {"numClasses": "10"},
            "pythonClassName": f"{module}.class_label_feature.ClassLabel",
        },
    }
    top = {
        "featuresDict": {"features": features},
        "pythonClassName": f"{module}.features_dict.FeaturesDict",
    }
    (folder / "features.json").write_text(json.dumps(top))
    info = {"name": "mnist", "version": "3.0.1", "fileFormat": "tfrecord", "splits": []}
    info["moduleName"] = "tensorflow_datasets.image_classification.mnist"
    for split, (images, labels) in splits.items():
        contents = []
        for image, label in zip(images, labels, strict=True):
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(pil_png(image))
            example.features.feature["label"].int64_list.value.append(int(label))
            contents.append(example.SerializeToString())
        (folder / f"mnist-{split}.tfrecord-00000-of-00001").write_bytes(to_tfrecord(contents))
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = [str(len(images))]
        info["splits"].append(
            {"filepathTemplate": template, "name": split, "shardLengths": lengths}
        )
    (folder / "dataset_info.json").write_text(json.dumps(info))


@pytest.fixture
def stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Few images, prepared as stock TFDS prepares them, in ``tmp_path/mnist/3.0.1``."""
    monkeypatch.setitem(loading.CONTENTS, "mnist", loading.Contents(30, 7))
    images, labels = builders.digits_arrays()
    splits = {"train": (images[:30], labels[:30]), "test": (images[30:37], labels[30:37])}
    write_stock(tmp_path / "mnist" / "3.0.1", splits)
    return splits


def test_stock_prepared_is_read_and_left_alone(
    stock: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    folder = tmp_path / "mnist" / "3.0.1"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(2):  # from the files, then from the cache
        mnist = data.load("mnist", tmp_path)
        for split, (images, labels) in zip((mnist.train, mnist.test), stock.values(), strict=True):
            np.testing.assert_array_equal(split.images[..., 0], images)
            np.testing.assert_array_equal(split.labels, labels)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert data.prepare("mnist", tmp_path) == folder


@pytest.mark.parametrize("damage", ["test as train", "fewer", "others"])
def test_stock_files_of_another_set(
    stock: dict[str, tuple[np.ndarray, np.ndarray]],
    tmp_path: Path,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole files, but not those that the data set is known to have."""
    folder = tmp_path / "mnist" / "3.0.1"
    shutil.rmtree(folder)
    train, test = stock["train"], stock["test"]
    if damage == "others":
        monkeypatch.setitem(loading.CONTENTS, "mnist", loading.Contents(30, 7, "0" * 64))
    few = (test[0][:6], test[1][:6])
    write_stock(
        folder,
        {
            "test as train": {"train": train, "test": train},
            "fewer": {"train": train, "test": few},
            "others": {"train": train, "test": test},
        }[damage],
    )
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path)
    text = one_line(error)
    assert f"expected mnist as it is known, 30 and 7 images, in {folder}, found" in text
    assert text.endswith(f"delete {folder} and run again")
    assert not (tmp_path / "jaxgen" / "cache").exists()


@pytest.mark.parametrize("damage", ["flip", "truncate", "record", "pipe", "sparse"])
def test_damaged_stock_files(
    stock: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path, damage: str
) -> None:
    shard = tmp_path / "mnist" / "3.0.1" / "mnist-train.tfrecord-00000-of-00001"
    whole = shard.read_bytes()
    size = 16 + int.from_bytes(whole[:8], "little")
    flipped = whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]
    shard.unlink()
    if damage == "pipe":
        os.mkfifo(shard)
    elif damage == "sparse":
        shard.touch()
        os.truncate(shard, 8 << 30)
    else:
        content = {"flip": flipped, "truncate": whole[:-7], "record": whole[size:]}[damage]
        shard.write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path)
    assert f"delete {shard.parent} and run again" in one_line(error)
