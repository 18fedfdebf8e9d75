"""Images from outside for a trained model: converted in blocks, binarized as the run's test images were."""

import numpy as np
import pytest
import tensorflow as tf
from sources import GREY

from tfvae.config import Config
from tfvae.core.inputs import InputRule
from tfvae.data import dataset as data
from tfvae.data import memory
from tfvae.data.new_images import NewImages
from tfvae.errors import InputError

RULE = InputRule((5, 7, 1))
ALL = np.arange(40)


def rows(images, config=None, rows=ALL):
    return NewImages(images, RULE, config or Config())[rows]


def test_they_are_stored_as_the_package_stores_them():
    np.testing.assert_array_equal(rows(GREY), GREY[..., None])
    assert rows(GREY).dtype == np.uint8
    x = rows(GREY / 255.0)
    assert x.dtype == np.float32 and x.shape == (40, 5, 7, 1)


@pytest.mark.parametrize("settings", [{"binarize": "threshold"}, {"dequantize": True, "likelihood": "gaussian"}])
def test_whole_floats_are_the_integers_that_they_stand_for(settings):
    config = Config(**settings)
    for images in (GREY.astype(np.float32), tf.constant(GREY, tf.float32)):
        np.testing.assert_array_equal(rows(images, config), rows(GREY, config))


def test_of_a_binary_run_1_is_white():
    ones = (GREY > 127).astype(np.int64)
    images = NewImages(ones, RULE._replace(white=1), Config())
    np.testing.assert_array_equal(images[ALL][..., 0], ones * 255)


def test_threshold_is_that_of_the_run():
    expected = np.where(GREY > 127, 255, 0)[..., None]
    np.testing.assert_array_equal(rows(GREY, Config(binarize="threshold")), expected)


def test_stochastic_pixels_have_the_grey_value_as_their_probability():
    grey = np.full((4_000, 5, 7), 64, np.uint8)
    drawn = rows(grey, Config(binarize="stochastic"), np.arange(4_000))
    assert set(np.unique(drawn)) == {0, 255}
    error = (64 / 255 * (1 - 64 / 255) / drawn.size) ** 0.5
    assert abs(drawn.mean() / 255 - 64 / 255) < 4 * error


@pytest.mark.parametrize("settings", [{"binarize": "stochastic"}, {"dequantize": True, "likelihood": "gaussian"}])
def test_an_images_draw_depends_on_its_place_alone(settings):
    grey = np.tile(GREY, (16, 1, 1))  # 640 images: three groups of draws
    images = NewImages(grey, RULE, Config(**settings))
    together = images[np.arange(640)]
    np.testing.assert_array_equal(images[np.arange(200, 300)], together[200:300])
    np.testing.assert_array_equal(images[np.array([639, 0, 257])], together[[639, 0, 257]])
    assert (together[:40] != together[40:80]).any()  # the same images, in other places


def test_test_images_that_are_drawn_already_stay():
    config = Config(binarize="stochastic", batch_size=1)
    drawn = data.load(config, memory.load(GREY, None, None, None, 1e9)).test.images
    np.testing.assert_array_equal(NewImages(drawn, RULE, config)[np.arange(len(drawn))], drawn)


def test_dequantized_levels_lie_in_their_interval():
    x = rows(GREY, Config(dequantize=True, likelihood="gaussian"))
    level = np.floor(x[..., 0] * 256)
    np.testing.assert_array_equal(level, GREY)
    np.testing.assert_array_equal(rows(x, Config(dequantize=True, likelihood="gaussian")), x)  # those are done


def test_a_bad_image_is_refused_at_the_start_and_names_the_argument():
    with pytest.raises(InputError, match=r"^images: must be images \[N, 5, 7, 1\]"):
        NewImages(GREY[:, :4], RULE, Config(), "images")
