"""The continuous Bernoulli likelihood: a density of grey values in [0, 1], which a Bernoulli's cross-entropy is not.

Loaiza-Ganem & Cunningham 2019, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders".

Shapes: x, mean and logits [..., H, W, C]; densities [...], in nats.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core import fast, noise
from tfvae.core.protocols import LearnedVariable

_SMALLEST_LOGIT = 1e-30  # in the place of 0, where formulas of a continuous Bernoulli value divide by it
_LARGEST_FITTED = 1e6  # logit of one


@tf.custom_gradient
def log_normalizer(logits: tf.Tensor) -> tuple[tf.Tensor, object]:
    """log of the integral of exp(logit x) over [0, 1]: log((exp(logit) - 1) / logit). Its gradient is the mean.

    It is written so that nothing cancels near a logit of 0, where lambda = 1/2 and the normalizer's own formula is 0/0
    (Loaiza-Ganem & Cunningham 2019, section 3).
    """
    size = tf.maximum(tf.abs(logits), _SMALLEST_LOGIT)
    value = tf.maximum(logits, 0.0) + tf.math.log(-tf.math.expm1(-size) / size)
    return value, lambda upstream: upstream * continuous_mean(logits)


def continuous_mean(logits: tf.Tensor) -> tf.Tensor:
    """The mean of the density proportional to exp(logit x) on [0, 1]: 1 / (1 - exp(-logit)) - 1 / logit."""
    is_small = tf.abs(logits) < 0.5
    series = 0.5 + logits / 12 - logits**3 / 720 + logits**5 / 30240  # its next term is below 1e-8
    away = tf.where(is_small, 1.0, logits)
    return tf.where(is_small, series, -1.0 / tf.math.expm1(-away) - 1.0 / away)


class ContinuousBernoulli(NamedTuple):
    """Independent values in [0, 1] with the density exp(logit x) / normalizer (Loaiza-Ganem & Cunningham 2019)."""

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z]; not sigmoid(logits), which is its parameter lambda."""
        return continuous_mean(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log density of x in [0, 1]."""
        return fast.sum_over_values(self.element_log_prob(x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log density of each value by itself."""
        return self.logits * x - log_normalizer(self.logits)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform on [0, 1)."""
        return noise.uniform(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x, by uniform noise: the inverse of the distribution function."""
        size = tf.maximum(tf.abs(self.logits), _SMALLEST_LOGIT)
        falling = -tf.math.log1p(noise * tf.math.expm1(-size)) / size  # of a density that falls from 0 on
        return tf.where(self.logits > 0, 1.0 - falling, falling)

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "ContinuousBernoulli":
        """Independent values of these means over `examples` examples, kept off 0 and 1 by half an example."""
        wanted = (mean * examples + 0.5) / (examples + 1)
        low, high = np.full_like(wanted, -_LARGEST_FITTED), np.full_like(wanted, _LARGEST_FITTED)
        for _ in range(60):  # the mean rises with the logit
            middle = (low + high) / 2
            is_low = continuous_mean(tf.constant(middle)).numpy() < wanted
            low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
        return ContinuousBernoulli(tf.constant(low, tf.float32))


@dataclasses.dataclass(frozen=True)
class ContinuousBernoulliFamily:
    """One output a value: its logit."""

    sets_variance = False
    mean_function = "continuous_bernoulli"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel."""
        return channels

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """It learns nothing beside the decoder's outputs."""
        return []

    def from_parameters(self, raw: tf.Tensor) -> ContinuousBernoulli:
        """p(x|z) of outputs [..., H, W, C]."""
        return ContinuousBernoulli(raw)
