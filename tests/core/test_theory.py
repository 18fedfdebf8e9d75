"""The objectives and the estimators of their gradients, on a Gaussian mixture whose log p(x) and p(z|x) are exact."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from models import (
    MEANS,
    MIXTURE_IMAGES,
    MIXTURE_LOG_PX,
    MIXTURE_SIGMA,
    MIXTURE_X,
    VARIANCES,
    WEIGHTS,
    ExactMixtureModel,
    MixtureModel,
    mixture_elbo,
    mixture_kl_to_posterior,
    noise_of,
)

from tfvae.core import objectives

N = len(MIXTURE_X)


def images():
    return tf.constant(MIXTURE_IMAGES)


def test_on_the_mixture_the_gap_is_the_kl_and_the_bounds_are_in_order():
    vae = MixtureModel(0.2, -0.5)
    terms = objectives.elbo(vae, images(), noise_of(200_000, N, 1), "monte_carlo")
    gap = [mixture_kl_to_posterior(x, 0.2, -0.5) for x in MIXTURE_X]
    np.testing.assert_allclose(MIXTURE_LOG_PX - terms.elbo, gap, atol=0.02)
    bounds = {}
    log_w, _ = objectives.log_weights(vae, vae.encode(images()), images(), noise_of(200_000, N, 1))
    for k in (5, 50):
        chunks = tf.reshape(log_w, [200_000 // k, k, N])
        bounds[k] = (tf.reduce_logsumexp(chunks, axis=1) - np.log(k)).numpy().mean(axis=0)
    assert (terms.elbo.numpy() < bounds[5]).all() and (bounds[5] < bounds[50]).all()
    assert (bounds[50] < MIXTURE_LOG_PX + 0.02).all()


@pytest.mark.parametrize("samples", [1, 5, 50])
def test_at_the_exact_posterior_the_bound_is_log_px(samples):
    bound = objectives.importance_weighted_bound(ExactMixtureModel(), images(), noise_of(samples, N, 1))
    np.testing.assert_allclose(bound, MIXTURE_LOG_PX, rtol=1e-5)


COUNTS = np.array([4, 1, 2, 1])  # of each image: all once, the gradients would be too small to be seen


def exact_log_px(means, log_sigma):
    """The mixture model's log p(x), summed over COUNTS of MIXTURE_X, for these parameters."""
    stddev = np.sqrt(VARIANCES + np.exp(2 * log_sigma))
    return COUNTS @ np.log(scipy.stats.norm(means, stddev).pdf(MIXTURE_X[:, None]) @ WEIGHTS)


def finite_differences(function, point, step):
    """The gradient of a function of a vector, by central differences."""
    moves = np.eye(len(point)) * step
    return np.array([(function(point + move) - function(point - move)) / (2 * step) for move in moves])


