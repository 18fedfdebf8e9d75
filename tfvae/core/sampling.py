"""How z is drawn between encoder and decoder.

Shapes: epsilon and z [..., L]; q(z|x) over [B, L].
"""

import keras
import tensorflow as tf

from tfvae.core.protocols import Posterior


@keras.saving.register_keras_serializable("tfvae")
class Sampling(keras.layers.Layer):
    """z ~ q(z|x) by the reparameterisation z = mean + stddev * epsilon: the one way in which z is drawn."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[B, L], as `summary` shows it."""
        return input_shape

    def call(
        self, posterior: Posterior, epsilon: tf.Tensor, with_log_prob: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """z [..., L] of standard normal epsilon [..., L]; with `with_log_prob` also log q(z|x) in nats [...]."""
        return posterior.sample_and_log_prob(epsilon) if with_log_prob else posterior.sample(epsilon)
