"""Where data sets come from: the four original files, the network."""

import functools
import gzip
import hashlib
import http.server
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from support.helpers import one_line, run_python, sorted_rows, to_idx

from jaxgen import data
from jaxgen.data import builders, loading, sources
from jaxgen.errors import DataError, DataMissingError

# ---- the four original files


def write_originals(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
    """Writes four small files and has them registered in place of the real ones."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    table = []
    for split, num in (("train", 20), ("test", 5)):
        images = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
        arrays = (images, rng.integers(0, 10, num, dtype=np.uint8))
        for name, array in zip(builders.FILES[split], arrays, strict=True):
            content = gzip.compress(to_idx(array))
            (folder / name).write_bytes(content)
            url = builders.MNIST.URL + name
            sha256 = hashlib.sha256(content).hexdigest()
            table.append(sources.RegisteredFile(url, len(content), sha256, name))
    monkeypatch.setattr(sources, "registered_files", lambda _: table)
    monkeypatch.setitem(loading.CONTENTS, "mnist", loading.Contents(20, 5))
    plain = {file.name: gzip.decompress((folder / file.name).read_bytes()) for file in table}
    unpacked = {name: hashlib.sha256(content).hexdigest() for name, content in plain.items()}
    monkeypatch.setitem(sources.UNPACKED, "mnist", unpacked)
    infos = {
        file.url: tfds.download.checksums.UrlInfo(
            size=file.size, checksum=file.sha256, filename=file.name
        )
        for file in table
    }
    monkeypatch.setattr(tfds.download.checksums, "get_all_url_infos", lambda: dict(infos))


@pytest.mark.parametrize("nested", [False, True])
def test_original_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool) -> None:
    manual = tmp_path / "manual"
    folder = manual / "mnist" if nested else manual
    write_originals(folder, monkeypatch)
    mnist = data.load("mnist", tmp_path / "data", manual)
    for split, names in zip((mnist.train, mnist.test), builders.FILES.values(), strict=True):
        originals = [
            builders.parse_idx(gzip.decompress((folder / name).read_bytes())) for name in names
        ]
        assert sorted_rows(*split) == sorted_rows(*originals)


FORMS: dict[str, Callable[[Path], Path]] = {
    "unpacked": lambda path: path.with_suffix(""),
    "with a dot": lambda path: path.with_name(path.stem.replace("-idx", ".idx")),
    "packed anew": lambda path: path,
    "packed anew, with a dot": lambda path: path.with_name(path.name.replace("-idx", ".idx")),
    "unpacked by a browser": lambda path: path,
}


PLACES = ("mnist", "raw", "MNIST/raw", "mnist/MNIST/raw")


@pytest.mark.parametrize(
    ("form", "place"), [(x, ".") for x in FORMS] + [("unpacked", x) for x in PLACES]
)
def test_original_files_as_people_have_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Known by their contents, and named in a line."""
    manual = tmp_path / "manual"
    write_originals(manual / place, monkeypatch)
    whole = data.load("mnist", tmp_path / "data", manual).digest
    taken = []
    for path in sorted((manual / place).glob("*.gz")):
        content = gzip.decompress(path.read_bytes())
        path.unlink()
        taken.append(FORMS[form](path))
        taken[-1].write_bytes(gzip.compress(content, 1) if "anew" in form else content)
    caplog.clear()
    caplog.set_level(logging.INFO, "jaxgen")
    assert data.load("mnist", tmp_path / "again", manual).digest == whole
    (line,) = [each for each in caplog.messages if "is made from" in each]
    assert all(str(path) in line for path in taken)


def test_a_wrong_file_beside_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_originals(tmp_path / "manual" / "MNIST" / "raw", monkeypatch)
    for name in builders.FILES["train"]:
        (tmp_path / "manual" / name).write_bytes(b"half a download")
    assert len(data.load("mnist", tmp_path / "data", tmp_path / "manual").train.images) == 20


@pytest.mark.parametrize("kind", ["sparse", "pipe", "bomb"])
def test_a_file_that_is_none_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    manual = tmp_path / "manual"
    write_originals(manual, monkeypatch)
    path = manual / builders.FILES["train"][0]
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 8 << 30)
    else:
        path.write_bytes(gzip.compress(bytes(sources.MAX_BYTES + 1), 1))
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path / "data", manual)
    found = {"sparse": "8,589,934,592 bytes", "pipe": "no file", "bomb": "sha256"}[kind]
    assert f"found {path} (" in one_line(error)
    assert found in str(error.value).partition("found")[2]


@pytest.mark.parametrize("damage", ["truncated", "swapped", "other"])
def test_wrong_original_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    manual = tmp_path / "manual"
    write_originals(manual, monkeypatch)
    images, labels = (manual / name for name in builders.FILES["train"])
    if damage == "truncated":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "swapped":
        labels.write_bytes(images.read_bytes())
    else:
        labels.write_bytes(b"no gzip")
    with pytest.raises(DataError) as error:
        data.load("mnist", tmp_path / "data", manual)
    text = one_line(error)
    assert "sha256" in text
    assert str(manual) in text


def test_given_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError) as error:
        data.load("kmnist", tmp_path, tmp_path / "nowhere")
    assert "no such folder" in one_line(error)
    (tmp_path / "train-images-idx3-ubyte.gz").touch()
    with pytest.raises(DataMissingError) as error:
        data.load("kmnist", tmp_path, tmp_path)
    assert "no t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz, train-l" in one_line(error)


# ---- the network


def test_missing_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent_host(*_: object) -> None:
        time.sleep(3)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent_host)
    start = time.perf_counter()
    with pytest.raises(DataMissingError) as error:
        data.load("fashion_mnist", tmp_path)
    assert time.perf_counter() - start < 2
    text = one_line(error)
    assert str(tmp_path) in text
    assert "python -m experiments.prepare --dataset fashion_mnist --manual-dir FOLDER" in text
    assert "--dataset digits" in text
    assert list(tmp_path.iterdir()) == []


def test_prepare_command_without_network(tmp_path: Path) -> None:
    # The address is reserved for documentation (RFC 5737): nothing answers there.
    proxy = "http://192.0.2.1:9"
    proxies = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
    args = ("-m", "experiments.prepare", "--dataset", "mnist", "--data-dir", str(tmp_path))
    done = run_python(*args, **proxies)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: expected mnist in ")
    assert done.stderr.count("\n") == 1


def test_probe_finds_a_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert sources.is_reachable(f"http://127.0.0.1:{port}/mnist/")
    assert not sources.is_reachable(f"http://127.0.0.1:{port}/mnist/")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def test_download_by_tfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(builders.MNIST, "URL", url)
        write_originals(tmp_path / "www", monkeypatch)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert len(data.load("mnist", tmp_path / "data").train.images) == 20
        (tmp_path / "www" / builders.FILES["test"][0]).write_bytes(b"wrong")
        with pytest.raises(DataError) as error:
            data.load("mnist", tmp_path / "other")
        assert "wrong checksum" in one_line(error)
        (tmp_path / "www" / builders.FILES["test"][0]).unlink()
        with pytest.raises(DataMissingError) as error:
            data.load("mnist", tmp_path / "another")
        assert "404" in one_line(error)
        server.shutdown()
