"""Randomness is a pure function of (seed, stream, step), the same inside and outside XLA."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.noise import Stream


def drives(function):
    """The same draw, of step 11, made eagerly, in a graph and under XLA."""
    return [f(tf.constant(11)) for f in (function, tf.function(function), tf.function(function, jit_compile=True))]


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: noise.normal((5, 3), seed),
        lambda seed: noise.integers((7,), seed),
        lambda seed: noise.bernoulli(tf.fill([4, 5], 0.3), seed),
        lambda seed: noise.dequantize(tf.fill([4, 5], 0.3), seed),
        lambda seed: noise.step_uniform((7,), seed),
    ],
    ids=["normal", "integers", "bernoulli", "dequantize", "step_uniform"],
)
def test_every_draw_is_the_same_in_eager_graph_and_xla(draw):
    eager, graph, xla = drives(lambda step: draw(noise.seed_for(3, Stream.POSTERIOR, step)))
    np.testing.assert_array_equal(eager, graph)
    np.testing.assert_array_equal(eager, xla)


def test_seeds_of_other_seed_stream_or_step_differ():
    seeds = [noise.seed_for(s, stream, t).numpy() for s in (0, 1) for stream in Stream for t in (0, 1, 2)]
    assert len({tuple(s) for s in seeds}) == len(seeds)


def test_streams_are_uncorrelated():
    draws = [noise.normal((20_000,), noise.seed_for(0, stream, t)).numpy() for stream in Stream for t in (0, 1)]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


def test_normal_is_standard_normal():
    draws = noise.normal((100_000,), noise.seed_for(0, Stream.PRIOR)).numpy()
    assert scipy.stats.kstest(draws, "norm").pvalue > 1e-3


def test_normal_is_the_inverse_of_the_distribution_function_of_its_bits_to_the_far_tail():
    seed = noise.seed_for(0, Stream.PRIOR)
    bits = tf.function(lambda: noise.integers((1_000_000,), seed, "threefry"), jit_compile=True)().numpy()
    z = noise.normal((1_000_000,), seed).numpy()
    p = ((bits & 0x7FFFFFFF) + 0.5) / 2.0**32
    expected = -scipy.stats.norm.ppf(p) * np.where(bits >> 31, -1, 1)  # p is the upper tail
    assert np.abs(z).max() > 4.5
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=2e-7)


def test_bernoulli_has_its_probabilities_and_keeps_0_and_1():
    p = np.repeat(np.float32([0, 0.1, 0.5, 0.9, 1]), 100_000).reshape(5, -1)
    ones = noise.bernoulli(tf.constant(p), noise.seed_for(0, Stream.BINARIZE)).numpy()
    assert set(np.unique(ones)) == {0, 1}
    assert ones[0].sum() == 0 and ones[4].all()
    stddev = np.sqrt(p[:, 0] * (1 - p[:, 0]) / p.shape[1])
    assert (np.abs(ones.mean(axis=1) - p[:, 0]) <= 5 * stddev).all()


def test_in_training_steps_each_grey_level_has_its_probability_and_pixels_are_independent():
    grey = np.tile(np.arange(256, dtype=np.float32) / 255, (40, 4))
    steps = range(100)
    seeds = [noise.seed_for(0, Stream.BINARIZE, t) for t in steps]
    drawn = np.array([noise.bernoulli(tf.constant(grey), seed, noise.step_uniform).numpy() for seed in seeds])
    ones, n = drawn.reshape(-1, 256).sum(axis=0), drawn.size / 256
    assert ones[0] == 0 and ones[255] == n
    p = grey[0, 1:255]
    z = (ones[1:255] - n * p) / np.sqrt(n * p * (1 - p))
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-3
    residual = (drawn - grey)[..., 1:255] / np.sqrt(grey * (1 - grey))[:, 1:255]
    for a, b in (
        (residual[..., :-1], residual[..., 1:]),  # of neighbours, images, steps
        (residual[:, :-1], residual[:, 1:]),
        (residual[:-1], residual[1:]),
    ):
        assert abs((a * b).mean()) < 5 / np.sqrt(a.size)


@pytest.mark.parametrize("pixels_of", [noise.bernoulli, noise.dequantize])
def test_rows_of_a_larger_draw_are_those_rows_pixels(pixels_of):
    images, seed = tf.constant(np.random.default_rng(0).random((8, 5), np.float32)), noise.seed_for(0, Stream.BINARIZE)
    whole = pixels_of(images, seed).numpy()
    rows = pixels_of(images[2:5], seed, lambda shape, seed: noise.uniform((8, *shape[1:]), seed)[2:5])
    np.testing.assert_array_equal(rows, whole[2:5])
    assert (pixels_of(images[2:5], seed).numpy() != whole[2:5]).any()  # a draw of their own is another


def test_permutation_holds_each_index_once_and_is_uniform():
    orders = np.stack([noise.permutation(6, noise.seed_for(0, Stream.SHUFFLE, t)) for t in range(300)])
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    counts = np.stack([np.bincount(column, minlength=6) for column in orders.T])
    assert scipy.stats.chisquare(counts.ravel()).pvalue > 1e-3
