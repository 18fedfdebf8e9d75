"""The pictures of a VAE in training: each is of what its name says, and has its place."""

import numpy as np
import pytest
import tensorflow as tf

from tfvae.analysis import figures
from tfvae.analysis.pictures import draw_pictures
from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.data.splits import Dataset, Split

SHAPE = (50, 40, 1)  # not enlarged: a pixel of the picture is one of an image


def pictures_of(latent_dim=2, seed=0, labels=None, label_names=()):
    config = Config(latent_dim=latent_dim, hidden_units=(8,), seed=seed)
    images = np.random.default_rng(0).integers(0, 256, (45, *SHAPE), dtype=np.uint8)
    split = Split(images, labels, label_names)
    vae = make_vae(Config(latent_dim=latent_dim, hidden_units=(8,)), SHAPE)
    for variable in vae.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape, scale=0.3))
    return vae, images, dict(draw_pictures(vae, Dataset(split, split, split), config))


def test_there_is_a_manifold_where_there_are_two_latents():
    both = ["reconstructions", "samples"]
    assert list(pictures_of(latent_dim=2)[2]) == [*both, "manifold", "latent_scatter", "aggregate_posterior"]
    assert list(pictures_of(latent_dim=3)[2]) == [*both, "traversal", "aggregate_posterior"]


def test_of_large_images_there_are_fewer_in_a_picture():
    config = Config(hidden_units=(2,))
    split = Split(np.zeros((45, 400, 512, 1), np.uint8), None)
    vae = make_vae(config, (400, 512, 1))
    pictures = dict(draw_pictures(vae, Dataset(split, split, split), config))
    assert pictures["samples"].shape == (2 * 401 + 1, 10 * 513 + 1, 1)
    assert pictures["manifold"].shape == (4 * 401 + 1, 4 * 513 + 1, 1)


def test_forty_test_images_stand_above_their_reconstructions():
    vae, images, pictures = pictures_of()
    picture = pictures["reconstructions"]
    assert picture.shape == (4 * (101 + 3) + 3, 10 * (40 + 3) + 3, 1)
    top, left = 3 + 104, 3 + 43 * 2  # of the thirteenth
    np.testing.assert_array_equal(picture[top : top + 50, left : left + 40], images[12])
    expected = vae(tf.constant(images[12:13] / 255, tf.float32))[0].numpy() * 255
    below = picture[top + 51 : top + 101, left : left + 40]
    np.testing.assert_allclose(below, expected, atol=0.51)
    assert below.std() > 5


def test_the_samples_are_a_function_of_the_seed():
    samples = [pictures_of(seed=seed)[2]["samples"] for seed in (0, 0, 1)]
    assert samples[0].shape == (10 * 51 + 1, 10 * 41 + 1, 1)
    np.testing.assert_array_equal(samples[0], samples[1])
    assert (samples[0] != samples[2]).any()


@pytest.mark.parametrize("column, row", [(0, 0), (19, 3), (7, 19)])
def test_the_manifold_decodes_the_grid_of_latents(column, row):
    vae, _, pictures = pictures_of()
    z = figures.manifold_latents(20)[20 * row + column]
    expected = vae.decode(z[None]).mean[0].numpy() * 255
    cell = pictures["manifold"][51 * row + 1 : 51 * row + 51, 41 * column + 1 : 41 * column + 41]
    np.testing.assert_allclose(cell, expected, atol=0.51)


def test_the_scatter_takes_the_labels():
    plain = pictures_of()[2]["latent_scatter"]
    coloured = pictures_of(labels=np.arange(45) % 3)[2]["latent_scatter"]
    assert plain.shape == coloured.shape == (600, 660, 3) and (plain != coloured).any()
    named = pictures_of(labels=np.arange(45) % 3, label_names=("ape", "bee", "eel"))[2]["latent_scatter"]
    assert (named != coloured).any()
