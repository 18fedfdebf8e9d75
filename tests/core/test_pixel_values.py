"""Floats from outside, looked at block by block: one verdict for the whole array, and the first wrong value's place."""

import numpy as np
import pytest

from tfvae.core import pixel_values
from tfvae.errors import InputError

WHOLE = np.random.default_rng(0).integers(0, 256, (30, 4, 5)).astype(np.float32)
WHOLE[0, 0, :2] = 0, 255


@pytest.fixture(autouse=True, params=[1, 70, 2**24], ids=["an image a block", "three images a block", "one block"])
def block(request, monkeypatch):
    monkeypatch.setattr(pixel_values, "_BLOCK_VALUES", request.param)


def changed(images, place, value):
    images = images.copy()
    images[place] = value
    return images


def test_what_is_white():
    assert pixel_values.white_of_floats("x", WHOLE) == 255
    assert pixel_values.white_of_floats("x", WHOLE / 255) == 1
    assert pixel_values.white_of_floats("x", np.zeros((3, 2, 2))) == 1
    assert pixel_values.white_of_floats("x", np.minimum(WHOLE, 1)) == 1


@pytest.mark.parametrize(
    ("images", "has"),
    [
        (changed(WHOLE, (19, 2, 1), 7.5), "float32 from 0.0 to 255.0: the first wrong one, at [19, 2, 1], is 7.5"),
        (changed(WHOLE, (19, 2, 1), np.nan), "float32 from 0.0 to 255.0: the first wrong one, at [19, 2, 1], is nan"),
        (changed(WHOLE, (19, 2, 1), 256), "float32 from 0.0 to 256.0: the first wrong one, at [19, 2, 1], is 256.0"),
        (changed(WHOLE / 255, (29, 3, 4), -np.inf), "from 0.0 to 1.0: the first wrong one, at [29, 3, 4], is -inf"),
        (changed(WHOLE / 255, (0, 0, 3), -0.25), "from -0.25 to 1.0: the first wrong one, at [0, 0, 3], is -0.25"),
        (changed(WHOLE / 255, (5, 0, 3), 1.0000001), "to 1.0000001: the first wrong one, at [5, 0, 3], is 1.0000001"),
        (np.full((3, 2, 2), np.inf), "no finite float64: the first wrong one, at [0, 0, 0], is inf"),
    ],
)
def test_the_first_wrong_value_is_named(images, has):
    with pytest.raises(InputError) as caught:
        pixel_values.white_of_floats("x: must be so", images)
    assert str(caught.value).startswith("x: must be so, and has ") and str(caught.value).endswith(has)


def test_whole_numbers_are_wrong_where_white_is_1():
    with pytest.raises(InputError, match=r"the first wrong one, at \[0, 0, 1\], is 255.0$"):
        pixel_values.white_of_floats("x", changed(np.minimum(WHOLE, 1), (0, 0, 1), 255), highest_whole=1)
