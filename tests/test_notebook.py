"""The display in a notebook: facts and small pictures, every text escaped, and never an error."""

import base64
import dataclasses
import html.parser
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.helpers import FIXTURES

import jaxgen
from jaxgen import notebook
from jaxgen.data import Dataset, Split
from jaxgen.data.dataset import digest_of
from jaxgen.models import dbm
from jaxgen.runs.run import Run

MARKUP = '<script>alert("1")</script>\x1b[2J'


class Parser(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str | None) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        assert page is not None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Takes a tag."""
        del attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Takes text."""
        self.text += data + " "


def picture(page: str | None) -> np.ndarray:
    """The pixels of the picture in a page."""
    assert page is not None
    (data,) = re.findall(r'src="data:image/png;base64,([\w+/=]+)"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def dataset(side: int = 4, channels: int = 1, name: str = "mine", classes: int = 3) -> Dataset:
    """Image i has the value i everywhere and the class 0, 0, 0, 0, then 1, 2, 0, 1, 2, ..."""
    labels = np.array([0, 0, 0, *(np.arange(37) % classes)], np.int32)
    values = np.arange(40, dtype=np.uint8)[:, None, None, None]
    train = Split(np.broadcast_to(values, (40, side, side, channels)), labels)
    test = Split(train.images[:7], labels[:7])
    names = tuple(f"class {index}" for index in range(classes))
    return Dataset(name, train, test, digest_of(train, test), names)


def test_a_dataset_has_its_facts_and_an_image_of_each_class() -> None:
    page = dataset()._repr_html_()
    text = Parser(page).text
    for words in ("mine", "40", "7", "4 x 4 x 1", "class 0, class 1, class 2"):
        assert words in text
    shown = picture(page)
    assert shown.shape == (4, 40)
    assert shown[0, ::4].tolist() == [0, 4, 5, 1, 2, 3, 6, 7, 8, 9]  # the first of 0, 1, 2 lead


def test_large_colour_images_become_small_ones() -> None:
    assert picture(dataset(side=150, channels=3)._repr_html_()).shape == (64, 640, 3)


def test_many_classes_are_counted() -> None:
    text = Parser(dataset(classes=12)._repr_html_()).text
    assert "12: class 0, class 1," in text
    assert "class 10" not in text


def test_a_name_is_text() -> None:
    found = Parser(dataset(name=MARKUP)._repr_html_())
    assert "script" not in found.tags
    assert '<script>alert("1")</script>?[2J' in found.text
    assert len(notebook.shorten("&" * 10_000)) <= 5 * notebook.MOST_TEXT


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return jaxgen.load(shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "<b>run"))


def test_a_run_has_its_numbers_and_samples(run: Run) -> None:
    page = run._repr_html_()
    text = Parser(page).text
    for words in ("rbm on digits", "2 epochs in batches of 100", "num_hidden 3", "0.03669", "<b>"):
        assert words in text
    assert "b" not in Parser(page).tags
    shown = np.hstack([*run.stored_samples()[:10, :, :, 0]])
    np.testing.assert_array_equal(picture(page), np.rint(255 * shown))


def test_a_run_has_the_sizes_of_its_layers(run: Run) -> None:
    """Those of the defaults too."""
    machine = dataclasses.replace(run, config=dbm.Config(num_chains=50))
    page = machine._repr_html_()
    assert "hidden_sizes (200, 200), num_chains 50" in Parser(page).text


def test_what_cannot_be_shown_is_a_line(run: Run) -> None:
    (run.folder / "samples.npz").unlink()
    page = run._repr_html_()
    assert page is not None
    assert "img" not in Parser(page).tags
    (run.folder / "metrics.jsonl").write_text("{}\n{}\n")
    assert run._repr_html_() is None
    assert dataset()._replace(train=None)._repr_html_() is None  # type: ignore[arg-type]
