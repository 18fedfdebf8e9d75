"""The families of p(x|z): what the decoder's outputs mean.

A likelihood is two small classes. The family has the settings, says how many outputs of the decoder a value takes and
what else it learns, and turns both into a density: `protocols.LikelihoodFamily`. The density is a NamedTuple of tensors
with the methods of `protocols.Density`. To add one, write them here, name the family in `make_family`, and add its row
to `config/capabilities.py`.

Shapes: x, mean and logits [..., H, W, C]; densities [...], in nats.
"""

import dataclasses
import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.config import capabilities
from tfvae.core import fast, noise
from tfvae.core.continuous_bernoulli import ContinuousBernoulliFamily
from tfvae.core.distributions import bounded_log_variance, normal_log_density
from tfvae.core.level_likelihoods import CategoricalFamily, DiscretizedLogisticFamily, LogisticMixtureFamily
from tfvae.core.protocols import LearnedVariable, LikelihoodFamily

_START_STDDEV = 0.5  # of values, where it is learned and the images' own deviation is not told
_LOG_VARIANCE_STEP = 0.02  # by which a learned log-variance moves in a step, at least, under Adam and its like
LOG_VARIANCE_CHANGE = "log_variance_change"  # the variable of a learned log-variance, which counts in its pace
_VARIANCE_FLOOR = 1e-4  # of a fitted density: some pixels have one value in all training images


class Bernoulli(NamedTuple):
    """Independent values, 1 with probability sigmoid(logits)."""

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """P(x = 1) of each value."""
        return tf.sigmoid(self.logits)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p(x) for x in {0, 1}; for grey x in [0, 1] minus the usual cross-entropy."""
        return -fast.sum_over_values(fast.cross_entropy(self.logits, x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of each value by itself, within the rounding of its logit: `log_prob` is more exact at far logits."""
        return self.logits * x - tf.math.softplus(self.logits)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform on [0, 1)."""
        return noise.uniform(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x in {0, 1}, by uniform noise."""
        return tf.cast(noise < self.mean, tf.float32)

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "Bernoulli":
        """Independent values of these means over `examples` examples, kept off 0 and 1 by half an example."""
        chance = (mean * examples + 0.5) / (examples + 1)
        return Bernoulli(tf.constant(np.log(chance / (1 - chance)), tf.float32))


@dataclasses.dataclass(frozen=True)
class BernoulliFamily:
    """One output a value: its logit."""

    sets_variance = False
    mean_function = "sigmoid"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel."""
        return channels

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """It learns nothing beside the decoder's outputs."""
        return []

    def from_parameters(self, raw: tf.Tensor) -> Bernoulli:
        """p(x|z) of outputs [..., H, W, C]."""
        return Bernoulli(raw)


class Gaussian(NamedTuple):
    """Independent normal values; log_variance of any shape that broadcasts to the mean's."""

    mean: tf.Tensor
    log_variance: tf.Tensor

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log density of x. A density: it may well be positive."""
        return fast.sum_over_values(self.element_log_prob(x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log density of each value by itself."""
        return normal_log_density(x, self.mean, self.log_variance)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Standard normal."""
        return noise.normal(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x, by standard normal noise."""
        return self.mean + tf.exp(0.5 * self.log_variance) * noise

    @property
    def variance(self) -> tf.Tensor:
        """Of each value, of the mean's shape."""
        return tf.broadcast_to(tf.exp(self.log_variance), tf.shape(self.mean))

    @property
    def mean_variance(self) -> tf.Tensor:
        """The mean over an image's values of their variance, [...]."""
        return tf.reduce_mean(self.variance, axis=(-3, -2, -1))

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "Gaussian":
        """Independent values of these means and variances, the latter 1e-4 or more."""
        log_variance = np.log(np.maximum(variance, _VARIANCE_FLOOR))
        return Gaussian(tf.constant(mean, tf.float32), tf.constant(log_variance, tf.float32))


