"""One image file: what its header says, and its pixels in the form that all images of a set have.

Shapes: images [H, W, C], uint8 in 0 .. 255, or float32 in [0, 1] of a set that has 16-bit grey.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_GREY_MODES = ("1", "L", "LA", "La")
_TURNS = {  # what EXIF's orientation asks for
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAP_SIDES = (5, 6, 7, 8)


class DamagedImage(Exception):
    """A file that is no whole image; its text is the reason."""


class UnfitImage(Exception):
    """A whole image, in the file `path`, of a kind that is not taken: `must_be` says what is, the text what this is."""

    def __init__(self, path: Path, must_be: str, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.must_be = must_be


class Header(NamedTuple):
    """What is known of an image before it is decoded; height and width are those of the turned image."""

    height: int
    width: int
    has_colour: bool
    has_16_bits: bool  # and is grey: Pillow itself makes 8 bits of colours


class Form(NamedTuple):
    """What the images of a set are made: float32 in [0, 1] with `as_floats`, else uint8.

    Without `crops` all images have that height and width already, and another one is refused.
    """

    height: int
    width: int
    channels: int
    as_floats: bool
    crops: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """[H, W, C]."""
        return (self.height, self.width, self.channels)

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels."""
        return np.dtype(np.float32 if self.as_floats else np.uint8)

    @property
    def image_bytes(self) -> int:
        """What an image takes in memory."""
        return self.height * self.width * self.channels * self.dtype.itemsize


class Decoded(NamedTuple):
    """An image [H, W, C], and whether it had transparent pixels, which are now laid over white."""

    pixels: np.ndarray
    was_transparent: bool


def read_header(path: Path) -> Header:
    """What the header says; of an image with a palette, the pixels are asked which colours it has.

    Raises:
        DamagedImage: it is no image.
        UnfitImage: it is too large, or has floating-point pixels.
    """
    with _opened(path) as image:
        width, height = image.size
        if _header_orientation(image) in _SWAP_SIDES:
            width, height = height, width
        return Header(height, width, _has_colour(image), image.mode.startswith("I"))


def decode(path: Path, form: Form) -> Decoded:
    """The image: turned as EXIF says, on white, cropped at its centre and resized where it has another size.

    Raises:
        DamagedImage: it can't be decoded to its end.
        UnfitImage: as `read_header`, or grey values of more than 16 bits, or another size without `form.crops`.
    """
    with _opened(path) as image:
        image.load()
        turn = _TURNS.get(_orientation(image))
        whole = image if turn is None else image.transpose(turn)
        if "transparency" in image.info:
            whole.info["transparency"] = image.info["transparency"]
        if whole.size != (form.width, form.height) and not form.crops:
            size = f"is {whole.height}x{whole.width} when it is turned as the data behind its pixels say"
            raise UnfitImage(path, f"images of one size, {form.height}x{form.width}", size)
        if whole.mode.startswith("I"):
            grey, was_transparent = _grey_16_bits(path, whole)
            if form.as_floats:
                fitted = _fit(Image.fromarray(grey / np.float32(65_535)), form)
            else:
                eight_bits = Image.fromarray(((grey + 128) // 257).astype(np.uint8))
                fitted = _fit(eight_bits.convert(_mode(form)), form)
        else:
            whole, was_transparent = _on_white(whole)
            fitted = _fit(_converted(whole, form), form)
        pixels = np.array(fitted)
    if form.as_floats:
        pixels = pixels.clip(0, 1)  # Lanczos overshoots at edges
    return Decoded(pixels.reshape(form.shape), was_transparent)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, not yet decoded. Whatever Pillow raises, here or in the caller, is told as damage."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check(path, image)
            yield image
    except (UnfitImage, MemoryError):
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):  # where warnings are errors
        raise _too_large(path) from None
    except UnidentifiedImageError:
        raise DamagedImage("is empty" if path.stat().st_size == 0 else "is no image") from None
    except OSError as error:
        raise DamagedImage(_one_line(error.strerror or error)) from None
    except Exception as error:  # SyntaxError of a broken PNG, struct.error, ValueError, ...
        raise DamagedImage(_one_line(error)) from None


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:200] or type(reason).__name__


def _check(path: Path, image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise _too_large(path)
    if image.mode == "F":
        raise UnfitImage(path, "images of 8 or 16 bits", "has floating-point pixels (Pillow's mode F)")


def _too_large(path: Path) -> UnfitImage:
    return UnfitImage(path, f"images of at most {Image.MAX_IMAGE_PIXELS:,} pixels", "has more")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 if it has none; also of damaged EXIF data, for the pixels are whole."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _header_orientation(image: Image.Image) -> int:
    """As `_orientation`, without decoding the image."""
    if image.format == "TIFF":  # Pillow turns these itself, and their size is that of the turned image
        return 1
    if image.format == "PNG" and not {"exif", "xmp", "Raw profile type exif"} & set(image.info):
        return 1  # Pillow would decode the pixels to look behind them
    return _orientation(image)


def _has_colour(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        return _palette_has_colour(image)
    return image.mode not in _GREY_MODES and not image.mode.startswith("I")


def _palette_has_colour(image: Image.Image) -> bool:
    """Whether a colour of the palette that a pixel has is not grey."""
    indices = np.asarray(image)
    if image.mode == "PA":
        indices = indices[..., 0]
    colours = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours = colours[np.intersect1d(indices, np.arange(len(colours)))]
    return bool((colours != colours[:, :1]).any())


def _mode(form: Form) -> str:
    return "RGB" if form.channels == 3 else "L"


def _grey_16_bits(path: Path, image: Image.Image) -> tuple[np.ndarray, bool]:
    """The grey values [H, W], 0 to 65,535 as float32, which has them exactly; and whether one was transparent."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65_535:
        raise UnfitImage(path, "images of 8 or 16 bits", f"has grey values from {low:,} to {high:,}")
    grey = values.astype(np.float32)
    is_transparent = grey == image.info.get("transparency", -1)  # NumPy 2.1 crashes on >u2 values == -1
    grey[is_transparent] = 65_535
    return grey, bool(is_transparent.any())


def _on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image laid over white, and whether that changed a pixel."""
    if not image.has_transparency_data:
        return image, False
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return layer.convert("RGB"), False
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB"), True


def _converted(image: Image.Image, form: Form) -> Image.Image:
    """An image of 8 bits in the set's mode: L or RGB, or F in [0, 1]."""
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    image = image.convert(_mode(form))
    if form.as_floats:
        return Image.fromarray(np.asarray(image) * np.float32(1 / 255))
    return image


def _fit(image: Image.Image, form: Form) -> Image.Image:
    """The image cropped at its centre to the ratio of the set's size, and resized to it without aliasing."""
    size = (form.width, form.height)
    if image.size == size:
        return image
    return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS)
