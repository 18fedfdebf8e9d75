"""The normal densities, against SciPy in float64, quadrature, and at the edges of float32."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.distributions import (
    DiagonalNormal,
    NormalMixture,
    bounded_log_variance,
    draw,
    normal_log_density,
    standard_normal,
)

RNG = np.random.default_rng(0)
MEAN, LOG_VARIANCE = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
LOGITS = RNG.normal(size=4)
WEIGHTS = scipy.special.softmax(LOGITS)


def normal(dtype=tf.float64):
    return DiagonalNormal(tf.constant(MEAN, dtype), tf.constant(LOG_VARIANCE, dtype))


def mixture(dtype=tf.float64):
    return NormalMixture(*(tf.constant(a, dtype) for a in (LOGITS, MEAN, LOG_VARIANCE)))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_diagonal_normal_log_prob_is_scipys(dtype):
    z = RNG.normal(size=(5, 4, 3))
    elements = scipy.stats.norm(MEAN, np.exp(LOG_VARIANCE / 2)).logpdf(z)
    np.testing.assert_allclose(normal(dtype).log_prob(tf.constant(z, dtype)), elements.sum(-1), rtol=1e-6)
    density = normal_log_density(*(tf.constant(a, dtype) for a in (z, MEAN, LOG_VARIANCE)))
    np.testing.assert_allclose(density, elements, rtol=1e-5)


def test_diagonal_normal_sample_is_mean_plus_stddev_times_epsilon():
    epsilon = RNG.normal(size=(5, 4, 3))
    expected = scipy.stats.norm(MEAN, np.exp(LOG_VARIANCE / 2)).ppf(scipy.stats.norm.cdf(epsilon))
    np.testing.assert_allclose(normal().sample(tf.constant(epsilon)), expected, rtol=1e-9)


def test_kl_is_the_integral_that_defines_it():
    p = DiagonalNormal(tf.constant([0.3], tf.float64), tf.constant([-0.4], tf.float64))
    for mean, log_variance in [(0.0, 0.0), (1.5, -2.0), (-0.3, 0.7)]:
        q = DiagonalNormal(tf.constant([mean], tf.float64), tf.constant([log_variance], tf.float64))

        def integrand(z, q=q):
            log_q, log_p = (d.log_prob(tf.constant([[z]], tf.float64)).numpy()[0] for d in (q, p))
            return np.exp(log_q) * (log_q - log_p)

        span = 12 * np.exp(log_variance / 2)
        expected, _ = scipy.integrate.quad(integrand, mean - span, mean + span, epsabs=1e-10)
        np.testing.assert_allclose(q.kl(p), expected, rtol=1e-6)


def test_kl_is_0_at_the_prior_and_exact_near_it():
    assert DiagonalNormal(tf.zeros([2]), tf.zeros([2])).kl(standard_normal(2)) == 0
    tiny = DiagonalNormal(tf.zeros([1]), tf.constant([1e-4]))
    log_variance = np.float64(np.float32(1e-4))
    np.testing.assert_allclose(tiny.kl(standard_normal(1)), (np.expm1(log_variance) - log_variance) / 2, rtol=1e-3)


def test_the_kl_of_each_latent_is_that_of_its_own_marginal():
    q, p = normal(), DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    per_latent = q.kl_per_latent(p).numpy()
    assert per_latent.shape == (4, 3)
    for latent in range(3):
        marginals = [DiagonalNormal(d.mean[..., latent, None], d.log_variance[..., latent, None]) for d in (q, p)]
        np.testing.assert_allclose(per_latent[:, latent], marginals[0].kl(marginals[1]), rtol=1e-12)


def test_normal_mixture_is_the_weighted_sum_of_scipys_densities():
    z = RNG.normal(size=(7, 3))
    densities = [scipy.stats.norm(m, np.exp(lv / 2)).pdf(z).prod(-1) for m, lv in zip(MEAN, LOG_VARIANCE)]
    np.testing.assert_allclose(mixture().log_prob(tf.constant(z)), np.log(WEIGHTS @ densities), rtol=1e-9)


def test_a_mixtures_sample_takes_the_component_that_the_uniform_number_falls_into():
    edges = np.cumsum(WEIGHTS)
    uniform = np.concatenate([[0.0], *([edge - 1e-9, edge + 1e-9] for edge in edges[:-1]), [1 - 1e-9]])
    chosen = [0, 0, 1, 1, 2, 2, 3, 3]
    epsilon = RNG.normal(size=(8, 3))
    expected = MEAN[chosen] + np.exp(LOG_VARIANCE[chosen] / 2) * epsilon
    np.testing.assert_allclose(mixture().sample(tf.constant(epsilon), tf.constant(uniform)), expected, rtol=1e-12)


def mixture_marginal_cdf(latent):
    marginals = scipy.stats.norm(MEAN[:, latent], np.exp(LOG_VARIANCE[:, latent] / 2))
    return lambda z: marginals.cdf(np.asarray(z)[..., None]) @ WEIGHTS


@pytest.mark.parametrize("latent", range(3))
def test_draws_of_a_mixture_have_its_marginals(latent):
    z = draw(mixture(tf.float32), (20, 1_000, 3), noise.seed_for(3, noise.Stream.PRIOR)).numpy()
    assert z.shape == (20, 1_000, 3)
    assert scipy.stats.kstest(z[..., latent].ravel(), mixture_marginal_cdf(latent)).pvalue > 1e-3


def test_draws_of_a_normal_have_its_marginals_and_are_a_function_of_the_seed():
    prior = DiagonalNormal(tf.constant(MEAN[0], tf.float32), tf.constant(LOG_VARIANCE[0], tf.float32))
    seeds = [noise.seed_for(seed, noise.Stream.PRIOR) for seed in (3, 3, 4)]
    first, again, other = (draw(prior, (20_000, 3), seed).numpy() for seed in seeds)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1
    for latent in range(3):
        marginal = scipy.stats.norm(MEAN[0, latent], np.exp(LOG_VARIANCE[0, latent] / 2))
        assert scipy.stats.kstest(first[:, latent], marginal.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(first.T) - np.eye(3)).max() < 5 / np.sqrt(20_000)


def test_a_normals_quantiles_are_scipys():
    prior = DiagonalNormal(tf.constant(MEAN[0]), tf.constant(LOG_VARIANCE[0]))
    probabilities = np.array([0.025, 0.3, 0.5, 0.975])
    expected = scipy.stats.norm(MEAN[0], np.exp(LOG_VARIANCE[0] / 2)).ppf(probabilities[:, None])
    np.testing.assert_allclose(prior.quantiles(probabilities, seed=0), expected, rtol=1e-12)


def test_a_mixtures_quantiles_are_those_of_its_marginals_within_the_error_of_10_000_draws():
    probabilities = np.array([0.025, 0.3, 0.5, 0.975])
    quantiles = mixture(tf.float32).quantiles(probabilities, seed=0)
    assert quantiles.shape == (4, 3)
    error = np.sqrt(probabilities * (1 - probabilities) / 10_000)
    for latent in range(3):
        reached = mixture_marginal_cdf(latent)(quantiles[:, latent])
        assert (np.abs(reached - probabilities) < 4 * error).all()
    np.testing.assert_array_equal(mixture(tf.float32).quantiles(probabilities, seed=0), quantiles)


def test_as_a_mixture_a_density_is_the_same():
    z = tf.constant(RNG.normal(size=(7, 3)), tf.float32)
    prior = DiagonalNormal(tf.constant(MEAN[0], tf.float32), tf.constant(LOG_VARIANCE[0], tf.float32))
    assert isinstance(prior.as_mixture(), NormalMixture)
    np.testing.assert_allclose(prior.as_mixture().log_prob(z), prior.log_prob(z), rtol=1e-6)
    np.testing.assert_array_equal(mixture(tf.float32).as_mixture().log_prob(z), mixture(tf.float32).log_prob(z))


@pytest.mark.parametrize("raw, value, passed", [(0.5, 0.5, (1, 1)), (100.0, 10.0, (1, 0)), (-100.0, -20.0, (0, 1))])
def test_bounded_log_variance_stays_in_range_and_lets_gradients_lead_back(raw, value, passed):
    """`passed`: whether gradients of +1 (descent goes down) and of -1 (descent goes up) get through."""
    raw = tf.constant(raw)
    for sign, expected in zip((1.0, -1.0), passed):
        with tf.GradientTape() as tape:
            tape.watch(raw)
            bounded = bounded_log_variance(raw)
            loss = sign * bounded
        assert bounded == value
        assert tape.gradient(loss, raw) == sign * expected
