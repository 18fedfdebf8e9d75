"""The families of q(z|x): what the encoder's outputs mean, and how z is drawn from them.

Each is a NamedTuple of tensors with the methods of `protocols.Posterior`, which says what each is for. To add one,
write its class here, put it into POSTERIORS, and add its row to `config/capabilities.py`.

Shapes: z, epsilon and all parameters [..., L] unless they say otherwise; densities [...], in nats.
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.core import fast, noise
from tfvae.core.distributions import LOG_2_PI, DiagonalNormal, bounded_log_variance
from tfvae.core.protocols import Posterior


class IsotropicNormal(DiagonalNormal):
    """N(mean, variance I): a diagonal normal whose latents have one variance."""

    __slots__ = ()

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """Outputs of the encoder that make one."""
        return {"mean": latent_dim, "log_variance": 1}


class FullNormal(NamedTuple):
    """N(mean, C C') over z, C = below + diag(exp(log_variance / 2)): mean and log_variance [..., L], below [..., L, L].

    `below` is strictly lower triangular; `log_variance` is of each latent given those before it.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor
    below: tf.Tensor

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """Outputs of the encoder that make one: the last are C's entries below the diagonal, row by row.

        One more output, the last, has no effect: `from_head` takes it for the other places, and makes them 0.
        """
        return {"mean": latent_dim, "log_variance": latent_dim, "below": latent_dim * (latent_dim - 1) // 2 + 1}

    @classmethod
    def from_head(cls, mean: tf.Tensor, log_variance: tf.Tensor, entries: tf.Tensor) -> "FullNormal":
        """Made of these outputs."""
        size = mean.shape[-1]
        rows_and_columns = np.tril_indices(size, -1)
        places = np.full((size, size), len(rows_and_columns[0]))
        places[rows_and_columns] = np.arange(len(rows_and_columns[0]))
        strictly_lower = np.tril(np.ones((size, size), np.float32), -1)
        log_variance = tf.broadcast_to(bounded_log_variance(log_variance), tf.shape(mean))
        return cls(mean, log_variance, tf.gather(entries, places, axis=-1) * strictly_lower)

    def cholesky(self) -> tf.Tensor:
        """C: [..., L, L]."""
        return self.below + tf.linalg.diag(tf.exp(0.5 * self.log_variance))

    def sample(self, epsilon: tf.Tensor | None = None, *, seed: int | None = None) -> tf.Tensor:
        """mean + C epsilon, epsilon standard normal; without it, drawn by `seed`."""
        epsilon = noise.normal_like(self.mean, epsilon, seed)
        return self.mean + tf.linalg.matvec(self.cholesky(), epsilon)

    def sample_and_log_prob(self, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z and its log density."""
        z = self.sample(epsilon)
        return z, self.log_prob(z)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z."""
        epsilon = tf.linalg.triangular_solve(self.cholesky(), (z - self.mean)[..., None])[..., 0]
        return -0.5 * tf.reduce_sum(LOG_2_PI + self.log_variance + tf.square(epsilon), axis=-1)

    def kl(self, other: DiagonalNormal) -> tf.Tensor:
        """KL(self || other); with `below` 0 it is the diagonal normal's."""
        off_diagonal = tf.reduce_sum(tf.square(self.below) * tf.exp(-other.log_variance)[..., None], axis=(-2, -1))
        return DiagonalNormal(self.mean, self.log_variance).kl(other) + 0.5 * off_diagonal

    def marginal_log_variance(self) -> tf.Tensor:
        """The log-variance of each latent by itself."""
        return tf.math.log(tf.reduce_sum(tf.square(self.cholesky()), axis=-1))


class Laplace(NamedTuple):
    """Independent Laplace latents of this mean and log-variance; their KL is sampled."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """Outputs of the encoder that make one."""
        return DiagonalNormal.head_sizes(latent_dim)

    @classmethod
    def from_head(cls, mean: tf.Tensor, log_variance: tf.Tensor) -> "Laplace":
        """Made of these outputs."""
        return cls(*DiagonalNormal.from_head(mean, log_variance))

    def log_scale(self) -> tf.Tensor:
        """log b, where the variance is 2 b^2."""
        return 0.5 * (self.log_variance - math.log(2.0))

    def sample(self, epsilon: tf.Tensor | None = None, *, seed: int | None = None) -> tf.Tensor:
        """mean + F^-1(Phi(epsilon)): Phi the standard normal's distribution function, F the centred Laplace's.

        Without `epsilon` it is drawn by `seed`.
        """
        epsilon = noise.normal_like(self.mean, epsilon, seed)
        standard = -tf.sign(epsilon) * tf.math.log(tf.math.erfc(tf.abs(epsilon) * math.sqrt(0.5)))
        return self.mean + tf.exp(self.log_scale()) * standard

    def sample_and_log_prob(self, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z and its log density."""
        z = self.sample(epsilon)
        return z, self.log_prob(z)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z."""
        log_scale = self.log_scale()
        nats = math.log(2.0) + log_scale + tf.abs(z - self.mean) * tf.exp(-log_scale)
        return -tf.reduce_sum(nats, axis=-1)

    def marginal_log_variance(self) -> tf.Tensor:
        """The log-variance of each latent by itself."""
        return self.log_variance


class Logistic(NamedTuple):
    """Independent logistic latents of this mean and log-variance; their KL is sampled."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """Outputs of the encoder that make one."""
        return DiagonalNormal.head_sizes(latent_dim)

    @classmethod
    def from_head(cls, mean: tf.Tensor, log_variance: tf.Tensor) -> "Logistic":
        """Made of these outputs."""
        return cls(*DiagonalNormal.from_head(mean, log_variance))

    def log_scale(self) -> tf.Tensor:
        """log s, where the variance is (pi s)^2 / 3."""
        return 0.5 * (self.log_variance + math.log(3.0) - 2 * math.log(math.pi))

    def sample(self, epsilon: tf.Tensor | None = None, *, seed: int | None = None) -> tf.Tensor:
        """mean + F^-1(Phi(epsilon)): Phi the standard normal's distribution function, F the centred logistic's.

        Without `epsilon` it is drawn by `seed`.
        """
        epsilon = noise.normal_like(self.mean, epsilon, seed)
        above = tf.math.erfc(epsilon * math.sqrt(0.5))
        below = tf.math.erfc(-epsilon * math.sqrt(0.5))
        return self.mean + tf.exp(self.log_scale()) * (tf.math.log(below) - tf.math.log(above))

    def sample_and_log_prob(self, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z and its log density."""
        z = self.sample(epsilon)
        return z, self.log_prob(z)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log density of z."""
        log_scale = self.log_scale()
        y = tf.abs(z - self.mean) * tf.exp(-log_scale)  # the density is symmetric
        return -tf.reduce_sum(y + 2 * tf.math.log1p(tf.exp(-y)) + log_scale, axis=-1)

    def marginal_log_variance(self) -> tf.Tensor:
        """The log-variance of each latent by itself."""
        return self.log_variance


POSTERIORS: dict[str, type[Any]] = {  # each made of outputs of its own: `protocols.Posterior`
    "isotropic": IsotropicNormal,
    "diagonal": DiagonalNormal,
    "full": FullNormal,
    "laplace": Laplace,
    "logistic": Logistic,
}


@keras.saving.register_keras_serializable("tfvae")
class PosteriorHead(keras.layers.Layer):
    """Features [B, F] -> q(z|x) of a family: a dense layer for each of its parameters, computed as one product.

    The mean's kernel is drawn by `mean_seed`; all else starts at 0, hence each log-variance at 0 and each stddev at 1.
    """

    def __init__(self, family: str, latent_dim: int, mean_seed: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.family, self.latent_dim, self.mean_seed = family, latent_dim, mean_seed
        self.kernels: tuple[keras.Variable, ...] = ()
        self.biases: tuple[keras.Variable, ...] = ()

    def get_config(self) -> dict[str, object]:
        names = ("family", "latent_dim", "mean_seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        features = input_shape[-1]
        for name, size in POSTERIORS[self.family].head_sizes(self.latent_dim).items():
            start = keras.initializers.GlorotUniform(self.mean_seed) if name == "mean" else "zeros"
            kernel = self.add_weight(name=f"{name}_kernel", shape=(features, size), initializer=start)
            bias = self.add_weight(name=f"{name}_bias", shape=(size,), initializer="zeros")
            self.kernels += (kernel,)
            self.biases += (bias,)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[B, L]: what q(z|x) is over."""
        return (*input_shape[:-1], self.latent_dim)

    def call(self, features: tf.Tensor) -> Posterior:
        kernels = [tf.convert_to_tensor(kernel) for kernel in self.kernels]
        biases = [tf.convert_to_tensor(bias) for bias in self.biases]
        return POSTERIORS[self.family].from_head(*fast.outputs_by_one_product(features, kernels, biases))
