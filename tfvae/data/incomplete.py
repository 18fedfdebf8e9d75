"""Images, or vectors, from outside of which some values are missing: NaN, or those that a mask says are not observed.

Shapes: the user's images [N, H, W] or [N, H, W, C], vectors [N, D]; x float32 [R, H, W, C], of vectors [R, 1, 1, D].
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.inputs import InputRule, as_array, to_unit
from tfvae.core.vectors import VectorRule
from tfvae.data.examples import Examples, ExamplesPart
from tfvae.data.new_images import NewImages
from tfvae.errors import InputError

_CHECKED_ROWS = 1_000  # of a mask on disk, together


class IncompleteImages:
    """N images, or vectors, that follow the rule of a run where they are observed; nothing is asked of other values.

    Args:
        x: of the user, in his units.
        observed: True, or 1, where a value of x is observed, of x's shape, or of images [N, H, W] for all channels of a
            pixel. None: all but NaN. A NaN is missing in any case, and so is what a masked array of NumPy masks.
        rule, config: as for `NewImages`.

    Raises:
        InputError: the rule refuses the observed values; `observed` is no mask, or has another shape than x.
    """

    def __init__(self, x: Any, observed: Any, rule: InputRule | VectorRule, config: Config) -> None:
        if isinstance(rule, VectorRule):
            rule.check_names(x)
        masked = np.ma.getmaskarray(x) if np.ma.isMaskedArray(x) else False
        x = x.numpy() if tf.is_tensor(x) else as_array(x, "x")
        is_observed = np.ones(x.shape, bool) if observed is None else _mask_of(x, observed)
        is_observed = is_observed & ~np.broadcast_to(masked, x.shape)
        if x.dtype.kind == "f":
            is_observed = is_observed & ~np.isnan(x)
        if not is_observed.all():
            x = np.where(is_observed, x, _allowed_value(rule))
        self.images = NewImages(x, rule, config)
        self.values, self.rule = np.asarray(self.images.images), rule
        self.is_observed = np.broadcast_to(is_observed, x.shape).reshape(-1, *rule.image_shape)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_incomplete(self) -> np.ndarray:
        """Whether a value of a row is missing: bool [N]."""
        return np.logical_not(self.is_observed.all(axis=(1, 2, 3)))

    def x(self, rows: np.ndarray) -> np.ndarray:
        """What the model takes of these rows, binarized as the run's images were; missing values are any."""
        return to_unit(self.images[rows])

    def filled(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        """These rows as the user has them, with `means` [..., R, H, W, C], in his units, where they are missing.

        Observed values of vectors, and of images with a `value_range`, are the user's own, to the last digit; those of
        other images are fractions in [0, 1].
        """
        shape = (len(rows), *self.rule.image_shape)
        own = self.values[rows]
        if isinstance(self.rule, InputRule) and not self.rule.value_range:
            own = to_unit(self.rule.stored(own))
        filled = np.where(self.is_observed[rows], own.reshape(shape), means)
        return filled[..., 0, 0, :] if isinstance(self.rule, VectorRule) else filled


class IncompleteExamples(NewImages):
    """Examples as a model takes them, of which some values are missing: NaN, or where `observed` [N, ...] is not 1."""

    def __init__(
        self, images: np.ndarray | NewImages, image_shape: tuple[int, int, int], observed: np.ndarray | None
    ) -> None:
        self.examples, self.image_shape, self.observed = images, image_shape, observed

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.examples[rows]

    def x(self, rows: np.ndarray) -> np.ndarray:
        """What the model takes of these rows: missing values are any."""
        return to_unit(self.examples[rows])

    def is_observed(self, rows: np.ndarray) -> np.ndarray:
        """Whether a value of these rows is observed: bool [R, H, W, C]."""
        is_observed = ~np.isnan(self.x(rows))
        if self.observed is None:
            return is_observed
        height, width, _ = self.image_shape
        return is_observed & (self.observed[rows].reshape(len(rows), height, width, -1) != 0)


def with_missing(examples: Examples, rule: InputRule | VectorRule, path: str | None) -> Examples:
    """The examples, and which of their values are missing: NaN, and those that the .npy file in `path` says.

    Raises:
        InputError: the file has no mask of so many examples of their shape; or there is none, and they are images.
    """
    if path is None and isinstance(rule, InputRule):
        raise InputError("--observed: must be given for images: a .npy file with True where a pixel is observed")
    mask = None if path is None else _read_mask(Path(path).expanduser(), len(examples), rule)
    parts, first = [], 0
    for part in examples.parts:
        of_part = None if mask is None else mask[first : first + len(part)]
        images = IncompleteExamples(part.images, rule.image_shape, of_part)
        parts.append(ExamplesPart(part.name, images, part.names, part.labels, part.y))
        first += len(part)
    checksum = examples.checksum if mask is None else f"{examples.checksum}-{_checksum(mask):08x}"
    return Examples(examples.source, tuple(parts), checksum, examples.notes, examples.are_of_run)


def _read_mask(path: Path, size: int, rule: InputRule | VectorRule) -> np.ndarray:
    """The mask in a .npy file, whose values stay there."""
    flag = f"--observed={path}"
    try:
        mask = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged file raises anything
        raise InputError(f"{flag}: must be a .npy file of numbers: {' '.join(str(error).split())}") from None
    height, width, channels = rule.image_shape
    shapes = [(size, height, width), (size, height, width, 1), (size, height, width, channels)]
    if isinstance(rule, VectorRule):
        shapes = [(size, channels)]
    if mask.shape not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise InputError(f"{flag}: must have the shape {allowed}, and has {list(mask.shape)}")
    for first in range(0, size, _CHECKED_ROWS):
        block = mask[first : first + _CHECKED_ROWS]
        if block.dtype.kind not in "biuf" or not np.isin(block, (0, 1)).all():
            raise InputError(f"{flag}: must be True or 1 where observed, False or 0 where not, and is {mask.dtype}")
    return mask


def _checksum(mask: np.ndarray) -> int:
    checksum = 0
    for first in range(0, len(mask), _CHECKED_ROWS):
        checksum = zlib.crc32(np.ascontiguousarray(mask[first : first + _CHECKED_ROWS]).tobytes(), checksum)
    return checksum


def _mask_of(x: np.ndarray, observed: Any) -> np.ndarray:
    """`observed` as bool, of a shape that broadcasts to that of x."""
    observed = as_array(observed, "observed")
    shapes = [x.shape]
    if x.ndim == 4:
        shapes.append(x.shape[:3])
        shapes.append((*x.shape[:3], 1))
    if observed.shape not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise InputError(f"observed: must have the shape of x, {allowed}, and has {list(observed.shape)}")
    is_mask = observed.dtype == bool or (observed.dtype.kind in "iuf" and np.isin(observed, (0, 1)).all())
    if not is_mask:
        raise InputError(f"observed: must be True where x is observed and False where not, and is {observed.dtype}")
    if observed.ndim < x.ndim:
        observed = observed[..., None]
    return observed.astype(bool)


def _allowed_value(rule: InputRule | VectorRule) -> float | int:
    """What stands where values are missing: the rule allows it anywhere, and it doesn't make bytes of fractions."""
    if isinstance(rule, InputRule) and rule.value_range:
        return rule.value_range[0]
    return 0
