"""Evaluation: exact answers on a linear-Gaussian model, exact S, means over examples."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from models import IMAGES, LOG_PX, POSTERIOR_VARIANCE, CountingModel, LinearGaussian, X

from tfvae.config import Config
from tfvae.core import fast, noise, objectives
from tfvae.core.making import make_vae
from tfvae.core.noise import Stream
from tfvae.training import evaluation
from tfvae.training.block_plan import BlockPlan, first_steps, plan_blocks
from tfvae.training.evaluation import Evaluator, KeptBlocks, PerImage
from tfvae.training.sample_sums import SampleSums

GREY = np.random.default_rng(0).integers(0, 256, (600, 6, 5, 1), dtype=np.uint8)
USE_XLA = fast.use_xla


@pytest.fixture(scope="module", autouse=True)
def without_xla():
    """XLA compiles each block size of each model for a second or more: only where a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "use_xla", lambda convolutional: False)
        yield


@pytest.fixture
def with_xla(monkeypatch):
    monkeypatch.setattr(fast, "use_xla", USE_XLA)


@pytest.fixture(scope="module")
def exact(without_xla):
    """An evaluator of the model whose q(z|x) is the exact posterior; compiled once for all tests."""
    return Evaluator(LinearGaussian(), latent_dim=2, seed=0)


@pytest.fixture(scope="module")
def shifted():
    """One of the model whose q(z|x) is not."""
    return Evaluator(LinearGaussian(shift=0.2), latent_dim=2, seed=0)


@pytest.fixture(scope="module")
def counting():
    """One of a model that counts the samples."""
    return Evaluator(CountingModel(), latent_dim=2, seed=0)


@pytest.mark.parametrize("samples", [1, 7])
def test_log_px_is_exact_at_the_exact_posterior(exact, samples):
    per_image = exact.evaluate(IMAGES, samples)
    np.testing.assert_allclose(per_image.log_px, LOG_PX, rtol=1e-5)


def test_xla_compiles_the_same_figures(with_xla, shifted):
    """Of 7 samples: five at once, two one by one."""
    compiled = Evaluator(LinearGaussian(shift=0.2), latent_dim=2, seed=0)
    for column, expected in zip(compiled.evaluate(IMAGES, 7), shifted.evaluate(IMAGES, 7)):
        np.testing.assert_allclose(column, expected, rtol=1e-5, atol=1e-5)


def test_away_from_it_the_estimate_rises_to_log_px_and_the_elbo_stays_below_by_the_kl(shifted):
    per_image = shifted.evaluate(np.repeat(IMAGES, 100, axis=0), 2_000)
    log_px = np.repeat(LOG_PX, 100)
    np.testing.assert_allclose(np.mean(per_image.log_px - log_px), 0, atol=5e-3)
    gap = 0.5 * np.sum(0.2**2 / POSTERIOR_VARIANCE)
    np.testing.assert_allclose(np.mean(log_px) - per_image.summary()["elbo"], gap, rtol=0.02)


@pytest.mark.parametrize("samples", [1, 2, 5, 203])
def test_s_samples_are_exactly_s(counting, samples):
    """With log p(x|z) = 1 for each z, S samples sum to S: the mean is 1 only if divided by exactly as many."""
    per_image = counting.evaluate(IMAGES, samples)
    np.testing.assert_allclose(per_image.log_likelihood, 1, rtol=1e-6)


