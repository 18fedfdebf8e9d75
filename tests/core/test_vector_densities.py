"""Densities of scaled and of missing values against SciPy, and encoder and decoder of vectors."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import tensorflow as tf

import tfvae
from tfvae.config import Config
from tfvae.core import objectives
from tfvae.core.columns import Columns
from tfvae.core.likelihoods import Bernoulli, Gaussian
from tfvae.core.making import make_vae
from tfvae.core.vectors import OfObserved, Rescaled, VectorRule, as_features, in_their_units
from tfvae.errors import InputError

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
OFFSET, SCALE = np.array([1.0, -200.0, 0.5]), np.array([0.1, 30.0, 1.0])
COLUMNS = Columns(NAMES, tuple(OFFSET), tuple(SCALE))
WITH_MISSING = COLUMNS._replace(missing=True)


def kept(values):
    """Values [N, D] as the package keeps them."""
    return np.asarray(values, np.float32)[:, None, None, :]


U_MEAN, U_LOG_VARIANCE = kept(RNG.normal(size=(4, 3))), kept(RNG.normal(size=(4, 3)))
MEAN, STDDEV = OFFSET + SCALE * U_MEAN[:, 0, 0], SCALE * np.exp(U_LOG_VARIANCE[:, 0, 0] / 2)
X = MEAN + STDDEV * RNG.normal(size=(4, 3))
HOLES = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)


def density(columns):
    return in_their_units(columns, Gaussian(tf.constant(U_MEAN), tf.constant(U_LOG_VARIANCE)))


def test_a_rescaled_density_is_that_of_the_values_as_they_came():
    p = density(COLUMNS)
    assert isinstance(p, Rescaled)
    expected = scipy.stats.norm.logpdf(X, MEAN, STDDEV)
    np.testing.assert_allclose(p.element_log_prob(kept(X))[:, 0, 0], expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(p.log_prob(kept(X)), expected.sum(axis=1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(p.mean[:, 0, 0], MEAN, rtol=1e-5)
    np.testing.assert_allclose(p.variance[:, 0, 0], STDDEV**2, rtol=1e-5)
    np.testing.assert_allclose(p.residual(kept(X))[:, 0, 0], (MEAN - X) / SCALE, rtol=1e-3, atol=1e-4)


def test_samples_have_the_density_s_moments():
    one = in_their_units(COLUMNS, Gaussian(tf.zeros([1, 1, 3]), tf.constant(np.log([[[4.0, 1.0, 0.25]]]), tf.float32)))
    drawn = one.sample(one.noise((40_000, 1, 1, 3), tf.constant([3, 4]))).numpy()[:, 0, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), OFFSET, atol=0.03 * SCALE.max() * 2)
    np.testing.assert_allclose(drawn.std(axis=0), SCALE * [2, 1, 0.5], rtol=0.02)


@pytest.mark.parametrize("columns", [WITH_MISSING, Columns(NAMES, (0.0,) * 3, (1.0,) * 3, True)])
def test_missing_values_have_no_part_in_the_density(columns):
    p = density(columns)
    assert isinstance(p, OfObserved)
    x = kept(np.where(HOLES, np.nan, X))
    whole = density(columns._replace(missing=False)).element_log_prob(kept(X)).numpy()[:, 0, 0]
    np.testing.assert_allclose(p.log_prob(x), np.where(HOLES, 0, whole).sum(axis=1), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(p.residual(x).numpy()[:, 0, 0][HOLES], 0)
    np.testing.assert_allclose(p.observed_share(x), 1 - HOLES.mean(axis=1))


def test_the_gradient_of_a_missing_value_is_zero_and_that_of_others_is_theirs():
    x = kept(np.where(HOLES, np.nan, X))
    mean = tf.constant(U_MEAN)
    with tf.GradientTape() as tape:
        tape.watch(mean)
        log_prob = in_their_units(WITH_MISSING, Gaussian(mean, tf.constant(U_LOG_VARIANCE))).log_prob(x)
    gradient = tape.gradient(log_prob, mean).numpy()[:, 0, 0]
    expected = np.where(HOLES, 0, (X - MEAN) / STDDEV**2 * SCALE)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-3)


def test_a_likelihood_without_a_deviation_has_none_when_it_is_rescaled():
    p = in_their_units(WITH_MISSING, Bernoulli(tf.zeros([2, 1, 1, 3])))
    assert not hasattr(p, "variance") and not hasattr(p, "mean_variance")


def test_the_encoder_sees_scaled_values_and_which_are_there():
    x = kept(np.where(HOLES, np.nan, X))
    u = (X - OFFSET) / SCALE
    np.testing.assert_allclose(as_features(COLUMNS, tf.constant(kept(X)))[:, 0, 0], u, rtol=1e-3, atol=1e-4)
    features = as_features(WITH_MISSING, tf.constant(x)).numpy()[:, 0, 0]
    np.testing.assert_allclose(features[:, :3], np.where(HOLES, 0, u), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(features[:, 3:], ~HOLES)


def linear_vae(columns):
    """A VAE of vectors with a linear decoder, whose p(x) is a normal distribution, and that distribution."""
    config = Config(latent_dim=2, hidden_units=(), likelihood="gaussian", sigma=0.5, posterior="full")
    vae = make_vae(config, (1, 1, 3), columns=columns)
    weights = RNG.normal(size=(2, 3)).astype(np.float32)
    vae.decoder.output_layer.set_weights([weights, np.array([0.1, 0.2, -0.3], np.float32)])
    mean = OFFSET + SCALE * [0.1, 0.2, -0.3]
    covariance = (weights.T @ weights + 0.25 * np.eye(3)) * np.outer(SCALE, SCALE)
    return vae, mean, covariance


def test_importance_sampling_finds_the_exact_density_of_what_is_observed():
    vae, mean, covariance = linear_vae(WITH_MISSING)
    x = np.where(HOLES, np.nan, X)
    epsilon = tf.constant(np.random.default_rng(1).normal(size=(20_000, 4, 2)), tf.float32)
    exact = []
    for row in x:
        seen = ~np.isnan(row)
        exact.append(scipy.stats.multivariate_normal.logpdf(row[seen], mean[seen], covariance[np.ix_(seen, seen)]))
    estimate = objectives.importance_weighted_bound(vae, tf.constant(kept(x)), epsilon)
    np.testing.assert_allclose(estimate, exact, atol=0.1)
    elbo = objectives.elbo(vae, tf.constant(kept(x)), epsilon).elbo
    assert np.all(elbo < np.array(exact))


def test_vectors_are_kept_through_a_keras_file(tmp_path):
    vae, _, _ = linear_vae(WITH_MISSING)
    vae.save(tmp_path / "v.keras")
    loaded = tfvae.load_model(tmp_path / "v.keras")
    x = np.where(HOLES, np.nan, X)
    np.testing.assert_array_equal(loaded(x), vae(x))
    assert loaded(x).shape == (4, 3) and loaded.encoder.columns == WITH_MISSING == loaded.decoder.columns


def test_keras_s_fit_takes_vectors():
    vae = make_vae(Config(latent_dim=1, hidden_units=(4,), likelihood="gaussian"), (1, 1, 3), columns=WITH_MISSING)
    vae.compile("adam")
    x = np.tile(np.where(HOLES, np.nan, X), (8, 1))
    history = vae.fit(x, epochs=2, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    with pytest.raises(InputError, match=r"^x: must be an array of vectors \[N, D\]: a tf.data.Dataset is for images$"):
        vae.fit(tf.data.Dataset.from_tensor_slices(x.astype(np.float32)).batch(8), verbose=0)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (X[0], "is a single one: take x[None]"),
        (X[:, :2], "has the shape [4, 2]"),
        (X[:0], "has the shape [0, 3]"),
        (np.full((2, 3), "a"), "has the type <U1"),
        (np.where(HOLES, np.nan, X), "finite numbers, and has nan in row 0, c"),
        (np.where(HOLES, np.inf, X), "finite numbers, and has inf in row 0, c"),
    ],
)
def test_what_is_no_such_vector_is_refused(x, reason):
    with pytest.raises(InputError) as caught:
        VectorRule(COLUMNS).to_unit(x)
    message = str(caught.value)
    assert message.startswith("x: must be vectors [N, 3]") and reason in message and "\n" not in message


def test_a_table_with_other_columns_or_another_order_is_refused():
    rule, frame = VectorRule(COLUMNS), pd.DataFrame(X, columns=NAMES)
    np.testing.assert_array_equal(rule.to_unit(frame), rule.to_unit(X))
    np.testing.assert_array_equal(rule.to_unit(pd.DataFrame(X)), rule.to_unit(X))  # its columns have no names
    with pytest.raises(InputError, match=r"in their order, and column 0 \(from 0\) is c and not a: take x\[list"):
        rule.to_unit(frame[["c", "b", "a"]])
    with pytest.raises(InputError, match=r"column 2 \(from 0\) is not there and not c"):
        rule.to_unit(frame[["a", "b"]])
    counted = VectorRule(COLUMNS._replace(names=("0", "1", "2")))  # the run's have none
    np.testing.assert_array_equal(counted.to_unit(frame), rule.to_unit(X))


def test_an_infinity_is_none_of_the_missing_values():
    with pytest.raises(InputError, match="or NaN where one is missing, and has inf in row 0, c"):
        VectorRule(WITH_MISSING).to_unit(np.where(HOLES, np.inf, X))
    x = VectorRule(WITH_MISSING).to_unit(np.where(HOLES, np.nan, X))
    assert x.dtype == np.float32 and x.shape == (4, 1, 1, 3)


def test_columns_come_back_from_json():
    assert Columns.from_json(WITH_MISSING.to_json()) == WITH_MISSING
    assert Columns.from_json(None) is None
