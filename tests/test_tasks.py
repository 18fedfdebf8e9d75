"""The tasks: exact conditionals of a linear-Gaussian model, the prior's moments, and a small run on the digits."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from test_objectives import OFFSET, SIGMA, D, L, LinearGaussian, W, X

import tfvae
from tfvae.analysis import latents as tasks
from tfvae.data import dataset as data
from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.data.dataset import Split
from tfvae.explore import explore, main
from tfvae.core.models import make_vae
from tfvae.train import train

IMAGES = X.reshape(-1, D, 1, 1).astype("f")
TRAIN = (OFFSET + np.random.default_rng(3).normal(size=(500, L)) @ W.T).reshape(-1, D, 1, 1).astype("f")
MASKS = {"same": (np.arange(D) < 7)[:, None, None], "each": np.random.default_rng(2).random((len(X), D, 1, 1)) < 0.5}


class Exact(LinearGaussian):
    xla = True

    def sample_prior(self, epsilon, uniform):
        return epsilon


def exact_conditional(x, seen):
    """Mean [D] with x where seen, and log p(x_missing | x_seen), by the normal's rules of conditioning."""
    covariance = W @ W.T + SIGMA**2 * np.eye(D)
    gain = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    mean = OFFSET[~seen] + gain @ (x - OFFSET)[seen]
    rest = covariance[np.ix_(~seen, ~seen)] - gain @ covariance[np.ix_(seen, ~seen)]
    filled = x.copy()
    filled[~seen] = mean
    return filled, scipy.stats.multivariate_normal(mean, (rest + rest.T) / 2).logpdf(x[~seen])


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shift", [0.0, 0.1])  # a wrong q costs samples, and biases nothing
def test_missing_pixels_are_filled_in_with_the_exact_conditional_mean_and_log_likelihood(mask, shift):
    result = tasks.impute(Exact(shift), IMAGES, MASKS[mask], TRAIN, draws=4_000, seed=0)
    seen = np.broadcast_to(MASKS[mask], IMAGES.shape).reshape(-1, D)
    filled, log_prob = zip(*(exact_conditional(*pair) for pair in zip(X, seen)))
    assert result.effective_samples.min() > 200
    np.testing.assert_allclose(result.filled.reshape(-1, D), filled, atol=0.06)  # of deviations near 0.5
    np.testing.assert_allclose(result.log_prob, log_prob, atol=0.12)
    by_mean = tasks.fill_means(Exact(), IMAGES, MASKS[mask], TRAIN)
    assert np.abs(by_mean.filled.reshape(-1, D) - filled).max() > 0.5  # they are not the same by accident
    normal = scipy.stats.norm(TRAIN.mean(axis=0).ravel(), TRAIN.std(axis=0).ravel())
    np.testing.assert_allclose(by_mean.log_prob, (normal.logpdf(X) * ~seen).sum(axis=1), rtol=1e-4)
    squares = (np.array(filled) - X)[~seen] ** 2
    np.testing.assert_allclose(result.row(IMAGES, MASKS[mask])["RMSE"], squares.mean() ** 0.5, atol=0.03)


@pytest.mark.parametrize("draws", [7, 33])  # also where the proposals don't have equally many turns
def test_the_estimate_of_what_is_observed_has_the_right_mean_whatever_s_is(draws):
    """E[exp(log p^)] = p(x_observed) for each S."""
    seen = np.broadcast_to(MASKS["same"], IMAGES.shape)
    many = np.repeat(IMAGES[:1], 2_000, axis=0)
    log_p = tasks.condition(Exact(), many, np.broadcast_to(seen[:1], many.shape).astype("f"), draws, seed=1)[0]
    marginal = scipy.stats.multivariate_normal(OFFSET[:7], (W @ W.T + SIGMA**2 * np.eye(D))[:7, :7]).logpdf(X[0, :7])
    ratio = np.exp(log_p - marginal)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(many) ** 0.5


