"""The densities, against SciPy in float64 and at the edges of float32."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from tfvae.core.distributions import (
    Bernoulli,
    DiagonalNormal,
    FullNormal,
    GaussianPixels,
    Laplace,
    Logistic,
    NormalMixture,
    bounded_log_variance,
    standard_normal,
)

RNG = np.random.default_rng(0)
MEAN, LOG_VARIANCE = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))


def normal(dtype):
    return DiagonalNormal(tf.constant(MEAN, dtype), tf.constant(LOG_VARIANCE, dtype))


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_diagonal_normal_log_prob_is_scipys(dtype):
    z = RNG.normal(size=(5, 4, 3))
    expected = scipy.stats.norm(MEAN, np.exp(LOG_VARIANCE / 2)).logpdf(z).sum(-1)
    np.testing.assert_allclose(normal(dtype).log_prob(tf.constant(z, dtype)), expected, rtol=1e-6)


def test_diagonal_normal_sample_is_mean_plus_deviation_times_epsilon():
    epsilon = RNG.normal(size=(5, 4, 3))
    expected = scipy.stats.norm(MEAN, np.exp(LOG_VARIANCE / 2)).ppf(scipy.stats.norm.cdf(epsilon))
    np.testing.assert_allclose(normal(tf.float64).sample(tf.constant(epsilon)), expected, rtol=1e-9)


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
    lv = np.float64(np.float32(1e-4))
    np.testing.assert_allclose(tiny.kl(standard_normal(1)), (np.expm1(lv) - lv) / 2, rtol=1e-3)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_bernoulli_log_prob_is_scipys(dtype):
    logits, x = RNG.normal(size=(5, 4, 3, 2, 1)) * 3, RNG.integers(0, 2, size=(4, 3, 2, 1))
    expected = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum((-3, -2, -1))
    np.testing.assert_allclose(Bernoulli(tf.constant(logits, dtype)).log_prob(tf.cast(x, dtype)), expected, rtol=1e-6)


def test_bernoulli_of_grey_values_is_minus_the_cross_entropy():
    logits, x = RNG.normal(size=(4, 3, 2, 1)), RNG.uniform(size=(4, 3, 2, 1))
    p = scipy.special.expit(logits)
    expected = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((-3, -2, -1))
    np.testing.assert_allclose(Bernoulli(tf.constant(logits)).log_prob(tf.constant(x)), expected, rtol=1e-9)


@pytest.mark.parametrize("logit", [-1e4, -20.0, 0.0, 20.0, 1e4])
@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
def test_bernoulli_is_exact_and_its_gradient_x_minus_p_at_any_logit(logit, x):
    logits = tf.fill([1, 1, 1], logit)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = Bernoulli(logits).log_prob(tf.fill([1, 1, 1], x))
    expected = -(x * np.logaddexp(0, -logit) + (1 - x) * np.logaddexp(0, logit))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(log_prob, logits), [[[x - scipy.special.expit(logit)]]], atol=1e-6)


def test_gaussian_pixels_log_prob_is_scipys():
    mean, x = RNG.normal(size=(5, 4, 3, 2, 1)), RNG.normal(size=(4, 3, 2, 1))
    expected = scipy.stats.norm(mean, 0.1).logpdf(x).sum((-3, -2, -1))
    likelihood = GaussianPixels(tf.constant(mean), tf.constant(2 * np.log(0.1)))
    np.testing.assert_allclose(likelihood.log_prob(tf.constant(x)), expected, rtol=1e-9)


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


def full_normal(dtype=tf.float64):
    below = np.tril(np.random.default_rng(3).normal(size=(4, 3, 3)), -1)
    return FullNormal(*(tf.constant(a, dtype) for a in (MEAN, LOG_VARIANCE, below)))


def test_full_normal_is_scipys_multivariate_normal():
    q, z = full_normal(), RNG.normal(size=(5, 4, 3))
    cholesky = q.cholesky().numpy()
    for i in range(4):
        oracle = scipy.stats.multivariate_normal(MEAN[i], cholesky[i] @ cholesky[i].T)
        np.testing.assert_allclose(q.log_prob(tf.constant(z))[:, i], oracle.logpdf(z[:, i]), rtol=1e-9)
    epsilon = RNG.normal(size=(5, 4, 3))
    expected = MEAN + np.einsum("bij,kbj->kbi", cholesky, epsilon)
    np.testing.assert_allclose(q.sample(tf.constant(epsilon)), expected, rtol=1e-9)


def test_full_normal_kl_is_the_textbooks():
    q, p = full_normal(), DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    inverse = np.diag(np.exp(-LOG_VARIANCE[1]))
    for i, kl in enumerate(q.kl(p).numpy()):
        covariance = q.cholesky().numpy()[i] @ q.cholesky().numpy()[i].T
        d = MEAN[0] / 2 - MEAN[i]
        logs = np.linalg.slogdet(covariance)[1] - LOG_VARIANCE[1].sum()
        np.testing.assert_allclose(kl, 0.5 * (np.trace(inverse @ covariance) + d @ inverse @ d - 3 - logs), rtol=1e-9)


@pytest.mark.parametrize(
    "family, oracle, unit",
    [(Laplace, scipy.stats.laplace, np.sqrt(2)), (Logistic, scipy.stats.logistic, np.pi / np.sqrt(3))],
)
def test_laplace_and_logistic_are_scipys_with_the_given_variance(family, oracle, unit):
    q = family(tf.constant(MEAN), tf.constant(LOG_VARIANCE))
    theirs = oracle(MEAN, np.exp(LOG_VARIANCE / 2) / unit)
    np.testing.assert_allclose(theirs.var(), np.exp(LOG_VARIANCE))
    z, epsilon = RNG.normal(size=(5, 4, 3)) * 3, RNG.normal(size=(5, 4, 3)) * 2
    np.testing.assert_allclose(q.log_prob(tf.constant(z)), theirs.logpdf(z).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(q.sample(tf.constant(epsilon)), theirs.ppf(scipy.stats.norm.cdf(epsilon)), rtol=1e-7)
    tails = family(tf.zeros([2]), tf.zeros([2])).sample(tf.constant([-9.0, 9.0]))  # float32, far out
    expected = [
        oracle(scale=1 / unit).ppf(scipy.stats.norm.cdf(-9)),
        oracle(scale=1 / unit).isf(scipy.stats.norm.sf(9)),
    ]
    np.testing.assert_allclose(tails, expected, rtol=1e-4)


def test_normal_mixture_is_the_weighted_sum_of_scipys_densities():
    logits, z = RNG.normal(size=4), RNG.normal(size=(7, 3))
    weights = scipy.special.softmax(logits)
    densities = [scipy.stats.norm(m, np.exp(lv / 2)).pdf(z).prod(-1) for m, lv in zip(MEAN, LOG_VARIANCE)]
    mixture = NormalMixture(*(tf.constant(a) for a in (logits, MEAN, LOG_VARIANCE)))
    np.testing.assert_allclose(mixture.log_prob(tf.constant(z)), np.log(weights @ densities), rtol=1e-9)


@pytest.mark.parametrize("make", [lambda: normal(tf.float64), full_normal], ids=["diagonal", "full"])
def test_analytic_and_monte_carlo_kl_agree_within_the_standard_error(make):
    q, p = make(), DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    z = q.sample(tf.constant(np.random.default_rng(7).normal(size=(40_000, 4, 3))))
    ratio = (q.log_prob(z) - p.log_prob(z)).numpy()
    error = ratio.std(0) / np.sqrt(len(ratio))
    assert (np.abs(ratio.mean(0) - q.kl(p)) < 4 * error).all() and (error < 0.05).all()


@pytest.mark.parametrize("log_variance", [-100.0, 100.0])
@pytest.mark.parametrize("family", [DiagonalNormal, FullNormal, Laplace, Logistic])
def test_extreme_log_variances_give_finite_values_and_gradients(family, log_variance):
    raw, mean = tf.fill([1, 2], log_variance), tf.ones([1, 2])
    with tf.GradientTape() as tape:
        tape.watch([raw, mean])
        extra = (tf.constant([[[0.0, 0.0], [1.0, 0.0]]]),) if family is FullNormal else ()
        q = family(mean, bounded_log_variance(raw), *extra)
        z = q.sample(tf.constant([[1.5, -0.5]]))
        value = q.log_prob(z) - standard_normal(2).log_prob(z) + q.log_prob(mean)
        if hasattr(q, "kl"):
            value += q.kl(standard_normal(2))
    gradients = tape.gradient(value, [raw, mean])
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradients)
