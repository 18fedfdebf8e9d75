"""The three models: `Encoder` x -> q(z|x), `Decoder` z -> p(x|z), and `VAE`, which holds both and the prior p(z).

Shapes: x [B, H, W, C] in [0, 1]; z and epsilon [..., L], any leading axes; q(z|x) over [B, L]; p(x|z) over
[..., H, W, C].
"""

import math
import zlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.distributions import (
    Bernoulli,
    DiagonalNormal,
    FullNormal,
    GaussianPixels,
    Laplace,
    Logistic,
    NormalMixture,
    bounded_log_variance,
    standard_normal,
)

Posterior = DiagonalNormal | FullNormal | Laplace | Logistic
_START_LOG_VARIANCE = 2 * math.log(0.5)  # of pixels, where it is learned


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
        products: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape, self.latent_dim, self.network = tuple(image_shape), latent_dim, network
        self.hidden_units, self.filters, self.activation = tuple(hidden_units), tuple(filters), activation
        self.seed, self.products = seed, products

    def _options(self, name: str) -> dict[str, Any]:
        """Keyword arguments of a layer whose products are of the type `products`, its weights of float32."""
        return {**_options(self, self.seed, name), "dtype": {"bfloat16": "mixed_bfloat16"}.get(self.products)}

    def get_config(self) -> dict[str, Any]:
        names = ("image_shape", "latent_dim", "network", "hidden_units", "filters", "activation", "seed", "products")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not self.built:
            self.build()


@keras.saving.register_keras_serializable("tfvae")
class Encoder(_Network):
    """q(z|x): x [B, H, W, C] -> a distribution over z [B, L]: `isotropic`, `diagonal`, `full`, `laplace`, `logistic`.

    `mlp`: dense layers of `hidden_units`. `conv`: 3x3 convolutions of `filters`, stride 2 each, then dense layers of
    `hidden_units`. The log-variance starts at 0, so the posterior's deviation at 1.
    """

    def __init__(self, *args: Any, posterior: str = "diagonal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posterior = posterior
        conv = {"strides": 2, "padding": "same", "activation": self.activation}
        self.convolutions = tuple(
            keras.layers.Conv2D(size, 3, **conv, **self._options(f"convolution_{i}"))
            for i, size in enumerate(self.filters if self.network == "conv" else ())
        )
        self.flatten = keras.layers.Flatten()
        self.hidden = tuple(
            keras.layers.Dense(size, self.activation, **self._options(f"hidden_{i}"))
            for i, size in enumerate(self.hidden_units)
        )
        self.mean = keras.layers.Dense(self.latent_dim, **_options(self, self.seed, "mean"))
        spread = 1 if posterior == "isotropic" else self.latent_dim
        self.log_variance = keras.layers.Dense(spread, kernel_initializer="zeros", name="log_variance")
        self.heads = (self.mean, self.log_variance)
        if (
            posterior == "full"
        ):  # the entries of the Cholesky factor below its diagonal, row by row, and one for the rest
            size = self.latent_dim * (self.latent_dim - 1) // 2
            self.heads += (keras.layers.Dense(size + 1, kernel_initializer="zeros", name="below"),)
            self.places = np.full((self.latent_dim, self.latent_dim), size)
            self.places[np.tril_indices(self.latent_dim, -1)] = np.arange(size)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "posterior": self.posterior}

    def build(self, input_shape: Any = None) -> None:
        shape = (None, *self.image_shape)
        for layer in (*self.convolutions, self.flatten, *self.hidden):
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        for head in self.heads:
            head.build(shape)
        self.built = True

    def call(self, x: tf.Tensor) -> Posterior:
        for layer in (*self.convolutions, self.flatten, *self.hidden):
            x = layer(x)
        x = tf.cast(x, tf.float32)
        # one product for all heads: XLA is slow at one of as few columns as latents
        kernel, bias = (tf.concat([getattr(h, n) for h in self.heads], axis=-1) for n in ("kernel", "bias"))
        mean, log_variance, *below = tf.split(tf.matmul(x, kernel) + bias, [h.units for h in self.heads], axis=-1)
        log_variance = tf.broadcast_to(bounded_log_variance(log_variance), tf.shape(mean))
        if self.posterior == "full":
            below = tf.gather(below[0], self.places, axis=-1)  # [B, L, L]
            return FullNormal(mean, log_variance, below * np.tril(np.ones(self.places.shape, np.float32), -1))
        family = {"laplace": Laplace, "logistic": Logistic}.get(self.posterior, DiagonalNormal)
        return family(mean, log_variance)


