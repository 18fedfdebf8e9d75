"""The continuous Bernoulli density, against quadrature."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.continuous_bernoulli import ContinuousBernoulli

SEED = noise.seed_for(3, noise.Stream.PRIOR)
COUNT = 20_000


def normalizer_by_quadrature(logit):
    """log of the integral of exp(logit x) over [0, 1], the largest value taken out of it."""
    largest = max(logit, 0.0)
    points = [1 / abs(logit)] if abs(logit) > 10 else None
    if points and logit > 0:
        points = [1 - points[0]]
    value, _ = scipy.integrate.quad(lambda x: np.exp(logit * x - largest), 0, 1, points=points, epsabs=0, epsrel=1e-12)
    return largest + np.log(value)


LOGITS = [-1e3, -30.0, -2.0, -0.51, -0.49, -1e-2, -1e-4, -1e-7, 0.0, 1e-7, 1e-4, 1e-2, 0.49, 0.51, 2.0, 30.0, 1e3]


@pytest.mark.parametrize("logit", LOGITS)
def test_the_continuous_bernoulli_is_normalized_at_any_logit(logit):
    density = ContinuousBernoulli(tf.fill([1, 1, 1], logit))
    expected = -normalizer_by_quadrature(logit)
    np.testing.assert_allclose(density.log_prob(tf.zeros([1, 1, 1])), expected, rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(
        density.element_log_prob(tf.fill([1, 1, 1], 0.25)), logit / 4 + expected, rtol=2e-6, atol=2e-7
    )


@pytest.mark.parametrize("logit", LOGITS)
def test_the_mean_of_the_continuous_bernoulli_is_that_of_its_density_and_the_normalizers_gradient(logit):
    normalizer = normalizer_by_quadrature(logit)
    points = [1 - 1 / logit] if logit > 10 else ([-1 / logit] if logit < -10 else None)
    mean, _ = scipy.integrate.quad(lambda x: x * np.exp(logit * x - normalizer), 0, 1, points=points, epsrel=1e-12)
    logits = tf.fill([1, 1, 1], logit)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = ContinuousBernoulli(logits).log_prob(tf.fill([1, 1, 1], 0.75))
    np.testing.assert_allclose(ContinuousBernoulli(logits).mean, mean, rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), 0.75 - mean, rtol=1e-5, atol=3e-7)


def test_continuous_bernoulli_samples_have_the_distribution():
    logits = [-50.0, -1.0, 0.0, 1e-3, 3.0]
    density = ContinuousBernoulli(tf.tile(tf.reshape(tf.constant(logits), [1, -1, 1, 1]), [COUNT, 1, 1, 1]))
    x = density.sample(density.noise(tuple(density.logits.shape), SEED)).numpy()[:, :, 0, 0].astype(float)
    assert x.min() >= 0 and x.max() <= 1
    for values, logit in zip(x.T, logits):
        distribution = (lambda v, n=logit: np.expm1(n * v) / np.expm1(n)) if logit else scipy.stats.uniform.cdf
        assert scipy.stats.kstest(values, distribution).pvalue > 1e-4


def test_a_fitted_continuous_bernoulli_has_the_means():
    mean = np.array([0.0, 0.02, 0.3, 0.5, 0.99, 1.0]).reshape(1, -1, 1)
    fitted = ContinuousBernoulli(tf.zeros([])).fitted_to(mean, mean, 1000)
    np.testing.assert_allclose(fitted.mean, (mean * 1000 + 0.5) / 1001, rtol=1e-4)
