"""The layers of the residual network: group normalisation, and a block that adds to its input what it computes of it.

Shapes: images of features [B, h, w, F].
"""

from typing import Any

import keras
import tensorflow as tf

from tfvae.core import fast
from tfvae.core.keras_globals import DATA_FORMAT

_MOST_GROUPS = 8
_LEAST_CHANNELS = 4  # of a group: at one pixel a single channel would be normalised to 0, whatever it says
EPSILON = 1e-5

Shape = tuple[int | None, ...]


def group_count(channels: int) -> int:
    """The groups of so many channels: the largest divisor up to 8 that leaves each of them 4 channels; 1 at least."""
    fitting = (n for n in range(1, _MOST_GROUPS + 1) if channels % n == 0 and channels // n >= _LEAST_CHANNELS)
    return max(fitting, default=1)


@keras.saving.register_keras_serializable("tfvae")
class GroupNorm(keras.layers.Layer):
    """Each group of channels less its mean, over its deviation, of one image; a scale and a centre; an activation.

    The mean and the variance are those of an image's pixels and a group's `group_count` channels, in float32 whatever
    the dtype of the layers is. An image's result does not depend on the others of its batch (Wu & He 2018, eq. 1-7).
    """

    def __init__(self, activation: str = "linear", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.factors: tuple[keras.Variable, ...] = ()  # gamma and beta

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}

    def build(self, input_shape: Shape) -> None:
        # without `autocast` Keras would hand out bfloat16 copies of them
        common = {"shape": (input_shape[-1],), "autocast": False}
        gamma = self.add_weight(name="gamma", initializer="ones", **common)
        self.factors = (gamma, self.add_weight(name="beta", initializer="zeros", **common))
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same."""
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        gamma, beta = (variable.value for variable in self.factors)
        normalised = fast.group_norm(tf.cast(x, tf.float32), gamma, beta, group_count(x.shape[-1]), EPSILON)
        return self.activation(tf.cast(normalised, x.dtype))


@keras.saving.register_keras_serializable("tfvae")
class ResidualBlock(keras.layers.Layer):
    """x + f(x), f twice a `GroupNorm` with SiLU and a 3x3 convolution of as many filters as x has channels.

    Normalisation comes before each convolution, so that nothing stands in the way of x itself (He et al. 2016,
    "Identity Mappings in Deep Residual Networks", figure 4e). The last kernel starts at 0 (Goyal et al. 2017, section
    5.1): a new block is x, and a deep network starts as a shallow one.
    """

    def __init__(self, filters: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        common = {"padding": "same", "data_format": DATA_FORMAT, "dtype": self.dtype_policy}
        self.trunk = (
            GroupNorm("silu", name="norm_0", dtype=self.dtype_policy),
            keras.layers.Conv2D(filters, 3, name="convolution_0", kernel_initializer=self.kernel_initializer, **common),
            GroupNorm("silu", name="norm_1", dtype=self.dtype_policy),
            keras.layers.Conv2D(filters, 3, name="convolution_1", kernel_initializer="zeros", **common),
        )

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.kernel_initializer)
        return {**super().get_config(), "filters": self.filters, "kernel_initializer": initializer}

    def build(self, input_shape: Shape) -> None:
        for layer in self.trunk:
            layer.build(input_shape)
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The same."""
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        features = x
        for layer in self.trunk:
            features = layer(features)
        return x + features
