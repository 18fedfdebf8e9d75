"""The objectives, on a linear-Gaussian model whose log p(x) and posterior are known exactly."""

import numpy as np
import pytest
import tensorflow as tf
from models import COVARIANCE, IMAGES, LOG_PX, OFFSET, POSTERIOR_VARIANCE, D, L, LinearGaussian, X, noise_of

from tfvae.config import Config
from tfvae.core import objectives
from tfvae.core.distributions import DiagonalNormal
from tfvae.core.likelihoods import Gaussian

N = len(X)


def images():
    return tf.constant(IMAGES)


@pytest.mark.parametrize("samples", [1, 2, 5, 50])
def test_the_bound_is_log_px_for_every_k_at_the_exact_posterior(samples):
    bound = objectives.importance_weighted_bound(LinearGaussian(), images(), noise_of(samples, N, L))
    np.testing.assert_allclose(bound, LOG_PX, rtol=1e-5)


@pytest.mark.parametrize("kl", ["analytic", "monte_carlo"])
def test_the_elbo_is_log_px_in_the_mean_at_the_exact_posterior(kl):
    terms = objectives.elbo(LinearGaussian(), images(), noise_of(20_000, N, L), kl)
    error = np.sqrt(L / 20_000) * 5  # log p(x|z) under the exact posterior has a variance below L
    np.testing.assert_allclose(terms.elbo, LOG_PX, atol=error if kl == "analytic" else 1e-3)


class Moved(LinearGaussian):
    """The decoder moves away from the q that was exact at 0."""

    def __init__(self):
        super().__init__()
        self.moved = tf.Variable(tf.zeros([D]))

    def decode(self, z):
        p = super().decode(z)
        return Gaussian(p.mean + self.moved[:, None, None], p.log_variance)


@pytest.mark.parametrize("bound", ["elbo", "importance_weighted_bound"])
def test_at_the_exact_posterior_the_gradient_of_the_bound_is_that_of_log_px(bound):
    """Fisher's identity; the gradient of log p(x) in the decoder's offset is the covariance's inverse times x's."""
    vae, epsilon = Moved(), noise_of(50, N, L)
    epsilon = tf.concat([epsilon, -epsilon], axis=0)
    with tf.GradientTape() as tape:
        value = getattr(objectives, bound)(vae, images(), epsilon)
        total = tf.reduce_sum(value.elbo if bound == "elbo" else value)
    expected = np.linalg.solve(COVARIANCE, (X - OFFSET).sum(axis=0))
    np.testing.assert_allclose(tape.gradient(total, vae.moved), expected, rtol=1e-3, atol=1e-3)


def test_away_from_the_posterior_the_gap_is_the_kl_and_more_samples_close_it():
    vae = LinearGaussian(shift=0.2)
    kl_to_posterior = 0.5 * np.sum(0.2**2 / POSTERIOR_VARIANCE)
    terms = objectives.elbo(vae, images(), noise_of(50_000, N, L))
    np.testing.assert_allclose(LOG_PX - terms.elbo, kl_to_posterior, rtol=0.03)
    many = tf.tile(images(), [200, 1, 1, 1])  # 200 repeats side by side, as further images
    gaps = []
    for k in (1, 5, 50):
        repeats = objectives.importance_weighted_bound(vae, many, noise_of(k, 200 * N, L))
        gaps.append(np.mean(np.tile(LOG_PX, 200) - repeats.numpy()))
    assert gaps[0] > gaps[1] + 0.05 > gaps[2] + 0.1
    assert gaps[2] > -0.05


def test_the_terms_add_up_and_each_is_its_own_examples():
    vae, epsilon = LinearGaussian(shift=0.2), noise_of(3, N, L)
    terms = objectives.elbo(vae, images(), epsilon)
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - terms.kl, rtol=1e-6)
    alone = objectives.elbo(vae, images()[2:3], epsilon[:, 2:3])
    np.testing.assert_allclose([t[0] for t in alone], [t[2] for t in terms], rtol=1e-5)


