"""The page of a run in a real browser: it loads, its pictures show, and nothing sticks out."""

from pathlib import Path

import pytest
from support.browser import shown

from jaxgen.report import figures

pytestmark = pytest.mark.browser

LETTERS = 9 / 72
"""Height of the smallest letters of a figure, in inches."""
ASKED = """(() => {
  const button = document.querySelector(".enlarge"), large = document.querySelector("dialog")
  button.focus()
  button.click()
  const found = {
    opened: large.open,
    enlarged: large.querySelector("img").src === button.querySelector("img").src,
    caption: large.querySelector("p").textContent,
  }
  large.close()
  const drawn = [...document.images].filter(image => !image.matches("dialog *"))
  return {
    ...found,
    closed: !large.open && document.activeElement === button,
    headings: [...document.querySelectorAll("h1, h2, h3, h4")].map(each => Number(each.tagName[1])),
    scales: drawn.map(image => image.clientWidth / image.naturalWidth),
    places: drawn.map(image => image.getBoundingClientRect().left),
    ids: [...document.querySelectorAll("[id]")].map(each => each.id),
    landmarks: ["header", "nav", "main"].map(name => document.querySelectorAll(name).length),
    language: document.documentElement.lang,
    contents: document.querySelector("nav details").open,
  }
})()"""


@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_of_a_run_shows_its_pictures_and_fits_the_window(
    width: int, finished: Path, tmp_path: Path
) -> None:
    found = shown(finished / "report.html", tmp_path, width, ASKED)
    assert found["title"] == "RBM on digits"
    assert found["window"] == width
    assert len(found["images"]) >= 6
    assert min(found["images"]) > 100
    assert found["described"]
    assert found["width"] <= found["window"]
    assert [link for link in found["links"] if link.startswith("#s")] == found["targets"][:-1]
    assert found["cells"] > 5
    asked = found["asked"]
    assert asked["opened"]
    assert asked["enlarged"]
    assert asked["caption"] == "The first 100 samples"
    assert asked["closed"]
    assert min(asked["scales"]) * LETTERS * figures.DPI >= 8.9  # pixels
    assert len(set(asked["places"])) == (2 if width == 1200 else 1)  # of the grid, full and half
    assert asked["headings"] == [1] + [2] * len(found["targets"])
    assert len(asked["ids"]) == len(set(asked["ids"]))
    assert asked["landmarks"] == [1, 1, 1]
    assert asked["language"] == "en"
    assert asked["contents"] == (width == 1200)
