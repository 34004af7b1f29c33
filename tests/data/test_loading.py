"""Data: every way in gives the same arrays, and nothing damaged passes unseen."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from support.helpers import DIGITS, ROOT, one_line, run_python

from experiments import prepare
from jaxgen import data
from jaxgen.data import builders, loading
from jaxgen.errors import DataError, SettingError, WriteError


@pytest.fixture
def digits_copy(digits_root: Path, tmp_path: Path) -> Path:
    """A prepared and cached `digits` that a test may damage."""
    subprocess.run(["cp", "-r", digits_root / "jaxgen", tmp_path], check=True)
    return tmp_path


# ---- digits, end to end


def test_digits_are_scaled_scans_in_tfds_order(digits_root: Path) -> None:
    from sklearn.datasets import load_digits

    digits = data.load("digits", digits_root)
    assert digits.train.images.shape == (1500, 28, 28, 1)
    assert digits.test.images.shape == (297, 28, 28, 1)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.labels.dtype == np.int32
    scans = load_digits()
    np.testing.assert_array_equal(np.bincount(digits.test.labels), np.bincount(scans.target[1500:]))
    # Bilinear scaling by hand, with the corners of both grids aligned.
    grid = np.linspace(0, 7, 20)
    weights = np.maximum(0, 1 - np.abs(grid[:, None] - np.arange(8)))
    truth = np.einsum("yi,nij,xj->nyx", weights, scans.images[1500:], weights) * 255 / 16
    rows = [truth[i] for i in range(297)]
    for image in digits.test.images[:20, 4:24, 4:24, 0]:
        assert min(np.abs(image - row).max() for row in rows) <= 0.5 + 1e-9
    frame = digits.train.images.copy()
    frame[:, 4:24, 4:24] = 0
    assert not frame.any()


def test_stock_tfds_reads_what_we_write(digits_root: Path) -> None:
    digits = data.load("digits", digits_root)
    builder = tfds.builder_from_directory(str(data.find_prepared("digits", digits_root)))
    source = builder.as_data_source("test")
    assert len(source) == 297
    for row in (0, 100, 296):
        np.testing.assert_array_equal(source[row]["image"], digits.test.images[row])
        assert source[row]["label"] == digits.test.labels[row]


def test_digest_covers_names_shapes_dtypes_and_contents(digits_root: Path) -> None:
    digits = data.load("digits", digits_root)
    expected = hashlib.sha256()
    names = ("train_images", "train_labels", "test_images", "test_labels")
    for name, array in zip(names, (*digits.train, *digits.test), strict=True):
        expected.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    assert digits.digest == expected.hexdigest() == DIGITS


def test_cached_load_imports_neither_tfds_nor_jax(digits_root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from jaxgen import data\n"
        f"data.load('digits', Path({str(digits_root)!r}))\n"
        "print([m for m in ('jax', 'tensorflow_datasets', 'sklearn', 'PIL') if m in sys.modules])"
    )
    assert run_python("-c", code).stdout == "[]\n"


def test_default_data_dir_is_that_of_tfds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert data.data_root(None) == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert data.data_root(None) == Path.home() / "tensorflow_datasets"


def test_unknown_name() -> None:
    with pytest.raises(SettingError) as error:
        data.load("../mnist")
    assert "mnist or fashion_mnist" in one_line(error)


# ---- damaged files


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "garbage", "header", "sparse"])
def test_damaged_cache_is_rebuilt(
    digits_copy: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = digits_copy / "jaxgen" / "cache" / "digits.npy"
    whole = bytearray(cache.read_bytes())
    damaged = {
        "flip": whole[:500_000] + bytes([whole[500_000] ^ 1]) + whole[500_001:],
        "truncate": whole[:-1],
        "empty": b"",
        "garbage": os.urandom(1000),
        "header": whole.replace(b"(1500, 28, 28, 1)", b"(9999999999,28,1)", 1),
        "sparse": whole,
    }[damage]
    cache.write_bytes(damaged)
    if damage == "sparse":
        os.truncate(cache, 8 << 30)
    assert data.load("digits", digits_copy).digest == DIGITS
    assert "rebuilt" in caplog.text
    assert cache.read_bytes() == whole


def test_load_goes_on_when_the_cache_cannot_be_written(
    digits_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = digits_copy / "jaxgen" / "cache"
    (cache / "digits.npy").unlink()
    cache.rmdir()
    cache.write_text("a file in the way")
    assert data.load("digits", digits_copy).digest == DIGITS
    assert "could not be written" in caplog.text
    assert [path.name for path in (digits_copy / "jaxgen").glob("*.tmp")] == []


def test_damaged_prepared_files_are_never_read_as_something_else(digits_copy: Path) -> None:
    (digits_copy / "jaxgen" / "cache" / "digits.npy").unlink()
    folder = data.find_prepared("digits", digits_copy)
    assert folder is not None
    rng = np.random.default_rng(0)
    messages = []
    for shard in sorted(folder.glob("*.array_record*")):
        whole = shard.read_bytes()
        damaged = [whole[:-1], whole[: len(whole) // 2], b"", whole[:-65536] + bytes(65536)]
        for position in rng.integers(len(whole), size=12):
            damaged.append(
                whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :]
            )
        for content in damaged:
            shard.write_bytes(content)
            try:
                # A flip in unused padding harms nothing.
                assert loading._read_prepared("digits", folder).digest == DIGITS
            except DataError as error:
                messages.append(str(error))
        shard.write_bytes(whole)
    assert len(messages) >= 20
    assert all(f"delete {folder} and run again" in message for message in messages)


@pytest.mark.parametrize("file", ["features.json", "digits-test.array_record-00000-of-00001"])
def test_missing_prepared_file(digits_copy: Path, file: str) -> None:
    (digits_copy / "jaxgen" / "cache" / "digits.npy").unlink()
    (digits_copy / "jaxgen" / "digits" / "1.0.0" / file).unlink()
    with pytest.raises(DataError) as error:
        data.load("digits", digits_copy)
    assert "delete" in one_line(error)


def test_a_pipe_in_place_of_what_describes_the_files(digits_copy: Path) -> None:
    """Neither TFDS nor we wait for somebody to write into it."""
    (digits_copy / "jaxgen" / "cache" / "digits.npy").unlink()
    path = digits_copy / "jaxgen" / "digits" / "1.0.0" / "dataset_info.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError) as error:
        data.load("digits", digits_copy)
    assert "found no dataset_info.json; delete" in one_line(error)


# ---- racing, interrupted and impossible writes


def test_two_processes_prepare_at_once(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from jaxgen import data\n"
        f"print(data.load('digits', Path({str(tmp_path)!r})).digest)"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [racer.communicate(timeout=60)[0].decode().strip() for racer in racers] == [DIGITS] * 2


def test_lost_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = builders.build

    def build_too_late(*args: object) -> None:
        build(*args)
        raise FileExistsError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(builders, "build", build_too_late)
    assert data.load("digits", tmp_path).digest == DIGITS


def test_what_a_killed_prepare_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "jaxgen" / "digits" / "incomplete.ABC_1.0.0"
    left.mkdir(parents=True)
    (left / "digits-train.array_record-00000-of-00001").write_bytes(b"half")
    cache = tmp_path / "jaxgen" / "cache"
    cache.mkdir()
    (cache / f".digits.npy.{'0a' * 16}.tmp").touch()
    assert data.load("digits", tmp_path).digest == DIGITS
    assert not left.exists()
    assert [path.name for path in cache.iterdir()] == ["digits.npy"]


def test_the_embedded_digits_need_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    digits = data.load("digits", tmp_path / "file")
    assert digits.digest == DIGITS
    assert digits.train.images.shape == (1500, 28, 28, 1)
    with pytest.raises(WriteError) as error:
        data.prepare("digits", tmp_path / "file")
    assert "--data-dir" in one_line(error)


def edit_info(folder: Path, split: str, **values: object) -> None:
    """Changes what `dataset_info.json` has of a split."""
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    (found,) = [each for each in info["splits"] if each["name"] == split]
    found |= values
    path.write_text(json.dumps(info))


@pytest.mark.parametrize("damage", ["train as test", "one fewer", "one more", "swapped"])
def test_prepared_files_of_another_set_are_refused(digits_copy: Path, damage: str) -> None:
    """Each of them loaded without a word under another digest."""
    (digits_copy / "jaxgen" / "cache" / "digits.npy").unlink()
    folder = digits_copy / "jaxgen" / "digits" / "1.0.0"
    train, test = (folder / f"digits-{x}.array_record-00000-of-00001" for x in ("train", "test"))
    if damage == "train as test":
        test.write_bytes(train.read_bytes())
        edit_info(folder, "test", shardLengths=["1500"])
    elif damage == "swapped":
        contents = train.read_bytes(), test.read_bytes()
        train.write_bytes(contents[1])
        test.write_bytes(contents[0])
        edit_info(folder, "train", shardLengths=["297"])
        edit_info(folder, "test", shardLengths=["1500"])
    else:
        edit_info(folder, "test", shardLengths=["296" if damage == "one fewer" else "298"])
    with pytest.raises(DataError) as error:
        data.load("digits", digits_copy)
    assert f"delete {folder} and run again" in one_line(error)


def test_a_cache_of_other_arrays_is_rebuilt(
    digits_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own digest is right; the data set's is known."""
    cache = digits_copy / "jaxgen" / "cache" / "digits.npy"
    digits = data.load("digits", digits_copy)
    other = loading._dataset("digits", digits.train.images ^ 1, digits.train.labels, *digits.test)
    loading._write_cache(cache, other)
    assert data.load("digits", digits_copy).digest == DIGITS
    assert "rebuilt" in caplog.text


def test_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\nfrom experiments import prepare\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"sys.exit(prepare.main(prepare.Config('digits', prepare.Path({str(tmp_path)!r}))))"
    )
    done = run_python("-B", "-c", code)
    assert done.returncode == 7
    assert done.stderr.startswith("error: expected to write ")
    assert done.stderr.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_prepare_command(digits_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main(prepare.Config("digits", digits_root)) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    for part in (str(digits_root), "1500 train", "297 test", DIGITS):
        assert part in out
