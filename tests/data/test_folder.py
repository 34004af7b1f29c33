"""Folders of pictures: what is read of them, on which side, and that they stay as they are."""

import errno
import hashlib
import logging
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.helpers import ROOT, one_line
from support.runs import contents

from experiments.running.args import RunArgs, check_places
from jaxgen import data
from jaxgen.data import pictures, prepared
from jaxgen.errors import DataError, SettingError, WriteError

RED, GREY = (250, 20, 10), (90, 90, 90)


def picture(path: Path, colour: Any = RED, mode: str = "RGB", size: Any = (6, 6)) -> Path:
    """A picture of one colour; its first pixel depends on its name, so that no two are equal."""
    image = Image.new(mode, size, colour)
    if mode == "RGB":
        image.putpixel((0, 0), (*hashlib.md5(os.fsencode(path.name)).digest()[:1] * 3,))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., data.Dataset]:
    """Reads tmp_path / "pictures", and checks that nothing there changes."""

    def act(**options: Any) -> data.Dataset:
        before = contents(tmp_path / "pictures")
        try:
            return data.from_folder(tmp_path / "pictures", data_dir=tmp_path / "data", **options)
        finally:
            assert contents(tmp_path / "pictures") == before

    return act


def both(dataset: data.Dataset) -> np.ndarray:
    return np.concatenate([dataset.train.images, dataset.test.images])


def test_each_file_is_on_the_side_that_its_content_decides(tmp_path: Path, load: Any) -> None:
    """The rule by hand: the first 53 bits of the sha256 of the file, as a number in [0, 1)."""
    files = [picture(tmp_path / "pictures" / f"{i}.png", (i, 0, 255 - i)) for i in range(40)]

    def is_test(path: Path) -> bool:
        return int(hashlib.sha256(path.read_bytes()).hexdigest(), 16) / 2**256 < 0.1

    def test_reds(dataset: data.Dataset) -> set[int]:
        return {*dataset.test.images[:, 3, 3, 0].tolist()}

    expected = {i for i, path in enumerate(files) if is_test(path)}
    assert expected
    before = load()
    assert test_reds(before) == expected
    more = picture(tmp_path / "pictures" / "more.png", (200, 0, 0))
    after = load()
    assert test_reds(after) == expected | ({200} if is_test(more) else set())
    assert len(both(after)) == 41
    assert before.digest != after.digest


