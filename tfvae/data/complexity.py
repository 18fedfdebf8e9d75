"""How complex an image is: the length of its shortest lossless code, in nats.

A model of high density also gives it to images that are simpler than any that it has seen: flat grey ones, or house
numbers beside photographs (Nalisnick et al. 2019, "Do deep generative models know what they don't know?"). The code of
such images is short. Serra et al. 2020, "Input complexity and out-of-distribution detection with likelihood-based
generative models", therefore subtract it:

    S(x) = -log p(x) - L(x)

which is a likelihood ratio, of the compressor taken as a model of all images to this one; larger is more anomalous.

Two codes are tried, and the shorter one counts: WebP's lossless one, which predicts a pixel by its neighbours, and
DEFLATE of the bytes. On digits, clothes, photographs and flat images PNG, JPEG 2000 and bzip2 were never the shortest,
and LZMA was shorter by 2 to 6 % in ten times the time. What a file's format adds to each code is not counted, else an
image would be charged for the choice.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; complexities [N].
"""

import io
import math
import zlib

import numpy as np
from PIL import Image

from tfvae.data.new_images import NewImages

_NATS_PER_BYTE = 8 * math.log(2)
_BLOCK = 256  # images
_WEBP_CONTAINER = 20  # bytes before the code: RIFF's header and that of its one chunk
_WEBP_LONGEST_SIDE = 16_383  # pixels


def complexity(images: np.ndarray | NewImages) -> np.ndarray:
    """L(x) of each image in nats, float64 [N]: of its pixels as the model sees them, binarized ones too, at 8 bits."""
    lengths = np.empty(len(images))
    for first in range(0, len(images), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(images)))
        lengths[rows] = [code_length(image) for image in to_levels(images[rows])]
    return lengths * _NATS_PER_BYTE


def to_levels(images: np.ndarray) -> np.ndarray:
    """The 8-bit levels k of pixels, which are k / 255, or (k + u) / 256 with the noise u of `--dequantize`.

    Where u rounds to 1, one in some hundred thousand, the level is one too high. Finer values are rounded down.
    """
    if images.dtype == np.uint8:
        return images
    return np.minimum(np.floor(images * 256), 255).astype(np.uint8)


def code_length(image: np.ndarray) -> int:
    """Bytes of the shortest code of an 8-bit image [H, W, C]."""
    if image.shape[-1] != 3:  # channels that are no colours lie below each other
        image = np.concatenate(np.moveaxis(image, -1, 0))
    shortest = len(deflate_code(image))
    if max(image.shape) <= _WEBP_LONGEST_SIDE:
        shortest = min(shortest, len(webp_file(image)) - _WEBP_CONTAINER)
    return shortest


def deflate_code(image: np.ndarray) -> bytes:
    """DEFLATE of the bytes, without header and checksum."""
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS, memLevel=9)
    return compressor.compress(image.tobytes()) + compressor.flush()


def webp_file(image: np.ndarray) -> bytes:
    """A lossless WebP file of [H, W] or [H, W, 3]. More effort takes thirty times as long and saves colours nothing."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True, quality=80, method=4)
    return file.getvalue()