BOUNDS = {
    "elbo": lambda vae, x, epsilon: objectives.elbo(vae, x, epsilon, "monte_carlo").elbo,
    "bound of 1": objectives.importance_weighted_bound,
    "bound of 5": objectives.importance_weighted_bound,
    "bound of 50": objectives.importance_weighted_bound,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_at_the_exact_posterior_the_gradient_of_the_bound_is_that_of_log_px(name):
    """E[d log p(x, z)] under p(z|x) is d log p(x) (Fisher's identity), for the prior's means and the log stddev.

    200,000 samples an image, as many images side by side as a bound of K samples needs.
    """
    samples = 200_000 if name == "elbo" else int(name.split()[-1])
    vae = RepeatedExactModel(200_000 // samples)
    x = tf.repeat(images(), vae.repeats, axis=0)
    with tf.GradientTape() as tape:
        bounds = BOUNDS[name](vae, x, noise_of(samples, len(x), 1))
        total = tf.reduce_sum(bounds * np.repeat(COUNTS, vae.repeats).astype(np.float32)) / vae.repeats
    by_means, by_log_sigma = tape.gradient(total, [vae.prior_means, vae.log_sigma])
    point = np.array([*MEANS, np.log(MIXTURE_SIGMA)])
    expected = finite_differences(lambda p: exact_log_px(p[:2], p[2]), point, 1e-4)
    assert np.abs(expected).min() > 1
    np.testing.assert_allclose(np.append(by_means, by_log_sigma), expected, atol=0.06)


class RepeatedExactModel(ExactMixtureModel):
    """The exact model of each of MIXTURE_IMAGES, `repeats` times one after the other."""

    def __init__(self, repeats):
        super().__init__()
        self.repeats = repeats

    def encode(self, x):
        q = super().encode(x)
        q.weights, q.means, q.variances = (
            np.repeat(a, self.repeats, axis=0) for a in (q.weights, q.means, q.variances)
        )
        return q


@pytest.mark.parametrize(
    "estimator", ["reparameterized", pytest.param("score_function", marks=pytest.mark.slow), "leave_one_out"]
)
def test_both_estimators_of_the_gradient_agree_with_finite_differences(estimator):
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae = MixtureModel(mean, log_variance)
    gradients = []
    for seed in range(40):
        epsilon = noise_of(4_000, N, 1, seed)
        with tf.GradientTape() as tape:
            if estimator == "reparameterized":
                loss, terms = objectives.elbo_loss(vae, images(), epsilon, "monte_carlo")
            else:
                baseline = "none" if estimator == "score_function" else estimator
                loss, terms = objectives.score_function_loss(vae, images(), epsilon, "monte_carlo", 1.0, baseline)
            total = -tf.reduce_sum(loss)
        np.testing.assert_allclose(-loss, terms.elbo, rtol=1e-4)
        gradients.append([g.numpy() for g in tape.gradient(total, [mean, log_variance])])
    expected = finite_differences(lambda p: mixture_elbo(*p), np.array([0.2, -0.5]), 1e-3)
    error = np.std(gradients, axis=0) / np.sqrt(len(gradients))
    assert (np.abs(np.mean(gradients, axis=0) - expected) < 4 * error).all()
    assert (error < 0.1).all()


def gradients_of(loss, variables):
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(loss())
    return [g.numpy() for g in tape.gradient(value, variables)]


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
def test_the_score_function_leaves_the_decoders_and_the_priors_gradient_as_it_is(baseline):
    """They have no part in how z is drawn: on the same noise it is that of the reparameterized ELBO."""
    vae, epsilon = MixtureModel(0.2, -0.5), noise_of(7, N, 1)
    variables = [vae.prior_means, vae.log_sigma]
    arguments = (vae, images(), epsilon, "monte_carlo", 0.7)
    score = gradients_of(lambda: objectives.score_function_loss(*arguments, baseline)[0], variables)
    plain = gradients_of(lambda: objectives.elbo_loss(*arguments)[0], variables)
    for a, b in zip(score, plain, strict=True):
        assert np.abs(b).min() > 0.1
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_the_importance_weighted_gradient_is_that_of_the_weighted_sum_with_detached_weights():
    """Burda et al. 2016, eq. 13-14."""
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae, epsilon = MixtureModel(mean, log_variance), noise_of(7, N, 1)
    variables = [mean, log_variance, vae.prior_means, vae.log_sigma]

    def weighted():
        log_w, _ = objectives.log_weights(vae, vae.encode(images()), images(), epsilon)
        return -tf.reduce_sum(tf.stop_gradient(tf.nn.softmax(log_w, axis=0)) * log_w, axis=0)

    ours = gradients_of(lambda: objectives.importance_weighted_loss(vae, images(), epsilon)[0], variables)
    for a, b in zip(ours, gradients_of(weighted, variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def doubly_reparameterized_by_hand(vae, epsilon):
    """Tucker et al. 2019, eq. 6: sum_k w_k^2 d log w_k / dz_k dz_k / dphi."""
    q = vae.encode(images())
    z = vae.sampling(q, epsilon)
    constant_q = type(q)(*(tf.stop_gradient(parameter) for parameter in q))
    log_w = vae.decode(z).log_prob(images()) + vae.prior.log_prob(z) - constant_q.log_prob(z)
    return -tf.reduce_sum(tf.stop_gradient(tf.square(tf.nn.softmax(log_w, axis=0))) * log_w, axis=0)


def test_the_doubly_reparameterized_gradient_is_the_paper_s_and_l_k_s_own_for_the_rest():
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae, epsilon = MixtureModel(mean, log_variance), noise_of(7, N, 1)
    encoder, rest = [mean, log_variance], [vae.prior_means, vae.log_sigma]

    def ours():
        return objectives.doubly_reparameterized_loss(vae, images(), epsilon)[0]

    by_hand = gradients_of(lambda: doubly_reparameterized_by_hand(vae, epsilon), encoder)
    for a, b in zip(gradients_of(ours, encoder), by_hand, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    plain = gradients_of(lambda: objectives.importance_weighted_loss(vae, images(), epsilon)[0], rest)
    for a, b in zip(gradients_of(ours, rest), plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_the_doubly_reparameterized_loss_and_terms_are_the_importance_weighted_ones():
    vae, epsilon = MixtureModel(0.2, -0.5), noise_of(7, N, 1)
    loss, terms = objectives.doubly_reparameterized_loss(vae, images(), epsilon)
    plain_loss, plain_terms = objectives.importance_weighted_loss(vae, images(), epsilon)
    for a, b in zip((loss, *terms), (plain_loss, *plain_terms), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_the_doubly_reparameterized_gradient_has_the_mean_of_the_importance_weighted_one():
    """One call makes 2,000 repeats side by side, as further images."""
    mean, log_variance = tf.Variable(0.2), tf.Variable(-0.5)
    vae, many = MixtureModel(mean, log_variance), tf.tile(images(), [2_000, 1, 1, 1])

    def repeated(loss):
        epsilons = [noise_of(7, 2_000 * N, 1, seed) for seed in range(10)]
        return [gradients_of(lambda e=e: loss(vae, many, e)[0] / 2_000, [mean, log_variance]) for e in epsilons]

    plain = repeated(objectives.importance_weighted_loss)
    doubly = repeated(objectives.doubly_reparameterized_loss)
    error = np.sqrt((np.var(plain, axis=0) + np.var(doubly, axis=0)) / 10)
    assert (np.abs(np.mean(plain, axis=0) - np.mean(doubly, axis=0)) < 4 * error).all()
