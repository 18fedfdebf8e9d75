"""Samples have the prior's moments; interpolations and traversals are those of a linear model written out."""

import statistics

import numpy as np
import pytest
import tensorflow as tf
from models import IMAGES, OFFSET, D, L, LinearGaussian, W

from tfvae.analysis import latents
from tfvae.config import Config
from tfvae.core.making import make_vae


@pytest.mark.parametrize("prior", ["standard", "normal", "mixture"])
def test_samples_are_the_priors_and_repeat_by_seed(prior):
    vae = make_vae(Config(latent_dim=3, hidden_units=(8,), prior=prior, prior_components=2), (4, 4, 1))
    share, mean, variance = np.ones(1), np.zeros((1, 3)), np.ones((1, 3))
    if prior != "standard":
        number = 1 if prior == "normal" else 2
        mean, variance = np.array([[2.0, -1, 0], [-3, 1, 5]])[:number], np.array([[0.5, 1, 4], [2, 0.1, 1]])[:number]
        vae.prior_variables[0].assign(mean)
        vae.prior_variables[1].assign(np.log(variance))
        if prior == "mixture":
            share = np.array([0.2, 0.8])
            vae.prior_variables[2].assign(np.log(share) + 3)
    z = latents.sample_latents(vae, 40_000, seed=5)
    total = share @ mean
    spread = share @ (variance + mean**2) - total**2
    np.testing.assert_allclose(z.mean(axis=0), total, atol=5 * np.sqrt(spread.max() / len(z)))
    covariance = np.diag(spread) + off_diagonal(share, mean, total)
    np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.05 * spread.max())
    images = latents.samples(vae, 10, seed=5)
    np.testing.assert_array_equal(images, latents.samples(vae, 10, seed=5))
    np.testing.assert_allclose(images, vae.decode(latents.sample_latents(vae, 10, seed=5)).mean, rtol=1e-5)
    assert np.abs(images - latents.samples(vae, 10, seed=6)).max() > 1e-3


def off_diagonal(share, mean, total):
    between = (mean - total).T @ (share[:, None] * (mean - total))
    return between - np.diag(np.diag(between))


def test_interpolation_goes_straight_from_one_reconstruction_to_the_other():
    vae = LinearGaussian()
    strips = latents.interpolation(vae, IMAGES[:2], IMAGES[2:4], steps=5)
    reconstructed = vae.decode(vae.encode(tf.constant(IMAGES)).mean).mean.numpy()
    np.testing.assert_allclose(strips[:, 0], reconstructed[:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(strips[:, -1], reconstructed[2:4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(strips[:, 2], (reconstructed[:2] + reconstructed[2:4]) / 2, rtol=1e-4, atol=1e-5)


def test_a_traversal_moves_one_latent_over_the_priors_quantiles():
    vae = LinearGaussian()
    numbers, variances, values, images = latents.traversal(vae, IMAGES, index=3, seed=0, steps=3)
    mean = vae.encode(tf.constant(IMAGES)).mean.numpy()
    np.testing.assert_array_equal(numbers, np.argsort(-mean.var(axis=0)))
    np.testing.assert_allclose(variances, np.sort(mean.var(axis=0))[::-1], rtol=1e-5)
    quantiles = [statistics.NormalDist().inv_cdf(p) for p in (0.025, 0.5, 0.975)]
    np.testing.assert_allclose(values, [quantiles] * L, atol=1e-6)
    for row, latent in zip(images, numbers):
        moves = np.diff(row.reshape(3, D), axis=0)
        np.testing.assert_allclose(moves, np.outer([1.96, 1.96], W[:, latent]), atol=1e-3)
    z = mean[3].copy()
    z[numbers[0]] = 0
    np.testing.assert_allclose(images[0, 1].ravel(), W @ z + OFFSET, atol=1e-5)


def test_a_traversal_has_the_ten_most_active_latents():
    vae = make_vae(Config(latent_dim=12, hidden_units=(8,)), (4, 4, 1))
    images = np.random.default_rng(0).random((50, 4, 4, 1)).astype("f")
    result = latents.traversal(vae, images, index=0, seed=0)
    variances = vae.encode(tf.constant(images)).mean.numpy().var(axis=0)
    np.testing.assert_allclose(result.variances, np.sort(variances)[:1:-1], rtol=1e-4)
    assert result.images.shape == (10, 11, 4, 4, 1) and len(set(result.latents)) == 10


def test_each_latent_of_a_traversal_takes_the_quantiles_of_its_own_prior():
    vae = make_vae(Config(latent_dim=3, hidden_units=(8,), prior="normal"), (4, 4, 1))
    mean, stddev = np.array([2.0, -1, 0]), np.array([0.5, 1, 4])
    vae.prior_variables[0].assign(mean[None])
    vae.prior_variables[1].assign(2 * np.log(stddev)[None])
    images = np.random.default_rng(0).random((50, 4, 4, 1)).astype("f")
    result = latents.traversal(vae, images, index=0, seed=0, steps=3)
    outer = statistics.NormalDist().inv_cdf(0.975) * np.array([-1, 0, 1])
    expected = mean[:, None] + stddev[:, None] * outer
    np.testing.assert_allclose(result.values, expected[result.latents], rtol=1e-5, atol=1e-6)
