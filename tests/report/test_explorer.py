"""The data in a page of a model that runs there; `lab/test_explore.py` runs it."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxgen.report import explorer
from jaxgen.report.explorer import Decoder, Layer


def spec_of(html: str) -> Any:
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_arrays_take_the_widest_numbers_that_fit() -> None:
    """Ten numbers are 40 or 20 bytes, so 56 or 28 characters."""
    arrays = [np.arange(6).reshape(2, 3) / 7, np.array([0.1, -2.0, 3e-6, 65504.0])]
    numbers = np.concatenate([array.ravel() for array in arrays])
    for room, kind in ((56, "<f4"), (55, "<f2"), (28, "<f2")):
        packed = explorer.pack(arrays, room)
        assert packed is not None
        assert packed.sizes == [6, 4]
        assert packed.precision == {"<f4": "float32", "<f2": "float16"}[kind]
        assert len(packed.text) <= room
        found = np.frombuffer(base64.b64decode(packed.text), kind)
        np.testing.assert_array_equal(found, numbers.astype(kind))
    assert explorer.pack(arrays, 27) is None


def test_numbers_beyond_half_precision_are_not_made_infinite() -> None:
    assert explorer.pack([np.array([1.0, 7e4])], 8) is None


def test_a_page_has_room_for_what_its_figures_leave(tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(bytes(250_001))
    free = explorer.room([]) - explorer.room([path])
    assert free == len("data:image/png;base64,") + len(base64.b64encode(path.read_bytes()))


def test_weights_that_do_not_fit_make_no_page() -> None:
    layers = [Layer(np.zeros((2, 30)), np.zeros(30))]
    assert explorer.decoder(Decoder(layers, "tanh"), (6, 5, 1), (), [0, 1], room=50) is None


def test_names_of_others_are_no_markup() -> None:
    layers = [Layer(np.zeros((2, 30)), np.zeros(30))]
    name = "</script><b>'\"&"
    found = explorer.decoder(Decoder(layers, "tanh"), (6, 5, 1), (name,), [1, 0], room=1000)
    assert found is not None
    html = found[0].html
    assert "<b>" not in html
    assert spec_of(html)["classes"] == [name]
    assert spec_of(html)["order"] == [1, 0]
    assert not re.search(r"https?:|eval\(|innerHTML|import\(|fetch\(", html)


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_of_a_walk_stand_below_each_other(channels: int) -> None:
    frames = np.random.default_rng(0).random((4, 20, 17, channels))
    spec = spec_of(explorer.walk(frames, 2.0, 1_000_000).html)
    assert (spec["shape"], spec["num"]) == ([20, 17, channels], 4)
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(spec["frames"]))))
    expected = np.rint(255 * frames).reshape(80, 17, channels)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_frames_that_do_not_fit_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "LEAST_WALK_BYTES", 2000)
    frames = np.random.default_rng(0).random((4, 32, 33, 1))
    spec = spec_of(explorer.walk(frames, 2.0, 0).html)
    assert spec["shape"] == [16, 16, 1]
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(spec["frames"]))))
    top_left = 255 * frames[0, :2, :2, 0].mean()
    assert found[0, 0] == pytest.approx(top_left, abs=0.51)
