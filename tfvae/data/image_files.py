"""One image of a file, by Pillow: what its header says, and its pixels.

Shapes: pixels [H, W, C], uint8, or float32 in [0, 1] where grey values have 16 bits.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # grey values of 16 bits
_MOST_DEEP = 65_535
_ORIENTATION = 0x0112  # EXIF's number of the tag
_TURNED = (5, 6, 7, 8)  # its values that exchange height and width


class Damaged(Exception):
    """A file that can't be read as an image; its text is the reason."""


class Header(NamedTuple):
    """What is known of an image without its pixels."""

    size: tuple[int, int]  # height, width, as it is shown
    has_colour: bool
    is_deep: bool  # whether its grey values have 16 bits
    is_transparent: bool


class Wanted(NamedTuple):
    """What all images of a set are made."""

    size: tuple[int, int] | None  # height, width; None: they have one already
    channels: int  # 1 or 3
    is_deep: bool  # float32 of 16-bit grey values


def read_header(path: str | Path) -> Header:
    """The header of an image's file; raises Damaged."""
    with _opened(path) as image:
        width, height = image.size
        orientation = image.getexif().get(_ORIENTATION, 1) if image.format != "GIF" else 1
        if orientation in _TURNED:
            height, width = width, height
        is_transparent = image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info
        return Header((height, width), _has_colour(image), image.mode in _DEEP, is_transparent)


def read_pixels(path: str | Path, wanted: Wanted) -> np.ndarray:
    """The pixels as they are wanted, [H, W, C]: turned as EXIF says, transparent ones over white.

    To another size it is cropped at its centre to the ratio, and resized by Lanczos's filter, without aliasing.

    Raises:
        Damaged: the file can't be decoded.
    """
    with _opened(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if wanted.is_deep:
            return _deep_pixels(image, wanted)
        image = _over_white(_in_eight_bits(image)).convert("L" if wanted.channels == 1 else "RGB")
        if wanted.size is not None:
            image = _fitted(image, wanted.size)
        pixels = np.asarray(image)
        return pixels[..., None] if wanted.channels == 1 else pixels


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The image, whose pixels are not read yet; whatever is wrong with it raises Damaged, here and in the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata, which are not asked for
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                if image.mode == "F":
                    raise Damaged("its pixels are of floating point, of which the range is not known")
                yield image
        except UnidentifiedImageError:
            raise Damaged("it is no image") from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise Damaged(f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, KeyError, OverflowError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Damaged(reason) from None


def _has_colour(image: Image.Image) -> bool:
    if image.mode in _GREY or image.mode in _DEEP:
        return False
    if image.mode not in ("P", "PA"):
        return True
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    return bool((palette != palette[:, :1]).any())


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits as those of 8, rounded; other images as they are."""
    if image.mode not in _DEEP:
        return image
    return Image.fromarray(np.rint(_deep_values(image) * 255).astype(np.uint8))


def _deep_values(image: Image.Image) -> np.ndarray:
    """Of grey values of 16 bits: float32 [H, W] in [0, 1]; raises Damaged where some are larger."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > _MOST_DEEP:
        raise Damaged(f"it has grey values from {values.min()} to {values.max()}, and not of 16 bits")
    return values.astype(np.float32) / np.float32(_MOST_DEEP)


def _deep_pixels(image: Image.Image, wanted: Wanted) -> np.ndarray:
    if image.mode in _DEEP:
        values = _deep_values(image)
    else:
        values = np.asarray(_over_white(image).convert("L"), np.float32) / np.float32(255)
    if wanted.size is not None:
        values = np.asarray(_fitted(Image.fromarray(values), wanted.size))
    return np.clip(values, 0, 1)[..., None]  # the filter goes a little beyond


def _over_white(image: Image.Image) -> Image.Image:
    """The image without transparency: laid over white."""
    if image.mode not in ("LA", "La", "RGBA", "RGBa", "PA") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
