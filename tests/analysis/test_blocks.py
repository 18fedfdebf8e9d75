"""Arrays in blocks: every row once, and a single shape for a compiled function."""

import numpy as np
import pytest

from tfvae.analysis.blocks import in_blocks


@pytest.mark.parametrize("size, block_size, blocks", [(7, 3, 3), (6, 3, 2), (2, 3, 1)])
def test_each_row_comes_back_at_its_place_and_blocks_have_one_shape(size, block_size, blocks):
    calls = []

    def add(a, b):
        calls.append((a.shape.as_list(), b.shape.as_list()))
        return a + b[:, None], b

    a, b = np.arange(2.0 * size).reshape(size, 2), np.arange(size) * 100.0
    sums, same = in_blocks(add, a, b, block_size=block_size)
    np.testing.assert_array_equal(sums, a + b[:, None])
    np.testing.assert_array_equal(same, b)
    rows = min(size, block_size)
    assert calls == [([rows, 2], [rows])] * blocks
