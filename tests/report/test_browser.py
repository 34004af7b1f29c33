"""The page of a run in a real browser: it loads, its pictures show, and nothing sticks out."""

from pathlib import Path

import pytest
from support.browser import shown

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_of_a_run_shows_its_pictures_and_fits_the_window(
    width: int, finished: Path, tmp_path: Path
) -> None:
    found = shown(finished / "report.html", tmp_path, width)
    assert found["title"] == "RBM on digits"
    assert found["window"] == width
    assert len(found["images"]) >= 6
    assert min(found["images"]) > 100
    assert found["described"]
    assert found["width"] <= found["window"]
    assert [link for link in found["links"] if link.startswith("#")] == found["targets"]
    assert found["cells"] > 5