def test_classes_are_folders_in_the_order_of_their_names(tmp_path: Path, load: Any) -> None:
    names = ["b c", "a'\"q", "котики", "z\nz"]
    for number, name in enumerate(names):
        for i in range(3):
            picture(tmp_path / "pictures" / name / "deep" / f"{i}.png", (60 * number, 1, i))
    picture(tmp_path / "pictures" / "outside.png")
    found = load()
    assert found.class_names == tuple(sorted(names))
    for split in (found.train, found.test):
        reds = split.images[:, 3, 3, 0]
        assert [sorted(names)[label] for label in split.labels] == [names[r // 60] for r in reds]
    assert len(both(found)) == 12
    assert found.image_shape == (6, 6, 3)


@pytest.mark.parametrize("test", ["test", "val"])
def test_train_and_test_are_sides(tmp_path: Path, load: Any, test: str) -> None:
    for side, num in (("train", 5), (test, 2)):
        for name in ("a", "b"):
            for i in range(num):
                picture(tmp_path / "pictures" / side / name / f"{i}.png", (10 * i, num, 0))
    found = load()
    assert (len(found.train.images), len(found.test.images)) == (10, 4)
    assert (found.train.images[:, 3, 3, 1] == 5).all()
    assert (found.test.images[:, 3, 3, 1] == 2).all()
    assert found.class_names == ("a", "b")
    assert sorted(found.test.labels) == [0, 0, 1, 1]


def test_a_folder_alone_in_a_folder_is_no_class(tmp_path: Path, load: Any) -> None:
    for name in ("a", "b"):
        for i in range(3):
            picture(tmp_path / "pictures" / "archive" / name / f"{i}.png", (i, 0, 99))
    assert load().class_names == ("a", "b")
    for i in range(3):
        (tmp_path / "pictures" / "archive" / "b" / f"{i}.png").unlink()
    flat = load()
    assert flat.class_names == ()
    assert not flat.train.labels.any()


def test_modes(tmp_path: Path, load: Any) -> None:
    """Each picture has one colour, which is known for its mode; the corners aside."""
    folder = tmp_path / "pictures"
    half = Image.new("RGBA", (6, 6), (0, 0, 0, 128))
    deep = Image.fromarray(np.full((6, 6), 40_000, np.uint16))
    turned = Image.new("RGB", (6, 6), (7, 7, 7))
    turned.putpixel((5, 0), (255, 0, 0))
    cases: dict[str, tuple[Image.Image, Any, dict[str, Any]]] = {
        "half.png": (half, (127, 127, 127), {}),
        "deep.png": (deep, (round(40_000 / 257),) * 3, {}),
        "one.bmp": (Image.new("1", (6, 6), 1), (255,) * 3, {}),
        "clear.gif": (Image.new("P", (6, 6), 0), (255,) * 3, {"transparency": 0}),
        "cmyk.tiff": (Image.new("CMYK", (6, 6), (0, 255, 255, 0)), (255, 0, 0), {}),
        "grey.webp": (Image.new("RGB", (6, 6), GREY), GREY, {"lossless": True}),
    }
    folder.mkdir()
    for name, (image, _, options) in cases.items():
        image.save(folder / name, **options)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(folder / "turned.png", exif=exif)
    found = both(load())
    assert found.shape == (7, 6, 6, 3)
    middles = sorted(map(tuple, found[:, 3, 3].tolist()))
    assert middles == sorted([(7, 7, 7), *(colour for _, colour, _ in cases.values())])
    (seen,) = (image for image in found if tuple(image[3, 3]) == (7, 7, 7))
    assert [*map(tuple, np.argwhere(seen[..., 0] == 255))] == [(5, 5)]  # the corner after the turn
    on_black = both(load(background="black"))
    assert sorted(map(tuple, on_black[:, 3, 3].tolist()))[0] == (0, 0, 0)


def test_sizes(tmp_path: Path, load: Any) -> None:
    folder = tmp_path / "pictures"
    for i in range(3):
        picture(folder / f"{i}.png", size=(8, 4))
    assert load().image_shape == (4, 8, 3)
    # Left half red, right half blue: the centre has both, padding adds rows, squeezing neither.
    wide = Image.new("RGB", (16, 4), (255, 0, 0))
    wide.paste((0, 0, 255), (8, 0, 16, 4))
    for path in folder.iterdir():
        wide.putpixel((0, 0), (*hashlib.md5(path.name.encode()).digest()[:1], 0, 0))
        wide.save(path)
    cut = load(image_size=4).train.images[0]
    assert (cut[:, 0, 0] > 200).all()
    assert (cut[:, 3, 2] > 200).all()
    padded = load(image_size=(16, 16), crop="pad", background="#00ff00").train.images[0]
    assert padded[0, 8].tolist() == [0, 255, 0]
    assert padded[8, 2].tolist() == [255, 0, 0]
    assert load(image_size=(4, 2), crop="none").image_shape == (4, 2, 3)
    picture(folder / "other.png", size=(9, 9))
    assert load().image_shape == (64, 64, 3)
    picture(folder / "other.png", size=(8, 300))
    assert load().image_shape == (64, 64, 3)
    picture(folder / "photograph.jpg", size=(3000, 2000))
    assert load().digest == load(image_size=64).digest


def test_grey_where_every_picture_is(tmp_path: Path, load: Any) -> None:
    folder = tmp_path / "pictures"
    for i in range(4):
        picture(folder / f"{i}.png", (10 * i,) * 3)
    grey = load()
    assert grey.image_shape == (6, 6, 1)
    assert {*both(grey)[:, 3, 3, 0].tolist()} == {0, 10, 20, 30}
    assert load(colour=True).image_shape == (6, 6, 3)
    picture(folder / "red.png")
    assert load().image_shape == (6, 6, 3)
    luma = round(0.299 * RED[0] + 0.587 * RED[1] + 0.114 * RED[2])
    assert luma in both(load(grey=True))[:, 3, 3, 0]


def test_the_line_says_what_was_found(
    tmp_path: Path, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pictures"
    for i in range(12):
        picture(folder / f"{i}.png", (i, 1, 2), size=(8, 6))
    (folder / "notes.txt").write_text("other")
    (folder / ".hidden.png").write_text("hidden")
    (folder / "line\nend.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "empty.jpg").touch()
    (folder / "gone.png").symlink_to("nowhere")
    caplog.set_level(logging.INFO)
    load()
    first = caplog.messages
    (said,) = first
    assert "12 images from the folder" in said
    assert "height x width 6x8; mode RGB" in said
    assert "; as 6x8x3, " in said
    for part in ("line?end.png (", "empty.jpg (empty)", "gone.png (No such file", "1 other file"):
        assert part in said
    assert "1 hidden" in said
    assert "1 other files" not in said
    assert "skipped 3 that" in said
    caplog.clear()
    load()
    assert caplog.messages == [said]  # from what is kept beside the prepared images


def test_what_is_prepared_is_read_again_and_mended(tmp_path: Path, load: Any) -> None:
    for i in range(5):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))
    first = load()
    (folder,) = (tmp_path / "data" / "jaxgen" / "images").iterdir()
    assert isinstance(first.train.images, np.memmap)
    assert data.find_images(first.digest, tmp_path / "data") == f"prepared:{folder.name}"
    again = data.load(f"prepared:{folder.name}", tmp_path / "data")
    assert (again.digest, again.name) == (first.digest, "pictures")
    stale = folder.with_name("killed-0123456789abcdef")  # whose writer was killed
    stale.mkdir()
    (stale / "train_images.npy").touch()
    array = folder / "train_images.npy"
    array.write_bytes(array.read_bytes()[:-1] + b"\7")
    assert load().digest == first.digest
    assert not stale.exists()
    with pytest.raises(SettingError):
        data.load("prepared:../../x-0123456789abcdef", tmp_path / "data")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Path.exists, "found none"),
        (lambda folder: picture(folder / "a.png"), "two different images"),
        (lambda folder: [picture(folder / n / "a.png") for n in "ab"], "two different images"),
        (lambda folder: (folder / "a.txt").write_text("x"), "1 other file"),
        (lambda folder: (folder / "a.png").write_text("x"), "a.png (no picture)"),
    ],
)
def test_a_folder_with_too_little_in_it(
    tmp_path: Path, load: Any, make: Callable[[Path], Any], expected: str
) -> None:
    (tmp_path / "pictures").mkdir()
    make(tmp_path / "pictures")
    with pytest.raises(DataError) as error:
        load()
    assert expected in one_line(error)
    assert contents(tmp_path / "data") == {}


