"""The scales of vectors: found in the training part, and kept with the run.

Shapes: vectors as a source gives them, float64 [N, D]; as a run keeps them, float32 [N, 1, 1, D].
"""

import numpy as np

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.data import vectors
from tfvae.data.splits import Split


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
        offsets = np.nanmin(train, axis=0)
        scales = np.nanmax(train, axis=0) - offsets
    return Columns(names, tuple(offsets.tolist()), tuple(scales.tolist()), config.missing == "allow")


def as_stored(split: Split) -> Split:
    """The vectors as a run keeps them."""
    values = split.array.astype(np.float32)
    return split._replace(images=values[:, None, None, :])
