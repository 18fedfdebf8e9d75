"""Likelihoods of 8-bit pixels: probabilities of the 256 levels k / 255, which sum to 1, so that -log2 p(x) are bits.

Shapes: x and mean [..., H, W, C]; parameters of K components [..., H, W, K] and [..., H, W, C, K]; densities [...] in
nats. The scale of a logistic distribution is its s, not its deviation, which is s pi / sqrt(3).
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core import fast, noise
from tfvae.core.distributions import bounded_log_variance
from tfvae.core.inputs import to_unit
from tfvae.core.protocols import LearnedVariable

LEVELS = 256
_HALF_STEP = 0.5 / (LEVELS - 1)  # from a level to the border of the next
_LOG_SCALE_FLOOR = -7.0 - math.log(2)  # that of PixelCNN++, whose pixels are from -1 to 1
_START_LOG_SCALE = math.log(0.25 * math.sqrt(3) / math.pi)  # of a deviation of 1/4, as that of many images' pixels
_SMALLEST_DEVIATION = 0.1 / LEVELS  # of a fitted density: some pixels have one value in all training images


def logistic_log_prob(x: tf.Tensor, location: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """log P(level of x) of each value under a logistic distribution that is rounded to levels.

    All that is beyond the first and the last level counts as these (Salimans et al. 2017, eq. 2). The difference of
    two sigmoids is written as a product, sigmoid(a) sigmoid(-b) (1 - exp(b - a)), so that none of its values is lost
    to rounding, however far x is from the location.
    """
    inverse_scale = tf.exp(-log_scale)
    upper = (x + _HALF_STEP - location) * inverse_scale
    lower = (x - _HALF_STEP - location) * inverse_scale
    log_below = tf.math.log_sigmoid(upper)  # log P(level or a lower one)
    log_above = tf.math.log_sigmoid(-lower)  # log P(level or a higher one)
    between = log_below + log_above + tf.math.log(-tf.math.expm1(-2 * _HALF_STEP * inverse_scale))
    return tf.where(x < _HALF_STEP, log_below, tf.where(x > 1 - _HALF_STEP, log_above, between))


def logistic_mean(location: tf.Tensor, log_scale: tf.Tensor) -> tf.Tensor:
    """The mean of a logistic distribution that is cut at 0 and 1.

    It is that of the levels to within half of a level's width, and to within a thousandth of it for scales of two
    levels and more: the sum over levels is the midpoint rule of this integral.
    """
    scale = tf.exp(log_scale)
    return scale * (tf.math.softplus(location / scale) - tf.math.softplus((location - 1.0) / scale))


def nearest_level(x: tf.Tensor) -> tf.Tensor:
    """The level k / 255 that is nearest to x."""
    return tf.round(tf.clip_by_value(x, 0.0, 1.0) * (LEVELS - 1.0)) * (1.0 / (LEVELS - 1.0))


def logistic_sample(location: tf.Tensor, log_scale: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """A level, by uniform numbers on [0, 1)."""
    return nearest_level(location + tf.exp(log_scale) * (tf.math.log(uniform) - tf.math.log1p(-uniform)))


def _log_scale_of(raw: tf.Tensor) -> tf.Tensor:
    """The log-scale that an output stands for: that of a sum with the floor, so that it always has a gradient."""
    log_scale = bounded_log_variance(raw + _START_LOG_SCALE)
    return tf.reduce_logsumexp([log_scale, tf.fill(tf.shape(log_scale), _LOG_SCALE_FLOOR)], axis=0)


class DiscretizedLogistic(NamedTuple):
    """Independent values, each a logistic variable that is rounded to its level (Kingma et al. 2016, section 5)."""

    location: tf.Tensor
    log_scale: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z], as `logistic_mean` has it."""
        return logistic_mean(self.location, self.log_scale)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log P(x), a probability."""
        return fast.sum_over_values(self.element_log_prob(x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log P of each value by itself."""
        return logistic_log_prob(x, self.location, self.log_scale)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform on [0, 1)."""
        return noise.uniform(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x, of 256 levels, by uniform noise."""
        return logistic_sample(self.location, self.log_scale, noise)

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "DiscretizedLogistic":
        """Independent values of these means and variances."""
        deviation = np.maximum(np.sqrt(variance), _SMALLEST_DEVIATION)
        log_scale = np.log(deviation * math.sqrt(3) / math.pi)
        return DiscretizedLogistic(tf.constant(mean, tf.float32), tf.constant(log_scale, tf.float32))


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticFamily:
    """Two outputs a value: its location, less 1/2, and its log-scale."""

    sets_variance = False
    mean_function = "logistic"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel."""
        return 2 * channels

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """It learns nothing beside the decoder's outputs."""
        return []

    def from_parameters(self, raw: tf.Tensor) -> DiscretizedLogistic:
        """p(x|z) of outputs [..., H, W, 2 C]: all locations, then all log-scales."""
        location, log_scale = tf.split(raw, 2, axis=-1)
        return DiscretizedLogistic(location + 0.5, _log_scale_of(log_scale))


