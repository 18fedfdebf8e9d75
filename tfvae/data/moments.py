"""How much the values of images vary."""

import numpy as np

from tfvae.core.columns import Columns
from tfvae.core.inputs import to_unit
from tfvae.data.disk import DiskImages

_MOST_IMAGES = 10_000  # of a large set, which tell enough
_BLOCK = 256  # images
_LEAST = 1e-3  # of images that are all of one value


def stddev(images: np.ndarray | DiskImages, columns: Columns | None = None) -> float:
    """The standard deviation of the values x in [0, 1] of images [N, H, W, C], uint8 or float32; 0.001 or more.

    Of vectors it is that of the observed values as `columns` scale them. Of more than 10,000 images it is that of
    10,000, evenly spread.
    """
    count = min(len(images), _MOST_IMAGES)
    rows = np.linspace(0, len(images) - 1, count).astype(int)
    total, total_of_squares, values = 0.0, 0.0, 0
    for block in np.array_split(rows, -(-count // _BLOCK)):
        stored = images.read(block) if isinstance(images, DiskImages) else images[block]
        x = np.asarray(to_unit(stored), np.float64)
        if columns is not None:
            x = columns.scaled(x)
            x = x[~np.isnan(x)]
        total += x.sum()
        total_of_squares += np.square(x).sum()
        values += x.size
    mean = total / values
    return max(_LEAST, float(total_of_squares / values - mean**2) ** 0.5)
