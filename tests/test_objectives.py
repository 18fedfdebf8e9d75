"""The objectives, on a linear-Gaussian model whose log p(x) and posterior are known exactly."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.core import objectives
from tfvae.core.distributions import DiagonalNormal, GaussianPixels, standard_normal

D, L, SIGMA = 12, 2, 0.3
RNG = np.random.default_rng(1)
W = np.linalg.qr(RNG.normal(size=(D, L)))[0] * [1.5, 0.7]  # orthogonal columns: the exact posterior is diagonal
OFFSET = RNG.normal(size=D)
X = OFFSET + RNG.normal(size=(6, L)) @ W.T + SIGMA * RNG.normal(size=(6, D))
LOG_PX = scipy.stats.multivariate_normal(OFFSET, W @ W.T + SIGMA**2 * np.eye(D)).logpdf(X)
POSTERIOR_VARIANCE = 1 / (1 + (W**2).sum(0) / SIGMA**2)


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z + offset, sigma^2 I), with q(z|x) the exact posterior, or `shift` away from it."""

    prior = standard_normal(L)

    def __init__(self, shift=0.0):
        self.shift = shift

    def encode(self, x):
        mean = (tf.reshape(x, [-1, D]) - OFFSET) @ tf.constant(W / SIGMA**2 * POSTERIOR_VARIANCE, tf.float32)
        return DiagonalNormal(mean + self.shift, tf.zeros_like(mean) + np.log(POSTERIOR_VARIANCE).astype("f"))

    def sampling(self, q, epsilon):
        return q.sample(epsilon)

    def decode(self, z):
        mean = tf.einsum("...l,dl->...d", z, tf.constant(W, tf.float32)) + OFFSET.astype("f")
        return GaussianPixels(mean[..., None, None], tf.constant(2 * np.log(SIGMA), tf.float32))


def images():
    return tf.constant(X.reshape(-1, D, 1, 1), tf.float32)


def noise_of(samples, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(samples, len(X), L)), tf.float32)


@pytest.mark.parametrize("samples", [1, 2, 5, 50])
def test_the_bound_is_log_px_for_every_k_at_the_exact_posterior(samples):
    bound = objectives.importance_weighted_bound(LinearGaussian(), images(), noise_of(samples))
    np.testing.assert_allclose(bound, LOG_PX, rtol=1e-5)


def test_the_elbo_is_log_px_in_the_mean_at_the_exact_posterior():
    terms = objectives.elbo(LinearGaussian(), images(), noise_of(20_000))
    error = np.sqrt(L / 20_000) * 5  # log p(x|z) under the exact posterior has a variance below L
    np.testing.assert_allclose(terms.elbo, LOG_PX, atol=error)


def test_at_the_exact_posterior_the_gradient_of_the_bound_is_that_of_log_px():
    """Fisher's identity; the decoder moves away from the q that was exact at 0."""
    moved = tf.Variable(tf.zeros([D]))

    class Moved(LinearGaussian):
        def decode(self, z):
            p = super().decode(z)
            return GaussianPixels(p.mean + moved[:, None, None], p.log_variance)

    epsilon = noise_of(50)
    for function in (
        lambda: objectives.elbo(Moved(), images(), tf.concat([epsilon, -epsilon], axis=0)).elbo,
        lambda: objectives.importance_weighted_bound(Moved(), images(), tf.concat([epsilon, -epsilon], axis=0)),
    ):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(function())
        expected = np.linalg.solve(W @ W.T + SIGMA**2 * np.eye(D), (X - OFFSET).sum(axis=0))
        np.testing.assert_allclose(tape.gradient(total, moved), expected, rtol=1e-3, atol=1e-3)


def test_away_from_the_posterior_the_gap_is_the_kl_and_more_samples_close_it():
    vae = LinearGaussian(shift=0.2)
    kl_to_posterior = 0.5 * np.sum(0.2**2 / POSTERIOR_VARIANCE)
    terms = objectives.elbo(vae, images(), noise_of(50_000))
    np.testing.assert_allclose(LOG_PX - terms.elbo, kl_to_posterior, rtol=0.03)
    gaps = []
    for k in (1, 5, 50):
        repeats = [objectives.importance_weighted_bound(vae, images(), noise_of(k, seed=s)) for s in range(200)]
        gaps.append((LOG_PX - np.mean(repeats, axis=0)).mean())
    assert gaps[0] > gaps[1] + 0.05 > gaps[2] + 0.1
    assert gaps[2] > -0.05


def test_the_terms_add_up_and_each_is_its_own_examples():
    vae, epsilon = LinearGaussian(shift=0.2), noise_of(3)
    terms = objectives.elbo(vae, images(), epsilon)
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl, rtol=1e-6)
    alone = objectives.elbo(vae, images()[2:3], epsilon[:, 2:3])
    np.testing.assert_allclose([t[0] for t in alone], [t[2] for t in terms], rtol=1e-5)


def test_the_loss_is_minus_the_elbo_and_beta_weighs_the_kl():
    vae, epsilon = LinearGaussian(shift=0.2), noise_of(3)
    loss, terms = objectives.elbo_loss(vae, images(), epsilon)
    np.testing.assert_allclose(loss, -terms.elbo, rtol=1e-6)
    loss, _ = objectives.elbo_loss(vae, images(), epsilon, beta=4.0)
    np.testing.assert_allclose(loss, -terms.log_likelihood + 4 * terms.kl, rtol=1e-6)


def test_gradients_are_those_of_finite_differences():
    epsilon, shift = noise_of(4), tf.constant(0.2)
    for function in (lambda v: objectives.elbo(v, images(), epsilon).elbo, lambda v: bound(v, epsilon)):
        with tf.GradientTape() as tape:
            tape.watch(shift)
            value = tf.reduce_sum(function(LinearGaussian(shift)))
        sides = [tf.reduce_sum(function(LinearGaussian(shift + h))).numpy() for h in (0.01, -0.01)]
        np.testing.assert_allclose(tape.gradient(value, shift), (sides[0] - sides[1]) / 0.02, rtol=2e-3)


def bound(vae, epsilon):
    return objectives.importance_weighted_bound(vae, images(), epsilon)
