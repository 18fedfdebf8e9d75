"""The three models: `Encoder` x -> q(z|x), `Decoder` z -> p(x|z), and `VAE`, which holds both and the prior p(z).

Shapes: x [B, H, W, C] in [0, 1]; z and epsilon [..., L], any leading axes; q(z|x) over [B, L]; p(x|z) over
[..., H, W, C].
"""

import math
import zlib
from typing import Any

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.distributions import Bernoulli, DiagonalNormal, GaussianPixels, bounded_log_variance, standard_normal


def _options(layer: keras.Layer, seed: int, name: str) -> dict[str, Any]:
    """Keyword arguments of a sublayer: its name, and weights that depend on (seed, owner, name) alone."""
    key = f"{seed}/{type(layer).__name__}/{name}".encode()
    return {"name": name, "kernel_initializer": keras.initializers.GlorotUniform(seed=zlib.crc32(key) >> 1)}


class _Network(keras.Model):
    """What `Encoder` and `Decoder` share: their options, kept so that saving and loading repeat them.

    Without a `get_config` of its own a subclassed keras.Model silently saves the default arguments.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        network: str = "mlp",
        hidden_units: tuple[int, ...] = (512,),
        filters: tuple[int, ...] = (32, 64),
        activation: str = "relu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape, self.latent_dim, self.network = tuple(image_shape), latent_dim, network
        self.hidden_units, self.filters, self.activation = tuple(hidden_units), tuple(filters), activation
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        names = ("image_shape", "latent_dim", "network", "hidden_units", "filters", "activation", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not self.built:
            self.build()


@keras.saving.register_keras_serializable("tfvae")
class Encoder(_Network):
    """q(z|x): x [B, H, W, C] -> DiagonalNormal over z [B, L].

    `mlp`: dense layers of `hidden_units`. `conv`: 3x3 convolutions of `filters`, stride 2 each, then dense layers of
    `hidden_units`. The log-variance starts at 0, so the posterior's deviation at 1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conv = {"strides": 2, "padding": "same", "activation": self.activation}
        self.convolutions = tuple(
            keras.layers.Conv2D(size, 3, **conv, **_options(self, self.seed, f"convolution_{i}"))
            for i, size in enumerate(self.filters if self.network == "conv" else ())
        )
        self.flatten = keras.layers.Flatten()
        self.hidden = tuple(
            keras.layers.Dense(size, self.activation, **_options(self, self.seed, f"hidden_{i}"))
            for i, size in enumerate(self.hidden_units)
        )
        self.mean = keras.layers.Dense(self.latent_dim, **_options(self, self.seed, "mean"))
        self.log_variance = keras.layers.Dense(self.latent_dim, kernel_initializer="zeros", name="log_variance")

    def build(self, input_shape: Any = None) -> None:
        shape = (None, *self.image_shape)
        for layer in (*self.convolutions, self.flatten, *self.hidden):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.mean.build(shape)
        self.log_variance.build(shape)
        self.built = True

    def call(self, x: tf.Tensor) -> DiagonalNormal:
        for layer in (*self.convolutions, self.flatten, *self.hidden):
            x = layer(x)
        return DiagonalNormal(self.mean(x), bounded_log_variance(self.log_variance(x)))