def test_the_stream_of_samples_is_the_bound_over_all_of_them_at_once():
    """Chunked log-sum-exp against the plain one, with the same noise."""
    vae, samples = LinearGaussian(shift=0.2), 7
    per_image = Evaluator(vae, latent_dim=2, seed=4).evaluate(IMAGES, samples)
    seed = noise.seed_for(tf.constant(4), Stream.EVALUATION, tf.constant(0))
    draws = [noise.normal((5, 256, 2), noise.fold_in(seed, tf.constant(i)))[:, : len(X)] for i in range(2)]
    epsilon = tf.concat(draws, axis=0)[:samples]
    expected = objectives.importance_weighted_bound(vae, tf.constant(IMAGES), epsilon)
    np.testing.assert_allclose(per_image.log_px, expected, rtol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_short_last_block_is_evaluated_and_its_filling_is_not(network):
    vae = make_vae(Config(network=network, hidden_units=(8,), filters=(4,)), (6, 5, 1))
    images = GREY[:300]
    evaluator, blocks = Evaluator(vae, latent_dim=2, seed=0), []
    whole = evaluator.evaluate(images, 3, blocks.append)
    assert blocks == [256, 44]
    assert all(len(column) == 300 for column in whole)
    for column, first in zip(whole, evaluator.evaluate(images[:256], 3)):
        np.testing.assert_array_equal(column[:256], first)
    summary = whole.summary()
    np.testing.assert_allclose(summary["log_px"], whole.log_px.mean(dtype=np.float64))
    np.testing.assert_allclose(summary["log_px_standard_error"], whole.log_px.std(ddof=1) / np.sqrt(300), rtol=1e-5)
    np.testing.assert_allclose(summary["elbo"], summary["log_likelihood"] - summary["kl"])
    error = (whole.log_likelihood - whole.kl).std(ddof=1) / np.sqrt(300)
    np.testing.assert_allclose(summary["elbo_standard_error"], error, rtol=1e-5)


def test_the_squared_error_is_that_of_the_reconstruction():
    vae = make_vae(Config(hidden_units=(8,)), (6, 5, 1))
    per_image = Evaluator(vae, latent_dim=2, seed=0).evaluate(GREY[:10], 1)
    x = GREY[:10] / np.float32(255)
    np.testing.assert_allclose(per_image.squared_error, np.square(vae(x) - x).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(per_image.mean, vae.encode(x).mean, rtol=1e-5, atol=1e-6)


def test_without_a_closed_kl_it_is_sampled_and_the_elbo_is_the_mean_log_weight(shifted):
    closed = shifted.evaluate(IMAGES, 500)
    sampled = Evaluator(shifted.vae, 2, 0, closed_kl=False).evaluate(IMAGES, 500)
    np.testing.assert_allclose(closed.log_likelihood, sampled.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(sampled.kl, closed.kl, rtol=0.05)
    assert (sampled.kl != closed.kl).all()
    # log w = log p(x|z) - (log q - log p), so that its mean is log p(x) - KL(q || p(z|x))
    gap = 0.5 * np.sum(0.2**2 / POSTERIOR_VARIANCE)
    error = 5 * np.sqrt(2 * gap / 500)  # log w is normal here, with the variance 2 * gap
    np.testing.assert_allclose(sampled.log_likelihood - sampled.kl, LOG_PX - gap, atol=error)


def test_of_a_single_image_there_is_no_standard_error(exact):
    summary = PerImage(*(column[:1] for column in exact.evaluate(IMAGES, 2))).summary()
    assert summary["elbo_standard_error"] is None and summary["log_px_standard_error"] is None


def test_active_units_are_those_whose_means_vary_by_more_than_a_hundredth():
    means = np.zeros((1000, 4), "f")
    means[:, 0] = np.random.default_rng(0).normal(size=1000)
    means[::2, 1] = 0.21  # variance 0.011
    means[::2, 2] = 0.19  # variance 0.009
    means[:, 3] = 5
    assert evaluation.active_units(means) == 2


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_the_length_of_a_call_changes_nothing(shifted, monkeypatch, chunk):
    whole = shifted.evaluate(IMAGES, 7)
    monkeypatch.setattr(shifted, "plan", BlockPlan(samples_in_call=chunk))
    for a, b in zip(whole, shifted.evaluate(IMAGES, 7)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# Blocks by the memory that they may take.


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(BlockPlan(64), id="64", marks=pytest.mark.slow),
        pytest.param(BlockPlan(4, 5, 5), id="4"),
        pytest.param(BlockPlan(1, 1, 3), id="1", marks=pytest.mark.slow),
    ],
)
def test_smaller_blocks_gather_their_noise_from_the_whole_tile_s(plan):
    vae = make_vae(Config(hidden_units=(8,)), (6, 5, 1))
    images = GREY[250:270]  # of a tile, and not from its first image on
    images = np.concatenate([GREY[:250], images])
    whole = Evaluator(vae, latent_dim=2, seed=3).evaluate(images, 7)
    in_parts = Evaluator(vae, latent_dim=2, seed=3, plan=plan).evaluate(images, 7)
    for name, column, expected in zip(PerImage._fields, in_parts, whole):
        np.testing.assert_allclose(column, expected, rtol=2e-5, atol=1e-5, err_msg=name)


def test_few_images_are_not_filled_up_to_a_large_block():
    assert [BlockPlan().block_size(images) for images in (1, 2, 3, 100, 256, 10_000)] == [1, 2, 4, 128, 256, 256]
    assert BlockPlan(16).block_size(100) == 16


@pytest.mark.parametrize(
    ("shape", "options"),
    [((28, 28, 1), {}), ((28, 28, 1), {"network": "conv"}), ((32, 32, 3), {"network": "conv"}), ((28, 20, 1), {})],
    ids=["mnist", "mnist conv", "cifar conv", "frey"],
)
def test_the_data_sets_of_the_field_are_evaluated_in_whole_tiles(shape, options):
    plan = plan_blocks(make_vae(Config(**options), shape), memory_gb=1.0)
    assert (plan.images, plan.samples_at_once) == (256, 5)
    assert plan.samples_in_call >= 20


def test_a_block_s_activations_fit_into_the_memory():
    vae = make_vae(Config(network="conv", filters=(8, 16), latent_dim=2, hidden_units=(4,)), (64, 48, 3))
    # of the decoder: 12 KB, 48 KB and 96 KB of features, of the dense layer and its image, 36 KB of means
    z_bytes = 4 * (2 * 16 * 12 * 16 + 32 * 24 * 16 + 64 * 48 * 8 + 64 * 48 * 3 + 8 * 64 * 48 * 3)
    for images, samples in ((256, 5), (64, 5), (1, 5), (1, 1)):
        plan = plan_blocks(vae, memory_gb=images * samples * z_bytes / 1e9 * 1.001)
        assert (plan.images, plan.samples_at_once) == (images, samples)


# The sums over samples.


def test_sums_of_samples_are_log_sum_exp_also_where_weights_would_overflow():
    generator = np.random.default_rng(0)
    # weights of e^-700 and e^700 are 0 and infinity in float32
    log_w = generator.normal(0, 3, (9, 4)) + [0, -700, 700, 100]
    log_w[6] += 30  # a new largest one, late
    log_likelihood = generator.normal(-50, 5, (9, 4))
    sums = SampleSums.zero(4)
    for first, last in ((0, 5), (5, 6), (6, 9)):
        parts = (part[first:last].astype(np.float32) for part in (log_likelihood, log_w))
        sums = sums.plus(*(tf.constant(part) for part in parts))
    sum_log_likelihood, sum_log_w, sum_w, sum_squared_w = sums.rows.numpy()
    np.testing.assert_allclose(sum_log_likelihood, log_likelihood.sum(0), rtol=1e-5)
    np.testing.assert_allclose(sum_log_w, log_w.sum(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(sums.largest, log_w.max(0).astype(np.float32))
    log_sum = sums.largest + np.log(sum_w)
    np.testing.assert_allclose(log_sum, scipy.special.logsumexp(log_w, axis=0), rtol=1e-6, atol=1e-4)
    log_squares = 2 * sums.largest + np.log(sum_squared_w)
    np.testing.assert_allclose(log_squares, scipy.special.logsumexp(2 * log_w, axis=0), rtol=1e-6, atol=1e-4)


def test_the_monte_carlo_variance_is_the_delta_method_s(shifted):
    """Of log_px: the weights' sample variance over S times their squared mean (the weights drawn again by NumPy)."""
    vae, samples = shifted.vae, 50
    per_image = shifted.evaluate(IMAGES, samples)
    seed = noise.seed_for(tf.constant(0), Stream.EVALUATION, tf.constant(0))
    draws = [noise.normal((5, 256, 2), noise.fold_in(seed, tf.constant(i)))[:, : len(X)] for i in range(10)]
    q = vae.encode(tf.constant(IMAGES))
    log_w, _ = objectives.log_weights(vae, q, tf.constant(IMAGES), tf.concat(draws, axis=0))
    w = np.exp(log_w.numpy().astype(np.float64) - LOG_PX)
    expected = w.var(axis=0, ddof=1) / samples / np.square(w.mean(axis=0))
    np.testing.assert_allclose(per_image.log_px_variance, expected, rtol=1e-3)
    error = np.sqrt(per_image.log_px_variance.sum()) / len(X)
    np.testing.assert_allclose(per_image.summary()["log_px_monte_carlo_error"], error, rtol=1e-6)


# Blocks that are kept.


@pytest.fixture(scope="module")
def evaluators():
    """Of two models, which show by their numbers whose blocks are whose."""
    vaes = [make_vae(Config(hidden_units=(8,), seed=seed), (6, 5, 1)) for seed in (0, 1)]
    return [Evaluator(vae, latent_dim=2, seed=0) for vae in vaes]


def stop(_):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_after_its_finished_blocks(evaluators, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_WORTH_KEEPING", 0.0)
    first, other = evaluators
    kept_blocks = KeptBlocks(tmp_path, 30, 3)
    with pytest.raises(KeyboardInterrupt):
        first.evaluate(GREY, 3, stop, kept_blocks)
    assert [p.name for p in (tmp_path / "evaluation" / "30-3").iterdir()] == ["0.npz"]
    whole, others = first.evaluate(GREY, 3), other.evaluate(GREY, 3)
    # the first block is taken from disk, the two others are computed by the other model
    for column, ours, theirs in zip(other.evaluate(GREY, 3, None, kept_blocks), whole, others):
        np.testing.assert_array_equal(column, np.concatenate([ours[:256], theirs[256:]]))
    for steps, samples in ((30, 4), (31, 3)):
        assert KeptBlocks(tmp_path, steps, samples).read(0) is None
    kept_blocks.forget()
    assert not (tmp_path / "evaluation").exists()


@pytest.mark.parametrize("damage", [b"", b"PK damaged", None], ids=["empty", "no archive", "cut"])
def test_a_damaged_block_is_computed_anew(evaluators, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(evaluation, "_WORTH_KEEPING", 0.0)
    first, other = evaluators
    kept_blocks = KeptBlocks(tmp_path, 30, 3)
    theirs, ours = other.evaluate(GREY[:256], 3, None, kept_blocks), first.evaluate(GREY[:256], 3)
    for column, its in zip(first.evaluate(GREY[:256], 3, None, kept_blocks), theirs):
        np.testing.assert_array_equal(column, its)  # the whole file is taken as it is
    path = tmp_path / "evaluation" / "30-3" / "0.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    assert kept_blocks.read(0) is None
    for column, expected in zip(first.evaluate(GREY[:256], 3, None, kept_blocks), ours):
        np.testing.assert_array_equal(column, expected)
    for column, expected in zip(kept_blocks.read(0), ours):
        np.testing.assert_array_equal(column, expected)  # and it has replaced the damaged one


def test_blocks_that_are_quickly_computed_are_not_kept(evaluators, tmp_path, monkeypatch):
    evaluator, _ = evaluators
    monkeypatch.setattr(evaluation.time, "monotonic", iter(range(0, 900, 3)).__next__)  # a block takes 3 s
    monkeypatch.setattr(evaluation, "_WORTH_KEEPING", 3.5)
    evaluator.evaluate(GREY[:256], 1, None, KeptBlocks(tmp_path, 30, 1))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(evaluation, "_WORTH_KEEPING", 3.0)
    evaluator.evaluate(GREY[:256], 1, None, KeptBlocks(tmp_path, 30, 1))
    assert [p.name for p in tmp_path.rglob("*.npz")] == ["0.npz"]


def test_forgetting_leaves_another_evaluation_s_blocks(tmp_path):
    columns = PerImage(*(np.arange(3.0) for _ in PerImage._fields))
    ours, theirs = KeptBlocks(tmp_path, 30, 3), KeptBlocks(tmp_path, 30, 5_000)
    assert KeptBlocks(tmp_path, 30, 3, 64).folder not in (ours.folder, theirs.folder)
    for kept_blocks in (ours, theirs):
        kept_blocks.write(7, columns)
    ours.forget()
    assert ours.read(7) is None
    for column, expected in zip(theirs.read(7), columns):
        np.testing.assert_array_equal(column, expected)
    ours.forget()  # there is nothing to forget


# What is compiled.


@pytest.mark.parametrize(
    ("convolutional", "on_gpu", "jit"),
    [(False, False, True), (True, False, False), (True, True, True), (False, True, True)],
)
def test_the_device_decides_whether_xla_compiles_a_block(convolutional, on_gpu, jit, with_xla, monkeypatch):
    monkeypatch.setattr(fast, "computes_on_gpu", lambda: on_gpu)
    asked, real = {}, tf.function

    def function(python_function, **options):
        asked[python_function.__name__] = options.get("jit_compile", False)
        return real(python_function, **options)

    monkeypatch.setattr(tf, "function", function)
    vae = LinearGaussian()
    vae.convolutional = convolutional
    Evaluator(vae, latent_dim=2, seed=0)._compile_block(4)
    assert asked == {"_block": jit, "_blocks_of_replicas": False}


def test_the_first_steps_are_ten_unless_a_step_takes_long():
    digits = Config(batch_size=128)
    assert first_steps(digits, make_vae(digits, (28, 28, 1))) == 10
    large = Config(network="conv", filters=(32, 64), hidden_units=(4,), batch_size=64)
    # a step: three passes of 64 images through kernels of 9 x 64 x 64 at 16 x 16 places and more
    assert first_steps(large, make_vae(large, (256, 256, 3))) == 1
