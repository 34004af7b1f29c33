"""A picture file as pixels: of any mode, turned, on a background, of the size that is wanted."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxgen.data.options import ImageOptions

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""The formats that are opened, whatever a file is called; no other parser of Pillow's is."""
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Of the names of picture files, in small or capital letters."""
MAX_PIXELS = 89_478_485
"""Of a picture, which takes three bytes for each; Pillow's own bound."""
OVERSAMPLED = 4
"""A JPEG is decoded at this many times the size wanted, or above, where that is less than its own:
a photograph in a third of the time, and Lanczos resamples the rest."""


class Picture(NamedTuple):
    """A picture as it was found."""

    image: Image.Image
    """Red, green and blue."""
    size: tuple[int, int]
    """Height and width, turned as it is to be seen."""
    mode: str
    """Pillow's name of how its pixels are kept: RGB, P (palette), I;16 (16 bits), ..."""


def read_picture(
    content: bytes | UInt8[np.ndarray, "..."],
    options: ImageOptions,
    wanted: tuple[int, int] | None = None,
) -> Picture:
    """Decodes a file's content; of several frames, the first one.

    Args:
        content: of a file, or pixels [H, W, C] of 1, 3 or 4 channels.
        options: of them, the background.
        wanted: height and width that it will be fitted to; the picture may be smaller than it was
            found, if it is much larger.

    Raises:
        Exception: whatever Pillow raises for what is no picture, or damaged, or too large.
    """
    if isinstance(content, np.ndarray):
        array = Image.fromarray(content[..., 0] if content.shape[-1] == 1 else content)
        return Picture(_in_rgb(array, options), content.shape[:2], "")
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:  # before anything is decoded
            raise Image.DecompressionBombError
        size, mode = (image.height, image.width), image.mode
        if wanted:
            image.draft(None, (OVERSAMPLED * max(wanted),) * 2)
        image.load()
        turned: Image.Image = image
        with contextlib.suppress(Exception):  # damaged EXIF data turn nothing
            on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            turned, size = ImageOps.exif_transpose(image), size[::-1] if on_its_side else size
        return Picture(_in_rgb(turned, options), size, mode)


def _in_rgb(image: Image.Image, options: ImageOptions) -> Image.Image:
    """A picture of any mode in red, green and blue of 8 bits, over the background."""
    if image.mode.startswith("I"):  # 16 bits, from 0 to 65535
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("pixels of 32 bits")
        image = Image.fromarray(np.rint(values / 257.0).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("pixels that are floating-point numbers; save them as .npy")
    if image.has_transparency_data:
        under = Image.new("RGBA", image.size, (*options.background_rgb, 255))
        image = Image.alpha_composite(under, image.convert("RGBA"))
    return image.convert("RGB")


def fit_picture(
    picture: Picture, size: tuple[int, int], options: ImageOptions
) -> UInt8[np.ndarray, "..."]:
    """The picture as an image of this height and width, [H, W, 3], resampled by Lanczos."""
    image, wanted = picture.image, (size[1], size[0])
    if image.size != wanted:
        if options.crop == "centre":
            image = ImageOps.fit(image, wanted, Image.Resampling.LANCZOS)
        elif options.crop == "pad":
            colour = options.background_rgb
            image = ImageOps.pad(image, wanted, Image.Resampling.LANCZOS, color=colour)
        else:
            image = image.resize(wanted, Image.Resampling.LANCZOS)
    return np.asarray(image)


def in_grey(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 1"]:
    """Luma of ITU-R 601-2, which leaves grey pixels as they are."""
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def reason(error: Exception) -> str:
    """Why a picture was not read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS:,} pixels"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:80] or type(error).__name__