@keras.saving.register_keras_serializable("tfvae")
class Decoder(_Network):
    """p(x|z): z [..., L] -> Bernoulli or normal pixels over x [..., H, W, C].

    The deviation of normal pixels is the number `sigma`, or learned: `learned` is one for all pixels, `per_pixel` one
    each, `of_z` a function of z. A learned variance is `sigma_floor`^2 and more: the density is bounded.

    `mlp`: dense layers of `hidden_units` from the last to the first. `conv`: a dense layer to the smallest image, 3x3
    transposed convolutions of `filters` from the last to the first, stride 2 each, and one of stride 1 to the pixels.
    """

    def __init__(
        self,
        *args: Any,
        likelihood: str = "bernoulli",
        sigma: float | str = 0.1,
        sigma_floor: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.likelihood, self.sigma, self.sigma_floor = likelihood, sigma, sigma_floor
        height, width, channels = self.image_shape
        if likelihood == "gaussian" and sigma == "of_z":
            channels *= 2
        conv = {"kernel_size": 3, "padding": "same"}
        if self.network == "mlp":
            sizes = self.hidden_units[::-1]
            self.small = (height * width * channels,)
        else:
            scale = 2 ** len(self.filters)
            self.small = (-(-height // scale), -(-width // scale), self.filters[-1])
            sizes = (math.prod(self.small),)
        self.hidden = tuple(
            keras.layers.Dense(size, self.activation, **self._options(f"hidden_{i}")) for i, size in enumerate(sizes)
        )
        if self.network == "mlp":
            self.pixels = (keras.layers.Dense(*self.small, **self._options("pixels")),)
        else:
            self.pixels = tuple(
                keras.layers.Conv2DTranspose(
                    size, strides=2, activation=self.activation, **conv, **self._options(f"convolution_{i}")
                )
                for i, size in enumerate(self.filters[::-1])
            ) + (keras.layers.Conv2DTranspose(channels, **conv, **self._options("pixels")),)

    def get_config(self) -> dict[str, Any]:
        names = ("likelihood", "sigma", "sigma_floor")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape: Any = None) -> None:
        shape = (None, self.latent_dim)
        for layer in self.hidden:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        shape = shape if self.network == "mlp" else (None, *self.small)
        for layer in self.pixels:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        if self.likelihood == "gaussian" and self.sigma in ("learned", "per_pixel"):
            start = keras.initializers.Constant(_START_LOG_VARIANCE)
            shape = self.image_shape if self.sigma == "per_pixel" else ()
            self.log_variance = self.add_weight(name="log_variance", shape=shape, initializer=start)
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
        h = tf.cast(h, tf.float32)
        of_z = self.likelihood == "gaussian" and self.sigma == "of_z"
        shape = [height, width, channels * (1 + of_z)]
        pixels = tf.reshape(h, tf.concat([tf.shape(z)[:-1], shape], axis=0))
        pixels.set_shape([*z.shape[:-1], *shape])
        if self.likelihood == "bernoulli":
            return Bernoulli(pixels)
        if not isinstance(self.sigma, str):
            return GaussianPixels(pixels, tf.constant(2 * math.log(self.sigma)))
        if of_z:
            pixels, log_variance = pixels[..., :channels], pixels[..., channels:] + _START_LOG_VARIANCE
        else:
            log_variance = tf.convert_to_tensor(self.log_variance)
        floor = tf.fill(tf.shape(log_variance), 2 * math.log(self.sigma_floor))
        return GaussianPixels(pixels, tf.reduce_logsumexp([bounded_log_variance(log_variance), floor], axis=0))


@keras.saving.register_keras_serializable("tfvae")
class Sampling(keras.layers.Layer):
    """z ~ q(z|x) by the reparameterisation z = mean + deviation * epsilon: the one way in which z is drawn."""

    def call(self, q: Posterior, epsilon: tf.Tensor) -> tf.Tensor:
        return q.sample(epsilon)


@keras.saving.register_keras_serializable("tfvae")
class VAE(keras.Model):
    """Encoder, sampling, decoder and prior; called on x [B, H, W, C] it reconstructs it, in the mean of q(z|x).

    The prior p(z) is N(0, I) (`standard`), or learned: a diagonal `normal`, or a `mixture` of `components` of them.
    """

    def __init__(
        self, encoder: Encoder, decoder: Decoder, prior: str = "standard", components: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.encoder, self.sampling, self.decoder = encoder, Sampling(), decoder
        self.prior_family, self.components = prior, components

    @property
    def prior(self) -> DiagonalNormal | NormalMixture:
        """p(z)."""
        if self.prior_family == "standard":
            return standard_normal(self.encoder.latent_dim)
        mean, raw = tf.convert_to_tensor(self.prior_mean), tf.convert_to_tensor(self.prior_log_variance)
        if self.prior_family == "normal":
            return DiagonalNormal(mean[0], bounded_log_variance(raw[0]))
        return NormalMixture(tf.convert_to_tensor(self.prior_logits), mean, bounded_log_variance(raw))

    @property
    def xla(self) -> bool:
        """Whether XLA compiles it well. On CPU, its gradients of convolutions are 30 times slower than TensorFlow's."""
        return self.encoder.network != "conv"

    def get_config(self) -> dict[str, Any]:
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        options = {"prior": self.prior_family, "components": self.components}
        parts = {k: keras.saving.serialize_keras_object(v) for k, v in parts.items()}
        return {**super().get_config(), **options, **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VAE":
        parts = ("encoder", "decoder")
        return cls(**{k: keras.saving.deserialize_keras_object(v) if k in parts else v for k, v in config.items()})

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build()

    def build(self, input_shape: Any = None) -> None:
        for part in (self.encoder, self.decoder):
            part.build_from_config({})
        if self.prior_family != "standard":
            number = 1 if self.prior_family == "normal" else self.components
            shape = (number, self.encoder.latent_dim)
            apart = _options(self, self.encoder.seed, "prior")["kernel_initializer"]
            start = keras.initializers.RandomNormal(0.0, 1.0 if number > 1 else 0.0, seed=apart.seed)
            self.prior_mean = self.add_weight(name="prior_mean", shape=shape, initializer=start)
            self.prior_log_variance = self.add_weight(name="prior_log_variance", shape=shape, initializer="zeros")
            if number > 1 or self.prior_family == "mixture":
                self.prior_logits = self.add_weight(name="prior_logits", shape=(number,), initializer="zeros")
        self.built = True

    def encode(self, x: tf.Tensor) -> Posterior:
        """q(z|x) over [B, L]."""
        return self.encoder(x)

    def decode(self, z: tf.Tensor) -> Bernoulli | GaussianPixels:
        """p(x|z) over [..., H, W, C]."""
        return self.decoder(z)

    def sample_prior(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z ~ p(z) [..., L]: epsilon [..., L] standard normal; uniform [...] on [0, 1) picks a mixture's component."""
        prior = self.prior
        if isinstance(prior, NormalMixture):
            edges = tf.cumsum(tf.nn.softmax(prior.logits))[:-1]
            chosen = tf.reduce_sum(tf.cast(uniform[..., None] >= edges, tf.int32), axis=-1)
            prior = DiagonalNormal(tf.gather(prior.mean, chosen), tf.gather(prior.log_variance, chosen))
        return self.sampling(prior, epsilon)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.decode(self.encode(x).mean).mean


def make_vae(config: Config, image_shape: tuple[int, int, int]) -> VAE:
    """A new VAE, its weights a function of `config.seed`, for images of this shape [H, W, C]."""
    names = ("latent_dim", "network", "hidden_units", "filters", "activation", "seed")
    options = {"image_shape": image_shape, **{name: getattr(config, name) for name in names}, "products": config.dtype}
    encoder = Encoder(**options, posterior=config.posterior, name="encoder")
    pixels = {name: getattr(config, name) for name in ("likelihood", "sigma", "sigma_floor")}
    decoder = Decoder(**options, **pixels, name="decoder")
    # Keras's own names would count the models of the process
    vae = VAE(encoder, decoder, prior=config.prior, components=config.prior_components, name="vae")
    vae.build()
    return vae
