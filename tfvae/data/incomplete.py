"""Images, or vectors, from outside of which some values are missing: NaN, or those that a mask says are not observed.

Shapes: the user's images [N, H, W] or [N, H, W, C], vectors [N, D]; x float32 [R, H, W, C], of vectors [R, 1, 1, D].
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.inputs import InputRule, as_array, to_unit
from tfvae.core.vectors import VectorRule
from tfvae.data.new_images import NewImages
from tfvae.errors import InputError


class IncompleteImages:
    """N images, or vectors, that follow the rule of a run where they are observed; nothing is asked of other values.

    Args:
        x: of the user, in his units.
        observed: True, or 1, where a value of x is observed, of x's shape, or of images [N, H, W] for all channels of a
            pixel. None: all but NaN. A NaN is missing in any case.
        rule, config: as for `NewImages`.

    Raises:
        InputError: the rule refuses the observed values; `observed` is no mask, or has another shape than x.
    """

    def __init__(self, x: Any, observed: Any, rule: InputRule | VectorRule, config: Config) -> None:
        x = x.numpy() if tf.is_tensor(x) else as_array(x, "x")
        is_observed = np.ones(x.shape, bool) if observed is None else _mask_of(x, observed)
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
