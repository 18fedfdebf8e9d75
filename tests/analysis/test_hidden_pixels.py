"""Missing pixels: exact conditionals of a linear-Gaussian model, and a sum over all z of a binary one."""

import numpy as np
import pytest
import scipy.stats
from models import COVARIANCE, IMAGES, OFFSET, D, L, LinearGaussian, W, X

from tfvae.analysis import conditional, hidden_pixels
from tfvae.config import Config
from tfvae.core.making import make_vae

TRAIN = (OFFSET + np.random.default_rng(3).normal(size=(500, L)) @ W.T).reshape(-1, D, 1, 1).astype("f")
MASKS = {"same": (np.arange(D) < 7)[:, None, None], "each": np.random.default_rng(2).random((len(X), D, 1, 1)) < 0.5}


def exact_conditional(x, seen):
    """Mean [D] with x where seen, and log p(x_missing | x_seen), by the normal's rules of conditioning."""
    gain = COVARIANCE[np.ix_(~seen, seen)] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    mean = OFFSET[~seen] + gain @ (x - OFFSET)[seen]
    rest = COVARIANCE[np.ix_(~seen, ~seen)] - gain @ COVARIANCE[np.ix_(seen, ~seen)]
    filled = x.copy()
    filled[~seen] = mean
    return filled, scipy.stats.multivariate_normal(mean, (rest + rest.T) / 2).logpdf(x[~seen])


@pytest.fixture(scope="module", params=[0.0, 0.1])  # a wrong q costs samples, and biases nothing
def conditioner(request):
    return conditional.Conditioner(LinearGaussian(shift=request.param), samples=4_000, seed=0)


@pytest.mark.parametrize("mask", MASKS)
def test_missing_pixels_are_filled_in_with_the_exact_conditional_mean_and_log_likelihood(mask, conditioner):
    result = hidden_pixels.by_vae(conditioner, IMAGES, MASKS[mask], TRAIN)
    seen = np.broadcast_to(MASKS[mask], IMAGES.shape).reshape(-1, D)
    filled, log_prob = zip(*(exact_conditional(*pair) for pair in zip(X, seen)))
    assert result.effective_samples.min() > 200
    np.testing.assert_allclose(result.images.reshape(-1, D), filled, atol=0.06)  # of stddevs near 0.5
    np.testing.assert_allclose(result.log_prob, log_prob, atol=0.12)
    by_mean = hidden_pixels.by_means(LinearGaussian(), IMAGES, MASKS[mask], TRAIN)
    assert np.abs(by_mean.images.reshape(-1, D) - filled).max() > 0.5  # they are not the same by accident
    normal = scipy.stats.norm(TRAIN.mean(axis=0).ravel(), TRAIN.std(axis=0).ravel())
    np.testing.assert_allclose(by_mean.log_prob, (normal.logpdf(X) * ~seen).sum(axis=1), rtol=1e-4)
    squares = (np.array(filled) - X)[~seen] ** 2
    np.testing.assert_allclose(result.row(IMAGES, MASKS[mask])["RMSE"], squares.mean() ** 0.5, atol=0.03)


# also where the proposals don't have equally many turns
@pytest.mark.parametrize("samples", [7, pytest.param(33, marks=pytest.mark.slow)])
def test_the_estimate_of_what_is_observed_has_the_right_mean_whatever_s_is(without_xla, samples):
    """E[exp(log p^)] = p(x_observed) for each S."""
    seen = np.broadcast_to(MASKS["same"], IMAGES.shape)
    many = np.repeat(IMAGES[:1], 2_000, axis=0)
    observed = np.broadcast_to(seen[:1], many.shape).astype("f")
    log_p = conditional.Conditioner(LinearGaussian(), samples, seed=1).condition(many, observed)[0]
    marginal = scipy.stats.multivariate_normal(OFFSET[:7], COVARIANCE[:7, :7]).logpdf(X[0, :7])
    ratio = np.exp(log_p - marginal)
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(many) ** 0.5


@pytest.mark.slow
def test_binary_pixels_with_a_mixture_prior_by_quadrature_over_two_latents():
    vae = make_vae(Config(latent_dim=2, hidden_units=(8,), prior="mixture", prior_components=3), (3, 3, 1))
    prior_mean, _, prior_logits = vae.prior_variables
    rng = np.random.default_rng(0)
    for variable in vae.decoder.trainable_variables + [prior_mean, prior_logits]:
        variable.assign(rng.normal(size=variable.shape))
    x, observed = rng.integers(0, 2, (5, 3, 3, 1)).astype("f"), np.ones((3, 3, 1))
    observed[1, 1] = 0
    z = np.stack(np.meshgrid(*[np.linspace(-8, 8, 400)] * 2), axis=-1).reshape(-1, 2).astype("f")
    log_prior, ones = vae.prior.log_prob(z).numpy(), vae.decode(z).mean.numpy()
    weights = np.exp(log_prior) * np.prod(np.where(x[:, None] > 0, ones, 1 - ones) ** observed, axis=(2, 3, 4))
    chance = weights @ ones[:, 1, 1, 0] / weights.sum(axis=1)  # that the missing pixel is 1: [5]
    result = hidden_pixels.by_vae(conditional.Conditioner(vae, samples=20_000, seed=0), x, observed, x)
    error = 5 / np.sqrt(result.effective_samples)
    assert (np.abs(result.images[:, 1, 1, 0] - chance) < error / 2).all()
    assert (np.abs(result.log_prob - np.log(np.where(x[:, 1, 1, 0] > 0, chance, 1 - chance))) < 2 * error).all()
    assert np.median(error) < 0.2 and np.ptp(chance) > 0.05  # else it would say little


def test_binary_pixels_filled_by_means_have_the_likelihood_of_independent_pixels():
    vae = make_vae(Config(latent_dim=2, hidden_units=(8,)), (2, 2, 1))
    train = np.zeros((9, 2, 2, 1), np.uint8)
    train[:3, 0, 0], train[:, 1, 1] = 255, 255
    images = np.full((2, 2, 2, 1), 255, np.uint8)
    images[1, 0, 0] = 0
    result = hidden_pixels.by_means(vae, images, np.array([[0, 1], [1, 0]])[..., None], train)
    chance, sure = (3 + 0.5) / 10, (9 + 0.5) / 10  # half an example more of either value, so that no chance is 0 or 1
    np.testing.assert_allclose(result.log_prob, np.log([chance * sure, (1 - chance) * sure]), rtol=1e-5)
    np.testing.assert_allclose(result.images[:, :, :, 0], [[[1 / 3, 1], [1, 1]]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "together",
    [
        pytest.param(1, id="one z", marks=pytest.mark.slow),
        pytest.param(5, id="some z's of an image"),
        pytest.param(40, id="some images", marks=pytest.mark.slow),
    ],
)
def test_fewer_z_together_are_the_same_by_the_same_noise(without_xla, together):
    """As large images are: 7 of a tile of 20, 13 of the next; each z, or each image, by itself or in parts."""
    images = np.tile(IMAGES[:1], (20, 1, 1, 1))[:13]
    observed = np.broadcast_to(MASKS["same"], images.shape).astype("f")
    conditioner = conditional.Conditioner(LinearGaussian(shift=0.2), samples=8, seed=2)
    whole = conditioner.condition(images, observed)
    conditioner.latents_together = together
    for column, expected in zip(conditioner.condition(images, observed), whole):
        np.testing.assert_allclose(column, expected, rtol=1e-4, atol=1e-5)
