"""The display of an object in a notebook: a table of its facts above some small pictures.

Every text may be a stranger's: it is cut off and escaped.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxgen.errors import without_controls
from jaxgen.images import as_array

MOST_TEXT = 200
"""Letters of a text."""
NUM_THUMBNAILS = 10
"""Pictures in a row."""
SIDE = 64
"""Pixels of the larger side of a thumbnail that is shown; smaller images are enlarged to it."""


def shorten(value: Any) -> str:
    """A value as text for HTML: at most `MOST_TEXT` letters, all printable, and escaped."""
    text = str(value)
    text = text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."
    return html.escape(without_controls(text))


def card(
    title: str, facts: Mapping[str, Any], images: Sequence[Any] | NDArray[Any] = (), alt: str = ""
) -> str:
    """HTML of a title, a table of facts and a row of images; `alt` is the text in their place."""
    rows = "".join(
        f'<tr><th style="text-align:left">{shorten(name)}</th>'
        f'<td style="text-align:left">{shorten(value)}</td></tr>'
        for name, value in facts.items()
    )
    picture = f"<div>{thumbnails(images, alt)}</div>" if len(images) else ""
    return f"<div><strong>{shorten(title)}</strong><table>{rows}</table>{picture}</div>"


def thumbnails(images: Sequence[Any] | NDArray[Any], alt: str) -> str:
    """The first `NUM_THUMBNAILS` images in a row, as an HTML image with its PNG in it.

    Images [H, W, C], C 1 or 3, are uint8, or numbers in [0, 1].
    """
    from PIL import Image

    found = np.stack([as_array(each) for each in images[:NUM_THUMBNAILS]])
    if found.dtype != np.uint8:
        found = np.rint(255 * np.clip(found, 0, 1)).astype(np.uint8)
    _, height, width, num_channels = found.shape
    pixels = found.transpose(1, 0, 2, 3).reshape(height, -1, num_channels)
    picture = Image.fromarray(pixels[..., 0] if num_channels == 1 else pixels)
    larger, content = max(height, width), io.BytesIO()
    if larger > SIDE:
        sides = (max(1, side * SIDE // larger) for side in (width, height))
        columns, rows = sides
        picture = picture.resize((columns * len(found), rows))
    picture.save(content, "PNG")
    shown = picture.height * max(1, SIDE // larger)
    data = base64.b64encode(content.getvalue()).decode()
    style = f"height:{shown}px;max-width:100%;image-rendering:pixelated"
    return f'<img alt="{shorten(alt)}" style="{style}" src="data:image/png;base64,{data}">'