def test_more_than_one_in_ten_unreadable_is_an_error(tmp_path: Path, load: Any) -> None:
    for i in range(60):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))
    for i in range(11):
        (tmp_path / "pictures" / f"bad{i}.png").write_text("no picture")
    with pytest.raises(DataError, match="and 1 more") as error:
        load()
    assert "nine of ten" in one_line(error)
    (tmp_path / "pictures" / "bad0.png").unlink()  # ten, all of which are named
    assert len(both(load())) == 60


def test_links_in_a_circle_and_a_bomb(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    for i in range(3):
        picture(folder / "a" / f"{i}.png", (i, 1, 2))
    (folder / "a" / "up").symlink_to(folder)
    bomb = bytearray(picture(folder / "a" / "bomb.png").read_bytes())
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)  # the width and height of its IHDR chunk
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (folder / "a" / "bomb.png").write_bytes(bomb)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it is decoded"))
    with pytest.raises(Image.DecompressionBombError):
        pictures.read_picture(bytes(bomb), data.ImageOptions())
    monkeypatch.undo()
    loaded = load()
    assert len(both(loaded)) == 3


def test_a_pixel_is_an_image(tmp_path: Path, load: Any) -> None:
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2), size=(1, 1))
    assert load().image_shape == (1, 1, 1)


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepared._GrowingArray, "append", full)
    with pytest.raises(WriteError, match="No space left") as error:
        load()
    assert "--data-dir" in one_line(error)
    assert contents(tmp_path / "data") == {}


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert data.place_of("mnist").kind == "name"
    assert data.place_of("./mnist") == ("folder", str(tmp_path / "mnist"))
    assert data.place_of(Path("mnist")).kind == "folder"
    assert data.place_of("tfds:cifar10").kind == "tfds"
    assert data.name_of("./mnist") == "mnist-images"
    assert data.name_of("/x/my 'cats'\n/") == "my-cats"
    assert data.name_of("/x/котики") == "images"
    assert data.name_of("/x/a.npz", data.ImageOptions((32,))) == "a-32x32"
    assert data.name_of("hf:user/set") == "hf-user-set"
    for wrong in ("nowhere", "", "a\0b", str(Path(__file__))):
        with pytest.raises(SettingError) as error:
            data.load(wrong)
        assert "a folder of images" in one_line(error)


