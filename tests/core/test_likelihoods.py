"""The families of p(x|z), against SciPy in float64 and at the edges of float32."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.likelihoods import (
    Bernoulli,
    BernoulliFamily,
    Gaussian,
    GaussianFamily,
    make_family,
)

RNG = np.random.default_rng(0)
SHAPE = (4, 3, 2, 1)
MEAN, X = RNG.normal(size=(5, *SHAPE)), RNG.normal(size=SHAPE)
SEED = noise.seed_for(3, noise.Stream.PRIOR)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_bernoulli_log_prob_is_scipys(dtype):
    logits, x = MEAN * 3, RNG.integers(0, 2, size=SHAPE)
    elements = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x)
    density = Bernoulli(tf.constant(logits, dtype))
    np.testing.assert_allclose(density.log_prob(tf.cast(x, dtype)), elements.sum((-3, -2, -1)), rtol=1e-6)
    np.testing.assert_allclose(density.element_log_prob(tf.cast(x, dtype)), elements, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(density.mean, scipy.special.expit(logits), rtol=1e-6)


def test_bernoulli_of_grey_values_is_minus_the_cross_entropy():
    logits, x = RNG.normal(size=SHAPE), RNG.uniform(size=SHAPE)
    p = scipy.special.expit(logits)
    elements = x * np.log(p) + (1 - x) * np.log1p(-p)
    density = Bernoulli(tf.constant(logits))
    np.testing.assert_allclose(density.log_prob(tf.constant(x)), elements.sum((-3, -2, -1)), rtol=1e-9)
    np.testing.assert_allclose(density.element_log_prob(tf.constant(x)), elements, rtol=1e-9)


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


def test_gaussian_log_prob_is_scipys():
    elements = scipy.stats.norm(MEAN, 0.1).logpdf(X)
    density = Gaussian(tf.constant(MEAN), tf.constant(2 * np.log(0.1)))
    np.testing.assert_allclose(density.log_prob(tf.constant(X)), elements.sum((-3, -2, -1)), rtol=1e-9)
    np.testing.assert_allclose(density.element_log_prob(tf.constant(X)), elements, rtol=1e-9)


@pytest.mark.parametrize("shape", [(), SHAPE[1:], (5, *SHAPE)], ids=["one", "per_pixel", "of_z"])
def test_a_gaussians_log_variance_may_be_of_any_shape_that_broadcasts(shape):
    log_variance = np.random.default_rng(1).normal(size=shape)
    density = Gaussian(tf.constant(MEAN), tf.constant(log_variance))
    elements = scipy.stats.norm(MEAN, np.exp(log_variance / 2)).logpdf(X)
    np.testing.assert_allclose(density.log_prob(tf.constant(X)), elements.sum((-3, -2, -1)), rtol=1e-9)
    np.testing.assert_allclose(density.element_log_prob(tf.constant(X)), elements, rtol=1e-9)


def many(values):
    """20,000 copies of a row of parameters, as [20000, len, 1, 1]."""
    return tf.tile(tf.reshape(tf.constant(values, tf.float32), [1, -1, 1, 1]), [20_000, 1, 1, 1])


def test_bernoulli_samples_have_the_probabilities_and_are_independent():
    density = Bernoulli(many([-1e4, -2.0, 0.0, 1.0, 1e4]))
    x = density.sample(density.noise(tuple(density.mean.shape), SEED)).numpy()[:, :, 0, 0]
    p = scipy.special.expit([-1e4, -2.0, 0.0, 1.0, 1e4])
    assert set(np.unique(x)) == {0, 1}
    assert not x[:, 0].any() and x[:, 4].all()
    assert (np.abs(x.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / len(x))).all()
    assert np.abs(np.corrcoef(x[:, 1:4].T) - np.eye(3)).max() < 5 / np.sqrt(len(x))


def test_gaussian_samples_have_the_moments_and_are_independent():
    mean, stddev = np.array([-3.0, 0.0, 2.0]), np.array([0.5, 1.0, 2.0])
    density = Gaussian(many(mean), tf.constant(2 * np.log(stddev)[:, None, None], tf.float32))
    x = density.sample(density.noise(tuple(density.mean.shape), SEED)).numpy()[:, :, 0, 0]
    for column, (m, s) in zip(x.T, zip(mean, stddev)):
        assert scipy.stats.kstest(column, scipy.stats.norm(m, s).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 5 / np.sqrt(len(x))


def test_the_noise_is_a_function_of_the_seed_and_of_the_shape():
    shape = (6, 3, 2, 1)
    for family in (Bernoulli, Gaussian):
        first, again = family.noise(shape, SEED), family.noise(shape, SEED)
        assert first.shape == shape
        np.testing.assert_array_equal(first, again)
        assert (family.noise(shape, noise.fold_in(SEED, 1)) != first).numpy().any()


def test_a_bernoulli_is_fitted_to_the_moments_kept_off_0_and_1():
    x = RNG.integers(0, 2, size=(50, 4, 3, 1)).astype(np.float64)
    x[:, 0, 0], x[:, 0, 1] = 0, 1
    fitted = Bernoulli(tf.zeros([])).fitted_to(x.mean(axis=0), x.var(axis=0), len(x))
    chance = (x.sum(axis=0) + 0.5) / 51  # a count of 50 examples and of half an example
    np.testing.assert_allclose(fitted.mean, chance, rtol=1e-6)
    np.testing.assert_allclose(fitted.logits, scipy.special.logit(chance), rtol=1e-5, atol=1e-6)
    assert fitted.mean[0, 0, 0] > 0.009 and fitted.mean[0, 1, 0] < 0.991


def test_a_gaussian_is_fitted_to_the_moments_with_a_variance_of_1e_4_or_more():
    x = RNG.normal(size=(50, 4, 3, 1))
    x[:, 0, 0] = 0.25  # it has no variance
    fitted = Gaussian(tf.zeros([]), tf.zeros([])).fitted_to(x.mean(axis=0), x.var(axis=0), len(x))
    fits = [scipy.stats.norm.fit(column) for column in x.reshape(50, -1).T]
    mean, stddev = np.array(fits).T.reshape(2, 4, 3, 1)
    np.testing.assert_allclose(fitted.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(np.exp(fitted.log_variance / 2), np.maximum(stddev, 0.01), rtol=1e-5)
    assert np.exp(fitted.log_variance[0, 0, 0] / 2) == pytest.approx(0.01)


def log_variance_of(family, raw, learned=()):
    """The density's log-variance from the decoder's outputs and what the family learns."""
    density = family.from_parameters(tf.constant(raw, tf.float32), *(tf.constant(a, tf.float32) for a in learned))
    return density, density.log_variance.numpy()


def with_floor(log_variance, floor):
    """log(variance + floor^2), the variance within exp(-20) .. exp(10)."""
    return np.log(np.exp(np.clip(log_variance, -20, 10)) + floor**2)


def test_a_given_sigma_is_the_stddev():
    family = GaussianFamily(0.25, 0.01)
    assert family.variables(SHAPE[1:]) == [] and family.parameters_per_pixel(3) == 3
    density, log_variance = log_variance_of(family, MEAN)
    np.testing.assert_allclose(np.exp(log_variance / 2), 0.25, rtol=1e-6)
    np.testing.assert_allclose(density.mean, MEAN, rtol=1e-6)


@pytest.mark.parametrize("sigma, shape", [("learned", ()), ("per_pixel", SHAPE[1:])])
def test_a_learned_sigma_starts_at_a_half_and_never_falls_below_its_floor(sigma, shape):
    family = GaussianFamily(sigma, 0.1)
    [variable] = family.variables(SHAPE[1:])
    assert (variable.name, variable.shape, family.parameters_per_pixel(3)) == ("log_variance", shape, 3)
    np.testing.assert_allclose(variable.initializer(shape), np.full(shape, 2 * math.log(0.5)), rtol=1e-6)
    for value in (-100.0, -3.0, 0.5, 100.0):
        density, log_variance = log_variance_of(family, MEAN, [np.full(shape, value)])
        np.testing.assert_allclose(log_variance, np.full(shape, with_floor(value, 0.1)), rtol=1e-5)
        np.testing.assert_allclose(density.mean, MEAN, rtol=1e-6)


def test_a_sigma_of_z_takes_the_second_half_of_the_channels():
    family = GaussianFamily("of_z", 0.1)
    assert family.variables(SHAPE[1:]) == [] and family.parameters_per_pixel(3) == 6
    raw = np.random.default_rng(2).normal(size=(5, 4, 3, 2, 6)) * 30  # three channels
    density, log_variance = log_variance_of(family, raw)
    np.testing.assert_allclose(density.mean, raw[..., :3], rtol=1e-6)
    np.testing.assert_allclose(log_variance, with_floor(raw[..., 3:] + 2 * math.log(0.5), 0.1), rtol=1e-5, atol=1e-6)


def test_the_families_say_how_outputs_make_the_mean():
    """The mean is `mean_function` of the outputs."""
    raw = tf.constant([[[[-30.0]], [[0.3]], [[30.0]]]])
    for family, activation in ((BernoulliFamily(), scipy.special.expit), (GaussianFamily(0.1, 0.01), np.asarray)):
        mean = family.from_parameters(raw).mean.numpy()
        np.testing.assert_allclose(mean, activation(raw.numpy()), rtol=1e-6)
        assert family.mean_function == {scipy.special.expit: "sigmoid", np.asarray: "first"}[activation]


def test_a_family_is_made_by_its_name():
    assert make_family("bernoulli", 0.1, 0.01) == BernoulliFamily()
    assert make_family("gaussian", "learned", 0.02) == GaussianFamily("learned", 0.02)
    with pytest.raises(ValueError, match="poisson.*must be one of bernoulli, continuous_bernoulli, gaussian"):
        make_family("poisson", 0.1, 0.01)
