"""The densities: small value objects with `log_prob`, `sample(epsilon)`, `mean` and, where it is closed, `kl`.

NamedTuples, so that they cross `tf.function`. Everything is in nats and float32. Over latents z [..., L] the log
density sums over L; over images x [..., H, W, C] it sums over H, W, C. Leading axes broadcast.
"""

import math
from typing import NamedTuple

import tensorflow as tf

LOG_2_PI = math.log(2 * math.pi)
LOG_VARIANCE_RANGE = (-20.0, 10.0)


@tf.custom_gradient
def bounded_log_variance(raw: tf.Tensor) -> tuple[tf.Tensor, object]:
    """Keeps a log-variance in [-20, 10], where its exponential and both their gradients are finite.

    Inside, it is the identity. Outside, only a gradient that leads back in is passed on: a plain clip has none, and
    what has left its range would never come back.
    """
    low, high = LOG_VARIANCE_RANGE

    def gradient(upstream: tf.Tensor) -> tf.Tensor:  # descent moves against the gradient
        leads_out = ((raw < low) & (upstream > 0)) | ((raw > high) & (upstream < 0))
        return tf.where(leads_out, 0.0, upstream)

    return tf.clip_by_value(raw, low, high), gradient


def normal_log_density(x: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """log N(x; mean, exp(log_variance)) of each element."""
    return -0.5 * (LOG_2_PI + log_variance + tf.square(x - mean) * tf.exp(-log_variance))


class DiagonalNormal(NamedTuple):
    """N(mean, diag(exp(log_variance))) over z; both [..., L]."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def sample(self, epsilon: tf.Tensor) -> tf.Tensor:
        """mean + deviation * epsilon, epsilon standard normal [..., L] (Kingma & Welling 2014, section 2.4)."""
        return self.mean + tf.exp(0.5 * self.log_variance) * epsilon

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        return tf.reduce_sum(normal_log_density(z, self.mean, self.log_variance), axis=-1)

    def kl_per_latent(self, other: "DiagonalNormal") -> tf.Tensor:
        """KL(self || other) of each latent in nats: [..., L]."""
        d = self.log_variance - other.log_variance
        distance = tf.square(self.mean - other.mean) * tf.exp(-other.log_variance)
        return 0.5 * (tf.math.expm1(d) - d + distance)  # exp(d) - 1 - d would cancel to nothing near d = 0

    def kl(self, other: "DiagonalNormal") -> tf.Tensor:
        """KL(self || other) in nats: [...] (Kingma & Welling 2014, appendix B, for any diagonal `other`)."""
        return tf.reduce_sum(self.kl_per_latent(other), axis=-1)


class FullNormal(NamedTuple):
    """N(mean, C C') over z, C = below + diag(exp(log_variance / 2)): mean and log_variance [..., L], below [..., L, L].

    `below` is strictly lower triangular; `log_variance` is of each latent given those before it.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    below: tf.Tensor

    def cholesky(self) -> tf.Tensor:
        """C: [..., L, L]."""
        return self.below + tf.linalg.diag(tf.exp(0.5 * self.log_variance))

    def sample(self, epsilon: tf.Tensor) -> tf.Tensor:
        """mean + C epsilon, epsilon standard normal [..., L]."""
        return self.mean + tf.linalg.matvec(self.cholesky(), epsilon)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        epsilon = tf.linalg.triangular_solve(self.cholesky(), (z - self.mean)[..., None])[..., 0]
        return -0.5 * tf.reduce_sum(LOG_2_PI + self.log_variance + tf.square(epsilon), axis=-1)

    def kl(self, other: DiagonalNormal) -> tf.Tensor:
        """KL(self || other) in nats: [...]; with `below` 0 it is the diagonal normal's."""
        off_diagonal = tf.reduce_sum(tf.square(self.below) * tf.exp(-other.log_variance)[..., None], axis=(-2, -1))
        return DiagonalNormal(self.mean, self.log_variance).kl(other) + 0.5 * off_diagonal


class Laplace(NamedTuple):
    """Independent Laplace latents of this mean and log-variance, both [..., L]; no closed KL to a normal prior."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_scale(self) -> tf.Tensor:
        return 0.5 * (self.log_variance - math.log(2.0))

    def sample(self, epsilon: tf.Tensor) -> tf.Tensor:
        """Standard normal epsilon [..., L] taken through the normal's and the Laplace's distribution functions."""
        standard = -tf.sign(epsilon) * tf.math.log(tf.math.erfc(tf.abs(epsilon) * math.sqrt(0.5)))
        return self.mean + tf.exp(self.log_scale()) * standard

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        log_scale = self.log_scale()
        nats = math.log(2.0) + log_scale + tf.abs(z - self.mean) * tf.exp(-log_scale)
        return -tf.reduce_sum(nats, axis=-1)


class Logistic(NamedTuple):
    """Independent logistic latents of this mean and log-variance, both [..., L]; no closed KL to a normal prior."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_scale(self) -> tf.Tensor:
        return 0.5 * (self.log_variance + math.log(3.0) - 2 * math.log(math.pi))

    def sample(self, epsilon: tf.Tensor) -> tf.Tensor:
        """Standard normal epsilon [..., L] taken through the normal's and the logistic's distribution functions."""
        above, below = (tf.math.erfc(sign * epsilon * math.sqrt(0.5)) for sign in (1, -1))
        return self.mean + tf.exp(self.log_scale()) * (tf.math.log(below) - tf.math.log(above))

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        log_scale = self.log_scale()
        y = tf.abs(z - self.mean) * tf.exp(-log_scale)  # the density is symmetric
        return -tf.reduce_sum(y + 2 * tf.math.log1p(tf.exp(-y)) + log_scale, axis=-1)


class NormalMixture(NamedTuple):
    """A mixture of C diagonal normals over z: logits [C], mean and log_variance [C, L]; no closed KL."""

    logits: tf.Tensor
    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        components = DiagonalNormal(self.mean, self.log_variance).log_prob(z[..., None, :])
        return tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + components, axis=-1)


def standard_normal(latent_dim: int) -> DiagonalNormal:
    """N(0, I) over z."""
    return DiagonalNormal(tf.zeros([latent_dim]), tf.zeros([latent_dim]))


def _cross_entropy(logits: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """-log p(x) of each pixel: max(l, 0) - l x + log(1 + exp(-|l|)), which neither overflows nor cancels."""

    @tf.custom_gradient
    def of(logits: tf.Tensor) -> tuple[tf.Tensor, object]:
        e = tf.exp(-tf.abs(logits))
        u = 1.0 + e  # as exact as log1p, which XLA computes number by number
        nats = tf.maximum(logits, 0.0) - logits * x + tf.where(u == 1.0, e, tf.math.log(u) * (e / (u - 1.0)))
        return nats, lambda upstream: upstream * (tf.where(logits >= 0, 1.0, e) / u - x)

    return of(logits)


@tf.custom_gradient
def _sum_over_pixels(values: tf.Tensor) -> tuple[tf.Tensor, object]:
    """[..., H, W, C] -> [...]; on CPU as a matrix product, for XLA adds number by number there."""

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(upstream[..., None, None, None], tf.shape(values))

    if tf.config.list_logical_devices("GPU"):  # whose products may be of ten bits
        return tf.reduce_sum(values, axis=(-3, -2, -1)), gradient
    pixels = math.prod(values.shape[-3:])
    sums = tf.matmul(tf.reshape(values, [-1, pixels]), tf.ones([pixels, 1], values.dtype))
    return tf.reshape(sums, tf.shape(values)[:-3]), gradient


class Bernoulli(NamedTuple):
    """Independent pixels, 1 with probability sigmoid(logits); logits [..., H, W, C]."""

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """P(pixel = 1): [..., H, W, C]."""
        return tf.sigmoid(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p(x) in nats, [...], for x in {0, 1}; for grey x in [0, 1] minus the usual cross-entropy."""
        return -_sum_over_pixels(_cross_entropy(self.logits, x))


class GaussianPixels(NamedTuple):
    """Independent normal pixels; mean [..., H, W, C], log_variance of any shape that broadcasts to it."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log density of x in nats: [...]. A density: it may well be positive."""
        return _sum_over_pixels(normal_log_density(x, self.mean, self.log_variance))
