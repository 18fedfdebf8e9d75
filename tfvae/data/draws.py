"""Pixels that are drawn once and for all, as those of evaluation are: stochastic binarization and dequantization.

Shapes: images [N, H, W, C], uint8 in 0 .. 255 or float32 in [0, 1].
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.inputs import to_unit


def draw_once(
    images: np.ndarray, seed: tf.Tensor, draw: Callable[..., tf.Tensor | np.ndarray] = noise.uniform
) -> np.ndarray:
    """`--binarize=stochastic` of evaluation: uint8, 255 with the value as its probability, else 0.

    The probability is the quotient by 255, as it has been in every release: another rounding would change some draws
    and with them the fingerprints that run directories record. `draw(shape, seed)` makes the uniform numbers.
    """
    if images.dtype == np.float32:
        probabilities = images
    else:
        probabilities = images.astype(np.float32) / 255
    is_one = noise.bernoulli(probabilities, seed, draw).numpy() > 0
    return is_one.astype(np.uint8) * 255


def dequantize_once(
    images: np.ndarray, seed: tf.Tensor, draw: Callable[..., tf.Tensor | np.ndarray] = noise.uniform
) -> np.ndarray:
    """`--dequantize` of evaluation: float32, uniform noise of one level's width added to 8-bit pixels."""
    return noise.dequantize(to_unit(tf.constant(images)), seed, draw).numpy()
