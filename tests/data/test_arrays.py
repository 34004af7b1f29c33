"""Arrays: what their numbers are taken for, by value; and what is refused."""

import logging
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import ROOT, one_line
from support.runs import contents

from experiments.running.args import RunArgs, condition_on_classes
from jaxgen import data
from jaxgen.errors import DataError, SettingError

RAW = np.random.default_rng(0).integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
RAW[0, 0, 0], RAW[1, 0, 0] = 0, 255  # all of the range
GREY = RAW[..., :1]
KINDS: dict[str, tuple[np.ndarray, np.ndarray, str]] = {
    "uint8": (RAW, RAW, "uint8"),
    "no channel": (GREY[..., 0], GREY, "uint8"),
    "0 to 1": (RAW / np.float32(255), RAW, "0 (black) to 1 (white)"),
    "-1 to 1": (RAW / 127.5 - 1, RAW, "-1 (black) to 1 (white)"),
    "0 to 255": (RAW.astype(np.float64), RAW, "0 (black) to 255 (white)"),
    "16 bits": (RAW.astype(np.uint16) * 257, RAW, "0 (black) to 65535 (white)"),
    "bool": (GREY > 100, (GREY > 100) * np.uint8(255), "0 (black) to 1 (white)"),
    "0 and 1": ((GREY > 100).astype(np.uint8), (GREY > 100) * np.uint8(255), "0 (black) to 1"),
    "channels first": (RAW.transpose(0, 3, 1, 2), RAW, "transposed"),
}


def rows(dataset: data.Dataset) -> set[bytes]:
    """Its images, in any order."""
    return {image.tobytes() for split in (dataset.train, dataset.test) for image in split.images}


@pytest.mark.parametrize("kind", KINDS)
def test_what_numbers_are_taken_for(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, raw, words = KINDS[kind]
    found = data.from_arrays(images)
    assert found.image_shape == raw.shape[1:]
    assert rows(found) == {image.tobytes() for image in raw}
    assert words in found.source
    np.save(tmp_path / "file.npy", images)
    np.savez_compressed(tmp_path / "file.npz", anything=images)
    caplog.set_level(logging.INFO)
    for name in ("file.npy", "file.npz"):
        again = data.load(tmp_path / name, tmp_path / "data")
        assert again.digest == found.digest  # the same sides too
        assert words in caplog.messages[-1]
        assert "12 images" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.where(np.arange(12)[:, None, None, None] < 2, np.nan, RAW / 255), "in 2 of 12 images"),
        (RAW / 255 * 0.3, "to_uint8(images, low=0, high=0.3"),
        (RAW // 16, "to_uint8(images, low=0, high=15)"),
        (GREY.reshape(12, -1), "images.reshape(-1"),
        (RAW[0], "images[None]"),
        (RAW[..., 0, :], "images[..., None]"),
        (np.zeros((12, 5, 7, 2), np.uint8), "1, 3 or 4 channels"),
        (np.array([np.zeros((2, 2)), np.zeros((3, 3))], object), "numpy.stack"),
        (np.full((12, 5, 7, 1), "a"), "give numbers"),
    ],
)
def test_what_is_refused(images: np.ndarray, expected: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        data.from_arrays(images)
    assert expected in one_line(error)
    np.save(tmp_path / "file.npy", images)
    with pytest.raises(DataError) as of_file:
        data.load(tmp_path / "file.npy", tmp_path / "data")
    if images.dtype != object:  # of which nothing is known: it is not unpickled
        assert expected in one_line(of_file)
    assert contents(tmp_path / "data") == {}


class Trap:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_nothing_is_unpickled(ending: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()], object)
    (np.save if ending == "npy" else np.savez)(tmp_path / f"file.{ending}", trap)
    with pytest.raises(DataError, match="never unpickled"):
        data.load(f"file.{ending}", tmp_path / "data")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", b"PK\3\4 broken"])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_damaged_files(content: bytes, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"file.{ending}").write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load(tmp_path / f"file.{ending}", tmp_path / "data")
    assert "write the file again" in one_line(error)


def header(text: str) -> bytes:
    """A .npy file whose header is this text."""
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (",
        "(" * 5000,
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 4)}\n",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999, 9999999, 9)}\n",
        "{'descr': 'x9', 'fortran_order': False, 'shape': (3, 4, 4)}\n",
    ],
)
def test_headers_that_are_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.npy").write_bytes(header(text))
    with pytest.raises(DataError) as error:
        data.load(tmp_path / "file.npy", tmp_path / "data")
    assert "write the file again" in one_line(error)
    assert len(one_line(error)) < 500


@pytest.mark.parametrize("damage", ["encrypted", "method", "deflated", "lzma"])
def test_zip_files_that_are_damaged(damage: str, tmp_path: Path) -> None:
    """Bytes of the zip file's headers and of its first member, by PKWARE's description."""
    kind = zipfile.ZIP_LZMA if damage == "lzma" else zipfile.ZIP_DEFLATED
    np.save(tmp_path / "images.npy", RAW)
    with zipfile.ZipFile(tmp_path / "file.npz", "w", kind) as file:
        file.write(tmp_path / "images.npy", "images.npy")
    content = bytearray((tmp_path / "file.npz").read_bytes())
    central = content.index(b"PK\1\2")
    if damage == "encrypted":
        content[6] |= 1
        content[central + 8] |= 1
    elif damage == "method":
        content[8:10] = content[central + 10 : central + 12] = b"\x63\0"
    else:
        start = 30 + len("images.npy")
        content[start + 9 : start + 60] = b"\xff" * 51
    (tmp_path / "file.npz").write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load(tmp_path / "file.npz", tmp_path / "data")
    assert "write the file again" in one_line(error)


