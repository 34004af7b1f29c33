"""A run on a folder of pictures: read back, gone on with and repeated, by the images' digest."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from support.runs import call, contents, only_line, read

import jaxgen
from experiments import compare, reproduce
from experiments.reproduction import runs as reproduce_runs
from jaxgen import data
from jaxgen.data import folder as folders
from jaxgen.errors import SettingError

SMALL = ("--num-hidden", "3", "--num-sampling-steps", "2", "--generation-steps", "2")
pytestmark = pytest.mark.programs


def draw(folder: Path) -> None:
    """Twenty pictures, 6 wide and 4 high, of two classes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (4, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with the pictures, their prepared images in `data`, and a finished run."""
    place = tmp_path_factory.mktemp("own")
    draw(place / "my pics")
    assert train(place) == 0
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change; the run's settings name the pictures of the other."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def train(place: Path, *flags: str) -> int:
    where = ("--data-dir", str(place / "data"), "--out", str(place / "run"))
    return call("--dataset", str(place / "my pics"), "--epochs", "1", "--batch-size", "5",
                *where, *SMALL, *flags)  # fmt: skip


def test_it_is_read_back_and_has_its_images(trained: Path) -> None:
    run = jaxgen.load(trained / "run")
    assert (run.dataset_name, run.image_shape) == ("my-pics", (4, 6, 1))
    assert run.settings["dataset"] == str(trained / "my pics")
    found = run.dataset(trained / "data")
    assert found.digest == run.dataset_digest
    assert found.class_names == ("a", "b")
    assert run.sample(jax.random.key(0), 2).shape == (2, 4, 6, 1)


def test_no_path_of_the_settings_is_opened(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The images come by their digest; without them the folder has to be named again."""
    config = read(place / "run" / "config.json")
    (tmp_path / "elsewhere" / "my pics").mkdir(parents=True)
    there = config | {"dataset": str(tmp_path / "elsewhere" / "my pics")}
    (place / "run" / "config.json").write_text(json.dumps(there))
    run = jaxgen.load(place / "run")
    with monkeypatch.context() as patch:
        patch.setattr(folders, "folder_source", lambda *_: pytest.fail("it is opened"))
        before = contents(tmp_path)
        assert run.dataset(place / "data").digest == run.dataset_digest
        with pytest.raises(SettingError, match="name them again"):
            run.dataset(tmp_path / "none")
        assert contents(tmp_path) == before
    again = run.dataset(tmp_path / "other", again=place / "my pics")
    assert again.digest == run.dataset_digest
    (place / "my pics" / "a" / "0.png").unlink()
    with pytest.raises(SettingError, match="was trained on"):
        run.dataset(tmp_path / "other", again=place / "my pics")


def test_a_changed_folder_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(place, "--resume") == 0
    capsys.readouterr()
    (place / "my pics" / "a" / "0.png").unlink()
    before = contents(place / "run")
    assert train(place, "--epochs", "2", "--resume") == 4
    assert "data" in only_line(capsys.readouterr().err.splitlines(keepends=True)[-1])
    assert contents(place / "run") == before


def test_verify_repeats_it_from_the_prepared_images(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Enough(Exception):  # noqa: N818 (no run is needed)
        pass

    def repeat(name: str, experiment: str, args: Any, *_: Any) -> None:
        asked.append(args.dataset)
        raise Enough

    monkeypatch.setattr(reproduce_runs, "repeat", repeat)
    where = ["--verify", str(place / "run"), "--data-dir"]
    with pytest.raises(Enough):
        reproduce.main([*where, str(place / "data")])
    assert asked[0].startswith("prepared:my-pics-")
    assert data.load(asked[0], place / "data").image_shape == (4, 6, 1)
    assert reproduce.main([*where, str(place / "none")]) == 2
    assert "--dataset" in only_line(capsys.readouterr().err.splitlines(keepends=True)[-1])
    with pytest.raises(Enough):
        reproduce.main([*where, str(place / "none"), "--dataset", str(place / "my pics")])
    assert asked[1] == str(place / "my pics")
    (place / "my pics" / "a" / "0.png").unlink()
    assert reproduce.main([*where, str(place / "none"), "--dataset", str(place / "my pics")]) == 2
    assert "was trained on" in only_line(capsys.readouterr().err.splitlines(keepends=True)[-1])


def test_other_names_of_classes_are_another_data_set(place: Path) -> None:
    summary = read(place / "run" / "summary.json")
    assert summary["class_names"] == ["a", "b"]
    (place / "run" / "summary.json").write_text(json.dumps(summary | {"class_names": ["a", "c"]}))
    run = jaxgen.load(place / "run")
    with pytest.raises(SettingError, match="name them again"):
        run.dataset(place / "data")
    with pytest.raises(SettingError, match="with the class 'c', found 'b' in its place"):
        run.dataset(place / "data", again=place / "my pics")


def test_a_run_goes_on_with_the_names_that_it_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest is of the images and the numbers of their classes."""
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 6), dtype=np.uint8)
    file, names = tmp_path / "pics.npz", np.repeat(["a", "b"], 10)
    where = ("--data-dir", str(tmp_path / "data"), "--out", str(tmp_path / "run"))
    flags = ("--dataset", str(file), "--epochs", "1", "--batch-size", "5", *where, *SMALL)
    np.savez(file, images=images, labels=names)
    assert call(*flags) == 0
    before = contents(tmp_path / "run")
    np.savez(file, images=images, labels=np.where(names == "b", "c", names))
    capsys.readouterr()
    assert call(*flags, "--epochs", "2", "--resume") == 4
    line = only_line(capsys.readouterr().err.splitlines(keepends=True)[-1])
    assert "found the class 'c' in the place of 'b'" in line
    assert contents(tmp_path / "run") == before


def test_runs_of_other_classes_are_not_compared(place: Path) -> None:
    folders = place / "run", place / "other"
    shutil.copytree(*folders)
    summary = read(place / "other" / "summary.json")
    (place / "other" / "summary.json").write_text(json.dumps(summary | {"class_names": ["a", "c"]}))
    with pytest.raises(SettingError, match=r"with the class 'b', found .*other with 'c' in its"):
        compare.read_all(folders, compare.Args(folders, data_dir=place / "data"))


def test_a_run_among_the_pictures_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(place)
    monkeypatch.chdir(place / "my pics")  # where runs/ would be made
    for flags in ((), ("--out", str(place / "my pics" / "a" / "run"))):
        assert call("--dataset", str(place / "my pics"), "--image-size", "3", *flags) == 2
        assert "set --out" in only_line(capsys.readouterr().err)
    flags = ("--out", str(place / "new"), "--data-dir", str(place / "my pics" / "data"))
    assert call("--dataset", str(place / "my pics"), *flags) == 2
    assert "set --data-dir" in only_line(capsys.readouterr().err)
    assert contents(place) == before