class CountedEncoder(LinearGaussian):
    """It counts how often it encodes."""

    encoded = 0

    def encode(self, x):
        self.encoded += 1
        return super().encode(x)


def test_a_posterior_that_is_at_hand_is_not_computed_again():
    vae, epsilon = CountedEncoder(shift=0.2), noise_of(3, N, L)
    terms = objectives.elbo(vae, images(), epsilon)
    assert vae.encoded == 1
    again = objectives.elbo(vae, images(), epsilon, posterior=LinearGaussian(shift=0.2).encode(images()))
    assert vae.encoded == 1
    np.testing.assert_array_equal(again.elbo, terms.elbo)


def test_the_loss_is_minus_the_elbo_and_beta_weighs_the_kl():
    vae, epsilon = LinearGaussian(shift=0.2), noise_of(3, N, L)
    loss, terms = objectives.elbo_loss(vae, images(), epsilon)
    np.testing.assert_allclose(loss, -terms.elbo, rtol=1e-6)
    loss, _ = objectives.elbo_loss(vae, images(), epsilon, beta=4.0)
    np.testing.assert_allclose(loss, -terms.log_likelihood + 4 * terms.kl, rtol=1e-6)


@pytest.mark.parametrize("bound", ["elbo", "importance_weighted_bound"])
def test_gradients_are_those_of_finite_differences(bound):
    epsilon, shift = noise_of(4, N, L), tf.constant(0.2)

    def total(vae):
        value = getattr(objectives, bound)(vae, images(), epsilon)
        return tf.reduce_sum(value.elbo if bound == "elbo" else value)

    with tf.GradientTape() as tape:
        tape.watch(shift)
        value = total(LinearGaussian(shift))
    sides = [total(LinearGaussian(shift + h)).numpy() for h in (0.01, -0.01)]
    np.testing.assert_allclose(tape.gradient(value, shift), (sides[0] - sides[1]) / 0.02, rtol=2e-3)


def test_log_mean_exp_neither_overflows_nor_underflows():
    log_w = np.float32([[1_000.0, -1_000.0], [1_001.0, -1_002.0], [998.0, -1_000.0]])
    expected = np.logaddexp.reduce(log_w.astype(np.float64), axis=0) - np.log(3)
    np.testing.assert_allclose(objectives.log_mean_exp(tf.constant(log_w)), expected, rtol=1e-6)


def test_log_weights_are_of_the_joint_over_the_posterior():
    vae, epsilon = LinearGaussian(shift=0.2), noise_of(3, N, L)
    q = vae.encode(images())
    log_w, log_likelihood = objectives.log_weights(vae, q, images(), epsilon)
    z = q.sample(epsilon)
    np.testing.assert_allclose(log_likelihood, vae.decode(z).log_prob(images()), rtol=1e-6)
    expected = log_likelihood + vae.prior.log_prob(z) - q.log_prob(z)
    np.testing.assert_allclose(log_w, expected, rtol=1e-5)


def test_the_autoencoders_loss_is_at_the_posteriors_mean():
    vae = LinearGaussian(shift=0.2)
    loss, terms = objectives.autoencoder_loss(vae, images())
    at_mean = vae.decode(vae.encode(images()).mean).log_prob(images())
    np.testing.assert_array_equal(loss, -at_mean)
    np.testing.assert_array_equal(terms.log_likelihood, at_mean)
    assert not terms.kl.numpy().any()


