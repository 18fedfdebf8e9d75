"""What a model takes as its input, and how images from outside become it.

Shapes: images [N, H, W, C]; x float32 [N, H, W, C] in [0, 1].
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.pixel_values import is_channels_first, white_of_floats
from tfvae.errors import InputError

_LEVEL = np.float32(1 / 255)  # of 8-bit pixels
_BLOCK = 10_000  # images that are looked at together


def to_unit(images: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
    """Stored images, uint8 or float32 in [0, 1], as a model takes them: float32 in [0, 1], an array of an array.

    Of 8-bit pixels it is the product with float32(1/255), everywhere: the quotient by 255 differs from it in the last
    bit of 126 of the 256 levels.
    """
    if images.dtype == np.float32:
        return images
    if tf.is_tensor(images):
        return tf.cast(images, tf.float32) * _LEVEL
    return images.astype(np.float32) * _LEVEL


def is_from_outside(values: Any) -> bool:
    """Whether a model must check what it is called on: in a graph it is the package's own.

    So is a float32 tensor where TensorFlow is told to run functions eagerly, to debug: within one, x may be any number.
    """
    if not tf.executing_eagerly() or isinstance(values, keras.KerasTensor):
        return False
    return not (tf.config.functions_run_eagerly() and tf.is_tensor(values) and values.dtype == tf.float32)


class InputRule(NamedTuple):
    """What training found its images to be: every later input follows it, whatever it happens to contain.

    `white` is the whole number that stands for x = 1: 255 of 8-bit pixels, 1 of images of zeros and ones. Numbers of
    floating point are x itself; with `white` 255 also whole numbers, if one in the array is above 1. With a
    `value_range`, numbers of any type are in it.
    """

    image_shape: tuple[int, int, int]  # H, W, C
    white: int = 255
    value_range: tuple[float, float] | None = None

    def checked(self, images: Any, name: str = "x") -> np.ndarray | tf.Tensor:
        """`images` as an array (or the tensor that they are) of N > 0 images that the rule allows.

        Whole numbers from 0 to 255 of floating point become uint8, and in a tensor, for its gradient's sake, x.

        Raises:
            InputError: another shape or type, or values out of range; the message speaks of the argument `name`.
        """
        if not (isinstance(images, np.ndarray) or tf.is_tensor(images)):
            images = as_array(images, name)
        height, width, channels = self.image_shape
        shape = tuple(images.shape)
        allowed_shapes: list[tuple[int, ...]] = [self.image_shape]
        if channels == 1:
            allowed_shapes.append((height, width))
        expected = f"{name}: must be images [N, {height}, {width}, {channels}]"
        if shape in allowed_shapes:
            raise InputError(f"{expected}, and is a single one: take {name}[None]")
        if shape[1:] not in allowed_shapes or shape[0] == 0:
            reason = f"{expected}, and has the shape {list(shape)}"
            if is_channels_first(shape) and shape[2:] + shape[1:2] == self.image_shape:
                reason += f", channels first: take {name}.transpose(0, 2, 3, 1)"
            raise InputError(reason)
        if self.value_range:
            return self._checked_range(images, *self.value_range, name)
        if np.issubdtype(_numpy_type(images), np.floating):
            return self._checked_floats(images, name)
        for first in range(0, shape[0], _BLOCK):
            self._check_values(np.asarray(images[first : first + _BLOCK]), name)
        return images

    def _checked_range(
        self, images: np.ndarray | tf.Tensor, low: float, high: float, name: str
    ) -> np.ndarray | tf.Tensor:
        values = np.asarray(images)
        if values.dtype.kind not in "biuf":
            raise InputError(f"{name}: must be numbers, and has the type {values.dtype}")
        lowest, highest = values.min(), values.max()
        if not (lowest >= low and highest <= high):  # NaN is neither
            raise InputError(
                f"{name}: must be numbers from {low:g} to {high:g}, as the training images, and has some from "
                f"{lowest!s} to {highest!s}"
            )
        return images

    def _check_values(self, block: np.ndarray, name: str) -> None:
        if block.dtype == bool:
            return
        if np.issubdtype(block.dtype, np.integer):
            low, high = int(block.min()), int(block.max())
            if low < 0 or high > self.white:
                raise InputError(
                    f"{name}: must be whole numbers from 0 to {self.white}, as the training images, or fractions in "
                    f"[0, 1], and has some from {low} to {high}"
                )
            return
        raise InputError(f"{name}: must be numbers, and has the type {block.dtype}")

    def _checked_floats(self, images: np.ndarray | tf.Tensor, name: str) -> np.ndarray | tf.Tensor:
        expected = (
            f"{name}: must be fractions in [0, 1], or whole numbers from 0 to {self.white}"
            f"{' of an integer type' if self.white == 1 else ''}"
        )
        if white_of_floats(expected, np.asarray(images), highest_whole=self.white) == 1:
            return images
        if tf.is_tensor(images):
            return tf.cast(images, tf.float32) * _LEVEL
        return images.astype(np.uint8)

    def stored(self, images: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """Checked images as the package stores them: [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1]."""
        shape = (-1, *self.image_shape)
        if self.value_range:
            low, high = self.value_range
            if tf.is_tensor(images):
                return (tf.cast(tf.reshape(images, shape), tf.float32) - low) / (high - low)
            return ((images.reshape(shape) - low) / (high - low)).astype(np.float32)
        scale = np.uint8(255 // self.white)
        if tf.is_tensor(images):
            images = tf.reshape(images, shape)
            if images.dtype.is_floating:
                return tf.cast(images, tf.float32)
            if images.dtype == tf.bool:
                return tf.cast(images, tf.uint8) * np.uint8(255)
            return tf.cast(images, tf.uint8) * scale
        images = images.reshape(shape)
        if np.issubdtype(images.dtype, np.floating):
            return images.astype(np.float32, copy=False)
        if images.dtype == bool:
            return images.astype(np.uint8) * np.uint8(255)
        if self.white == 255:
            return images.astype(np.uint8, copy=False)
        return images.astype(np.uint8) * scale

    def to_unit(self, images: Any, name: str = "x") -> np.ndarray | tf.Tensor:
        """x float32 [N, H, W, C] in [0, 1]; of a tensor a tensor, whose gradient reaches it.

        Raises:
            InputError: `checked` raises it.
        """
        return to_unit(self.stored(self.checked(images, name)))


def _numpy_type(images: np.ndarray | tf.Tensor) -> np.dtype:
    if tf.is_tensor(images):
        return np.dtype(images.dtype.as_numpy_dtype)  # type: ignore[union-attr]  # is_tensor does not narrow
    return images.dtype


def as_latents(z: Any, latent_dim: int, name: str = "z") -> tf.Tensor:
    """z float32 [..., L] of an array, of lists or of a tensor, whose gradient reaches it.

    Raises:
        InputError: its last axis is not L = `latent_dim`, or it has other things than finite numbers.
    """
    if not tf.is_tensor(z):
        z = as_array(z, name)
    require_latents(z.shape, latent_dim, name)
    dtype = _numpy_type(z)
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: must be numbers, and has the type {dtype}")
    z = tf.cast(z, tf.float32)
    if not tf.reduce_all(tf.math.is_finite(z)):
        raise InputError(f"{name}: must be finite numbers, and has some that are not")
    return z


def require_latents(shape: Any, latent_dim: int, name: str = "z") -> None:
    """Refuses a shape whose last axis is not L = `latent_dim`; of a graph's tensor it may be None, which passes.

    Raises:
        InputError: names both.
    """
    sizes = list(shape)
    if not sizes or sizes[-1] not in (latent_dim, None):
        raise InputError(f"{name}: must be latents [..., {latent_dim}], and has the shape {sizes}")


def as_array(values: Any, name: str) -> np.ndarray:
    """An array of an array, of nested lists or of a tensor; raises InputError where they make none."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # lists of several lengths
        array = np.asarray(None)
    if array.dtype == object:
        raise InputError(f"{name}: must be an array, and is a {type(values).__name__} that makes none")
    return array