@keras.saving.register_keras_serializable("tfvae")
class Decoder(_Network):
    """p(x|z): z [..., L] -> Bernoulli, or normal pixels with deviation `sigma`, over x [..., H, W, C].

    `mlp`: dense layers of `hidden_units` from the last to the first. `conv`: a dense layer to the smallest image, 3x3
    transposed convolutions of `filters` from the last to the first, stride 2 each, and one of stride 1 to the pixels.
    """

    def __init__(self, *args: Any, likelihood: str = "bernoulli", sigma: float = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.likelihood, self.sigma = likelihood, sigma
        height, width, channels = self.image_shape
        conv = {"kernel_size": 3, "padding": "same"}
        if self.network == "mlp":
            sizes = self.hidden_units[::-1]
            self.small = (math.prod(self.image_shape),)
        else:
            scale = 2 ** len(self.filters)
            self.small = (-(-height // scale), -(-width // scale), self.filters[-1])
            sizes = (math.prod(self.small),)
        self.hidden = tuple(
            keras.layers.Dense(size, self.activation, **_options(self, self.seed, f"hidden_{i}"))
            for i, size in enumerate(sizes)
        )
        if self.network == "mlp":
            self.pixels = (keras.layers.Dense(*self.small, **_options(self, self.seed, "pixels")),)
        else:
            self.pixels = tuple(
                keras.layers.Conv2DTranspose(
                    size, strides=2, activation=self.activation, **conv, **_options(self, self.seed, f"convolution_{i}")
                )
                for i, size in enumerate(self.filters[::-1])
            ) + (keras.layers.Conv2DTranspose(channels, **conv, **_options(self, self.seed, "pixels")),)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "likelihood": self.likelihood, "sigma": self.sigma}

    def build(self, input_shape: Any = None) -> None:
        shape = (None, self.latent_dim)
        for layer in self.hidden:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        shape = shape if self.network == "mlp" else (None, *self.small)
        for layer in self.pixels:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        self.built = True

    def call(self, z: tf.Tensor) -> Bernoulli | GaussianPixels:
        height, width, channels = self.image_shape
        h = tf.reshape(z, [-1, self.latent_dim])
        for layer in self.hidden:
            h = layer(h)
        if self.network == "conv":
            h = tf.reshape(h, [-1, *self.small])
        for layer in self.pixels:
            h = layer(h)
        if self.network == "conv":
            h = h[:, :height, :width]  # the smallest image was rounded up
        pixels = tf.reshape(h, tf.concat([tf.shape(z)[:-1], self.image_shape], axis=0))
        pixels.set_shape([*z.shape[:-1], *self.image_shape])
        if self.likelihood == "bernoulli":
            return Bernoulli(pixels)
        return GaussianPixels(pixels, tf.constant(2 * math.log(self.sigma)))


@keras.saving.register_keras_serializable("tfvae")
class Sampling(keras.layers.Layer):
    """z ~ q(z|x) by the reparameterisation z = mean + deviation * epsilon: the one way in which z is drawn."""

    def call(self, q: DiagonalNormal, epsilon: tf.Tensor) -> tf.Tensor:
        return q.sample(epsilon)


@keras.saving.register_keras_serializable("tfvae")
class VAE(keras.Model):
    """Encoder, sampling and decoder; called on x [B, H, W, C] it gives the reconstruction, in the mean of q(z|x)."""

    def __init__(self, encoder: Encoder, decoder: Decoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.sampling, self.decoder = encoder, Sampling(), decoder

    @property
    def prior(self) -> DiagonalNormal:
        """p(z) = N(0, I)."""
        return standard_normal(self.encoder.latent_dim)

    @property
    def xla(self) -> bool:
        """Whether XLA compiles it well. On CPU, its gradients of convolutions are 30 times slower than TensorFlow's."""
        return self.encoder.network != "conv"

    def get_config(self) -> dict[str, Any]:
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return {**super().get_config(), **{k: keras.saving.serialize_keras_object(v) for k, v in parts.items()}}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VAE":
        parts = ("encoder", "decoder")
        return cls(**{k: keras.saving.deserialize_keras_object(v) if k in parts else v for k, v in config.items()})

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build()

    def build(self, input_shape: Any = None) -> None:
        for part in (self.encoder, self.decoder):
            part.build_from_config({})
        self.built = True

    def encode(self, x: tf.Tensor) -> DiagonalNormal:
        """q(z|x) over [B, L]."""
        return self.encoder(x)

    def decode(self, z: tf.Tensor) -> Bernoulli | GaussianPixels:
        """p(x|z) over [..., H, W, C]."""
        return self.decoder(z)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.decode(self.encode(x).mean).mean


def make_vae(config: Config, image_shape: tuple[int, int, int]) -> VAE:
    """A new VAE, its weights a function of `config.seed`, for images of this shape [H, W, C]."""
    names = ("latent_dim", "network", "hidden_units", "filters", "activation", "seed")
    options = {"image_shape": image_shape, **{name: getattr(config, name) for name in names}}
    encoder = Encoder(**options, name="encoder")
    decoder = Decoder(**options, likelihood=config.likelihood, sigma=config.sigma, name="decoder")
    vae = VAE(encoder, decoder, name="vae")  # Keras's own names would count the models of the process
    vae.build()
    return vae
