"""The deviation of images, from which a learned sigma starts, beside NumPy's."""

import numpy as np
import pytest

from tfvae.data import disk, moments

IMAGES = np.random.default_rng(0).integers(0, 256, (700, 5, 4, 1), dtype=np.uint8)


def test_it_is_numpy_s_deviation_of_x_in_0_to_1():
    np.testing.assert_allclose(moments.stddev(IMAGES), (IMAGES / 255.0).std(), rtol=1e-6)
    fractions = (IMAGES / 255.0).astype(np.float32)
    np.testing.assert_allclose(moments.stddev(fractions), fractions.astype(np.float64).std(), rtol=1e-6)


def test_images_on_disk_have_that_of_the_same_images_in_memory(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    assert moments.stddev(disk.open_images(tmp_path / "images.npy")) == moments.stddev(IMAGES)


def test_of_many_images_some_that_are_evenly_spread_are_taken(monkeypatch):
    monkeypatch.setattr(moments, "_MOST_IMAGES", 100)
    chosen = IMAGES[np.linspace(0, 699, 100).astype(int)]
    np.testing.assert_allclose(moments.stddev(IMAGES), (chosen / 255.0).std(), rtol=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_images_of_one_value_have_a_deviation_above_0(value):
    assert moments.stddev(np.full((3, 2, 2, 1), value, np.uint8)) == 0.001
