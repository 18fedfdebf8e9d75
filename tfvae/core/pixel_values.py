"""Pixels of floating point from outside: what stands for x = 1 in them, and which value is the first wrong one.

It imports NumPy alone, so that bad images are refused before TensorFlow is imported.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tfvae.errors import InputError

_BLOCK_VALUES = 2**24  # that are looked at together: the checks' own arrays stay small


def white_of_floats(expected: str, array: np.ndarray, highest_whole: int = 255) -> int:
    """The number that stands for x = 1 in an array [N, ...] of floats.

    Returns:
        1 if all are in [0, 1]; 255 if all are whole numbers from 0 to 255 and one is above 1: images that were 8-bit.
        These are taken only if `highest_whole` is 255.

    Raises:
        InputError: `expected`, and what the array has: its range and the first value that is wrong, with its place.
    """
    low, high = array.min(), array.max()  # NaN if one of them is
    if low >= 0 and high <= 1:
        return 1
    if highest_whole == 255 and low >= 0 and high <= 255 and _is_whole(array):
        return 255
    raise InputError(f"{expected}, and has {describe_floats(array, highest_whole)}")


def _is_whole(array: np.ndarray) -> bool:
    return all(np.array_equal(block, np.trunc(block)) for _, block in _blocks(array))


def describe_floats(array: np.ndarray, highest_whole: int = 255) -> str:
    """Range and first wrong value of an array of floats that is neither in [0, 1] nor of whole numbers up to 255.

    An array whose values reach 2 is taken to have been meant as whole numbers, where these are allowed. Values are
    shown by `str`, in the digits of their type: a format would show float32 as a float64.
    """
    finite = _finite_range(array)
    if finite is None:
        kind = f"no finite {array.dtype}"
    else:
        kind = f"{array.dtype} from {finite.low!s} to {finite.high!s}"
    meant_whole = highest_whole == 255 and finite is not None and finite.high >= 2
    for first, block in _blocks(array):
        if meant_whole:
            is_right = (block >= 0) & (block <= 255) & (block == np.trunc(block))
        else:
            is_right = (block >= 0) & (block <= 1)
        wrong = np.argwhere(~is_right)  # NaN is among them: each comparison with it is false
        if len(wrong):
            place = wrong[0]
            value = block[tuple(place)]
            place[0] += first
            return f"{kind}: the first wrong one, at {place.tolist()}, is {value!s}"
    return kind


class _Range(NamedTuple):
    low: np.floating
    high: np.floating


def _finite_range(array: np.ndarray) -> _Range | None:
    """The smallest and the largest of the finite values, or None if there is none."""
    ranges = []
    for _, block in _blocks(array):
        finite = block[np.isfinite(block)]
        if finite.size:
            ranges.append(_Range(finite.min(), finite.max()))
    if not ranges:
        return None
    return _Range(min(each.low for each in ranges), max(each.high for each in ranges))


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The array in parts along its first axis, each with the row that it begins at."""
    rows = max(1, _BLOCK_VALUES // max(1, array[0].size))
    for first in range(0, len(array), rows):
        yield first, array[first : first + rows]


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images of this shape look like [N, C, H, W]: few rows of pixels, with more channels than colours have."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and shape[2] > 4 and shape[3] > 4
