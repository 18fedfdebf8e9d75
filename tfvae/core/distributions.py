"""The normal densities that posteriors, priors and likelihoods share, and what keeps a log-variance finite.

Everything is in nats and float32. z [..., L]; leading axes broadcast. Distributions are NamedTuples of tensors, so that
they cross `tf.function`.
"""

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core import noise

if TYPE_CHECKING:
    from tfvae.core.protocols import Prior

LOG_2_PI = math.log(2 * math.pi)
LOG_VARIANCE_RANGE = (-20.0, 10.0)
_QUANTILE_DRAWS = 10_000


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
    """N(mean, diag(exp(log_variance))) over z; both [..., L]: a posterior, and a prior."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """Outputs of the encoder that make one."""
        return {"mean": latent_dim, "log_variance": latent_dim}

    @classmethod
    def from_head(cls, mean: tf.Tensor, log_variance: tf.Tensor) -> "DiagonalNormal":
        """Made of these outputs; a single log-variance, as IsotropicNormal has, is that of all latents."""
        return cls(mean, tf.broadcast_to(bounded_log_variance(log_variance), tf.shape(mean)))

    def sample(
        self, epsilon: tf.Tensor | None = None, uniform: tf.Tensor | None = None, *, seed: int | None = None
    ) -> tf.Tensor:
        """mean + stddev * epsilon, epsilon standard normal [..., L] (Kingma & Welling 2014, section 2.4).

        Without `epsilon` it is drawn by `seed`. `uniform` is for priors that are mixtures, and of no use here.
        """
        epsilon = noise.normal_like(self.mean, epsilon, seed)
        return self.mean + tf.exp(0.5 * self.log_variance) * epsilon

    def sample_and_log_prob(self, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z [..., L] and its log density in nats [...]."""
        z = self.sample(epsilon)
        return z, self.log_prob(z)

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

    def marginal_log_variance(self) -> tf.Tensor:
        """The log-variance of each latent by itself: [..., L]."""
        return self.log_variance

    def quantiles(self, probabilities: np.ndarray, seed: int) -> np.ndarray:
        """Of each latent by itself, at these probabilities [Q]: [Q, L]; closed, so without draws by `seed`."""
        standard = np.array([statistics.NormalDist().inv_cdf(p) for p in probabilities])[:, None]
        return self.mean.numpy() + np.exp(self.log_variance.numpy() / 2) * standard

    def as_mixture(self) -> "NormalMixture":
        """The mixture of this one component; mean and log_variance must be [L]."""
        return NormalMixture(tf.zeros([1]), self.mean[None], self.log_variance[None])


class NormalMixture(NamedTuple):
    """A mixture of C diagonal normals over z: logits [C], mean and log_variance [C, L]; no closed KL."""

    logits: tf.Tensor
    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z [..., L] in nats: [...]."""
        components = DiagonalNormal(self.mean, self.log_variance).log_prob(z[..., None, :])
        return tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + components, axis=-1)

    def sample(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z [..., L]: uniform [...] on [0, 1) picks the component, epsilon [..., L] is standard normal."""
        edges = tf.cumsum(tf.nn.softmax(self.logits))[:-1]
        chosen = tf.reduce_sum(tf.cast(uniform[..., None] >= edges, tf.int32), axis=-1)
        return DiagonalNormal(tf.gather(self.mean, chosen), tf.gather(self.log_variance, chosen)).sample(epsilon)

    def quantiles(self, probabilities: np.ndarray, seed: int) -> np.ndarray:
        """Of each latent by itself, at these probabilities [Q]: [Q, L], those of 10,000 draws by `seed`."""
        draws = draw(self, (_QUANTILE_DRAWS, self.mean.shape[-1]), noise.seed_for(seed, noise.Stream.PRIOR))
        return np.quantile(draws.numpy(), probabilities, axis=0)

    def as_mixture(self) -> "NormalMixture":
        """Itself."""
        return self


def draw(prior: "Prior", shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """z ~ p(z) of this shape [..., L], a function of `seed`, int32 [2]."""
    epsilon = noise.normal(shape, seed)
    return prior.sample(epsilon, noise.uniform(shape[:-1], noise.fold_in(seed, 1)))


def standard_normal(latent_dim: int) -> DiagonalNormal:
    """N(0, I) over z."""
    return DiagonalNormal(tf.zeros([latent_dim]), tf.zeros([latent_dim]))
