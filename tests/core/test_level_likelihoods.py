"""Likelihoods of 256 levels: against SciPy, and by adding all levels up."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.level_likelihoods import (
    LEVELS,
    Categorical,
    CategoricalFamily,
    DiscretizedLogistic,
    DiscretizedLogisticFamily,
    LogisticMixture,
    LogisticMixtureFamily,
)

RNG = np.random.default_rng(0)
SEED = noise.seed_for(3, noise.Stream.PRIOR)
ALL = np.arange(LEVELS) / 255


def scipy_log_prob(location, scale):
    """log P of all levels, in float64, of a logistic variable that is rounded to its level: [256]."""
    borders = (np.arange(LEVELS - 1) + 0.5) / 255
    log_below = scipy.stats.logistic(location, scale).logcdf(np.append(borders, np.inf))
    log_above = scipy.stats.logistic(location, scale).logsf(np.append(-np.inf, borders))
    inner = scipy.stats.logistic(location, scale)
    # from the side on which the tail is small, so that the difference keeps its digits
    low = np.append(-np.inf, borders)
    high = np.append(borders, np.inf)
    from_left = inner.cdf(high) - inner.cdf(low)
    from_right = inner.sf(low) - inner.sf(high)
    p = np.where(low > location, from_right, from_left)
    assert (p <= np.exp(log_below) * (1 + 1e-9)).all() and (p <= np.exp(log_above) * (1 + 1e-9)).all()
    with np.errstate(divide="ignore"):
        return np.log(p)


@pytest.mark.parametrize("location", [-0.4, 0.0, 0.3, 0.5012, 1.0, 1.7])
@pytest.mark.parametrize("scale", [5e-4, 0.004, 0.05, 0.5, 5.0])
def test_discretized_logistic_is_scipys_at_all_levels_and_they_sum_to_1(location, scale):
    density = DiscretizedLogistic(tf.fill([LEVELS, 1, 1, 1], location), tf.fill([LEVELS, 1, 1, 1], math.log(scale)))
    log_p = density.log_prob(tf.constant(ALL.reshape(-1, 1, 1, 1), tf.float32)).numpy().astype(np.float64)
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=3e-5)
    expected = scipy_log_prob(np.float32(location).astype(float), scale)
    is_there = expected > -200  # further out SciPy's differences vanish
    np.testing.assert_allclose(log_p[is_there], expected[is_there], rtol=2e-4, atol=2e-4)


def test_far_from_the_location_the_log_prob_falls_linearly_and_has_a_gradient():
    location = tf.constant([[[0.0]], [[0.0]]])
    log_scale = tf.fill([2, 1, 1], -7.5)
    x = tf.constant([200 / 255, 201 / 255], tf.float32)[:, None, None]
    with tf.GradientTape() as tape:
        tape.watch(location)
        log_p = DiscretizedLogistic(location, log_scale).element_log_prob(x)
    step = (log_p[0] - log_p[1]).numpy().item()
    np.testing.assert_allclose(step, math.exp(7.5) / 255, rtol=1e-3)
    np.testing.assert_allclose(tape.gradient(log_p, location), math.exp(7.5), rtol=1e-3)


@pytest.mark.parametrize("location", [-0.2, 0.1, 0.5, 0.97, 1.3])
@pytest.mark.parametrize(("scale", "tolerance"), [(5e-4, 0.5), (0.002, 0.1), (0.008, 1e-3), (0.1, 1e-3), (2.0, 1e-3)])
def test_the_mean_is_that_of_the_levels(location, scale, tolerance):
    density = DiscretizedLogistic(tf.fill([1, 1, 1], location), tf.fill([1, 1, 1], math.log(scale)))
    expected = (np.exp(scipy_log_prob(location, scale)) * ALL).sum()
    np.testing.assert_allclose(density.mean.numpy().item(), expected, atol=tolerance / 255 + 1e-6)


def mixture_of(channels, components=3, seed=1):
    family = LogisticMixtureFamily(components)
    raw = np.random.default_rng(seed).normal(size=(1, 1, family.parameters_per_pixel(channels)))
    return raw, family.from_parameters(tf.constant(raw, tf.float32))


def slow_mixture(raw, channels, components, x):
    """P(pixel x) by the paper's formulas, in float64."""
    outputs = raw.reshape(-1, components)
    weights = np.exp(outputs[0]) / np.exp(outputs[0]).sum()
    total = 0.0
    for k in range(components):
        p = weights[k]
        pair = 0
        for c in range(channels):
            location = outputs[1 + c, k] + (k + 0.5) / components
            for j in range(c):
                location += np.tanh(outputs[1 + 2 * channels + pair, k]) * (x[j] - 0.5)
                pair += 1
            scale = math.exp(outputs[1 + channels + c, k]) * 0.25 * math.sqrt(3) / math.pi + math.exp(-7) / 2
            p *= np.exp(scipy_log_prob(location, scale))[round(x[c] * 255)]
        total += p
    return total


