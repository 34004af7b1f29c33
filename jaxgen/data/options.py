"""How pictures of any size and kind become images of one size."""

from dataclasses import dataclass
from typing import Literal

from jaxgen.errors import SettingError, check_fields, is_whole, require

MAX_SIDE = 4096
"""Pixels of an image's side, at most."""


@dataclass(frozen=True)
class ImageOptions:
    """Size, colour and form of the images that a data set is to have.

    Example:
        >>> data.ImageOptions(image_size=(32, 64), grey=True).size
        (32, 64)
    """

    image_size: tuple[int, ...] = ()
    """Side of the images, or height and width. Not given: theirs, if pictures are all of one size
    and no side is above 256, else 64."""
    grey: bool = False
    """Images of one channel. With neither --grey nor --colour they are grey if every one is."""
    colour: bool = False
    """Images of three channels."""
    crop: Literal["centre", "pad", "none"] = "centre"
    """How a picture of another form fits: its centre is cut out, or it is padded with the
    background, or squeezed."""
    background: str = "white"
    """Colour behind transparent pixels and beside padded pictures: a name, or #rrggbb."""

    def __post_init__(self) -> None:
        check_fields(self)
        sides = len(self.image_size) <= 2 and all(is_whole(x, 1, MAX_SIDE) for x in self.image_size)
        require(self, "image_size", sides, f"of one or two numbers from 1 to {MAX_SIDE:,}")
        object.__setattr__(self, "image_size", tuple(map(int, self.image_size)))  # of NumPy's, too
        if self.grey and self.colour:
            raise SettingError(
                expected="--grey or --colour", found="both", remedy="leave one of them out"
            )
        _ = self.background_rgb

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width; None where the pictures decide.

        Example:
            >>> data.ImageOptions(image_size=(32,)).size
            (32, 32)
        """
        return (self.image_size[0], self.image_size[-1]) if self.image_size else None

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue from 0 to 255.

        Errors:
            SettingError: there is no such colour.

        Example:
            >>> data.ImageOptions(background="#ff8000").background_rgb
            (255, 128, 0)
        """
        if self.background == "white":  # without Pillow
            return 255, 255, 255
        from PIL import ImageColor

        try:
            red, green, blue = ImageColor.getrgb(self.background)[:3]
        except (ValueError, AttributeError) as error:
            raise SettingError(
                expected="--background of a colour's name, or #rrggbb",
                found=repr(self.background)[:100],
                remedy="set --background black, for example",
            ) from error
        return red, green, blue

    @property
    def suffix(self) -> str:
        """The ending of the name of a data set, where the options change its images.

        Example:
            >>> data.ImageOptions(image_size=(32,), grey=True).suffix
            '-32x32-grey'
        """
        sides = "x".join(map(str, self.size or ()))
        words = [sides, "grey" * self.grey, "colour" * self.colour]
        return "".join(f"-{word}" for word in words if word)
