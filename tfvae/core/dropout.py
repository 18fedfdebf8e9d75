"""Dropout (Srivastava et al. 2014) whose mask is a function of the run's seed and of the step.

Keras's own keeps a state that no checkpoint has, and gives every replica the same mask: a run would not go on after a
kill as if it had not been there, and its numbers would depend on the number of devices.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.errors import InputError


class _Step(NamedTuple):
    """A training step while it is traced; nothing is computed of it where no layer drops out."""

    seed: int
    t: tf.Tensor
    rows: tf.Tensor | None  # int32 [B / R], of the global batch; None: all
    batch_size: int  # B


_step: contextvars.ContextVar[_Step | None] = contextvars.ContextVar("step", default=None)


@contextlib.contextmanager
def in_step(seed: int, t: tf.Tensor, rows: tf.Tensor | None = None, batch_size: int = 0) -> Iterator[None]:
    """Within it the layers drop out, by the masks of step t; they leave what they get as it is anywhere else.

    `rows` are those that the layers are called on, of a global batch of `batch_size` images; None: the whole batch.
    """
    token = _step.set(_Step(seed, t, rows, batch_size))
    try:
        yield
    finally:
        _step.reset(token)


@keras.saving.register_keras_serializable("tfvae")
class Dropout(keras.layers.Layer):
    """Sets each number to 0 with the probability `rate` in training, and divides the others by 1 - rate.

    For networks of the user's own, in the place of Keras's. The mask is a function of the run's seed, of the step and
    of the layer's place in the network. Outside of the training of a VAE of this package it is the identity.

    Raises:
        InputError: `rate` is not a number from 0 to below 1.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise InputError(f"rate={rate!r}: must be a number from 0 to below 1")
        self.rate = float(rate)
        self.seed = 0  # of its place in the network, which sets it

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The same."""
        return input_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """x [B / R, ...], or [K B / R, ...] of K samples for each image, the same images one behind the other."""
        step = _step.get()
        if step is None or self.rate == 0:
            return x
        uniform = self._uniform(step, x)
        return tf.where(uniform < self.rate, tf.zeros_like(x), x / tf.cast(1 - self.rate, x.dtype))

    def _uniform(self, step: _Step, x: tf.Tensor) -> tf.Tensor:
        """Uniform numbers of the shape of x: these rows of the global batch's, so that R changes nothing."""
        seed = noise.fold_in(noise.seed_for(step.seed, Stream.DROPOUT, step.t), self.seed)
        # drawn as a vector: XLA draws other numbers for other shapes of one size
        if step.rows is None or step.rows.shape[0] == step.batch_size:
            is_known = x.shape.is_fully_defined()
            size = (math.prod(x.shape),) if is_known else tf.reshape(tf.size(x), [1])
            return tf.reshape(noise.step_uniform(size, seed), x.shape if is_known else tf.shape(x))
        samples = x.shape[0] // step.rows.shape[0]
        shape = (samples, step.batch_size, *x.shape[1:])
        uniform = tf.reshape(noise.step_uniform((math.prod(shape),), seed), shape)
        return tf.reshape(tf.gather(uniform, step.rows, axis=1), x.shape)