@pytest.mark.parametrize(("channels", "outputs"), [(1, 9), (2, 18), (3, 30), (4, 45)])
def test_a_mixture_is_the_papers_formula(channels, outputs):
    raw, density = mixture_of(channels)
    assert raw.size == outputs and density.coefficients.shape[-2] == channels * (channels - 1) // 2
    for x in np.random.default_rng(2).integers(0, LEVELS, size=(20, channels)) / 255:
        expected = math.log(slow_mixture(raw, channels, 3, x))
        log_p = density.log_prob(tf.constant(x.reshape(1, 1, -1), tf.float32))
        np.testing.assert_allclose(log_p, expected, rtol=1e-4)


def test_all_levels_of_a_mixture_of_one_channel_sum_to_1():
    _, density = mixture_of(1)
    every = LogisticMixture(*(tf.repeat(parameter[None], LEVELS, axis=0) for parameter in density))
    log_p = every.log_prob(tf.constant(ALL.reshape(-1, 1, 1, 1), tf.float32))
    np.testing.assert_allclose(np.exp(log_p.numpy().astype(float)).sum(), 1, rtol=1e-5)


def test_all_65536_pairs_of_levels_of_two_channels_sum_to_1():
    _, density = mixture_of(2)
    pairs = np.array(list(itertools.product(ALL, ALL)), "f").reshape(-1, 1, 1, 2)
    every = LogisticMixture(*(tf.repeat(parameter[None], len(pairs), axis=0) for parameter in density))
    log_p = every.log_prob(tf.constant(pairs))
    np.testing.assert_allclose(np.exp(log_p.numpy().astype(float)).sum(), 1, rtol=1e-5)


COUNT = 40_000


def many(density):
    return type(density)(*(tf.repeat(parameter[None], COUNT, axis=0) for parameter in density))