def test_a_name_at_another_size(digits_root: Path) -> None:
    """A mean colour survives resampling; what was kept aside stays so."""
    options = data.ImageOptions(image_size=(14, 20), crop="none")
    small, digits = (
        data.load("digits", digits_root, options=x) for x in (options, data.ImageOptions())
    )
    assert small.name == "digits-14x20"
    assert small.image_shape == (14, 20, 1)
    assert len(small.test.images) == len(digits.test.images)
    np.testing.assert_array_equal(small.test.labels, digits.test.labels)
    assert small.test.images[:9].mean() == pytest.approx(digits.test.images[:9].mean(), rel=0.02)
    assert small.class_names == digits.class_names


@pytest.mark.data
def test_the_folder_in_a_bad_state(tmp_path: Path) -> None:
    folder = Path(os.environ.get("JAXGEN_CASES", ROOT.parent / "shared" / "cases")) / "folder"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set JAXGEN_CASES")
    found = data.from_folder(folder, data_dir=tmp_path)
    assert len(both(found)) == 14
    assert found.class_names == ("circles", "squares and more")
    assert sorted(np.concatenate([found.train.labels, found.test.labels])) == [0] * 10 + [1] * 4


def test_links_that_lead_out_are_not_followed(
    tmp_path: Path, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pictures"
    for i in range(3):
        picture(folder / "a" / f"{i}.png", (i, 1, 2))
        picture(tmp_path / "private" / f"{i}.png", (i, 200, 2))
    for place, target in (("private", "private"), ("one.png", "private/0.png"), ("none.png", "x")):
        (folder / place).symlink_to(tmp_path / target)
    (folder / "a" / "again.png").symlink_to("0.png")
    caplog.set_level(logging.INFO)
    found = both(load())
    assert len(found) == 4
    assert (found[:, 3, 3, 1] == 1).all()
    assert "3 links out of the folder" in caplog.messages[-1]
    (tmp_path / "link").symlink_to(folder)  # the folder that is named may be a link
    assert len(both(data.from_folder(tmp_path / "link", data_dir=tmp_path / "data"))) == 4


def test_runs_in_the_folder_are_no_pictures(
    tmp_path: Path, load: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pictures"
    for i in range(3):
        picture(folder / f"{i}.png", (i, 1, 2))
    for place, name in (("mine", "summary.json"), ("runs/x", "manifest.json")):
        picture(folder / place / "figures" / "samples.png", (9, 9, 9))
        for file in ("config.json", name):
            (folder / place / file).write_text("{}")
    picture(folder / "runs" / "compare" / "page.png", (9, 9, 9))
    picture(folder / "marathons" / "runs" / "start.png", (5, 1, 2))  # of pictures
    caplog.set_level(logging.INFO)
    found = both(load())
    assert sorted(found[:, 3, 3, 0].tolist()) == [0, 1, 2, 5]
    assert "2 folders of jaxgen's runs" in caplog.messages[-1]


@pytest.mark.parametrize("sides", [("Train", "TEST"), ("training", "testing")])
def test_other_names_of_the_sides(
    tmp_path: Path, load: Any, sides: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    for side, num in zip(sides, (5, 2), strict=True):
        for i in range(num):
            picture(tmp_path / "pictures" / side / f"{i}.png", (10 * i, num, 0))
    picture(tmp_path / "pictures" / "__MACOSX" / "0.png")
    caplog.set_level(logging.INFO)
    found = load()
    assert (found.train.images[:, 3, 3, 1] == 5).all()
    assert (found.test.images[:, 3, 3, 1] == 2).all()
    assert found.class_names == ()
    assert "1 hidden" in caplog.messages[-1]


@pytest.mark.parametrize("flat", ["train", "test"])
def test_a_side_without_classes(tmp_path: Path, load: Any, flat: str) -> None:
    other = {"train": "test", "test": "train"}[flat]
    for i in range(4):
        picture(tmp_path / "pictures" / flat / f"{i}.png", (i, 1, 2))
        picture(tmp_path / "pictures" / other / "ab"[i % 2] / f"{i}.png", (i, 9, 2))
    with pytest.raises(DataError) as error:
        load()
    assert f"no classes in {flat}/, and 2 in {other}/" in one_line(error)
    assert "move test/ elsewhere" in one_line(error)


def test_a_folder_that_vanishes(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))
    gone, stat = str(tmp_path / "pictures" / "gone"), os.stat
    Path(gone).mkdir()

    def act(path: Any, **options: Any) -> os.stat_result:
        if path == gone:
            raise FileNotFoundError(errno.ENOENT, "No such file", gone)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", act)
    caplog.set_level(logging.INFO)
    found = data.from_folder(tmp_path / "pictures", data_dir=tmp_path / "data")
    assert len(both(found)) == 3
    assert "1 folder that may not be read" in caplog.messages[-1]


def test_nothing_is_written_among_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pictures"
    for i in range(3):
        picture(folder / f"{i}.png", (i, 1, 2))
    before = contents(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, folder / "data", tmp_path / "link" / "data"):
        with pytest.raises(SettingError) as error:
            data.from_folder(folder, data_dir=place)
        assert "set --data-dir" in one_line(error)
    monkeypatch.chdir(folder)
    for args in (RunArgs(dataset="."), RunArgs(dataset=str(folder), out=folder / "x")):
        with pytest.raises(SettingError) as error:
            check_places(args)
        assert "set --out" in one_line(error)
    check_places(RunArgs(dataset=".", out=tmp_path / "run"))
    (tmp_path / "link").unlink()
    assert contents(tmp_path) == before


def test_of_equal_images_those_of_the_name_and_the_classes(tmp_path: Path) -> None:
    """Three files hold the same arrays but the classes' names; one digest, three prepared sets."""
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 3, 1), dtype=np.uint8)
    sets = {}
    for name, classes in (("a", "xy"), ("b", "xy"), ("c", "xz")):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=[*classes] * 4)
        sets[name] = data.load(tmp_path / f"{name}.npz", tmp_path / "data")
    (digest,) = {each.digest for each in sets.values()}

    def found(name: str, class_names: Any) -> str:
        text = data.find_images(digest, tmp_path / "data", name, class_names)
        return data.load(text, tmp_path / "data").name if text else ""

    for name, each in sets.items():
        assert found(name, each.class_names) == name
    assert found("d", ("x", "z")) == "c"
    assert found("c", ("x", "y")) in ("a", "b")
    assert found("b", None) == "b"
    assert found("a", ("x", "w")) == ""


