"""The baselines are what textbooks say: against SciPy's densities, eigenvalues and Bayes' rule on real images."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
import scipy.stats

from tfvae import Config, data, evaluate
from tfvae.analysis import baselines
from tfvae.config.flagfile import to_flagfile
from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.data.provenance import provenance
from tfvae.errors import InputError
from tfvae.training import checkpoints
from tfvae.training.state import create_state

DIGITS = Config(dataset="digits", likelihood="gaussian", latent_dim=5, hidden_units=(8,), eval_samples=2, epochs=1)
DATASET = data.load(DIGITS)
TRAIN, TEST = (s.images.reshape(len(s.images), -1).astype(float) for s in (DATASET.train, DATASET.test))
RANK = int(np.linalg.matrix_rank(np.cov(TRAIN.T)))
ORDER = noise.permutation(len(TRAIN), noise.seed_for(DIGITS.seed, Stream.SHUFFLE))


def by_hand(train, test, latents):
    """log N(x; mean, W W' + sigma^2 I) of Tipping & Bishop's eq. 7 and 8, with the covariance written out."""
    values, vectors = np.linalg.eigh(np.cov(train.T, bias=True))
    noise_variance = values[:-latents].mean()
    w = vectors[:, -latents:] * np.sqrt(values[-latents:] - noise_variance)
    covariance = w @ w.T + noise_variance * np.eye(len(values))
    return scipy.stats.multivariate_normal(train.mean(0), covariance).logpdf(test)


@pytest.fixture(scope="module")
def untrained_run(tmp_path_factory):
    """A digits run of one checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    state = create_state(DIGITS, DATASET.image_shape, len(TRAIN))
    (folder / "config.flags").write_text(to_flagfile(DIGITS))
    notes = {"image_shape": DATASET.image_shape, "step": 1, "fingerprint": DATASET.fingerprint()}
    checkpoints.save(folder, state.variables(), 1, notes)
    return folder


@pytest.mark.parametrize("latents, rows", [(2, None), (20, None), (5, 40)])  # 40: fewer images than pixels
def test_probabilistic_pca_is_the_maximum_likelihood_written_out(latents, rows):
    pca = baselines.fit_pca(TRAIN[:rows], latents)
    np.testing.assert_allclose(pca.score_samples(TEST), by_hand(TRAIN[:rows], TEST, latents), rtol=1e-6)


def test_images_whose_covariance_is_too_large_are_refused():
    baselines.check_size((64, 64, 3))
    with pytest.raises(InputError, match="at most 12,288 values, and these have 786,432: .* take 4,948 GB"):
        baselines.check_size((512, 512, 3))


def test_no_other_noise_is_likelier():
    pca = baselines.fit_pca(TRAIN, 5)
    best, noise_variance = pca.score(TRAIN), pca.noise_variance_
    for factor in (0.99, 1.01):
        pca.noise_variance_ = factor * noise_variance
        assert pca.score(TRAIN) < best


def test_the_reconstruction_error_of_pca_is_the_sum_of_the_discarded_eigenvalues():
    pca = baselines.fit_pca(TRAIN, 5)
    error = np.square(pca.inverse_transform(pca.transform(TRAIN)) - TRAIN).sum(1).mean()
    np.testing.assert_allclose(error, np.linalg.eigvalsh(np.cov(TRAIN.T, bias=True))[:-5].sum(), rtol=1e-9)


def test_the_mixture_is_the_weighted_sum_of_its_components_and_its_posterior_bayes_rule():
    mixture = baselines.fit_mixture(TRAIN, seed=3)
    deviations = np.sqrt(mixture.covariances_)
    joint = scipy.stats.norm(mixture.means_, deviations).logpdf(TEST[:, None]).sum(-1) + np.log(mixture.weights_)
    log_px = scipy.special.logsumexp(joint, axis=1)
    np.testing.assert_allclose(mixture.score_samples(TEST), log_px, rtol=1e-9)
    np.testing.assert_allclose(mixture.predict_proba(TEST), np.exp(joint - log_px[:, None]), rtol=1e-6, atol=1e-12)
    assert deviations.shape == (10, 64) and deviations.min() >= np.sqrt(1e-3)
    np.testing.assert_array_equal(mixture.means_, baselines.fit_mixture(TRAIN, seed=3).means_)


def test_what_is_compared_and_how_it_reads():
    results = baselines.compare(DIGITS, DATASET, squared_error=0.0625)
    nats = by_hand(TRAIN, TEST, 5)
    np.testing.assert_allclose(results["probabilistic_pca"]["log_px"], nats.mean(), rtol=1e-6)
    error = nats.std(ddof=1) / np.sqrt(len(nats))
    np.testing.assert_allclose(results["probabilistic_pca"]["log_px_standard_error"], error, rtol=1e-6)
    p = baselines.fit_mixture(TRAIN[ORDER], DIGITS.seed).predict_proba(TEST)
    entropy = scipy.stats.entropy(p, axis=1).mean()
    np.testing.assert_allclose(results["gaussian_mixture"]["posterior_entropy"], entropy, rtol=1e-6)
    assert results["squared_error"] == 0.0625
    table = baselines.table(provenance(DIGITS, DATASET.test.images, 2), results)
    assert "baselines on digits, 180 test images, grey values, seed 0:" in table
    assert f"{nats.mean():.2f} ± {error:.2f}" in table and "1,437 training images" in table
    assert "nats of Bernoulli and of levels are no densities" in table and "0.0625" in table


@pytest.mark.slow
def test_evaluate_prints_and_writes_them(untrained_run, capsys):
    evaluate.main({"run_dir": str(untrained_run), "baselines": True})
    results = json.loads((untrained_run / "evaluation.json").read_text())
    squared_error = results["test"]["squared_error"]
    expected = json.loads(json.dumps(baselines.compare(DIGITS, DATASET, squared_error)))
    assert results["baselines"] == expected and squared_error > 0.01
    assert baselines.table(results["of"], expected) in capsys.readouterr().out

    evaluate.main({"run_dir": str(untrained_run)})
    assert "baselines" not in json.loads((untrained_run / "evaluation.json").read_text())


def test_stochastic_pixels_are_drawn_for_the_fit_too():
    config = dataclasses.replace(DIGITS, binarize="stochastic")
    drawn = data.load(config)
    found = baselines.compare(config, drawn, squared_error=0.5)["probabilistic_pca"]["log_px"]
    test = drawn.test.images.reshape(TEST.shape) / 255
    own = (np.random.default_rng(0).random(TRAIN.shape) < TRAIN).astype(float)  # not noise's draws
    np.testing.assert_allclose(found, by_hand(own, test, 5).mean(), atol=1)
    assert found > by_hand(TRAIN, test, 5).mean() + 20  # what a fit to grey values gives


def test_as_many_components_as_the_images_rank_leave_no_density_but_where_dequantized(tmp_path):
    assert RANK < 64
    assert baselines.fit_pca(TRAIN, RANK - 1).noise_variance_ > 0
    assert [baselines.fit_pca(TRAIN, n).noise_variance_ for n in (RANK, 64, 99)] == [0, 0, 0]
    np.save(tmp_path / "digits.npy", np.uint8(DATASET.train.images * 255))
    for dequantize in (False, True):
        config = dataclasses.replace(
            DIGITS, dataset=str(tmp_path / "digits.npy"), dequantize=dequantize, latent_dim=RANK
        )
        found = baselines.compare(config, data.load(config), squared_error=0.5)
        assert (found["probabilistic_pca"] is None) != dequantize
        printed = baselines.table({"dataset": "d", "images": 9, "split": "test", "pixels": "grey", "seed": 0}, found)
        assert ("likelihood is unbounded" in printed) != dequantize


def test_a_large_set_gives_the_mixture_some_of_its_images_and_says_so(monkeypatch):
    monkeypatch.setattr(baselines, "_MIXTURE_IMAGES", 300)
    found = baselines.compare(DIGITS, DATASET, squared_error=0.5)
    assert (found["probabilistic_pca"]["train_images"], found["gaussian_mixture"]["train_images"]) == (1437, 300)
    expected = baselines.fit_mixture(TRAIN[ORDER[:300]], DIGITS.seed).score(TEST)
    np.testing.assert_allclose(found["gaussian_mixture"]["log_px"], expected, rtol=1e-9)