LOSSES = {  # settings of a run, and the loss that they ask for
    "elbo": ({}, lambda *a: objectives.elbo_loss(*a, kl="analytic", beta=0.5)),
    "sampled": ({"kl": "monte_carlo"}, lambda *a: objectives.elbo_loss(*a, kl="monte_carlo", beta=0.5)),
    "free_bits": ({"free_bits": 0.7}, lambda *a: objectives.elbo_loss(*a, beta=0.5, free_bits=0.7)),
    "score_function": (
        {"estimator": "score_function"},
        lambda *a: objectives.score_function_loss(*a, kl="analytic", beta=0.5),
    ),
    "leave_one_out": (
        {"estimator": "score_function", "baseline": "leave_one_out", "kl": "monte_carlo"},
        lambda *a: objectives.score_function_loss(*a, kl="monte_carlo", beta=0.5, baseline="leave_one_out"),
    ),
    "iwae": ({"objective": "iwae"}, objectives.importance_weighted_loss),
    "dreg": ({"objective": "dreg"}, objectives.doubly_reparameterized_loss),
    "autoencoder": (
        {"objective": "autoencoder", "num_samples": 1},
        lambda vae, x, epsilon: objectives.autoencoder_loss(vae, x),
    ),
}


def loss_and_gradient(loss):
    shift = tf.constant(0.2)
    with tf.GradientTape() as tape:
        tape.watch(shift)
        value, terms = loss(LinearGaussian(shift))
    return [value, *terms, tape.gradient(value, shift)]


@pytest.mark.parametrize("name", LOSSES)
def test_the_training_loss_is_the_one_that_the_settings_ask_for(name):
    options, expected = LOSSES[name]
    config, epsilon = Config(**{"num_samples": 3, **options}), noise_of(3, N, L)
    ours = loss_and_gradient(lambda vae: objectives.training_loss(config, vae, images(), epsilon, 0.5))
    theirs = loss_and_gradient(lambda vae: expected(vae, images(), epsilon))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_two_settings_have_the_same_loss_and_gradient():
    """So the test above can fail."""
    results = {}
    for name, (options, _) in LOSSES.items():
        config, epsilon = Config(**{"num_samples": 3, **options}), noise_of(3, N, L)
        vector = loss_and_gradient(lambda vae: objectives.training_loss(config, vae, images(), epsilon, 0.5))  # noqa: B023
        results[name] = np.concatenate([np.ravel(vector[0]), np.ravel(vector[-1])])
    for i, a in enumerate(results.values()):
        assert all(np.abs(a - b).max() > 1e-4 for b in list(results.values())[:i])


def test_an_objective_without_a_loss_is_refused():
    config = Config()
    object.__setattr__(config, "objective", "vimco")
    with pytest.raises(ValueError, match="objective='vimco'"):
        objectives.training_loss(config, LinearGaussian(), images(), noise_of(1, N, L), 1.0)


class OneLatent(LinearGaussian):
    """q(z|x) = N(q_mean, exp(q_log_variance)) of each latent."""

    def __init__(self, q_mean, q_log_variance):
        super().__init__()
        self.q_mean, self.q_log_variance = q_mean, q_log_variance

    def encode(self, x):
        ones = tf.ones([tf.shape(x)[0], L])
        return DiagonalNormal(self.q_mean * ones, self.q_log_variance * ones)


@pytest.mark.parametrize("mean, log_variance", [(0.1, 0.0), (2.0, -1.0)])
def test_free_bits_count_each_latent_s_kl_as_at_least_so_many_nats(mean, log_variance):
    """Below it there is no gradient; the second latent's mean is twice as large, and its KL is another."""
    scale, q_mean = np.float32([1.0, 2.0]), tf.Variable([mean, mean])
    vae = OneLatent(q_mean * scale, log_variance)
    with tf.GradientTape() as tape:
        vae.q_mean = q_mean * scale
        loss, terms = objectives.elbo_loss(vae, images(), noise_of(1, N, L), free_bits=0.5)
        penalty = tf.reduce_sum(loss + terms.log_likelihood)
    kl = 0.5 * ((mean * scale) ** 2 + np.exp(log_variance) - 1 - log_variance)
    np.testing.assert_allclose(penalty / N, np.maximum(kl, 0.5).sum(), rtol=1e-5)
    np.testing.assert_array_equal(tape.gradient(penalty, q_mean).numpy() != 0, kl > 0.5)
