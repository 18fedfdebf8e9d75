"""Sums over the importance samples of an evaluation, and what one call of its compiled program returns.

Shapes: a block of B images; K samples at a time.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class SampleSums(NamedTuple):
    """Sums over a block's samples; w_s = p(x, z_s) / q(z_s|x), and `largest` is the largest log w_s so far, [B].

    They are the rows of one tensor [4, B], which XLA updates at once: the sums of log p(x|z_s), of log w_s, of
    w_s / exp(largest), which can't overflow, and of its square.
    """

    rows: tf.Tensor
    largest: tf.Tensor

    @classmethod
    def zero(cls, images: int) -> "SampleSums":
        """Before the first sample of so many images."""
        return cls(tf.zeros([4, images]), tf.fill([images], -float("inf")))

    def plus(self, log_likelihood: tf.Tensor, log_w: tf.Tensor) -> "SampleSums":
        """After more samples, [K, B] each."""
        largest = tf.maximum(self.largest, tf.reduce_max(log_w, axis=0))
        scale, w = tf.exp(self.largest - largest), tf.exp(log_w - largest)
        one = tf.ones_like(scale)  # the first two sums are not relative to the largest weight
        rows = self.rows * tf.stack([one, one, scale, tf.square(scale)])
        new = [tf.reduce_sum(values, axis=0) for values in (log_likelihood, log_w, w, tf.square(w))]
        return SampleSums(rows + tf.stack(new), largest)


class BlockSums(NamedTuple):
    """What one call computes of a block of images, [B] each unless it says otherwise."""

    log_likelihood: np.ndarray  # sum over the call's samples
    log_w: np.ndarray  # sum of log w
    log_sum_w: np.ndarray  # log of the sum of w
    log_sum_squared_w: np.ndarray
    kl: np.ndarray  # the closed one, or 0
    squared_error: np.ndarray
    sigma_squared: np.ndarray
    mean: np.ndarray  # [B, L]