def test_sides_of_a_file_that_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    labels = np.arange(12) % 3
    np.savez(
        tmp_path / "a.npz", x_train=RAW[:9], y_train=labels[:9] // 3, x_test=RAW[9:],
        y_test=labels[9:],
    )  # fmt: skip
    found = data.load(tmp_path / "a.npz", tmp_path / "data")
    assert "3 classes: " in caplog.messages[-1]
    assert "; without training images: 1, 2;" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("uint8 [9, 5, 7, 3]; test images uint8 [3, 5, 7, 3]")
    with pytest.raises(SettingError, match="found 1 of them in a;"):
        condition_on_classes(RunArgs(), True, found)
    np.savez(tmp_path / "b.npz", x_train=RAW, x_test=RAW[:, :, :, :] / 255)
    with pytest.raises(DataError, match="one range"):
        data.load(tmp_path / "b.npz", tmp_path / "data")


def test_four_channels_over_the_background(tmp_path: Path) -> None:
    half = np.zeros((2, 3, 3, 4), np.uint8)
    half[0, ..., 3], half[1, ..., 3] = 128, 255
    np.save(tmp_path / "file.npy", half)
    found = data.load(tmp_path / "file.npy", tmp_path / "data")
    assert sorted(int(row[0]) for row in map(bytearray, rows(found))) == [0, 127]


def test_labels_and_sides_of_a_file(tmp_path: Path) -> None:
    labels = np.arange(12) % 3 + 5
    np.savez(tmp_path / "a.npz", images=RAW, labels=labels)
    found = data.load(tmp_path / "a.npz", tmp_path / "data")
    assert found.class_names == ("5", "6", "7")
    known = {image.tobytes(): label for image, label in zip(RAW, labels - 5, strict=True)}
    for split in (found.train, found.test):
        assert [known[image.tobytes()] for image in split.images] == split.labels.tolist()
    arrays = {"x_train": RAW[:8], "y_train": labels[:8], "x_test": RAW[8:], "y_test": labels[8:]}
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    sides = data.load(tmp_path / "b.npz", tmp_path / "data")
    np.testing.assert_array_equal(sides.train.images, RAW[:8])
    np.testing.assert_array_equal(sides.test.labels, labels[8:] - 5)


def test_labels_of_arrays() -> None:
    words = np.array(["cat", "dog"] * 6)
    found = data.from_arrays(RAW, words, test_images=RAW[:2], test_labels=words[:2], name="pets")
    assert (found.name, found.class_names) == ("pets", ("cat", "dog"))
    assert found.train.labels.tolist() == [0, 1] * 6
    assert found.test.labels.dtype == np.int32
    named = data.from_arrays(RAW, np.arange(12) % 2, class_names=["a", "b", "c"])
    assert named.num_classes == 3
    letters = data.from_arrays(RAW, np.array([b"c", b"\xff"] * 6))
    assert letters.class_names == ("\\xff", "c")
    none = data.from_arrays(RAW)
    assert none.class_names == ()
    assert not none.train.labels.any()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"labels": np.arange(11)}, "labels [12]"),
        ({"labels": np.eye(12)}, "argmax"),
        ({"labels": np.arange(12) / 2}, "whole number"),
        ({"labels": np.arange(12), "class_names": ["a"]}, "from 0 to 0"),
        ({"labels": np.arange(12), "test_images": RAW}, "test_labels"),
        ({"test_images": RAW[:, 1:]}, "one shape"),
        ({"test_images": RAW / 255}, "uint8 [12, 5, 7, 3] and float64 [12, 5, 7, 3], taken for 0 "),
        ({"test_images": RAW.transpose(0, 3, 1, 2)}, "transposed"),
        ({"labels": np.full(12, np.inf)}, "whole number"),
        ({"name": None}, "a name that is not one of mnist"),
        ({"name": "mnist"}, "a name that is not one of mnist"),
        ({"class_names": ["a"]}, "labels beside class_names"),
        ({"labels": np.arange(12) % 2, "class_names": ["a", "b", "b"]}, "'b' more than once"),
    ],
)
def test_what_does_not_fit(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(SettingError) as error:
        data.from_arrays(RAW, **given)
    assert expected in one_line(error)


def test_equal_images_have_no_two_sides() -> None:
    with pytest.raises(DataError, match="12 that are equal"):
        data.from_arrays(np.full((12, 4, 4, 1), 200, np.uint8))


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["bool", "float-0-1", "float-0-255", "float-minus1-1", "no-channel", "uint16"]
)
def test_arrays_as_people_store_them(name: str, tmp_path: Path) -> None:
    """All of them hold the same pictures, as far as their numbers can."""
    default = ROOT.parent / "shared" / "cases"
    folder = Path(os.environ.get("JAXGEN_CASES", default)) / "arrays"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set JAXGEN_CASES")
    found, raw = (data.load(folder / f"{x}.npy", tmp_path) for x in (name, "uint8-nhwc"))
    assert found.image_shape == raw.image_shape == (16, 16, 1)
    every = [np.concatenate([x.train.images, x.test.images]) for x in (found, raw)]
    order = [np.argsort([float(image.mean(dtype=float)) for image in each]) for each in every]
    apart = every[0][order[0]].astype(int) - every[1][order[1]]
    assert np.abs(apart).max() <= (255 if name == "bool" else 1)
