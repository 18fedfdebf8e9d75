"""Lossless codes of images: that they are lossless, what their lengths are of, and what is told apart by them."""

import io
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.inputs import InputRule, to_unit
from tfvae.core.noise import Stream
from tfvae.data import complexity
from tfvae.data.draws import dequantize_once
from tfvae.data.new_images import NewImages

DIGITS = (load_digits().images[:300] * 15).astype(np.uint8)[..., None]
CROPS = np.stack([photograph[200:232, 200:232] for photograph in load_sample_images().images])
LEVELS = np.arange(256, dtype=np.uint8)
NATS_PER_BYTE = 8 * math.log(2)


@pytest.mark.parametrize("image", [DIGITS[0, ..., 0], CROPS[0]], ids=["grey", "colour"])
def test_both_codes_give_the_image_back(image):
    decoded = zlib.decompress(complexity.deflate_code(image), wbits=-15)
    np.testing.assert_array_equal(np.frombuffer(decoded, np.uint8), image.ravel())
    file = Image.open(io.BytesIO(complexity.webp_file(image))).convert("RGB" if image.ndim == 3 else "L")
    np.testing.assert_array_equal(np.asarray(file), image)


def test_the_shorter_code_counts_and_its_container_does_not():
    for image, shorter in ((DIGITS[0], "deflate"), (CROPS[0], "webp")):
        plain = image if image.shape[-1] == 3 else image[..., 0]
        webp = complexity.webp_file(plain)
        (chunk,) = struct.unpack("<I", webp[16:20])  # the size that the file says its one chunk has
        lengths = {"deflate": len(complexity.deflate_code(plain)), "webp": chunk + chunk % 2}
        assert min(lengths, key=lengths.get) == shorter
        assert complexity.code_length(image) == lengths[shorter]


def test_noise_has_its_entropy_and_a_flat_image_next_to_none():
    drawn = np.random.default_rng(0).integers(256, size=(20, 28, 28, 1), dtype=np.uint8)
    entropy = 28 * 28 * math.log(256)
    nats = complexity.complexity(drawn)
    assert (nats > 0.99 * entropy).all() and (nats < 1.03 * entropy).all()
    flat = complexity.complexity(np.broadcast_to(LEVELS[:, None, None, None], (256, 28, 28, 1)))
    assert (flat < 0.03 * entropy).all()
    assert (complexity.complexity(DIGITS) > 20 * NATS_PER_BYTE).all()


def test_colours_that_are_alike_cost_little_more_than_one_of_them():
    grey = CROPS[0].mean(-1).astype(np.uint8)[..., None]
    one = complexity.code_length(grey)
    assert complexity.code_length(np.repeat(grey, 3, axis=-1)) < 1.1 * one


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_of_any_channels_have_a_code(channels):
    image = np.random.default_rng(0).integers(256, size=(16, 20, channels), dtype=np.uint8)
    assert 16 * 20 * channels * 0.99 < complexity.code_length(image) < 16 * 20 * channels * 1.1


def test_an_image_longer_than_webp_takes_has_a_code():
    assert complexity.code_length(np.zeros((2, 20_000, 1), np.uint8)) < 100


def test_levels_are_found_again():
    for x in (LEVELS, to_unit(LEVELS), (LEVELS / 255).astype(np.float32)):
        np.testing.assert_array_equal(complexity.to_levels(x), LEVELS)
    images = np.broadcast_to(LEVELS, (500, 256))
    drawn = dequantize_once(images, noise.seed_for(0, Stream.BINARIZE, 0))
    assert np.mean(complexity.to_levels(drawn) != images) < 1e-4
    assert complexity.to_levels(np.float32([0, 0.5 / 255, 1])).tolist() == [0, 0, 255]


def test_it_is_of_the_pixels_that_the_model_sees_image_by_image():
    new = NewImages(DIGITS, InputRule((8, 8, 1)), Config(binarize="threshold"))
    bits = np.where(DIGITS > 127, np.uint8(255), np.uint8(0))
    expected = [complexity.code_length(image) * NATS_PER_BYTE for image in bits]
    np.testing.assert_allclose(complexity.complexity(new), expected)  # 300 images: two blocks
    assert np.mean(expected) < np.mean(complexity.complexity(DIGITS))
