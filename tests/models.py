"""Models whose log p(x) and p(z|x) are known exactly, in the place of a VAE; the tests of several wings share them.

Shapes: z and epsilon [..., L]; x [B, D, 1, 1]; densities [...], in nats.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
import tensorflow as tf

from tfvae.core.distributions import DiagonalNormal, NormalMixture, standard_normal
from tfvae.core.likelihoods import Gaussian


def draw_z(posterior, epsilon, with_log_prob=False):
    """The `sampling` of these models, as `tfvae.core.sampling.Sampling` has it."""
    return posterior.sample_and_log_prob(epsilon) if with_log_prob else posterior.sample(epsilon)


def noise_of(samples, examples, latents, seed=0):
    """Standard normal epsilon [samples, examples, latents]; NumPy's, and not the package's own."""
    return tf.constant(np.random.default_rng(seed).normal(size=(samples, examples, latents)), tf.float32)


# The linear-Gaussian model: z ~ N(0, I) of L latents, x | z ~ N(W z + OFFSET, SIGMA^2 I) of D values.

D, L, SIGMA = 12, 2, 0.3
_RNG = np.random.default_rng(1)
W = np.linalg.qr(_RNG.normal(size=(D, L)))[0] * [1.5, 0.7]  # orthogonal columns: the exact posterior is diagonal
OFFSET = _RNG.normal(size=D)
X = OFFSET + _RNG.normal(size=(6, L)) @ W.T + SIGMA * _RNG.normal(size=(6, D))
COVARIANCE = W @ W.T + SIGMA**2 * np.eye(D)
LOG_PX = scipy.stats.multivariate_normal(OFFSET, COVARIANCE).logpdf(X)
POSTERIOR_VARIANCE = 1 / (1 + (W**2).sum(0) / SIGMA**2)
IMAGES = X.reshape(-1, D, 1, 1).astype(np.float32)


class LinearGaussian:
    """The linear-Gaussian model, with q(z|x) its exact posterior, or `shift` away from it."""

    convolutional = False
    sampling = staticmethod(draw_z)

    def __init__(self, shift=0.0):
        self.shift = shift

    @property
    def prior(self):
        return standard_normal(L)

    def encode(self, x):
        mean = (tf.reshape(x, [-1, D]) - OFFSET) @ tf.constant(W / SIGMA**2 * POSTERIOR_VARIANCE, tf.float32)
        log_variance = tf.zeros_like(mean) + np.log(POSTERIOR_VARIANCE).astype(np.float32)
        return DiagonalNormal(mean + self.shift, log_variance)

    def decode(self, z):
        mean = tf.einsum("...l,dl->...d", z, tf.constant(W, tf.float32)) + OFFSET.astype(np.float32)
        return Gaussian(mean[..., None, None], tf.constant(2 * np.log(SIGMA), tf.float32))


class ConstantDensity(NamedTuple):
    """A p(x|z) whose log density is 1 for each z: sums over it count the samples."""

    shape: tuple
    mean: float = 0.0

    def log_prob(self, x):
        return tf.ones(self.shape)

    def residual(self, x):
        return self.mean - x


class CountingModel(LinearGaussian):
    """A model whose log p(x|z) is 1 for each z."""

    def decode(self, z):
        return ConstantDensity(tuple(z.shape[:-1]))


# The mixture model: z ~ sum_c w_c N(m_c, v_c) in one dimension, x | z ~ N(z, s^2): p(x) and p(z|x) are mixtures too.

WEIGHTS, MEANS, VARIANCES = np.array([0.3, 0.7]), np.array([-1.5, 1.0]), np.array([0.3, 0.5])
MIXTURE_SIGMA = 0.8
MIXTURE_X = np.array([-2.0, -0.3, 0.4, 2.2])
MIXTURE_IMAGES = MIXTURE_X.reshape(-1, 1, 1, 1).astype(np.float32)
MIXTURE_LOG_PX = np.log(
    scipy.stats.norm(MEANS, np.sqrt(VARIANCES + MIXTURE_SIGMA**2)).pdf(MIXTURE_X[:, None]) @ WEIGHTS
)


def mixture_posterior(x):
    """p(z|x) of the mixture model at one x, as (weights, means, variances), each [2]."""
    weights = WEIGHTS * scipy.stats.norm(MEANS, np.sqrt(VARIANCES + MIXTURE_SIGMA**2)).pdf(x)
    variances = 1 / (1 / VARIANCES + 1 / MIXTURE_SIGMA**2)
    return weights / weights.sum(), variances * (MEANS / VARIANCES + x / MIXTURE_SIGMA**2), variances


def mixture_kl_to_posterior(x, mean, log_variance):
    """KL(q || p(z|x)) of the mixture model at one x for q = N(mean, exp(log_variance)), by quadrature."""
    z = np.linspace(-12, 12, 40_001)
    q = scipy.stats.norm(mean, np.exp(log_variance / 2))
    weights, means, variances = mixture_posterior(x)
    log_p = scipy.special.logsumexp(scipy.stats.norm(means, np.sqrt(variances)).logpdf(z[:, None]), axis=-1, b=weights)
    return np.trapezoid(q.pdf(z) * (q.logpdf(z) - log_p), z)


def mixture_elbo(mean, log_variance):
    """The mixture model's ELBO for that q, summed over MIXTURE_X, by quadrature."""
    gaps = [mixture_kl_to_posterior(x, mean, log_variance) for x in MIXTURE_X]
    return MIXTURE_LOG_PX.sum() - sum(gaps)


