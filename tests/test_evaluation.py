"""Evaluation: exact answers on a linear-Gaussian model, exact S, means over examples."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from test_objectives import LOG_PX, POSTERIOR_VARIANCE, LinearGaussian, X

from tfvae.core import objectives
from tfvae.training import evaluation
from tfvae.config import Config
from tfvae.core.models import make_vae


class Compiled(LinearGaussian):
    xla = True


IMAGES = X.reshape(-1, 12, 1, 1).astype("f")


@pytest.mark.parametrize("samples", [1, 7])
def test_log_px_is_exact_at_the_exact_posterior(samples):
    per_image = evaluation.make_evaluate(Compiled(), latent_dim=2, seed=0)(IMAGES, samples)
    np.testing.assert_allclose(per_image.log_px, LOG_PX, rtol=1e-5)


def test_away_from_it_the_estimate_rises_to_log_px_and_the_elbo_stays_below_by_the_kl():
    evaluate = evaluation.make_evaluate(Compiled(shift=0.2), latent_dim=2, seed=0)
    per_image = evaluate(np.repeat(IMAGES, 100, axis=0), 2_000)
    log_px = np.repeat(LOG_PX, 100)
    np.testing.assert_allclose(np.mean(per_image.log_px - log_px), 0, atol=5e-3)
    gap = 0.5 * np.sum(0.2**2 / POSTERIOR_VARIANCE)
    np.testing.assert_allclose(np.mean(log_px) - per_image.summary()["elbo"], gap, rtol=0.02)


@pytest.mark.parametrize("samples", [1, 2, 5, 203])
def test_s_samples_are_exactly_s(samples):
    """Each call of the likelihood adds 1 to a sum: an importance weight per sample, and no more."""

    class Counting(Compiled):
        def decode(self, z):
            return Ones(z.shape[:-1])

    class Ones(NamedTuple):
        shape: tuple

        def log_prob(self, x):
            return tf.ones(self.shape)

        mean = 0.0

    # with log p(x|z) = 1 for each sample, S of them sum to S: the mean is 1 only if divided by exactly as many
    per_image = evaluation.make_evaluate(Counting(), latent_dim=2, seed=0)(IMAGES, samples)
    np.testing.assert_allclose(per_image.log_likelihood, 1, rtol=1e-6)


def test_the_stream_of_samples_is_the_bound_over_all_of_them_at_once():
    """Chunked log-sum-exp against the plain one, with the same noise."""
    from tfvae.core import noise
    from tfvae.core.noise import Stream

    vae, samples = Compiled(shift=0.2), 7
    per_image = evaluation.make_evaluate(vae, latent_dim=2, seed=4)(IMAGES, samples)
    seed = noise.seed_for(tf.constant(4), Stream.EVALUATION, tf.constant(0))
    draws = [noise.normal((5, 256, 2), noise.fold_in(seed, tf.constant(i)))[:, : len(X)] for i in range(2)]
    epsilon = tf.concat(draws, axis=0)[:samples]
    expected = objectives.importance_weighted_bound(vae, tf.constant(IMAGES), epsilon)
    np.testing.assert_allclose(per_image.log_px, expected, rtol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_short_last_block_is_evaluated_and_its_filling_is_not(network):
    vae = make_vae(Config(network=network, hidden_units=(8,), filters=(4,)), (6, 5, 1))
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 5, 1), dtype=np.uint8)
    evaluate, seen = evaluation.make_evaluate(vae, latent_dim=2, seed=0), []
    whole = evaluate(images, 3, seen.append)
    assert seen == [256, 44]
    assert all(len(column) == 300 for column in whole)
    for column, first in zip(whole, evaluate(images[:256], 3)):
        np.testing.assert_array_equal(column[:256], first)
    summary = whole.summary()
    np.testing.assert_allclose(summary["log_px"], whole.log_px.mean(dtype=np.float64))
    np.testing.assert_allclose(summary["log_px_standard_error"], whole.log_px.std(ddof=1) / np.sqrt(300), rtol=1e-5)
    np.testing.assert_allclose(summary["elbo"], summary["log_likelihood"] - summary["kl"])
    error = (whole.log_likelihood - whole.kl).std(ddof=1) / np.sqrt(300)
    np.testing.assert_allclose(summary["elbo_standard_error"], error, rtol=1e-5)


def test_a_stopped_evaluation_goes_on_after_its_finished_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_WORTH_KEEPING", 0.0)
    images = np.random.default_rng(0).integers(0, 256, (600, 6, 5, 1), dtype=np.uint8)
    vaes = [make_vae(Config(hidden_units=(8,), seed=seed), (6, 5, 1)) for seed in (0, 1)]
    first, other = (evaluation.make_evaluate(vae, latent_dim=2, seed=0) for vae in vaes)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first(images, 3, stop, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["0.npz"]
    whole, others = first(images, 3), other(images, 3)
    # another model shows which blocks are computed: the first is not
    for column, ours, its in zip(other(images, 3, None, tmp_path), whole, others):
        np.testing.assert_array_equal(column, np.concatenate([ours[:256], its[256:]]))
    (tmp_path / "0.npz").write_bytes(b"PK damaged")
    for column, ours in zip(first(images[:256], 3, None, tmp_path), whole):
        np.testing.assert_array_equal(column, ours[:256])


def test_active_units_are_those_whose_means_vary_by_more_than_a_hundredth():
    means = np.zeros((1000, 4), "f")
    means[:, 0] = np.random.default_rng(0).normal(size=1000)
    means[::2, 1] = 0.21  # variance 0.011
    means[::2, 2] = 0.19  # variance 0.009
    means[:, 3] = 5
    assert evaluation.active_units(means) == 2


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_the_length_of_a_call_changes_nothing(chunk, monkeypatch):
    vae = Compiled(shift=0.2)
    whole = evaluation.make_evaluate(vae, latent_dim=2, seed=0)(IMAGES, 7)
    monkeypatch.setattr(evaluation, "_CHUNK", chunk)
    for a, b in zip(whole, evaluation.make_evaluate(vae, latent_dim=2, seed=0)(IMAGES, 7)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
