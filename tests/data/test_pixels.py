"""What pixels become: units, binarization, the noise of dequantization, and arrays that are not images."""

import numpy as np
import pytest
import tensorflow as tf
from sources import GREY, load, npy, npz, refused, rows, together

from tfvae.data import pixels

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_npy_of_floats(tmp_path, dtype):
    floats = (GREY / 255).astype(dtype)
    dataset = load(npy(tmp_path, floats))
    assert dataset.train.images.dtype == np.float32
    assert rows(together(dataset)) == rows(floats.astype(np.float32))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.uint64])
def test_zeros_and_ones_become_0_and_255(tmp_path, dtype):
    dataset = load(npy(tmp_path, (GREY > 127).astype(dtype)))
    assert dataset.train.images.dtype == np.uint8
    assert rows(together(dataset)) == rows(np.where(GREY > 127, 255, 0).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint64, ">u2"])
def test_wide_integers_become_bytes(tmp_path, dtype):
    dataset = load(npy(tmp_path, GREY.astype(dtype)))
    assert dataset.train.images.dtype == np.uint8
    assert rows(together(dataset)) == rows(GREY)


def test_threshold():
    grey, ones = load("digits"), load("digits", binarize="threshold")
    for a, b in zip(grey, ones):
        np.testing.assert_array_equal(b.images, np.where(np.rint(a.images * 16) > 8, 255, 0))
        np.testing.assert_array_equal(a.labels, b.labels)
    assert ones.train.images.dtype == np.uint8


def test_threshold_of_bytes(tmp_path):
    dataset = load(npy(tmp_path, np.arange(256, dtype=np.uint8).repeat(20).reshape(20, 16, 16)), binarize="threshold")
    assert set(np.unique(together(dataset))) == {0, 255}
    assert together(dataset).astype(bool).sum() == 128 * 20  # 127 is below a half, 128 above


@pytest.mark.parametrize("kind", ["float", "bytes"])
def test_stochastic_is_a_draw_with_the_grey_value_as_probability(tmp_path, kind):
    source = "digits" if kind == "float" else npy(tmp_path, np.tile(GREY, (10, 2, 2)))
    grey, drawn = load(source), load(source, binarize="stochastic")
    np.testing.assert_array_equal(drawn.train.images, grey.train.images)  # drawn anew at each visit, in training
    assert drawn.train.images.dtype == grey.train.images.dtype
    for a, b in zip(list(grey)[1:], list(drawn)[1:]):
        p = a.images.astype(np.float64) / (1 if kind == "float" else 255)
        assert b.images.dtype == np.uint8 and set(np.unique(b.images)) == {0, 255}
        ones = b.images > 0
        assert not ones[p == 0].any() and ones[p == 1].all()
        assert abs((ones - p).sum()) < 5 * np.sqrt((p * (1 - p)).sum())
        middle = (p > 0.4) & (p < 0.6)  # a threshold would pass the first test if the grey values were even
        assert abs((ones - p)[middle].sum()) < 5 * np.sqrt((p * (1 - p))[middle].sum())
        assert ones[middle & (p < 0.5)].any() and not ones[middle & (p > 0.5)].all()