class LogisticMixture(NamedTuple):
    """Independent pixels, each a mixture of K rounded logistic variables (Salimans et al. 2017, section 2.1 and 2.2).

    One component is drawn for all channels of a pixel. Within it the location of a channel moves linearly with the
    channels before it: by `coefficients` [..., H, W, C (C - 1) / 2, K], of the pairs (1, 0), (2, 0), (2, 1), ...: three
    of colour, none of grey, and six of four channels. So single values have no log density, and missing ones can't be
    filled in.
    """

    logits: tf.Tensor
    location: tf.Tensor
    log_scale: tf.Tensor
    coefficients: tf.Tensor

    def _location_given(self, channel: int, earlier: list[tf.Tensor]) -> tf.Tensor:
        """Of a channel, [..., H, W, K], given those before it, [..., H, W, 1 or K] each."""
        first = channel * (channel - 1) // 2
        location = self.location[..., channel, :]
        for other, value in enumerate(earlier):
            location += self.coefficients[..., first + other, :] * (value - 0.5)
        return location

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z], as `logistic_mean` has it, each channel's at the means of those before it in its component."""
        of_components: list[tf.Tensor] = []
        for channel in range(self.location.shape[-2]):
            location = self._location_given(channel, of_components)
            of_components.append(logistic_mean(location, self.log_scale[..., channel, :]))
        weights = tf.nn.softmax(self.logits)
        return tf.stack([tf.reduce_sum(weights * mean, axis=-1) for mean in of_components], axis=-1)

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log P(x), a probability."""
        values = [x[..., channel, None] for channel in range(x.shape[-1])]
        log_p = tf.nn.log_softmax(self.logits)  # log P(component, channels so far): [..., H, W, K]
        for channel, value in enumerate(values):
            location = self._location_given(channel, values[:channel])
            log_p += logistic_log_prob(value, location, self.log_scale[..., channel, :])
        return fast.sum_over_values(tf.reduce_logsumexp(log_p, axis=-1, keepdims=True))

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform on [0, 1), [..., H, W, C + 1]: the last is the component's."""
        return noise.uniform((*shape[:-1], shape[-1] + 1), seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x, of 256 levels, by uniform noise."""
        chosen = _one_hot_draw(self.logits, noise[..., -1])
        values: list[tf.Tensor] = []
        for channel in range(self.location.shape[-2]):
            earlier = [value[..., None] for value in values]
            location = tf.reduce_sum(chosen * self._location_given(channel, earlier), axis=-1)
            log_scale = tf.reduce_sum(chosen * self.log_scale[..., channel, :], axis=-1)
            values.append(logistic_sample(location, log_scale, noise[..., channel]))
        return tf.stack(values, axis=-1)


def _one_hot_draw(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """One of the K categories of logits [..., K], by uniform numbers [...] on [0, 1): one-hot [..., K]."""
    below = tf.cumsum(tf.nn.softmax(logits), axis=-1)[..., :-1]  # the last category takes what rounding leaves
    index = tf.reduce_sum(tf.cast(uniform[..., None] >= below, tf.int32), axis=-1)
    return tf.one_hot(index, logits.shape[-1])


@dataclasses.dataclass(frozen=True)
class LogisticMixtureFamily:
    """Outputs a pixel: `components` logits, then locations, log-scales and what makes the coefficients, K of each."""

    components: int

    sets_variance = False
    mean_function = "logistic_mixture"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel: 10 K of three channels, 3 K of one."""
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """It learns nothing beside the decoder's outputs."""
        return []

    def from_parameters(self, raw: tf.Tensor) -> LogisticMixture:
        """p(x|z) of outputs [..., H, W, parameters_per_pixel]."""
        groups = raw.shape[-1] // self.components  # 1 + 2 C + C (C - 1) / 2
        channels = next(c for c in range(1, groups) if self.parameters_per_pixel(c) == raw.shape[-1])
        outputs = tf.reshape(raw, tf.concat([tf.shape(raw)[:-1], [groups, self.components]], axis=0))
        outputs = tf.ensure_shape(outputs, [*raw.shape[:-1], groups, self.components])
        logits, location = outputs[..., 0, :], outputs[..., 1 : 1 + channels, :]
        log_scale, coefficients = outputs[..., 1 + channels : 1 + 2 * channels, :], outputs[..., 1 + 2 * channels :, :]
        # the components start at levels of their own: equal ones would have equal gradients, and stay equal
        places = tf.constant((np.arange(self.components) + 0.5) / self.components, tf.float32)
        return LogisticMixture(logits, location + places, _log_scale_of(log_scale), tf.tanh(coefficients))


def _levels() -> tf.Tensor:
    """All levels, as stored pixels become x: [256]."""
    return to_unit(tf.range(LEVELS))


class Categorical(NamedTuple):
    """Independent values, each with a probability for each of the 256 levels: logits [..., H, W, C, 256]."""

    logits: tf.Tensor

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z]."""
        return tf.linalg.matvec(tf.nn.softmax(self.logits), _levels())

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log P(x), a probability."""
        return fast.sum_over_values(self.element_log_prob(x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log P of each value by itself."""
        level = tf.cast(tf.round(x * (LEVELS - 1.0)), tf.int32)
        return tf.reduce_sum(tf.one_hot(level, LEVELS) * tf.nn.log_softmax(self.logits), axis=-1)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x."""
        return self.mean - x

    @staticmethod
    def noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """Uniform on [0, 1)."""
        return noise.uniform(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x, of 256 levels, by uniform noise."""
        return tf.linalg.matvec(_one_hot_draw(self.logits, noise), _levels())

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "Categorical":
        """Independent values of a discretized logistic distribution of these means and variances."""
        fitted = DiscretizedLogistic(tf.zeros([]), tf.zeros([])).fitted_to(mean, variance, examples)
        return Categorical(logistic_log_prob(_levels(), fitted.location[..., None], fitted.log_scale[..., None]))


@dataclasses.dataclass(frozen=True)
class CategoricalFamily:
    """256 outputs a value: the logits of its levels."""

    sets_variance = False
    mean_function = "softmax"

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel."""
        return LEVELS * channels

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """It learns nothing beside the decoder's outputs."""
        return []

    def from_parameters(self, raw: tf.Tensor) -> Categorical:
        """p(x|z) of outputs [..., H, W, 256 C]."""
        channels = raw.shape[-1] // LEVELS
        logits = tf.reshape(raw, tf.concat([tf.shape(raw)[:-1], [channels, LEVELS]], axis=0))
        return Categorical(tf.ensure_shape(logits, [*raw.shape[:-1], channels, LEVELS]))