class MixtureModel:
    """The mixture model with q(z|x) = N(q_mean, exp(q_log_variance)) for each x.

    The prior's means and the log of the likelihood's stddev are variables, so that their gradients can be asked for.
    """

    convolutional = False
    sampling = staticmethod(draw_z)

    def __init__(self, q_mean=None, q_log_variance=None):
        self.prior_means = tf.Variable(MEANS[:, None].astype(np.float32))
        self.log_sigma = tf.Variable(np.float32(np.log(MIXTURE_SIGMA)))
        self.q_mean, self.q_log_variance = q_mean, q_log_variance

    @property
    def prior(self):
        logits = tf.constant(np.log(WEIGHTS).astype(np.float32))
        log_variance = tf.constant(np.log(VARIANCES)[:, None].astype(np.float32))
        return NormalMixture(logits, tf.convert_to_tensor(self.prior_means), log_variance)

    def encode(self, x):
        ones = tf.ones([tf.shape(x)[0], 1])
        return DiagonalNormal(self.q_mean * ones, self.q_log_variance * ones)

    def decode(self, z):
        return Gaussian(z[..., None, None], 2 * self.log_sigma)


class ExactMixtureModel(MixtureModel):
    """The mixture model with q(z|x) its exact posterior; x must be MIXTURE_IMAGES."""

    def encode(self, x):
        return ExactMixturePosterior()


class ExactMixturePosterior:
    """p(z|x) of MIXTURE_X; it draws by the component that a second random number chooses. Not for graphs."""

    def __init__(self):
        posteriors = [mixture_posterior(x) for x in MIXTURE_X]
        self.weights, self.means, self.variances = (np.array(column, np.float32) for column in zip(*posteriors))

    def sample(self, epsilon):
        second = np.random.default_rng(5).uniform(size=epsilon.shape[:-1]) > self.weights[:, 0]
        mean = np.where(second, self.means[:, 1], self.means[:, 0])
        stddev = np.sqrt(np.where(second, self.variances[:, 1], self.variances[:, 0]))
        return tf.constant((mean + stddev * epsilon[..., 0].numpy())[..., None], tf.float32)

    def sample_and_log_prob(self, epsilon):
        z = self.sample(epsilon)
        return z, self.log_prob(z)

    def log_prob(self, z):
        components = scipy.stats.norm(self.means, np.sqrt(self.variances)).logpdf(z)
        return tf.constant(scipy.special.logsumexp(components, axis=-1, b=self.weights), tf.float32)
