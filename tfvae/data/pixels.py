"""What pixels are: the checks of images from outside, binarization and dequantization.

Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1].
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.inputs import to_unit
from tfvae.errors import InputError

_BLOCK = 10_000  # images


def check_shape(source: str, shape: tuple[int, ...]) -> None:
    """Refuses an array that is not [N, H, W] or [N, H, W, C], or has no element; raises InputError."""
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"{must_be_images(source)}, and has the shape {list(shape)}")


def must_be_images(source: str) -> str:
    """The beginning of a message that refuses the images of `source`: `--dataset=NAME`, or an argument's name."""
    return f"{source}: must be images [N, H, W] or [N, H, W, C]"


def as_images(source: str, array: np.ndarray) -> np.ndarray:
    """An array from outside as images: [N, H, W, C], uint8 or float32; `source` is for messages.

    Raises:
        InputError: it has another shape, another type, or values out of range.
    """
    check_shape(source, array.shape)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer):
        images = _from_integers(source, array)
    elif np.issubdtype(array.dtype, np.floating):
        images = _from_floats(source, array)
    else:
        raise InputError(f"{must_be_images(source)} of numbers, and has the type {array.dtype}")
    if images.ndim == 3:
        return images[..., None]
    return images


def _from_integers(source: str, array: np.ndarray) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise InputError(f"{must_be_images(source)} of whole numbers from 0 to 255, and has some from {low} to {high}")
    return array.astype(np.uint8)


def _from_floats(source: str, array: np.ndarray) -> np.ndarray:
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise InputError(f"{must_be_images(source)} of finite numbers in [0, 1] (or whole numbers from 0 to 255)")
    return array.astype(np.float32)


def is_zeros_and_ones(array: np.ndarray) -> bool:
    """Whether no value is above 1; reads no further than the first block of images that has one."""
    if array.dtype == bool:
        return True
    return all(array[first : first + _BLOCK].max() <= 1 for first in range(0, len(array), _BLOCK))


def threshold(images: np.ndarray) -> np.ndarray:
    """`--binarize=threshold`: uint8, 255 where a pixel is above a half, else 0."""
    half = 0.5 if images.dtype == np.float32 else 127
    return (images > half).astype(np.uint8) * np.uint8(255)


def draw_once(
    images: np.ndarray, seed: tf.Tensor, draw: Callable[..., tf.Tensor | np.ndarray] = noise.uniform
) -> np.ndarray:
    """`--binarize=stochastic` of evaluation: uint8, 255 with the pixel's grey value as the probability, else 0.

    The probability is the quotient by 255, as it has been in every release: another rounding would change some draws
    and with them the fingerprints that run directories record. `draw(shape, seed)` makes the uniform numbers.
    """
    if images.dtype == np.float32:
        probabilities = images
    else:
        probabilities = images.astype(np.float32) / 255
    is_one = noise.bernoulli(probabilities, seed, draw).numpy() > 0
    return is_one.astype(np.uint8) * 255


def dequantize_once(
    images: np.ndarray, seed: tf.Tensor, draw: Callable[..., tf.Tensor | np.ndarray] = noise.uniform
) -> np.ndarray:
    """`--dequantize` of evaluation: float32, uniform noise of one level's width added to 8-bit pixels."""
    return noise.dequantize(to_unit(tf.constant(images)), seed, draw).numpy()
