"""Missing values of tables and images: the exact conditional of a linear-Gaussian VAE, masks, units, blocks."""

import numpy as np
import pytest
import scipy.stats

from tfvae.analysis import imputation
from tfvae.analysis.imputation import Imputer
from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.data.incomplete import IncompleteImages
from tfvae.errors import InputError

D, L, SIGMA = 5, 2, 0.5
RNG = np.random.default_rng(0)
W, BIAS = RNG.normal(size=(D, L)), RNG.normal(size=D)
OFFSET, SCALE = np.array([100.0, -3.0, 0.0, 0.5, 7.0]), np.array([20.0, 0.1, 1.0, 3.0, 5.0])
MEAN = OFFSET + SCALE * BIAS
COVARIANCE = SCALE[:, None] * (W @ W.T + SIGMA**2 * np.eye(D)) * SCALE
X = RNG.multivariate_normal(MEAN, COVARIANCE, size=12)
IS_OBSERVED = RNG.random(X.shape) < 0.6
IS_OBSERVED[0], IS_OBSERVED[1] = True, False  # a row with everything, and one with nothing
INCOMPLETE = np.where(IS_OBSERVED, X, np.nan)
CONFIG = Config(latent_dim=L, hidden_units=(), likelihood="gaussian", sigma=SIGMA, posterior="full")


def linear_vae(missing):
    """x = OFFSET + SCALE (W z + BIAS + SIGMA noise); q(z|x) is that of complete rows, or, of a mask, another one."""
    columns = Columns(tuple("abcde"), tuple(OFFSET), tuple(SCALE), missing)
    vae = make_vae(CONFIG, (1, 1, D), columns=columns)
    vae.decoder.output_layer.kernel.assign(W.T)
    vae.decoder.output_layer.bias.assign(BIAS)
    to_mean = np.linalg.solve(W.T @ W + SIGMA**2 * np.eye(L), W.T).T
    kernel, bias = vae.encoder.head.kernels[0], vae.encoder.head.biases[0]
    kernel.assign(np.concatenate([to_mean, -BIAS[:, None] * to_mean]) if missing else to_mean)
    bias.assign(np.zeros(L) if missing else -BIAS @ to_mean)
    return vae


def incomplete(x=INCOMPLETE, observed=None, missing=False, config=CONFIG):
    return IncompleteImages(x, observed, linear_vae(missing).encoder.user_rule, config)


def exact_conditional(x, seen):
    """Mean and covariance of the missing values, by the normal's rules of conditioning."""
    gain = COVARIANCE[np.ix_(~seen, seen)] @ np.linalg.inv(COVARIANCE[np.ix_(seen, seen)])
    mean = MEAN[~seen] + gain @ (x - MEAN)[seen]
    return mean, COVARIANCE[np.ix_(~seen, ~seen)] - gain @ COVARIANCE[np.ix_(seen, ~seen)]


@pytest.fixture(scope="module")
def without_xla_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfvae.core.fast.use_xla", lambda convolutional: False)
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["refuse", "allow"])
def imputed(request, without_xla_here):
    """The rows of INCOMPLETE, by a VAE that was trained on whole rows, and by one whose encoder sees the mask."""
    return Imputer(linear_vae(request.param), 4_000, seed=1, draws=300).impute(incomplete(missing=request.param))


def test_means_and_draws_are_of_the_exact_conditional_in_the_columns_units(imputed):
    for i, (x, seen) in enumerate(zip(X, IS_OBSERVED)):
        if seen.all():
            continue
        mean, covariance = exact_conditional(x, seen)
        stddev = np.sqrt(np.diag(covariance))
        error = 5 / np.sqrt(imputed.effective_samples[i])
        assert error < 0.4
        assert (np.abs(imputed.mean[i, ~seen] - mean) < error * stddev).all()
        drawn = (imputed.draws[:, i, ~seen] - mean) / stddev
        assert (np.abs(drawn.mean(axis=0)) < error + 5 / 300**0.5).all()
        correlation = covariance / stddev / stddev[:, None]
        np.testing.assert_allclose(drawn.T @ drawn / 300, correlation, atol=2 * error + 5 * (2 / 300) ** 0.5)


def test_the_log_density_of_what_is_observed_is_exact(imputed):
    """log p(x_observed): that of whole rows less it is log p(x_missing | x_observed)."""
    for i, (x, seen) in enumerate(zip(X, IS_OBSERVED)):
        exact = 0.0
        if seen.any():
            exact = scipy.stats.multivariate_normal(MEAN[seen], COVARIANCE[np.ix_(seen, seen)]).logpdf(x[seen])
        assert abs(imputed.log_observed[i] - exact) < 5 / np.sqrt(imputed.effective_samples[i])


def test_what_is_observed_comes_back_as_it_is_and_a_row_of_nothing_is_of_the_prior(imputed):
    assert imputed.mean.dtype == np.float64 and imputed.draws.shape == (300, *X.shape)
    np.testing.assert_array_equal(imputed.mean[IS_OBSERVED], X[IS_OBSERVED])
    np.testing.assert_array_equal(imputed.draws[:, IS_OBSERVED], np.tile(X[IS_OBSERVED], (300, 1)))
    assert (imputed.effective_samples[1], imputed.log_observed[1]) == (4_000, 0)


