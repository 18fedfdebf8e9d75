"""Pixels that are drawn once, for evaluation: stochastic binarization and the noise of dequantization."""

import numpy as np
import pytest
import tensorflow as tf
from sources import GREY, load, npy, npz

from tfvae.data import draws

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


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


def test_draws_of_evaluation_take_the_quotient_as_probability(monkeypatch):
    """The product by float32(1/255) is another number at 126 of the levels: fingerprints would not be for ever."""
    taken = []
    monkeypatch.setattr(draws.noise, "bernoulli", lambda p, seed, draw: taken.append(p) or tf.zeros(p.shape))
    quotient = (np.arange(256) / 255).astype(np.float32).reshape(LEVELS.shape)  # float64's, rounded once more
    draws.draw_once(LEVELS, tf.constant([1, 2]))
    draws.draw_once(quotient, tf.constant([1, 2]))
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
    noises = []
    for before, after in zip(list(grey)[1:], list(noisy)[1:]):
        assert after.images.dtype == np.float32
        levels = after.images.astype(np.float64) * 256
        np.testing.assert_array_equal(np.floor(levels), before.images)
        u = levels - before.images
        assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / u.size)
        assert abs(np.mean(u**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / u.size)
        noises.append(u.ravel())
    assert abs(np.corrcoef(*noises)[0, 1]) < 5 / np.sqrt(noises[0].size)  # the two parts are drawn apart
