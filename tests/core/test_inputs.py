"""What a model takes: stored pixels as x, and the rule by which images from outside become it."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.core.inputs import InputRule, to_unit
from tfvae.errors import InputError

LEVELS = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
GREY = InputRule((2, 3, 1))
BINARY = InputRule((2, 3, 1), white=1)
COLOUR = InputRule((2, 3, 3))


def test_units_are_levels_over_255():
    x = to_unit(LEVELS)
    assert x.dtype == np.float32 and x.shape == LEVELS.shape
    assert x.min() == 0 and x.max() == 1
    np.testing.assert_array_max_ulp(x.ravel(), (np.arange(256) / 255).astype(np.float32), maxulp=1)
    assert to_unit(x) is x  # floats are units as they come


def test_units_are_one_product_in_numpy_tensorflow_and_xla():
    """To the bit, as TensorFlow converts images; the quotient is another number at 126 of the 256 levels."""
    x = to_unit(LEVELS)
    tensor = tf.constant(LEVELS)
    compiled = tf.function(to_unit, jit_compile=True)
    for other in (to_unit(tensor), compiled(tensor), tf.image.convert_image_dtype(tensor, tf.float32)):
        np.testing.assert_array_equal(other.numpy(), x)
    assert (x != LEVELS.astype(np.float32) / 255).sum() == 126


def images(value, dtype, shape=(5, 2, 3, 1)):
    return np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("rule", "given", "x"),
    [
        pytest.param(GREY, images(51, np.uint8), 51 / 255, id="8-bit"),
        pytest.param(GREY, images(51, np.int64), 51 / 255, id="whole numbers"),
        pytest.param(GREY, images(1, np.uint8), 1 / 255, id="a block of dark 8-bit pixels"),
        pytest.param(GREY, images(51, np.float32), 51 / 255, id="whole floats"),
        pytest.param(GREY, images(51, np.float64, (5, 2, 3)), 51 / 255, id="whole floats without channels"),
        pytest.param(GREY, images(0.2, np.float64), 0.2, id="fractions"),
        pytest.param(GREY, images(1, np.float32), 1.0, id="a float of 1 is white"),
        pytest.param(GREY, images(True, bool), 1.0, id="true"),
        pytest.param(BINARY, images(1, np.uint8), 1.0, id="ones"),
        pytest.param(BINARY, images(0, np.int32), 0.0, id="zeros"),
        pytest.param(BINARY, images(0.2, np.float16), np.float16(0.2), id="fractions of a binary model"),
        pytest.param(GREY, images(51, np.uint8, (5, 2, 3)), 51 / 255, id="without channels"),
        pytest.param(COLOUR, images(51, np.uint8, (5, 2, 3, 3)), 51 / 255, id="colour"),
        pytest.param(GREY, images(51, np.uint8).tolist(), 51 / 255, id="lists"),
    ],
)
def test_images_become_x_by_the_rule(rule, given, x):
    got = rule.to_unit(given)
    assert got.dtype == np.float32 and got.shape == (5, *rule.image_shape)
    np.testing.assert_allclose(got, np.float32(x), rtol=1e-7)
    if isinstance(given, np.ndarray):
        tensor = rule.to_unit(tf.constant(given))
        assert tf.is_tensor(tensor)
        np.testing.assert_array_equal(tensor, got)


def test_a_tensor_of_fractions_keeps_its_gradient():
    x = tf.Variable(images(0.5, np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(GREY.to_unit(tf.convert_to_tensor(x)))
    np.testing.assert_array_equal(tape.gradient(total, x), np.ones(x.shape))


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        (GREY, images(256, np.int64), "x: must be whole numbers from 0 to 255, as the training images, or .* to 256"),
        (GREY, images(-1, np.int64), "from -1 to -1"),
        (BINARY, images(255, np.uint8), "x: must be whole numbers from 0 to 1, .* from 255 to 255"),
        (GREY, images(3.5, np.float32), r"x: must be fractions in \[0, 1\], or .* has float32 from 3.5 to 3.5"),
        (BINARY, images(51.0, np.float32), r"whole numbers from 0 to 1 of an integer type, and has float32 from 51.0"),
        (GREY, images(-0.5, np.float32), "from -0.5 to -0.5"),
        (GREY, images(np.nan, np.float32), r"has no finite float32: the first wrong one, at \[0, 0, 0, 0\], is nan"),
        (COLOUR, images(0, np.uint8, (5, 3, 2, 3)), r"\[5, 3, 2, 3\]$"),
        (
            InputRule((9, 8, 3)),
            images(0, np.uint8, (5, 3, 9, 8)),
            r"\[5, 3, 9, 8\], channels first: take x.transpose\(0, 2, 3, 1\)$",
        ),
        (GREY, images(0, np.uint8, (2, 3, 1)), r"is a single one: take x\[None\]"),
        (GREY, images(0, np.uint8, (2, 3)), r"is a single one: take x\[None\]"),
        (GREY, images(0, np.uint8, (5, 3, 2, 1)), r"must be images \[N, 2, 3, 1\], and has the shape \[5, 3, 2, 1\]"),
        (GREY, images(0, np.uint8, (5, 2, 3, 3)), r"\[5, 2, 3, 3\]"),
        (COLOUR, images(0, np.uint8, (5, 2, 3)), r"must be images \[N, 2, 3, 3\], and has the shape \[5, 2, 3\]"),
        (GREY, images(0, np.uint8, (5, 6)), r"\[5, 6\]"),
        (GREY, images(0, np.uint8, (0, 2, 3, 1)), r"\[0, 2, 3, 1\]"),
        (GREY, 3, r"the shape \[\]"),
        (GREY, [[1, 2], [3]], "must be an array, and is a list that makes none"),
        (GREY, images("a", str), "must be numbers, and has the type <U1"),
        (GREY, images(1, complex), "complex128"),
    ],
)
def test_other_images_are_refused_in_a_line(rule, given, message):
    with pytest.raises(InputError, match=message) as info:
        rule.to_unit(given)
    assert "\n" not in str(info.value)


def test_a_bad_image_is_found_in_any_block():
    many = np.zeros((25_000, 2, 3, 1), np.float32)
    many[24_999] = 1.5
    with pytest.raises(InputError, match=r"from 0.0 to 1.5: the first wrong one, at \[24999, 0, 0, 0\], is 1.5"):
        GREY.checked(many, "images")


def test_whole_floats_are_an_arrays_not_a_blocks():
    """A block of dark images is not fractions where another block has brighter ones."""
    many = np.ones((25_000, 2, 3, 1), np.float32)
    many[24_999] = 255
    x = GREY.to_unit(many)
    assert x[0, 0, 0, 0] == np.float32(1 / 255) and x[24_999, 0, 0, 0] == 1


def test_a_tensor_of_whole_floats_keeps_its_gradient():
    x = tf.constant(images(51, np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(GREY.to_unit(x))
    np.testing.assert_allclose(tape.gradient(total, x), np.full(x.shape, 1 / 255), rtol=1e-6)
