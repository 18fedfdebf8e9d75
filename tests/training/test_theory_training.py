"""Evaluation and training against exact answers: a Gaussian mixture, probabilistic PCA, PCA; and at the edges."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import tensorflow as tf
from models import MIXTURE_LOG_PX, MIXTURE_X, MixtureModel
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from tfvae.config import Config
from tfvae.data import moments
from tfvae.training.evaluation import Evaluator
from tfvae.training.state import create_state
from tfvae.training.step import TrainProgram


def test_two_monte_carlo_errors_cover_log_px_as_often_as_they_should(without_xla):
    vae = MixtureModel(np.float32(0.2), np.float32(0.4))
    # 200 repeats: an image each, with noise of its own
    x = np.repeat(MIXTURE_X, 50).astype(np.float32).reshape(-1, 1, 1, 1)
    per_image = Evaluator(vae, latent_dim=1, seed=0, closed_kl=False).evaluate(x, 1_000)
    within = np.abs(per_image.log_px - np.repeat(MIXTURE_LOG_PX, 50)) < 2 * np.sqrt(per_image.log_px_variance)
    assert 0.90 <= within.mean() <= 0.98
    both = per_image.summary()
    np.testing.assert_allclose(
        both["log_px_monte_carlo_error"], np.sqrt(per_image.log_px_variance.sum()) / 200, rtol=1e-5
    )
    assert both["log_px_standard_error"] > both["log_px_monte_carlo_error"] > 0


DIGITS = (load_digits().images / 16).astype(np.float32)[:1437, ..., None]


def train(epochs, start_stddev=None, **options):
    """A linear VAE after so many epochs of three steps on the digits."""
    config = Config(dataset="digits", hidden_units=(), batch_size=479, epochs=epochs, lr_schedule="cosine", **options)
    state = create_state(config, (8, 8, 1), len(DIGITS), start_stddev=start_stddev)
    TrainProgram(state, config, DIGITS).run(0, 3 * epochs)
    return state.vae


def decoder_of(vae):
    """The linear decoder's matrix [64, L] and offset [64], in float64."""
    layer = vae.decoder.output_layer
    return layer.kernel.numpy().T.astype(np.float64), layer.bias.numpy().astype(np.float64)


def maximum_of_probabilistic_pca(x, latents):
    """Its mean log density of x [N, D], and the variance that it leaves to each value (Tipping & Bishop, eq. 8)."""
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    left = values[latents:].mean()
    log_det = np.log(values[:latents]).sum() + (64 - latents) * np.log(left)
    return -0.5 * (64 * np.log(2 * np.pi) + log_det + 64), left


@pytest.mark.slow
@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_a_linear_gaussian_vae_is_within_a_tenth_of_a_nat_of_probabilistic_pca_in_240_steps(sigma):
    x, latents = DIGITS.reshape(len(DIGITS), -1).astype(np.float64), 3
    maximum, _ = maximum_of_probabilistic_pca(x, latents)
    options = {"likelihood": "gaussian", "sigma": sigma, "posterior": "full", "latent_dim": latents}
    vae = train(80, moments.stddev(DIGITS), **options, num_samples=4, learning_rate=0.1)
    w, offset = decoder_of(vae)
    variance = np.exp(np.float64(vae.decode(tf.zeros([1, latents])).log_variance.numpy()))
    exact = scipy.stats.multivariate_normal(offset, w @ w.T + variance * np.eye(64)).logpdf(x).mean()
    assert maximum - 0.1 < exact < maximum + 1e-3


@pytest.mark.nightly
def test_a_linear_gaussian_vae_reaches_probabilistic_pca_s_likelihood_and_its_posterior():
    """Tipping & Bishop 1999, eq. 8; Lucas et al. 2019: the linear VAE's ELBO has pPCA's maximum."""
    x, latents = DIGITS.reshape(len(DIGITS), -1).astype(np.float64), 3
    maximum, left = maximum_of_probabilistic_pca(x, latents)
    options = {"likelihood": "gaussian", "sigma": "learned", "posterior": "full", "latent_dim": latents}
    vae = train(800, **options, num_samples=4, learning_rate=0.1)
    w, offset = decoder_of(vae)
    variance = np.exp(np.float64(vae.decode(tf.zeros([1, latents])).log_variance.numpy()))
    exact = scipy.stats.multivariate_normal(offset, w @ w.T + variance * np.eye(64)).logpdf(x).mean()
    assert maximum - 0.1 < exact < maximum + 1e-3
    np.testing.assert_allclose(variance, left, rtol=0.02)
    summary = Evaluator(vae, latents, seed=0).evaluate(DIGITS, 20).summary()
    np.testing.assert_allclose(summary["elbo"], maximum, atol=0.1)
    q = vae.encode(tf.constant(DIGITS))
    covariance = np.linalg.inv(np.eye(latents) + w.T @ w / variance)
    np.testing.assert_allclose(q.mean, (x - offset) @ w @ covariance / variance, atol=0.1)
    cholesky = q.cholesky().numpy()
    np.testing.assert_allclose(
        cholesky @ cholesky.transpose(0, 2, 1), np.broadcast_to(covariance, cholesky.shape), atol=0.02
    )


@pytest.mark.slow
def test_the_linear_autoencoder_spans_pca_s_subspace():
    """Baldi & Hornik 1989."""
    vae = train(1_000, objective="autoencoder", likelihood="gaussian", sigma=0.1, latent_dim=4, learning_rate=0.02)
    w, _ = decoder_of(vae)
    theirs = PCA(4).fit(DIGITS.reshape(len(DIGITS), -1)).components_.T
    assert np.degrees(scipy.linalg.subspace_angles(w, theirs)).max() < 1


@pytest.mark.parametrize("pixel", [0, pytest.param(255, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="bernoulli"),
        pytest.param({"likelihood": "gaussian", "sigma": "of_z"}, id="of_z", marks=pytest.mark.nightly),
        pytest.param(
            {"posterior": "full", "objective": "dreg", "num_samples": 2}, id="full dreg", marks=pytest.mark.nightly
        ),
    ],
)
def test_all_black_and_all_white_images_give_finite_values_and_gradients(pixel, options):
    images = np.full((16, 6, 5, 1), pixel, np.uint8)
    config = Config(hidden_units=(8,), batch_size=16, epochs=20, learning_rate=0.1, **options)
    program = TrainProgram(create_state(config, (6, 5, 1), 16), config, images)
    for t in range(20):
        means, bad_step = program.run(t, 1)
        assert bad_step is None and np.isfinite(list(means[0].terms.values())).all()