def test_binary_pixels_with_a_mixture_prior_by_quadrature_over_two_latents():
    vae = make_vae(Config(latent_dim=2, hidden_units=(8,), prior="mixture", prior_components=3), (3, 3, 1))
    rng = np.random.default_rng(0)
    for variable in vae.decoder.trainable_variables + [vae.prior_mean, vae.prior_logits]:
        variable.assign(rng.normal(size=variable.shape))
    x, observed = rng.integers(0, 2, (5, 3, 3, 1)).astype("f"), np.ones((3, 3, 1))
    observed[1, 1] = 0
    z = np.stack(np.meshgrid(*[np.linspace(-8, 8, 400)] * 2), axis=-1).reshape(-1, 2).astype("f")
    log_prior, ones = vae.prior.log_prob(z).numpy(), vae.decode(z).mean.numpy()
    weights = np.exp(log_prior) * np.prod(np.where(x[:, None] > 0, ones, 1 - ones) ** observed, axis=(2, 3, 4))
    chance = weights @ ones[:, 1, 1, 0] / weights.sum(axis=1)  # that the missing pixel is 1: [5]
    result = tasks.impute(vae, x, observed, x, 20_000, 0)
    error = 5 / np.sqrt(result.effective_samples)
    assert (np.abs(result.filled[:, 1, 1, 0] - chance) < error / 2).all()
    assert (np.abs(result.log_prob - np.log(np.where(x[:, 1, 1, 0] > 0, chance, 1 - chance))) < 2 * error).all()
    assert np.median(error) < 0.2 and np.ptp(chance) > 0.05  # else it would say little


@pytest.mark.parametrize("prior", ["standard", "normal", "mixture"])
def test_samples_are_the_priors_and_repeat_by_seed(prior):
    vae = make_vae(Config(latent_dim=3, hidden_units=(8,), prior=prior, prior_components=2), (4, 4, 1))
    share, mean, variance = np.ones(1), np.zeros((1, 3)), np.ones((1, 3))
    if prior != "standard":
        number = 1 if prior == "normal" else 2
        mean, variance = np.array([[2.0, -1, 0], [-3, 1, 5]])[:number], np.array([[0.5, 1, 4], [2, 0.1, 1]])[:number]
        vae.prior_mean.assign(mean)
        vae.prior_log_variance.assign(np.log(variance))
        if prior == "mixture":
            share = np.array([0.2, 0.8])
            vae.prior_logits.assign(np.log(share) + 3)
        else:
            share = np.ones(1)
    z = tasks.sample_latents(vae, 40_000, seed=5)
    total = share @ mean
    spread = share @ (variance + mean**2) - total**2
    np.testing.assert_allclose(z.mean(axis=0), total, atol=5 * np.sqrt(spread.max() / len(z)))
    np.testing.assert_allclose(
        np.cov(z.T), np.diag(spread) + off_diagonal(share, mean, total), atol=0.05 * spread.max()
    )
    images = tasks.samples(vae, 10, seed=5)
    np.testing.assert_array_equal(images, tasks.samples(vae, 10, seed=5))
    np.testing.assert_allclose(images, vae.decode(tasks.sample_latents(vae, 10, seed=5)).mean, rtol=1e-5)
    assert np.abs(images - tasks.samples(vae, 10, seed=6)).max() > 1e-3


def off_diagonal(share, mean, total):
    between = (mean - total).T @ (share[:, None] * (mean - total))
    return between - np.diag(np.diag(between))