def test_samples_of_a_mixture_have_its_probabilities_and_mean():
    """Of two channels, whose samples depend on each other: in 8 x 8 cells of 32 levels each."""
    _, density = mixture_of(2)
    one = many(density)
    x = one.sample(one.noise((COUNT, 1, 1, 2), SEED)).numpy().reshape(COUNT, 2)
    levels = np.rint(x * 255).astype(int)
    np.testing.assert_array_equal(x, levels.astype("f") * np.float32(1 / 255))
    pairs = np.array(list(itertools.product(ALL, ALL)), "f").reshape(-1, 1, 1, 2)
    every = LogisticMixture(*(tf.repeat(parameter[None], len(pairs), axis=0) for parameter in density))
    p = np.exp(every.log_prob(tf.constant(pairs)).numpy().astype(float)).reshape(8, 32, 8, 32).sum((1, 3))
    counts = np.histogram2d(levels[:, 0] // 32, levels[:, 1] // 32, bins=[range(9), range(9)])[0]
    enough = p * COUNT > 5
    statistic = ((counts - p * COUNT) ** 2 / (p * COUNT))[enough].sum()
    assert scipy.stats.chi2(enough.sum() - 1).sf(statistic) > 1e-4
    # the mean's second channel is that at the first one's mean: it is no more than near
    np.testing.assert_allclose(density.mean.numpy().ravel(), x.mean(axis=0), atol=0.02)


def test_discretized_logistic_samples_have_its_probabilities():
    density = DiscretizedLogistic(tf.fill([1, 1, 1], 0.2), tf.fill([1, 1, 1], math.log(0.01)))
    one = many(density)
    x = one.sample(one.noise((COUNT, 1, 1, 1), SEED)).numpy().ravel()
    counts = np.bincount(np.rint(x * 255).astype(int), minlength=LEVELS)
    p = np.exp(scipy_log_prob(0.2, 0.01))
    enough = p * COUNT > 5
    statistic = ((counts - p * COUNT) ** 2 / (p * COUNT))[enough].sum()
    assert scipy.stats.chi2(enough.sum() - 1).sf(statistic) > 1e-4


def test_categorical_is_a_softmax_over_levels():
    logits = RNG.normal(size=(2, 3, 2, 2, LEVELS))
    density = CategoricalFamily().from_parameters(tf.constant(logits.reshape(2, 3, 2, -1), tf.float32))
    levels = RNG.integers(0, LEVELS, size=(2, 3, 2, 2))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(log_p, levels[..., None], -1)[..., 0]
    x = tf.constant(levels / 255, tf.float32)
    np.testing.assert_allclose(density.element_log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(density.log_prob(x), expected.sum((-3, -2, -1)), rtol=1e-5)
    np.testing.assert_allclose(density.mean, (np.exp(log_p) * ALL).sum(-1), rtol=1e-5)


def test_categorical_samples_have_its_probabilities():
    logits = RNG.normal(size=(1, 1, 1, LEVELS)) * 2
    one = many(Categorical(tf.constant(logits, tf.float32)))
    x = one.sample(one.noise((COUNT, 1, 1, 1), SEED)).numpy().ravel()
    counts = np.bincount(np.rint(x * 255).astype(int), minlength=LEVELS)
    p = np.exp(logits.ravel()) / np.exp(logits).sum()
    enough = p * COUNT > 5
    statistic = ((counts - p * COUNT) ** 2 / (p * COUNT))[enough].sum()
    assert scipy.stats.chi2(enough.sum() - 1).sf(statistic) > 1e-4


@pytest.mark.parametrize("density", [DiscretizedLogistic(tf.zeros([]), tf.zeros([])), Categorical(tf.zeros([LEVELS]))])
def test_what_is_fitted_to_moments_has_them(density):
    mean, variance = np.array([0.3, 0.5, 0.6]).reshape(1, 1, 3), np.array([0.01, 0.003, 0.0004]).reshape(1, 1, 3)
    fitted = density.fitted_to(mean, variance, 100)
    x = tf.constant(np.broadcast_to(ALL[:, None, None, None], (LEVELS, 1, 1, 3)), tf.float32)
    p = np.exp(fitted.element_log_prob(x).numpy().astype(float))
    of_levels = ALL[:, None, None, None]
    np.testing.assert_allclose((p * of_levels).sum(0), mean, atol=2e-3)
    np.testing.assert_allclose((p * (of_levels - mean) ** 2).sum(0), variance, rtol=0.05)


@pytest.mark.parametrize("family", [DiscretizedLogisticFamily(), LogisticMixtureFamily(5), CategoricalFamily()])
def test_extreme_outputs_keep_log_prob_and_gradient_finite(family):
    outputs = family.parameters_per_pixel(3)
    for size in (0.0, 1e2, -1e2, 1e4, -1e4):
        raw = tf.fill([1, 1, outputs], size)
        for level in (0.0, 100 / 255, 1.0):
            with tf.GradientTape() as tape:
                tape.watch(raw)
                log_p = family.from_parameters(raw).log_prob(tf.fill([1, 1, 3], level))
            assert np.isfinite(log_p) and np.isfinite(tape.gradient(log_p, raw)).all(), (size, level)
