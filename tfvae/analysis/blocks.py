"""Arrays of any length through a function of blocks, so that what fits into memory does not depend on the length."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfvae.data.new_images import NewImages


def in_blocks(
    function: Callable[..., Sequence[tf.Tensor]], *arrays: np.ndarray | NewImages, block_size: int = 1_000
) -> list[np.ndarray]:
    """The results of `function(number of the block, rows of each array)`, put together over the blocks.

    `function` returns tensors with an entry for each row. A short last block is filled up with copies of the last row,
    so that a compiled function sees a single shape.
    """
    size = len(arrays[0])
    block_size = min(block_size, size)
    results = []
    for number, first in enumerate(range(0, size, block_size)):
        rows = np.minimum(np.arange(first, first + block_size), size - 1)
        tensors = [tf.constant(array[rows]) for array in arrays]
        results.append(function(tf.constant(number), *tensors))
    return [np.concatenate(column)[:size] for column in zip(*results)]
