"""A model that runs in a page: its weights as text, and the JavaScript that computes with them.

The page needs no server and loads nothing. `templates/models.js` has the mathematics, in 64-bit
sums of 32-bit numbers, `templates/explorer.js` the controls. What a stranger named, such as
classes, is data there and never markup.
"""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jinja2
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from jaxgen.images import ImageShape
from jaxgen.report.page import Widget, embed

Precision = Literal["float32", "float16"]

PAGE_BYTES = 6_000_000
"""Bytes of a page with its figures and its model, at most."""
TEXT_BYTES = 200_000
"""Bytes of the rest of a page, at most."""
WALK_BYTES = 1_500_000
"""Bytes of the frames of a walk, at most."""
LEAST_WALK_BYTES = 400_000
"""Bytes that these frames may take where the figures of a page leave less."""
NUM_THUMBNAILS, THUMBNAIL_BYTES = 10, 150_000
"""Test images to start from: so many, or fewer large ones."""


class Layer(NamedTuple):
    """A dense layer, x W + b, and the function after it."""

    kernel: Float[Any, "inputs outputs"]
    bias: Float[Any, " outputs"]
    activation: Literal["", "softplus", "tanh", "relu", "leaky_relu"] = ""


class Decoder(NamedTuple):
    """Dense layers from codes to pixels in [0, 1], one number for each channel of each pixel."""

    layers: Sequence[Layer]
    output: Literal["sigmoid", "tanh", "clip", "logistic"]
    """The map from the last layer's y to pixels: sigmoid(y), (tanh(y) + 1) / 2, y cut to [0, 1], or
    the mean of a discretised logistic variable, whose locations come first in y."""
    labels: Float[Any, "classes units"] | None = None
    """The term of each class in the first layer, before its activation."""
    least: float = 0.0
    """The least log scale of a logistic variable."""


class Codes(NamedTuple):
    """Codes of test images, and what is known of them."""

    codes: Float[Any, "num latent"]
    labels: Int[np.ndarray, " num"]
    images: UInt8[np.ndarray, "some height width channels"]
    """The first of the images."""


class Net(NamedTuple):
    """An RBM on directed layers, with the fields and the parameters of `jaxgen.models.dbn.Net`."""

    recognition: Sequence[Mapping[str, Any]]
    generative: Sequence[Mapping[str, Any]]
    top: Mapping[str, Any]


class Packed(NamedTuple):
    """Arrays as a text."""

    text: str
    """Base64, one array after the other, little-endian."""
    sizes: list[int]
    precision: Precision


def room(figures: Iterable[Path]) -> int:
    """Characters that a page with these figures has left for a model."""
    return PAGE_BYTES - TEXT_BYTES - sum(len(embed(path)) for path in figures)


def pack(arrays: Sequence[Any], room: int) -> Packed | None:
    """Arrays in at most `room` characters: float32, else float16; None where neither fits."""
    flat = [np.asarray(array, np.float32).ravel() for array in arrays]
    numbers = np.concatenate(flat)
    precisions: tuple[Precision, ...] = ("float32", "float16")
    for precision in precisions:
        kind = np.dtype(precision).newbyteorder("<")
        fits = _num_chars(numbers.size * kind.itemsize) <= room
        if fits and np.abs(numbers).max() <= np.finfo(kind).max:
            return Packed(_base64(numbers.astype(kind).tobytes()), [*map(len, flat)], precision)
    return None


def decoder(
    net: Decoder,
    image_shape: ImageShape,
    class_names: Sequence[str],
    order: Sequence[int],
    room: int,
    arc: bool = False,
    known: Codes | None = None,
) -> tuple[Widget, Precision] | None:
    """Codes by hand, and the image that a decoder makes of them; None where it does not fit.

    Args:
        net: the decoder.
        image_shape: of its images.
        class_names: those of the data set, which a net with `labels` is asked for.
        order: the latent variables, those first that matter most.
        room: characters that the model may take.
        arc: whether walks between codes are arcs, else lines.
        known: codes of test images, if there are some.
    """
    arrays: list[Any] = []
    layers = [
        [_place(arrays, layer.kernel), _place(arrays, layer.bias), layer.activation]
        for layer in net.layers
    ]
    spec: dict[str, Any] = {"kind": "decoder", "shape": image_shape, "classes": [*class_names]}
    spec |= {"layers": layers, "output": net.output, "least": net.least, "arc": arc}
    spec |= {"order": [int(index) for index in order], "conditional": net.labels is not None}
    if net.labels is not None:
        spec["labels"] = _place(arrays, net.labels)
    if known is not None:
        labels = [int(label) for label in known.labels]
        spec["dots"] = {"array": _place(arrays, known.codes), "labels": labels}
        spec["images"] = thumbnails(known.images)
    return _widget(spec, arrays, room)


