"""The families of q(z|x), against SciPy in float64 and at the edges of float32, and the head that makes them."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.core.distributions import DiagonalNormal, bounded_log_variance, standard_normal
from tfvae.core.posteriors import POSTERIORS, FullNormal, IsotropicNormal, Laplace, Logistic, PosteriorHead

RNG = np.random.default_rng(0)
MEAN, LOG_VARIANCE = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
BELOW = np.tril(np.random.default_rng(3).normal(size=(4, 3, 3)), -1)


def make(family, dtype=tf.float64):
    """A posterior [4, 3] of the family; the isotropic one has the variance of its first latent."""
    parameters = {"mean": MEAN, "log_variance": LOG_VARIANCE}
    if family is IsotropicNormal:
        parameters["log_variance"] = np.repeat(LOG_VARIANCE[:, :1], 3, axis=1)
    if family is FullNormal:
        parameters["below"] = BELOW
    return family(**{name: tf.constant(value, dtype) for name, value in parameters.items()})


def test_full_normal_is_scipys_multivariate_normal():
    q, z = make(FullNormal), RNG.normal(size=(5, 4, 3))
    cholesky = q.cholesky().numpy()
    np.testing.assert_allclose(cholesky, BELOW + [np.diag(np.exp(lv / 2)) for lv in LOG_VARIANCE], rtol=1e-12)
    for i in range(4):
        oracle = scipy.stats.multivariate_normal(MEAN[i], cholesky[i] @ cholesky[i].T)
        np.testing.assert_allclose(q.log_prob(tf.constant(z))[:, i], oracle.logpdf(z[:, i]), rtol=1e-9)
    epsilon = RNG.normal(size=(5, 4, 3))
    expected = MEAN + np.einsum("bij,kbj->kbi", cholesky, epsilon)
    np.testing.assert_allclose(q.sample(tf.constant(epsilon)), expected, rtol=1e-9)


def test_full_normal_kl_is_the_textbooks():
    q, p = make(FullNormal), DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    inverse = np.diag(np.exp(-LOG_VARIANCE[1]))
    for i, kl in enumerate(q.kl(p).numpy()):
        covariance = q.cholesky().numpy()[i] @ q.cholesky().numpy()[i].T
        d = MEAN[0] / 2 - MEAN[i]
        logs = np.linalg.slogdet(covariance)[1] - LOG_VARIANCE[1].sum()
        np.testing.assert_allclose(kl, 0.5 * (np.trace(inverse @ covariance) + d @ inverse @ d - 3 - logs), rtol=1e-9)


def test_full_normal_without_correlations_is_the_diagonal_one():
    q = make(FullNormal)._replace(below=tf.zeros([4, 3, 3], tf.float64))
    diagonal, z = make(DiagonalNormal), tf.constant(RNG.normal(size=(5, 4, 3)))
    p = DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    np.testing.assert_allclose(q.log_prob(z), diagonal.log_prob(z), rtol=1e-12)
    np.testing.assert_allclose(q.sample(z), diagonal.sample(z), rtol=1e-12)
    np.testing.assert_allclose(q.kl(p), diagonal.kl(p), rtol=1e-12)


@pytest.mark.parametrize(
    "family, oracle, unit",
    [(Laplace, scipy.stats.laplace, np.sqrt(2)), (Logistic, scipy.stats.logistic, np.pi / np.sqrt(3))],
)
def test_laplace_and_logistic_are_scipys_with_the_given_variance(family, oracle, unit):
    q = make(family)
    theirs = oracle(MEAN, np.exp(LOG_VARIANCE / 2) / unit)
    np.testing.assert_allclose(theirs.var(), np.exp(LOG_VARIANCE))
    z, epsilon = RNG.normal(size=(5, 4, 3)) * 3, RNG.normal(size=(5, 4, 3)) * 2
    np.testing.assert_allclose(q.log_prob(tf.constant(z)), theirs.logpdf(z).sum(-1), rtol=1e-9)
    np.testing.assert_allclose(q.sample(tf.constant(epsilon)), theirs.ppf(scipy.stats.norm.cdf(epsilon)), rtol=1e-7)
    tails = family(tf.zeros([2]), tf.zeros([2])).sample(tf.constant([-9.0, 9.0]))  # float32, far out
    expected = [
        oracle(scale=1 / unit).ppf(scipy.stats.norm.cdf(-9)),
        oracle(scale=1 / unit).isf(scipy.stats.norm.sf(9)),
    ]
    np.testing.assert_allclose(tails, expected, rtol=1e-4)


@pytest.mark.parametrize("family", [DiagonalNormal, FullNormal])
def test_analytic_and_monte_carlo_kl_agree_within_the_standard_error(family):
    q, p = make(family), DiagonalNormal(tf.constant(MEAN[0] / 2), tf.constant(LOG_VARIANCE[1]))
    z = q.sample(tf.constant(np.random.default_rng(7).normal(size=(40_000, 4, 3))))
    ratio = (q.log_prob(z) - p.log_prob(z)).numpy()
    error = ratio.std(0) / np.sqrt(len(ratio))
    assert (np.abs(ratio.mean(0) - q.kl(p)) < 4 * error).all() and (error < 0.05).all()


@pytest.mark.parametrize("family", POSTERIORS.values(), ids=POSTERIORS)
def test_sample_and_log_prob_are_sample_and_its_log_prob(family):
    q, epsilon = make(family), tf.constant(RNG.normal(size=(5, 4, 3)))
    z, log_prob = q.sample_and_log_prob(epsilon)
    assert z.shape == (5, 4, 3) and log_prob.shape == (5, 4)
    np.testing.assert_array_equal(z, q.sample(epsilon))
    np.testing.assert_array_equal(log_prob, q.log_prob(z))


@pytest.mark.parametrize("family", POSTERIORS.values(), ids=POSTERIORS)
def test_samples_have_the_mean_and_the_marginal_variances(family):
    q = make(family)
    z = q.sample(tf.constant(np.random.default_rng(7).normal(size=(100_000, 4, 3)))).numpy()
    variance = np.exp(q.marginal_log_variance())
    assert variance.shape == (4, 3)
    squares = (z - q.mean.numpy()) ** 2
    assert (np.abs(z.mean(axis=0) - q.mean) < 5 * np.sqrt(variance / len(z))).all()
    assert (np.abs(squares.mean(axis=0) - variance) < 5 * squares.std(axis=0) / np.sqrt(len(z))).all()


@pytest.mark.parametrize("log_variance", [-100.0, 100.0])
@pytest.mark.parametrize("family", POSTERIORS.values(), ids=POSTERIORS)
def test_extreme_log_variances_give_finite_values_and_gradients(family, log_variance):
    raw, mean = tf.fill([1, 2], log_variance), tf.ones([1, 2])
    with tf.GradientTape() as tape:
        tape.watch([raw, mean])
        below = (tf.constant([[[0.0, 0.0], [1.0, 0.0]]]),) if family is FullNormal else ()
        q = family(mean, bounded_log_variance(raw), *below)
        z = q.sample(tf.constant([[1.5, -0.5]]))
        value = q.log_prob(z) - standard_normal(2).log_prob(z) + q.log_prob(mean)
        if hasattr(q, "kl"):
            value += q.kl(standard_normal(2))
    gradients = tape.gradient(value, [raw, mean])
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradients)


def head_outputs(family, latents):
    """Outputs [4, n] of the encoder for each parameter of the family, far apart and out of range in places."""
    sizes = POSTERIORS[family].head_sizes(latents)
    return {name: np.random.default_rng(5).normal(size=(4, size)) * 20 for name, size in sizes.items()}


@pytest.mark.parametrize("family", POSTERIORS)
@pytest.mark.parametrize("latents", [1, 3])
def test_a_posterior_is_made_of_the_heads_outputs(family, latents):
    outputs = head_outputs(family, latents)
    q = POSTERIORS[family].from_head(*(tf.constant(a, tf.float32) for a in outputs.values()))
    assert type(q) is POSTERIORS[family]
    np.testing.assert_allclose(q.mean, outputs["mean"], rtol=1e-6)
    log_variance = np.broadcast_to(np.clip(outputs["log_variance"], -20, 10), (4, latents))
    assert (np.abs(outputs["log_variance"]) > 20).any()
    np.testing.assert_allclose(q.log_variance, log_variance, rtol=1e-6)
    if family == "full":
        expected = np.zeros((4, latents, latents))
        expected[:, *np.tril_indices(latents, -1)] = outputs["below"][:, :-1]  # row by row; the last one is unused
        np.testing.assert_allclose(q.below, expected, rtol=1e-6)


def test_the_isotropic_posterior_has_one_variance():
    assert IsotropicNormal.head_sizes(3) == {"mean": 3, "log_variance": 1}
    q = IsotropicNormal.from_head(tf.zeros([4, 3]), tf.constant(LOG_VARIANCE[:, :1], tf.float32))
    covariance = np.exp(LOG_VARIANCE[1, 0]) * np.eye(3)
    z = RNG.normal(size=3)
    expected = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(z)
    np.testing.assert_allclose(q.log_prob(tf.constant(z, tf.float32))[1], expected, rtol=1e-5)


@pytest.mark.parametrize("family", POSTERIORS)
def test_the_head_is_a_dense_layer_for_each_parameter(family):
    head = PosteriorHead(family, latent_dim=3, mean_seed=7, name="head")
    head.build((None, 6))
    features = np.random.default_rng(1).normal(size=(4, 6))
    sizes = POSTERIORS[family].head_sizes(3)
    names = [f"{name}_{part}" for name in sizes for part in ("kernel", "bias")]
    assert [v.name for v in head.trainable_variables] == names
    start = head(tf.constant(features, tf.float32))
    assert np.abs(start.mean).max() > 0.1 and not np.abs(start.log_variance).any()
    np.testing.assert_allclose(tf.exp(start.marginal_log_variance()), np.ones((4, 3)), rtol=1e-6)
    rng = np.random.default_rng(2)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    parameters = {v.name: v.numpy().astype(np.float64) for v in head.trainable_variables}
    outputs = [features @ parameters[f"{name}_kernel"] + parameters[f"{name}_bias"] for name in sizes]
    expected = POSTERIORS[family].from_head(*(tf.constant(output, tf.float32) for output in outputs))
    for ours, theirs in zip(head(tf.constant(features, tf.float32)), expected):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
