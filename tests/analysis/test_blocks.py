"""Arrays in blocks: every row once, and a single shape for a compiled function."""

import numpy as np
import pytest

from tfvae.analysis.blocks import in_blocks


@pytest.mark.parametrize("size, block_size, numbers", [(7, 3, [0, 1, 2]), (6, 3, [0, 1]), (2, 3, [0])])
def test_each_row_comes_back_at_its_place_and_blocks_have_one_shape(size, block_size, numbers):
    calls = []

    def add(number, a, b):
        calls.append((int(number), a.shape.as_list(), b.shape.as_list()))
        return a + b[:, None], b

    a, b = np.arange(2.0 * size).reshape(size, 2), np.arange(size) * 100.0
    sums, same = in_blocks(add, a, b, block_size=block_size)
    np.testing.assert_array_equal(sums, a + b[:, None])
    np.testing.assert_array_equal(same, b)
    rows = min(size, block_size)
    assert calls == [(number, [rows, 2], [rows]) for number in numbers]