@dataclasses.dataclass(frozen=True)
class GaussianFamily:
    """The mean, and, where the stddev is a function of z, as many outputs again for its log-variance.

    `sigma` is the stddev: a number, or `learned` (one for all values), `per_pixel` (one each), `of_z` (a function of
    z), or `optimal` (one for all values, which is set to the maximum of the likelihood: Rybkin et al. 2021, section
    3.2). A variance that is no number is `sigma_floor`^2 and more, so that the density is bounded.

    It starts from `start_stddev`^2, the images' own; None is 0.5, where older models started. `pace` says how many
    times faster than any other variable the log-variance moves: what is learned is its change from the start, divided
    by `pace`.
    """

    sigma: float | str
    sigma_floor: float
    start_stddev: float | None = None
    pace: float = 1.0

    mean_function = "first"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel, the means first."""
        return 2 * channels if self.sigma == "of_z" else channels

    @property
    def sets_variance(self) -> bool:
        """Whether a step sets the log-variance to its maximum."""
        return self.sigma == "optimal"

    @property
    def start_log_variance(self) -> float:
        """Where a variance starts that is no number."""
        return 2 * math.log(_START_STDDEV if self.start_stddev is None else self.start_stddev)

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """The log-variance, or its change, where there is one beside the decoder's outputs."""
        start = keras.initializers.Constant(self.start_log_variance)
        if self.sigma == "optimal":
            return [LearnedVariable("log_variance", (), start, trainable=False)]
        if self.sigma not in ("learned", "per_pixel"):
            return []
        shape = () if self.sigma == "learned" else image_shape
        if self.start_stddev is None:  # older models learn the log-variance itself
            return [LearnedVariable("log_variance", shape, start)]
        return [LearnedVariable(LOG_VARIANCE_CHANGE, shape, keras.initializers.Zeros())]

    def from_parameters(self, raw: tf.Tensor, *learned: tf.Tensor) -> Gaussian:
        """p(x|z) of outputs [..., H, W, parameters_per_pixel(C)] and of what `variables` lists."""
        if not isinstance(self.sigma, str):
            return Gaussian(raw, tf.constant(2 * math.log(self.sigma)))
        if self.sigma == "of_z":
            channels = raw.shape[-1] // 2
            return Gaussian(raw[..., :channels], self._above_floor(raw[..., channels:] + self.start_log_variance))
        return Gaussian(raw, self.log_variance(*learned))

    def log_variance(self, learned: tf.Tensor) -> tf.Tensor:
        """The log-variance that the one variable of `variables` stands for, of the variable's shape."""
        if self.sigma == "optimal":  # it is set to no less than the floor
            return learned
        if self.start_stddev is None:
            return self._above_floor(learned)
        return self._above_floor(self.start_log_variance + self.pace * learned)

    def _above_floor(self, log_variance: tf.Tensor) -> tf.Tensor:
        """That of the sum of this variance and of `sigma_floor`^2."""
        floor = tf.fill(tf.shape(log_variance), 2 * math.log(self.sigma_floor))
        return tf.reduce_logsumexp([bounded_log_variance(log_variance), floor], axis=0)


def sigma_pace(optimizer: str, learning_rate: float) -> float:
    """How many times faster than the weights a learned log-variance moves: `pace`.

    Under Adam, RMSprop and Adagrad a variable moves by the learning rate in a step, however steep the loss is: from
    the images' own deviation down to a good model's, a log-variance would take thousands of steps. SGD's step grows
    with the gradient, which is a sum over all values of an image, and needs no help.
    """
    if optimizer == "sgd":
        return 1.0
    return max(1.0, _LOG_VARIANCE_STEP / learning_rate)


def optimal_log_variance(mean_squared_error: tf.Tensor, sigma_floor: float) -> tf.Tensor:
    """The log-variance under which values with this error are the likeliest; no less than that of `sigma_floor`.

    Rybkin et al. 2021, "Simple and effective VAE training with calibrated decoders", eq. 6.
    """
    return tf.math.log(tf.maximum(mean_squared_error, sigma_floor**2))


def make_family(
    likelihood: str,
    sigma: float | str,
    sigma_floor: float,
    start_stddev: float | None = None,
    sigma_pace: float = 1.0,
    components: int = 10,
) -> LikelihoodFamily:
    """The family of this name; raises ValueError where there is none."""
    if likelihood == "bernoulli":
        return BernoulliFamily()
    if likelihood == "gaussian":
        return GaussianFamily(sigma, sigma_floor, start_stddev, sigma_pace)
    if likelihood == "continuous_bernoulli":
        return ContinuousBernoulliFamily()
    if likelihood == "discretized_logistic":
        return DiscretizedLogisticFamily()
    if likelihood == "logistic_mixture":
        return LogisticMixtureFamily(components)
    if likelihood == "categorical":
        return CategoricalFamily()
    raise ValueError(f"likelihood={likelihood!r}: must be one of {', '.join(capabilities.LIKELIHOODS)}")
