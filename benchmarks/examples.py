"""The two examples that users of TensorFlow start from, keras.io's VAE and TensorFlow's tutorial, for any network.

benchmarks/contenders.py trains them epoch by epoch; benchmarks/whole_programs.py makes whole programs of them.
TensorFlow is imported by the functions, so that a program can time the import.

Shapes: N images of P pixels.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class Work(NamedTuple):
    """A network and how it is trained: Adam, learning rate 0.001, Bernoulli likelihood, analytic KL."""

    hidden_units: tuple[int, ...]
    latent_dim: int
    batch_size: int
    activation: str
    stochastic: bool = False  # binarized anew in each step; otherwise grey values
    filters: tuple[int, ...] = ()  # of convolutions with stride 2, before the hidden units
    images: int = 60_000  # of an epoch
    contenders: tuple[str, ...] = ("tfvae", "keras_fit", "tutorial", "pytorch", "jax_scan", "products")
    residual_blocks: int = 0  # behind each convolution: tfvae's --network=resnet


def to_unit(images: np.ndarray) -> np.ndarray:
    """The images, uint8 or already fractions, as float32 [N, P] in [0, 1]."""
    x = images.reshape(len(images), -1).astype(np.float32)
    return x / 255 if images.dtype == np.uint8 else x


def whole_batches(work: Work, x: np.ndarray) -> np.ndarray:
    """x [N, P] without the rows that fill no batch: `fit` would make a step of them, which the others don't."""
    return x[: len(x) // work.batch_size * work.batch_size]


def _keras_network(work: Work, pixels: int) -> "tuple[keras.Model, keras.Model]":
    """Encoder -> (mean, log variance) and decoder -> logits, as functional Keras models."""
    import keras
    from keras import layers

    conv = {"activation": "relu", "strides": 2, "padding": "same"}
    inputs = x = keras.Input((pixels,))
    x = layers.Reshape((28, 28, 1))(x) if work.filters else x
    for size in work.filters:
        x = layers.Conv2D(size, 3, **conv)(x)
    x = layers.Flatten()(x)
    for size in work.hidden_units:
        x = layers.Dense(size, activation=work.activation)(x)
    encoder = keras.Model(inputs, [layers.Dense(work.latent_dim)(x), layers.Dense(work.latent_dim)(x)])
    inputs = z = keras.Input((work.latent_dim,))
    if work.filters:
        z = layers.Dense(7 * 7 * work.filters[-1], activation=work.activation)(z)
        z = layers.Reshape((7, 7, work.filters[-1]))(z)
        for size in work.filters[::-1]:
            z = layers.Conv2DTranspose(size, 3, **conv)(z)
        z = layers.Conv2DTranspose(1, 3, padding="same")(z)
        return encoder, keras.Model(inputs, layers.Flatten()(z))
    for size in work.hidden_units[::-1]:
        z = layers.Dense(size, activation=work.activation)(z)
    return encoder, keras.Model(inputs, layers.Dense(pixels)(z))


def keras_vae(work: Work, pixels: int) -> "keras.Model":
    """As in keras.io/examples/generative/vae: a Sampling layer, a `train_step` with trackers; compiled."""
    import keras
    import tensorflow as tf

    class Sampling(keras.layers.Layer):
        def __init__(self, **kwargs) -> None:  # noqa: ANN003
            super().__init__(**kwargs)
            self.seed_generator = keras.random.SeedGenerator(1337)

        def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
            mean, log_variance = inputs
            epsilon = keras.random.normal(keras.ops.shape(mean), seed=self.seed_generator)
            return mean + keras.ops.exp(0.5 * log_variance) * epsilon

    class VAE(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = _keras_network(work, pixels)
            self.sampling = Sampling()
            self.total_loss_tracker = keras.metrics.Mean(name="total_loss")
            self.reconstruction_loss_tracker = keras.metrics.Mean(name="reconstruction_loss")
            self.kl_loss_tracker = keras.metrics.Mean(name="kl_loss")

        @property
        def metrics(self) -> list:
            return [self.total_loss_tracker, self.reconstruction_loss_tracker, self.kl_loss_tracker]

        def train_step(self, x: tf.Tensor) -> dict:
            if work.stochastic:
                x = tf.cast(tf.random.uniform(tf.shape(x)) < x, tf.float32)
            with tf.GradientTape() as tape:
                mean, log_variance = self.encoder(x)
                logits = self.decoder(self.sampling([mean, log_variance]))
                reconstruction = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
                reconstruction_loss = tf.reduce_mean(tf.reduce_sum(reconstruction, axis=1))
                kl_loss = -0.5 * (1 + log_variance - tf.square(mean) - tf.exp(log_variance))
                kl_loss = tf.reduce_mean(tf.reduce_sum(kl_loss, axis=1))
                total_loss = reconstruction_loss + kl_loss
            grads = tape.gradient(total_loss, self.trainable_weights)
            self.optimizer.apply_gradients(zip(grads, self.trainable_weights))
            self.total_loss_tracker.update_state(total_loss)
            self.reconstruction_loss_tracker.update_state(reconstruction_loss)
            self.kl_loss_tracker.update_state(kl_loss)
            return {m.name: m.result() for m in self.metrics}

    vae = VAE()
    vae.compile(optimizer=keras.optimizers.Adam())
    return vae


def tutorial_step(work: Work, pixels: int) -> "tuple[keras.Model, Callable[[tf.Tensor], tf.Tensor]]":
    """As in tensorflow.org/tutorials/generative/cvae: the decoder, and the tf.function of a batch that trains it."""
    import keras
    import tensorflow as tf

    encoder, decoder = _keras_network(work, pixels)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)

    @tf.function
    def train_step(x: tf.Tensor) -> tf.Tensor:
        if work.stochastic:
            x = tf.cast(tf.random.uniform(tf.shape(x)) < x, tf.float32)
        with tf.GradientTape() as tape:
            mean, log_variance = encoder(x)
            logits = decoder(mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean)))
            reconstruction = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
            kl = -0.5 * tf.reduce_sum(1 + log_variance - tf.square(mean) - tf.exp(log_variance), axis=1)
            loss = tf.reduce_mean(tf.reduce_sum(reconstruction, axis=1) + kl)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    return decoder, train_step


def tutorial_batches(work: Work, x: np.ndarray) -> "tf.data.Dataset":
    """Batches of x [N, P], shuffled anew in each epoch."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(x).shuffle(len(x)).batch(work.batch_size, drop_remainder=True)
