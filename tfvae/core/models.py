"""The models: `Encoder` x -> q(z|x), `Sampling` of z, `Decoder` z -> p(x|z), and `VAE`, which holds them and p(z).

Shapes: x [B, H, W, C] in [0, 1]; z and epsilon [..., L], any leading axes; q(z|x) over [B, L]; p(x|z) over
[..., H, W, C].
"""

import zlib
from typing import Any

import keras
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.inputs import InputRule
from tfvae.core.likelihoods import make_family
from tfvae.core.networks import NETWORKS, Architecture, Trunk
from tfvae.core.posteriors import PosteriorHead
from tfvae.core.priors import PRIORS
from tfvae.core.protocols import Density, Posterior, Prior


def _seed_of(layer: keras.Layer, seed: int, name: str) -> int:
    """The seed of a weight: it depends on (seed, the class of the weight's owner, name) alone."""
    return zlib.crc32(f"{seed}/{type(layer).__name__}/{name}".encode()) >> 1


class _EncoderOrDecoder(keras.Model):
    """What `Encoder` and `Decoder` share: their settings, kept so that saving and loading repeat them.

    Without a `get_config` of its own a subclassed keras.Model silently saves the default arguments. `layer_dtype` is
    the dtype of the layers' products; their weights are of float32 in any case.
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
        layer_dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape, self.latent_dim, self.network = tuple(image_shape), latent_dim, network
        self.hidden_units, self.filters, self.activation = tuple(hidden_units), tuple(filters), activation
        self.seed, self.layer_dtype = seed, layer_dtype
        self.architecture = Architecture(self.image_shape, self.hidden_units, self.filters, activation)

    def layer_options(self, name: str) -> dict[str, Any]:
        """Keyword arguments of a layer: its name, initial weights and dtype."""
        return {
            "name": name,
            "kernel_initializer": keras.initializers.GlorotUniform(_seed_of(self, self.seed, name)),
            "dtype": "mixed_bfloat16" if self.layer_dtype == "bfloat16" else None,
        }

    def get_config(self) -> dict[str, Any]:
        names = ("image_shape", "latent_dim", "network", "hidden_units", "filters", "activation", "seed", "layer_dtype")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not self.built:
            self.build()


def _build_trunk(trunk: Trunk, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Builds the layers for inputs of this shape; returns the shape of the features."""
    for layer in trunk:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


@keras.saving.register_keras_serializable("tfvae")
class Encoder(_EncoderOrDecoder):
    """q(z|x): x [B, H, W, C] -> a distribution over z [B, L] of the family `posterior`."""

    def __init__(self, *args: Any, posterior: str = "diagonal", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posterior = posterior
        self.trunk = NETWORKS[self.network].encoder(self.architecture, self.layer_options)
        self.head = PosteriorHead(posterior, self.latent_dim, _seed_of(self, self.seed, "mean"), name="head")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "posterior": self.posterior}

    def build(self, input_shape: Any = None) -> None:
        features = _build_trunk(self.trunk, (None, *self.image_shape))
        self.head.build(features)
        self.built = True

    def call(self, x: tf.Tensor) -> Posterior:
        features = x
        for layer in self.trunk:
            features = layer(features)
        return self.head(tf.cast(features, tf.float32))