def net(
    net: Net,
    image_shape: ImageShape,
    class_names: Sequence[str],
    binarize: str,
    images: UInt8[np.ndarray, "num height width channels"],
    room: int,
) -> tuple[Widget, Precision] | None:
    """The Gibbs chain of a net, with pixels and labels to hold; None where it does not fit.

    Args:
        net: an RBM, alone or on directed layers.
        image_shape: of its visible units.
        class_names: of its label units, if it has some.
        binarize: how grey pixels become binary units, as in `jaxgen.random.binarize`.
        images: test images to start from, of which the first are taken.
        room: characters that the model may take.
    """
    arrays: list[Any] = []
    spec: dict[str, Any] = {"kind": "net", "shape": image_shape, "classes": [*class_names]}
    for direction, bias in (("recognition", "b_hidden"), ("generative", "b_visible")):
        layers = getattr(net, direction)
        spec[direction] = [
            [_place(arrays, layer[name]) for name in ("w", bias)] for layer in layers
        ]
    names = ["w", "b_visible", "b_hidden"]
    names += ["w_labels", "b_labels"] if "b_labels" in net.top else []
    spec["top"] = [_place(arrays, net.top[name]) for name in names]
    bottom = net.generative[0] if net.generative else net.top
    if "pixel_std" in bottom:
        spec["mean"] = _place(arrays, bottom["pixel_mean"])
        spec["std"] = _place(arrays, bottom["pixel_std"])
    spec |= {"binarize": binarize, "images": thumbnails(images)}
    return _widget(spec, arrays, room)


def walk(
    frames: Float[np.ndarray, "num height width channels"], seconds: float, room: int
) -> Widget:
    """Frames in [0, 1] to walk through, which take `seconds` by themselves.

    Frames that do not fit in `room` are shrunk to half their size until they do, or are small.
    """
    room = min(max(room, LEAST_WALK_BYTES), WALK_BYTES)
    raw = np.asarray(np.rint(255.0 * np.clip(frames, 0.0, 1.0)), np.uint8)
    png = _png(raw)
    while _num_chars(len(png)) > room and min(raw.shape[1:3]) >= 16:
        raw = _halve(raw)
        png = _png(raw)
    spec = {"kind": "walk", "shape": raw.shape[1:], "num": len(raw), "seconds": seconds}
    spec |= {"type": "image/png", "frames": _base64(png)}
    return _render(spec, "")


def thumbnails(images: UInt8[np.ndarray, "num height width channels"]) -> str:
    """The first raw images, one byte after the other, in base64."""
    num = min(NUM_THUMBNAILS, max(1, THUMBNAIL_BYTES // images[0].size))
    return _base64(np.ascontiguousarray(images[:num]).tobytes())


def _place(arrays: list[Any], array: Any) -> int:
    """The place of an array among those of a page, where each is put once."""
    for place, other in enumerate(arrays):
        if other is array:
            return place
    arrays.append(array)
    return len(arrays) - 1


def _widget(
    spec: dict[str, Any], arrays: Sequence[Any], room: int
) -> tuple[Widget, Precision] | None:
    """The part of the page, and the precision of its arrays; None where they do not fit."""
    packed = pack(arrays, room)
    if packed is None:
        return None
    spec |= {"sizes": packed.sizes, "precision": packed.precision}
    return _render(spec, packed.text), packed.precision


def _render(spec: Mapping[str, Any], weights: str) -> Widget:
    """The part of the page, with its own style and script."""
    loader = jinja2.PackageLoader("jaxgen.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True)
    script, style = (
        "".join(loader.get_source(environment, name)[0] for name in names)
        for names in (("models.js", "explorer.js"), ("explorer.css",))
    )
    template = environment.get_template("explorer.html")
    return Widget(template.render(spec=spec, weights=weights, style=style, script=script))


def _png(frames: UInt8[np.ndarray, "num height width channels"]) -> bytes:
    """Frames below each other as a PNG file."""
    column = frames.reshape(-1, *frames.shape[2:])
    buffer = io.BytesIO()
    Image.fromarray(column[..., 0] if column.shape[2] == 1 else column).save(
        buffer, "png", optimize=True
    )
    return buffer.getvalue()


def _halve(
    frames: UInt8[np.ndarray, "num height width channels"],
) -> UInt8[np.ndarray, "num less less channels"]:
    """Frames of half the size; each pixel is the mean of four, and an odd last line is left out."""
    num, height, width, channels = frames.shape
    even = frames[:, : height // 2 * 2, : width // 2 * 2].astype(np.float32)
    blocks = even.reshape(num, height // 2, 2, width // 2, 2, channels)
    return np.asarray(np.rint(blocks.mean(axis=(2, 4))), np.uint8)


def _num_chars(num_bytes: int) -> int:
    """Characters of so many bytes in base64."""
    return 4 * math.ceil(num_bytes / 3)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
