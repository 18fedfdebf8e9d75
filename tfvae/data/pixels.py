"""What pixels are: the checks of images from outside, and binarization by a threshold.

It imports NumPy alone, so that bad images are refused before TensorFlow is imported.
Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1].
"""

import shlex
from pathlib import Path

import numpy as np

from tfvae.core.pixel_values import is_channels_first, white_of_floats
from tfvae.errors import InputError

_BLOCK = 10_000  # images


def check_shape(source: str, shape: tuple[int, ...]) -> None:
    """Refuses an array that is not [N, H, W] or [N, H, W, C], or has no element; raises InputError.

    [N, C, H, W] is refused too: taken as it is, it would be images of few rows and many channels.
    """
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"{must_be_images(source)}, and has the shape {list(shape)}")
    if is_channels_first(shape):
        raise InputError(
            f"{must_be_images(source)}, and has the shape {list(shape)}, channels first: take its "
            f"transpose(0, 2, 3, 1){_command_that_transposes(source)}"
        )


def _command_that_transposes(source: str) -> str:
    """What writes a file of NumPy anew with channels last, part of a message; nothing where `source` is no file."""
    path = Path(source.removeprefix("--dataset="))
    if not source.startswith("--dataset=") or path.suffix not in (".npy", ".npz"):
        return ""
    if path.suffix == ".npy":
        program = "n.save(new, n.load(old, 'r').transpose(0, 2, 3, 1))"
    else:
        program = "n.savez(new, **{k: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a for k, a in n.load(old).items()})"
    new = path.with_stem(f"{path.stem}_channels_last")
    files = f"{shlex.quote(str(path))} {shlex.quote(str(new))}"
    return f': python -c "import sys, numpy as n; _, old, new = sys.argv; {program}" {files}'


def check_type(source: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses an array that by its shape or its type alone has no images; raises InputError."""
    check_shape(source, shape)
    if dtype.kind not in "biuf":  # bool, signed, unsigned, float
        raise InputError(f"{must_be_images(source)} of numbers, and has the type {dtype}")


def must_be_images(source: str) -> str:
    """The beginning of a message that refuses the images of `source`: `--dataset=NAME`, or an argument's name."""
    return f"{source}: must be images [N, H, W] or [N, H, W, C]"


def as_images(source: str, array: np.ndarray) -> np.ndarray:
    """An array from outside as images: [N, H, W, C], uint8 or float32; `source` is for messages.

    Floats that are all whole numbers from 0 to 255, and not all of them 0 or 1, are the integers that they stand for.
    An array of the right type is not copied.

    Raises:
        InputError: it has another shape, another type, or values out of range.
    """
    check_type(source, array.shape, array.dtype)
    if array.dtype.kind == "f":
        images = _from_floats(source, array)
    elif array.dtype.kind == "b":
        images = array.astype(np.uint8)
    else:
        images = _from_integers(source, array)
    if images.ndim == 3:
        return images[..., None]
    return images


def _from_integers(source: str, array: np.ndarray) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise InputError(
            f"{must_be_images(source)} of whole numbers from 0 to 255 (--scale=unit takes others), and has some from "
            f"{low} to {high}"
        )
    return array.astype(np.uint8, copy=False)


def _from_floats(source: str, array: np.ndarray) -> np.ndarray:
    allowed = "numbers in [0, 1], or all of them whole numbers from 0 to 255 (--scale=unit takes others)"
    expected = f"{must_be_images(source)} of {allowed}"
    if white_of_floats(expected, array) == 255:
        return array.astype(np.uint8)
    return array.astype(np.float32, copy=False)


def shown_channels(channels: int) -> tuple[int, str]:
    """How many of its channels a picture of an image shows, 3 as colour or 1 as grey, and in words which, if not all.

    Of four, as RGBA has them, the last is left away; of any other number the first alone is shown.
    """
    if channels in (1, 3):
        return channels, ""
    if channels == 4:
        return 3, "pictures show channels 1 to 3 of 4, as colour"
    return 1, f"pictures show channel 1 of {channels}, as grey"


def is_zeros_and_ones(array: np.ndarray) -> bool:
    """Whether no value is above 1; reads no further than the first block of images that has one."""
    if array.dtype == bool:
        return True
    return all(array[first : first + _BLOCK].max() <= 1 for first in range(0, len(array), _BLOCK))


def threshold(images: np.ndarray) -> np.ndarray:
    """`--binarize=threshold`: uint8, 255 where a pixel is above a half, else 0."""
    half = 0.5 if images.dtype == np.float32 else 127
    return (images > half).astype(np.uint8) * np.uint8(255)