def test_what_ended_while_it_was_looked_at_stays(
    tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process ends its set between the first look and the lock."""
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))
    load()
    (folder,) = (tmp_path / "data" / "jaxgen" / "images").iterdir()
    before, exists, looks = contents(folder), Path.exists, []

    def at_first_not(path: Path) -> bool:
        looks.append(path)
        return len(looks) > 1 and exists(path)

    monkeypatch.setattr(Path, "exists", at_first_not)
    prepared._remove_stale(folder.parent)
    monkeypatch.undo()
    assert contents(folder) == before


def test_sizes_of_python(tmp_path: Path, load: Any) -> None:
    for i in range(3):
        picture(tmp_path / "pictures" / f"{i}.png", (i, 1, 2))
    sizes: dict[Any, tuple[int, int, int]] = {np.int64(8): (8, 8, 3), 7: (7, 7, 3)}
    for size, shape in [*sizes.items(), ([8, 9], (8, 9, 3)), ((8,), (8, 8, 3))]:
        assert load(image_size=size).image_shape == shape
    for wrong in (0, (), [], True, 8.5, (8, 9, 10)):
        with pytest.raises(SettingError) as error:
            load(image_size=wrong)
        assert "--image-size of one or two numbers" in one_line(error)


def test_names_that_are_no_text_or_too_long() -> None:
    with pytest.raises(SettingError) as error:
        data.load(os.fsdecode(b"pict\xffres"))
    assert "rename it" in one_line(error)
    for text in ("x" * 5000, "~" + "x" * 5000, "x/" * 2000, "prepared:" + "x" * 5000):
        with pytest.raises(SettingError) as error:
            data.load(text)
        assert len(one_line(error)) < 400


@pytest.mark.parametrize("name", ["nope", "mnist"])
def test_a_folder_that_is_not_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError) as error:
        data.from_folder(name)
    assert one_line(error).startswith(f"expected a folder of pictures, found '{name}', which")


def test_a_place_has_no_way_round_but_keeps_its_links(tmp_path: Path) -> None:
    """Behind a link `..` is the parent of what it leads to."""
    for name in ("a", "b/c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "b" / "c")
    found = {"a/../a/.": "a", "link/.": "link", "link/../c": "link/../c"}
    for path, expected in found.items():
        assert data.place_of(tmp_path / path).text == f"{tmp_path}/{expected}"


def test_a_place_in_a_loop_of_links_lies_in_no_folder_of_images(tmp_path: Path) -> None:
    (loop := tmp_path / "loop").symlink_to(loop)
    (images := tmp_path / "images").mkdir()
    data.check_outside(str(images), loop, "--out")
    with pytest.raises(SettingError, match="in which nothing is ever written"):
        data.check_outside(str(images), images / "x", "--out")