def test_stochastic_is_drawn_once_for_evaluation():
    one, two = (load("digits", binarize="stochastic", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.validation.images, two.validation.images)
    np.testing.assert_array_equal(one.test.images, two.test.images)


def test_validation_and_test_are_drawn_apart(tmp_path):
    half = np.full((50, 20, 20), 0.5, np.float32)
    dataset = load(npz(tmp_path, train=half, validation=half, test=half), binarize="stochastic")
    same = (dataset.validation.images == dataset.test.images).mean()
    assert abs(same - 0.5) < 5 * 0.5 / np.sqrt(half.size)


def test_a_part_without_images_is_left():
    assert load("digits", binarize="stochastic", validation_examples=0).validation.images.shape == (0, 8, 8, 1)


def valued(value, dtype=np.float32):
    images = np.zeros((20, 3, 4), dtype)
    images[7, 1, 2] = value
    return images


@pytest.mark.parametrize(
    ("array", "part"),
    [
        pytest.param(valued(np.nan), "finite", id="nan"),
        pytest.param(valued(np.inf), "finite", id="inf"),
        pytest.param(valued(1.001), "[0, 1]", id="float above 1"),
        pytest.param(valued(-0.001), "[0, 1]", id="float below 0"),
        pytest.param(valued(255.0), "[0, 1]", id="floats of 0 to 255"),
        pytest.param(valued(-1, np.int32), "-1", id="negative"),
        pytest.param(valued(256, np.int32), "256", id="above 255"),
        pytest.param(valued(2**64 - 1, np.uint64), str(2**64 - 1), id="uint64"),
        pytest.param(np.array(3), "[]", id="rank 0"),
        pytest.param(np.zeros(20), "[20]", id="rank 1"),
        pytest.param(np.zeros((20, 784)), "[20, 784]", id="rank 2"),
        pytest.param(np.zeros((20, 3, 4, 3, 1)), "[20, 3, 4, 3, 1]", id="rank 5"),
        pytest.param(np.zeros((0, 3, 4)), "[0, 3, 4]", id="no image"),
        pytest.param(np.zeros((20, 0, 4)), "[20, 0, 4]", id="no row"),
        pytest.param(np.zeros((20, 3, 4, 0)), "[20, 3, 4, 0]", id="no channel"),
        pytest.param(np.full((20, 3, 4), "a"), "<U1", id="strings"),
        pytest.param(np.full((20, 3, 4), b"a"), "S1", id="bytes"),
        pytest.param(valued(1, complex), "complex128", id="complex"),
        pytest.param(np.zeros((20, 3, 4), "datetime64[s]"), "datetime64", id="dates"),
        pytest.param(np.zeros((20, 3, 4), [("a", np.uint8)]), "must be images", id="structs"),
        pytest.param(GREY[:9], "at least 10 images", id="nine images"),
    ],
)
def test_an_array_that_is_not_images(tmp_path, array, part):
    message = refused(npy(tmp_path, array))
    assert message.startswith("dataset") and "must" in message
    assert part in message


def test_draws_of_evaluation_take_the_quotient_as_probability(monkeypatch):
    """The product by float32(1/255) is another number at 126 of the levels: fingerprints would not be for ever."""
    taken = []
    monkeypatch.setattr(pixels.noise, "bernoulli", lambda p, seed, draw: taken.append(p) or tf.zeros(p.shape))
    quotient = (np.arange(256) / 255).astype(np.float32).reshape(LEVELS.shape)  # float64's, rounded once more
    pixels.draw_once(LEVELS, tf.constant([1, 2]))
    pixels.draw_once(quotient, tf.constant([1, 2]))
    assert len(taken) == 2
    for probabilities in taken:
        assert probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities, quotient)
    assert (np.arange(256, dtype=np.float32) * np.float32(1 / 255) != quotient.ravel()).sum() == 126


def test_dequantized_levels_are_those_before(tmp_path):
    """(level + u) / 256: the level is the whole part of 256 x, and u is uniform (Theis et al. 2016, section 3.1)."""
    images = np.tile(LEVELS, (40, 2, 2, 1))
    options = {"dequantize": True, "likelihood": "gaussian"}
    grey, noisy = load(npy(tmp_path, images)), load(npy(tmp_path, images), **options)
    np.testing.assert_array_equal(noisy.train.images, grey.train.images)  # drawn anew at each visit, in training
    draws = []
    for before, after in zip(list(grey)[1:], list(noisy)[1:]):
        assert after.images.dtype == np.float32
        levels = after.images.astype(np.float64) * 256
        np.testing.assert_array_equal(np.floor(levels), before.images)
        u = levels - before.images
        assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / u.size)
        assert abs(np.mean(u**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / u.size)
        draws.append(u.ravel())
    assert abs(np.corrcoef(*draws)[0, 1]) < 5 / np.sqrt(draws[0].size)  # the two parts are drawn apart


def test_fractions_are_not_dequantized():
    message = refused("digits", dequantize=True, likelihood="gaussian")
    assert message == "dequantize=True: must have 8-bit pixels, and digits has fractions"