@keras.saving.register_keras_serializable("tfvae")
class Decoder(_EncoderOrDecoder):
    """p(x|z): z [..., L] -> a density over x [..., H, W, C] of the family `likelihood`.

    `sigma` and `sigma_floor` are those of a Gaussian likelihood: see `GaussianFamily`.
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
        self.family = make_family(likelihood, sigma, sigma_floor)
        self.trunk = NETWORKS[self.network].decoder(self.architecture, self.layer_options)
        self.output_layer: keras.layers.Layer | None = None  # `build` makes it, when it knows the features' shape
        self.learned: tuple[keras.Variable, ...] = ()

    def get_config(self) -> dict[str, Any]:
        names = ("likelihood", "sigma", "sigma_floor")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def build(self, input_shape: Any = None) -> None:
        features = _build_trunk(self.trunk, (None, self.latent_dim))
        height, width, channels = self.image_shape
        channels *= self.family.parameters_per_value
        if len(features) == 4:
            self.output_layer = keras.layers.Conv2DTranspose(
                channels, 3, padding="same", **self.layer_options("pixels")
            )
        else:
            self.output_layer = keras.layers.Dense(height * width * channels, **self.layer_options("pixels"))
        self.output_layer.build(features)
        for variable in self.family.variables(self.image_shape):
            self.learned += (self.add_weight(**variable._asdict()),)
        self.built = True

    def call(self, z: tf.Tensor) -> Density:
        height, width, channels = self.image_shape
        outputs = tf.reshape(z, [-1, self.latent_dim])
        for layer in (*self.trunk, self.output_layer):
            outputs = layer(outputs)
        if len(outputs.shape) == 4:
            outputs = outputs[:, :height, :width]  # the smallest image was rounded up
        outputs = tf.cast(outputs, tf.float32)
        shape = [height, width, channels * self.family.parameters_per_value]
        raw = tf.reshape(outputs, tf.concat([tf.shape(z)[:-1], shape], axis=0))
        raw.set_shape([*z.shape[:-1], *shape])
        return self.family.from_parameters(raw, *(tf.convert_to_tensor(variable) for variable in self.learned))


@keras.saving.register_keras_serializable("tfvae")
class Sampling(keras.layers.Layer):
    """z ~ q(z|x) by the reparameterisation z = mean + stddev * epsilon: the one way in which z is drawn."""

    def call(
        self, posterior: Posterior, epsilon: tf.Tensor, with_log_prob: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """z [..., L] of standard normal epsilon [..., L]; with `with_log_prob` also log q(z|x) in nats [...]."""
        return posterior.sample_and_log_prob(epsilon) if with_log_prob else posterior.sample(epsilon)


@keras.saving.register_keras_serializable("tfvae")
class VAE(keras.Model):
    """Encoder, sampling, decoder and prior; called on x [B, H, W, C] it reconstructs it, in the mean of q(z|x).

    `prior` names the family of p(z): see `core/priors.py`; `components` are those of a mixture.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        prior: str = "standard",
        components: int = 10,
        white: int = 255,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder, self.sampling, self.decoder = encoder, Sampling(), decoder
        self.prior_name, self.components = prior, components
        self.input_rule = InputRule(encoder.image_shape, white)
        self.prior_family = PRIORS[prior](encoder.latent_dim, components)
        self.prior_variables: tuple[keras.Variable, ...] = ()

    @property
    def prior(self) -> Prior:
        """p(z)."""
        return self.prior_family.from_variables(*(tf.convert_to_tensor(v) for v in self.prior_variables))

    @property
    def convolutional(self) -> bool:
        """Whether a kernel of it has more than the two axes of a dense layer's."""
        return any(v.path.endswith("kernel") and len(v.shape) > 2 for v in self.variables)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "prior": self.prior_name,
            "components": self.components,
            "white": self.input_rule.white,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "VAE":
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        decoder = keras.saving.deserialize_keras_object(config["decoder"])
        return cls(**{**config, "encoder": encoder, "decoder": decoder})

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build()

    def build(self, input_shape: Any = None) -> None:
        for part in (self.encoder, self.decoder):
            part.build_from_config({})
        for variable in self.prior_family.variables(_seed_of(self, self.encoder.seed, "prior")):
            self.prior_variables += (self.add_weight(**variable._asdict()),)
        self.built = True

    def encode(self, x: tf.Tensor) -> Posterior:
        """q(z|x) over [B, L]."""
        return self.encoder(x)

    def decode(self, z: tf.Tensor) -> Density:
        """p(x|z) over [..., H, W, C]."""
        return self.decoder(z)

    def sample_prior(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z ~ p(z) [..., L]: epsilon [..., L] standard normal; uniform [...] on [0, 1) picks a mixture's component."""
        return self.prior.sample(epsilon, uniform)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.decode(self.encode(x).mean).mean


def make_vae(config: Config, image_shape: tuple[int, int, int], white: int = 255) -> VAE:
    """A new VAE, its weights a function of `config.seed`, for images of this shape [H, W, C].

    `white` is that of `inputs.InputRule`.
    """
    names = ("latent_dim", "network", "hidden_units", "filters", "activation", "seed")
    options = {name: getattr(config, name) for name in names}
    options |= {"image_shape": image_shape, "layer_dtype": config.dtype}
    encoder = Encoder(**options, posterior=config.posterior, name="encoder")
    decoder = Decoder(
        **options, likelihood=config.likelihood, sigma=config.sigma, sigma_floor=config.sigma_floor, name="decoder"
    )
    # Keras's own names would count the models of the process
    vae = VAE(encoder, decoder, prior=config.prior, components=config.prior_components, white=white, name="vae")
    vae.build()
    return vae