def test_interpolation_goes_straight_from_one_reconstruction_to_the_other():
    vae = Exact()
    strips = tasks.interpolation(vae, IMAGES[:2], IMAGES[2:4], steps=5)
    reconstructed = vae.decode(vae.encode(tf.constant(IMAGES)).mean).mean.numpy()
    np.testing.assert_allclose(strips[:, 0], reconstructed[:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(strips[:, -1], reconstructed[2:4], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(strips[:, 2], (reconstructed[:2] + reconstructed[2:4]) / 2, rtol=1e-4, atol=1e-5)


def test_a_traversal_moves_one_latent_over_the_priors_quantiles():
    vae = Exact()
    latents, variances, values, images = tasks.traversal(vae, IMAGES, which=3, seed=0, steps=3)
    mean = vae.encode(tf.constant(IMAGES)).mean.numpy()
    np.testing.assert_array_equal(latents, np.argsort(-mean.var(axis=0)))
    np.testing.assert_allclose(variances, np.sort(mean.var(axis=0))[::-1], rtol=1e-5)
    np.testing.assert_allclose(
        values, [[statistics.NormalDist().inv_cdf(p) for p in (0.025, 0.5, 0.975)]] * L, atol=1e-6
    )
    for row, latent in zip(images, latents):
        moves = np.diff(row.reshape(3, D), axis=0)
        np.testing.assert_allclose(moves, np.outer([1.96, 1.96], W[:, latent]), atol=1e-3)
    z = mean[3].copy()
    z[latents[0]] = 0
    np.testing.assert_allclose(images[0, 1].ravel(), W @ z + OFFSET, atol=1e-5)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    train(Config(dataset="digits", latent_dim=8, hidden_units=(128,), epochs=60, eval_samples=20,
                 run_dir=str(folder / "run"), export_dir=str(folder / "exported")))  # fmt: skip
    return folder / "run"


@pytest.mark.slow
def test_features_and_fine_tuning_are_far_above_chance_and_pretraining_helps(run_dir):
    vae, config = tfvae.load(run_dir)[:2]
    digits = data.load(config)
    table = tasks.features(vae, digits.train, digits.test)
    assert min(table["posterior means"].values()) > 0.75  # chance: 0.1
    assert min(table["pixels"].values()) > 0.93
    before = [variable.numpy() for variable in vae.encoder.variables]
    gains = []
    for seed in range(3):  # in as few steps the start counts most; after many, the digits are learned from scratch too
        rows = tasks.fine_tuning(vae, digits.train, digits.test, seed, steps=100)
        assert list(rows) == ["100 labels", "1,000 labels", "1,437 labels"]
        gains.append(rows["100 labels"]["fine-tuned"] - rows["100 labels"]["from scratch"])
        assert rows["1,437 labels"]["fine-tuned"] > 0.7
    assert np.mean(gains) > 0
    assert all((a == b.numpy()).all() for a, b in zip(before, vae.encoder.variables))  # the run's own stay


@pytest.mark.parametrize("task", ["samples", "interpolation", "traversal", "imputation", "features"])
def test_each_task_writes_its_picture_and_says_what_its_numbers_are_of(run_dir, capsys, task):
    main({"run_dir": str(run_dir), "task": task, "seed": 7})
    said, folder = capsys.readouterr().out, run_dir / "explore"
    assert "digits, 180 test images, grey values, seed 7" in said
    assert (folder / f"{task}.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / f"{task}.json").read_text())
    assert written["of"]["seed"] == 7
    for name, row in written["rows"].items():
        assert name in said and all(f"{value:.4f}" in said for value in row.values())
    if task == "samples":
        assert np.load(folder / "samples.npy").shape == (100, 8, 8, 1)
    if task == "imputation":
        for half in ("lower half", "random half"):
            vae, means = (written["rows"][f"{half}: {way}"] for way in ("VAE", "means"))
            assert vae["RMSE"] < means["RMSE"]
            assert vae["log p(missing | observed)"] > means["log p(missing | observed)"] + 1


def test_a_data_set_without_labels_is_refused_in_one_line(run_dir, monkeypatch):
    config = tfvae.load(run_dir).config
    digits = data.load(config)
    bare = digits._replace(**{part: Split(getattr(digits, part).images, None) for part in ("train", "test")})
    monkeypatch.setattr(data, "load", lambda _: bare)
    for task in ("features", "fine_tuning"):
        with pytest.raises(InputError, match=f"--task={task}: must be of a data set that has labels") as caught:
            explore(config, task)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_command(run_dir):
    command = [sys.executable, "-m", "tfvae.explore", f"--run_dir={run_dir}", "--task=fine_tuning"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert "100 labels" in done.stdout and "from scratch" in done.stdout
    assert (run_dir / "explore/fine_tuning.png").is_file()
