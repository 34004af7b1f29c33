"""Pages in a real browser: what it says of them."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-device-scale-factor=1", "--enable-logging=stderr", "--virtual-time-budget=4000"),
)
LEAST_WIDTH = 500
"""Pixels; a window is no narrower, so that a narrower page lies in a frame."""
FRAME = "<!doctype html><iframe style='border: 0; width: {}px; height: 800px' srcdoc='"
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
    asked: ASKED,
  };
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  top.document.body.append(note);
})</script>"""


def shown(page: Path, folder: Path, width: int, asked: str = "null") -> dict[str, Any]:
    """A page in Chromium, in a window of a width in pixels; skips where there is no Chromium.

    `asked` is an expression of JavaScript, evaluated when the page has loaded.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium; on Debian: apt install chromium")
    copy = folder / "page.html"
    probe = PROBE.replace("ASKED", asked)
    text = page.read_text().replace("</head>", f"{probe}</head>", 1)
    if width < LEAST_WIDTH:
        text = f"{FRAME.format(width)}{html.escape(text)}'></iframe>"
    copy.write_text(text)
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [chromium, *FLAGS, profile, f"--window-size={width},900", "--dump-dom", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == [], complaints
    (found,) = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout)
    measured: dict[str, Any] = json.loads(html.unescape(found))
    return measured
