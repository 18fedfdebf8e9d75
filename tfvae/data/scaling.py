"""The scales of vectors, found in the training part and kept with the run, and the range of images' values.

Shapes: vectors as a source gives them, float64 [N, D]; as a run keeps them, float32 [N, 1, 1, D].
"""

from typing import NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.data import vectors
from tfvae.data.splits import Split
from tfvae.errors import InputError

_BLOCK = 256  # images


def fit_columns(source: str, train: np.ndarray, names: tuple[str, ...], config: Config) -> Columns:
    """The columns with their offsets and scales, as `--scale` says, of the training part; NaN are not counted.

    Raises:
        InputError: `vectors.check_spread` raises it, of a column of the training part.
    """
    scale = config.scale or "none"
    vectors.check_spread(source, train, names, scale)
    offsets, scales = np.zeros(len(names)), np.ones(len(names))
    if scale == "standardize":
        offsets, scales = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    if scale == "unit":
        low, high = config.value_range or (np.nanmin(train, axis=0), np.nanmax(train, axis=0))
        offsets, scales = offsets + low, offsets + high - low
    return Columns(names, tuple(offsets.tolist()), tuple(scales.tolist()), config.missing == "allow")


class ValueRange(NamedTuple):
    """What of the values of images is kept as 0 and as 1."""

    low: float
    high: float

    def describe(self) -> str:
        """In words."""
        return f"values from {self.low:g} to {self.high:g} as [0, 1]"


def find_range(config: Config, splits: dict[str, Split]) -> ValueRange:
    """The range of `--scale=unit` of images in memory: the given one, or that of all values.

    Raises:
        InputError: all values are the same, or some are not finite.
    """
    if config.value_range is not None:
        return ValueRange(*config.value_range)
    low = min(float(split.array.min()) for split in splits.values())
    high = max(float(split.array.max()) for split in splits.values())
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"--scale=unit: must be of finite values that differ, and they are from {low:g} to {high:g}")
    return ValueRange(low, high)


def to_unit_range(source: str, array: np.ndarray, of: ValueRange) -> np.ndarray:
    """Images of any numbers in the range as float32 in [0, 1]; raises InputError where a value lies outside."""
    images = np.empty(array.shape, np.float32)
    for first in range(0, len(array), _BLOCK):
        block = array[first : first + _BLOCK].astype(np.float64)
        low, high = block.min(), block.max()
        if not (low >= of.low and high <= of.high):  # NaN is neither
            raise InputError(
                f"{source}: must be of numbers from {of.low:g} to {of.high:g} (--value_range), and has some from "
                f"{low:g} to {high:g}"
            )
        images[first : first + _BLOCK] = (block - of.low) / (of.high - of.low)
    return images


def as_stored(split: Split) -> Split:
    """The vectors as a run keeps them."""
    values = split.array.astype(np.float32)
    return split._replace(images=values[:, None, None, :])
