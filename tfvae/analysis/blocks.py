"""Arrays of any length through a function of blocks, so that what fits into memory does not depend on the length."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfvae.core import cost
from tfvae.core.protocols import Vae
from tfvae.core.vae import VAE
from tfvae.data.new_images import NewImages

_MEMORY = 1e9  # bytes that activations may take
_MOST_ROWS = 1_000


def rows_together(vae: Vae, most: int = _MOST_ROWS) -> int:
    """How many images, or z's, go through `vae` together: up to `most`, fewer of large images."""
    if not isinstance(vae, VAE):  # another model with the same methods, of which no layer is known
        return most
    return min(most, cost.rows_within(vae, _MEMORY))


def in_blocks(
    function: Callable[..., Sequence[tf.Tensor]], *arrays: np.ndarray | NewImages, block_size: int
) -> list[np.ndarray]:
    """The results of `function(rows of each array)`, put together over blocks of so many rows.

    `function` returns tensors with an entry for each row. A short last block is filled up with copies of the last row,
    so that a compiled function sees a single shape.
    """
    size = len(arrays[0])
    block_size = min(block_size, size)
    results = []
    for first in range(0, size, block_size):
        rows = np.minimum(np.arange(first, first + block_size), size - 1)
        tensors = [tf.constant(array[rows]) for array in arrays]
        results.append(function(*tensors))
    return [np.concatenate(column)[:size] for column in zip(*results)]