@pytest.mark.parametrize(
    "settings",
    [pytest.param((3, 7), marks=pytest.mark.slow), (40, 4_000), pytest.param((4_000, 64), marks=pytest.mark.slow)],
)
def test_parts_of_a_set_in_blocks_of_any_size_are_filled_in_to_the_same_bits(without_xla_here, settings):
    """Tiles of 1,333, 100 and 1 rows; blocks of 2, 100 and 1."""
    samples, together = settings
    vae, rows = linear_vae(True), incomplete(np.tile(INCOMPLETE, (10, 1))[: 11 if samples > 100 else 115], missing=True)
    imputer = Imputer(vae, samples, seed=3, draws=2)
    imputer.conditioner.latents_together = together
    whole = imputer.impute(rows)
    cuts = [0, 1, 5, len(rows) - 3, len(rows)]
    parts = [imputer.impute_rows(rows, np.arange(*ends)) for ends in zip(cuts, cuts[1:])]
    for ours, expected in zip(imputation.Imputed.joined(parts), whole):
        np.testing.assert_array_equal(ours, expected)
    assert np.abs(whole.draws[0] - whole.draws[1]).max() > 0.1


def test_fewer_draws_are_the_first_of_more_and_another_seed_draws_others(without_xla_here):
    vae, rows = linear_vae(False), incomplete()
    one, three, other = (Imputer(vae, 50, *ends).impute(rows).draws for ends in ((0, 1), (0, 3), (1, 1)))
    np.testing.assert_array_equal(one[0], three[0])
    assert np.abs(one - other)[:, ~IS_OBSERVED].min() > 0


def test_few_effective_samples_are_said():
    rows = incomplete()
    np.testing.assert_array_equal(rows.is_incomplete, ~IS_OBSERVED.all(axis=1))
    columns = linear_vae(False).encoder.columns
    assert imputation.advice(np.full(9, 10.0), 80, columns, "samples") is None
    line = imputation.advice(np.array([10, 9.9, 20, 2, 1.25]), 80, columns, "--eval_samples")
    assert "of 5 rows with missing values 3 have fewer than 10 effective samples of 80 (the fewest 1.2)" in line
    assert "more --eval_samples make it better" in line


IMAGES = RNG.random((3, 2, 2, 3))
HOLES = RNG.random((3, 2, 2)) < 0.5


def of_images(x, observed, value_range=None, white=255, **settings):
    config = Config(latent_dim=2, hidden_units=(4,), **settings)
    vae = make_vae(config, (2, 2, 3), white=white, value_range=value_range)
    return vae, IncompleteImages(x, observed, vae.encoder.user_rule, config)


def test_masks_of_images_are_of_pixels_or_of_values_and_nothing_is_asked_of_what_is_missing():
    of_values = np.repeat(HOLES[..., None], 3, axis=-1)
    garbage = np.where(of_values, IMAGES, -7.0)
    for x, mask in (
        (garbage, HOLES),
        (garbage, HOLES[..., None]),
        (garbage, of_values.astype(int)),
        (np.where(of_values, IMAGES, np.nan), None),
        (np.where(of_values, IMAGES, np.inf), of_values),
        (np.ma.masked_array(garbage, mask=~of_values), None),
    ):
        _, images = of_images(x, mask)
        np.testing.assert_array_equal(images.is_observed, of_values)
        np.testing.assert_allclose(images.x(np.arange(3))[of_values], IMAGES[of_values], rtol=1e-6)


def test_images_come_back_in_their_own_range_with_what_the_model_says_of_the_rest(without_xla_here):
    x = (IMAGES * 40 - 20).round(1)
    vae, images = of_images(x, HOLES, value_range=(-20.0, 20.0), scale="unit")
    filled = Imputer(vae, 40, seed=0, draws=2).impute(images)
    np.testing.assert_array_equal(filled.mean[HOLES], x[HOLES])
    assert set(np.unique(filled.draws[:, ~HOLES])) == {-20, 20}  # of a Bernoulli likelihood, 0 and 1 of [0, 1]
    plain_vae, plain = of_images((x + 20) / 40, HOLES)
    expected = Imputer(plain_vae, 40, seed=0).impute(plain)
    np.testing.assert_allclose(filled.mean, expected.mean * 40 - 20, rtol=1e-4)
    np.testing.assert_allclose(filled.log_observed, expected.log_observed, rtol=1e-5)


def test_bytes_come_back_as_fractions_and_are_not_binarized_with_the_model_s(without_xla_here):
    x = (IMAGES * 255).astype(np.uint8)
    vae, images = of_images(x, HOLES, binarize="threshold")
    np.testing.assert_array_equal(images.x(np.arange(3))[HOLES], x[HOLES] > 127)
    filled = Imputer(vae, 20, seed=0).impute(images)
    np.testing.assert_allclose(filled.mean[HOLES], x[HOLES] / 255, rtol=1e-6)
    _, as_floats = of_images(np.where(HOLES[..., None], x, np.nan), None, binarize="threshold")
    np.testing.assert_allclose(as_floats.filled(np.arange(3), x * 0.0)[HOLES], x[HOLES] / 255, rtol=1e-6)


@pytest.mark.parametrize("x, observed, words", [
    (INCOMPLETE[:, :4], None, "x: must be vectors [N, 5], and has the shape [12, 4]"),
    (np.where(IS_OBSERVED, np.inf, 0), None, "x: must be vectors [N, 5] of finite numbers, and has inf in row 0, a"),
    (INCOMPLETE, IS_OBSERVED[:3], "observed: must have the shape of x, [12, 5], and has [3, 5]"),
    (INCOMPLETE, IS_OBSERVED * 2, "observed: must be True where x is observed and False where not, and is int64"),
    (INCOMPLETE, [[True], [True, False]], "observed: must be an array, and is a list that makes none"),
])  # fmt: skip
def test_what_can_t_be_used_is_refused_by_the_argument_s_name(x, observed, words):
    with pytest.raises(InputError) as caught:
        incomplete(x, observed)
    assert str(caught.value) == words
