"""The pages in a real browser: they load, their pictures show, and nothing sticks out."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-device-scale-factor=1", "--enable-logging=stderr", "--virtual-time-budget=4000"),
)
PROBE = """<script>addEventListener("load", () => {
  const found = {
    title: document.title,
    images: [...document.images].map(image => image.naturalWidth),
    described: [...document.images].every(image => image.alt),
    width: document.documentElement.scrollWidth,
    window: innerWidth,
    links: [...document.links].map(link => link.getAttribute("href")),
    targets: [...document.querySelectorAll("section")].map(section => "#" + section.id),
    cells: document.querySelectorAll("td").length,
  };
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
})</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser; skips where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.skip("no chromium; on Debian: apt install chromium")
    return found


def opened(chromium: str, page: Path, folder: Path, width: int) -> dict:
    """What the browser makes of a page, in a window of a width in pixels."""
    copy = folder / "page.html"
    copy.write_text(page.read_text().replace("</head>", f"{PROBE}</head>", 1))
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *FLAGS, profile, f"--window-size={width},900", "--dump-dom", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    (found,) = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout)
    return json.loads(found)


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_of_a_run_shows_its_pictures_and_fits_the_window(
    width: int, chromium: str, finished: Path, tmp_path: Path
) -> None:
    found = opened(chromium, finished / "report.html", tmp_path, width)
    assert found["title"] == "RBM on digits"
    assert found["window"] == width
    assert len(found["images"]) >= 6
    assert min(found["images"]) > 100
    assert found["described"]
    assert found["width"] <= found["window"]
    assert [link for link in found["links"] if link.startswith("#")] == found["targets"]
    assert found["cells"] > 5
