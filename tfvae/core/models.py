"""The parts of a VAE: `Encoder` x -> q(z|x) and `Decoder` z -> p(x|z). `core/vae.py` puts them together.

Called eagerly, encoder and decoder check what they are given; in a graph (training, evaluation, an export) they take x
and z as they come: `inputs.is_from_outside`.

A conditional model, one with `classes`, takes labels too: q(z|x, y) and p(x|z, y). See `core/given.py`.

Shapes: x [B, H, W, C] in [0, 1]; z and epsilon [..., L], any leading axes; q(z|x) over [B, L]; p(x|z) over
[..., H, W, C]; y int32 [B], places in `classes`.
"""

import zlib
from typing import Any, cast

import keras
import tensorflow as tf

from tfvae.core.columns import Columns
from tfvae.core.given import Label, as_places, one_hot, require_condition
from tfvae.core.inputs import InputRule, as_latents, is_from_outside, require_latents, to_unit
from tfvae.core.keras_globals import DATA_FORMAT
from tfvae.core.likelihoods import make_family, optimal_log_variance
from tfvae.core.networks import NETWORKS, Architecture, Trunk
from tfvae.core.own_trunk import OwnTrunk
from tfvae.core.posteriors import PosteriorHead
from tfvae.core.protocols import Density, HasVariance, Posterior
from tfvae.core.vectors import VectorRule, as_features, features_shape, in_their_units


def seed_of(layer: keras.Layer, seed: int, name: str) -> int:
    """The seed of a weight: it depends on (seed, the class of the weight's owner, name) alone."""
    return zlib.crc32(f"{seed}/{type(layer).__name__}/{name}".encode()) >> 1


class _EncoderOrDecoder(keras.Model):
    """What `Encoder` and `Decoder` share: their settings, kept so that saving and loading repeat them.

    Without a `get_config` of its own a subclassed keras.Model silently saves the default arguments. `layer_dtype` is
    the dtype of the layers' products; their weights are of float32 in any case, and so are inputs and outputs.
    `columns` are those of vectors, which are kept as images [1, 1, D]; None of images. `value_range` is what the
    user's images have in the place of [0, 1], where that is neither. `own_trunk` is the JSON of a network of the user's
    own, which `network` is the name of: see `OwnTrunk`. `classes` are the names of a conditional model's classes; none
    of one that has no condition.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int,
        network: str = "mlp",
        hidden_units: tuple[int, ...] = (512,),
        filters: tuple[int, ...] = (32, 64),
        activation: str = "relu",
        residual_blocks: int = 1,
        seed: int = 0,
        layer_dtype: str = "float32",
        columns: Columns | dict[str, Any] | None = None,
        value_range: tuple[float, float] | None = None,
        own_trunk: str | None = None,
        classes: tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        height, width, channels = image_shape
        self.image_shape = (height, width, channels)
        self.latent_dim, self.network = latent_dim, network
        self.hidden_units, self.filters, self.activation = tuple(hidden_units), tuple(filters), activation
        self.residual_blocks = residual_blocks
        self.seed, self.layer_dtype = seed, layer_dtype
        self.value_range = None if value_range is None else (value_range[0], value_range[1])
        self.classes = tuple(classes)
        self.columns = columns if isinstance(columns, Columns) else Columns.from_json(columns)
        self.own_trunk = own_trunk
        self.architecture = Architecture(self.image_shape, self.hidden_units, self.filters, activation, residual_blocks)

    def layer_options(self, name: str) -> dict[str, Any]:
        """Keyword arguments of a layer: its name, initial weights and dtype."""
        return {
            "name": name,
            "kernel_initializer": keras.initializers.GlorotUniform(seed_of(self, self.seed, name)),
            "dtype": "mixed_bfloat16" if self.layer_dtype == "bfloat16" else "float32",
        }

    def get_config(self) -> dict[str, Any]:
        names = ["image_shape", "latent_dim", "network", "hidden_units", "filters", "activation", "residual_blocks"]
        names += ["seed", "layer_dtype"]
        config = {**super().get_config(), **{name: getattr(self, name) for name in names}}
        if self.columns:
            config["columns"] = self.columns.to_json()
        if self.value_range:
            config["value_range"] = self.value_range
        if self.own_trunk:
            config["own_trunk"] = self.own_trunk
        if self.classes:
            config["classes"] = self.classes
        return config

    def make_own_trunk(self, serialized: str) -> OwnTrunk:
        """The trunk that the user has made."""
        return OwnTrunk(serialized, seed_of(self, self.seed, "network"), name="network")

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Of an x as its user has it: [H, W, C], or [D] of vectors, which are kept as [1, 1, D]."""
        return self.image_shape[-1:] if self.columns else self.image_shape

    def in_user_units(self, x: Any) -> Any:
        """Means [N, H, W, C] as the user has them: vectors [N, D], images in their range; arrays and tensors."""
        if self.columns:
            return tf.reshape(x, [-1, *self.example_shape]) if tf.is_tensor(x) else x.reshape(-1, *self.example_shape)
        if self.value_range:
            low, high = self.value_range
            return low + (high - low) * x
        return x

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of a batch, as `summary` shows it."""
        raise NotImplementedError

    def build_from_config(self, config: dict[str, Any]) -> None:
        if not self.built:
            self.build(self.input_shape)


def _build_trunk(trunk: Trunk, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Builds the layers for inputs of this shape; returns the shape of the features."""
    for layer in trunk:
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return shape


@keras.saving.register_keras_serializable("tfvae")
class Encoder(_EncoderOrDecoder):
    """q(z|x): x [B, H, W, C] -> a distribution over z [B, L] of the family `posterior`.

    A conditional one sees the label of an image as one channel more, a picture that it learns for each class; with a
    vector the label is one-hot columns more.

    Called eagerly it takes images, or vectors [B, D], as `input_rule` says: `white` is that of `inputs.InputRule`.
    """

    def __init__(self, *args: Any, posterior: str = "diagonal", white: int = 255, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.posterior = posterior
        self.white = white
        if self.own_trunk:
            flatten = keras.layers.Flatten(data_format=DATA_FORMAT, dtype="float32")
            self.trunk: Trunk = (self.make_own_trunk(self.own_trunk), flatten)
        else:
            self.trunk = NETWORKS[self.network].encoder(self.architecture, self.layer_options)
        self.label: Label | None = None
        if self.classes:
            pixels = None if self.columns else self.image_shape[0] * self.image_shape[1]
            self.label = Label(len(self.classes), pixels, self.layer_options("picture"))
        self.head = PosteriorHead(
            posterior, self.latent_dim, seed_of(self, self.seed, "mean"), name="head", dtype="float32"
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "posterior": self.posterior, "white": self.white}

    @property
    def input_rule(self) -> InputRule | VectorRule:
        """What x it takes, where it is called eagerly: images in [0, 1] or whole numbers, or vectors."""
        return VectorRule(self.columns) if self.columns else InputRule(self.image_shape, self.white)

    @property
    def user_rule(self) -> InputRule | VectorRule:
        """What x a run's user hands in: as `input_rule`, but images in their own `value_range`, where they have one."""
        return VectorRule(self.columns) if self.columns else InputRule(self.image_shape, self.white, self.value_range)

    @property
    def features_shape(self) -> tuple[int | None, ...]:
        """Of what the trunk takes: [B, H, W, C], or [B, 1, 1, 2 D] where values may be missing; with the label's."""
        shape = (None, *features_shape(self.image_shape, self.columns))
        return self.label.compute_output_shape(shape) if self.label else shape

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """[B, H, W, C]."""
        return (None, *self.image_shape)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """[B, L]: what q(z|x) is over."""
        return (None, self.latent_dim)

    def build(self, input_shape: Any = None) -> None:
        if self.label:
            self.label.build(self.input_shape)
        features = _build_trunk(self.trunk, self.features_shape)
        self.head.build(features)
        self.built = True

    def __call__(self, x: Any, y: Any = None, **kwargs: Any) -> Posterior:
        """q(z|x) of images, of a conditional model q(z|x, y).

        Raises:
            InputError: x does not follow `input_rule`, or y is not what `given.as_places` takes.
        """
        require_condition(self.classes, y)
        if is_from_outside(x):
            x = self.input_rule.to_unit(x)
            y = None if y is None else as_places(self.classes, y, (len(x),))
        return super().__call__(x, **({} if y is None else {"y": y}), **kwargs)

    def call(self, x: tf.Tensor, y: tf.Tensor | None = None) -> Posterior:
        features = to_unit(x)
        if self.columns:
            features = as_features(self.columns, features)
        if self.label:
            features = self.label(features, y)
        for layer in self.trunk:
            features = layer(features)
        return self.head(tf.cast(features, tf.float32))


@keras.saving.register_keras_serializable("tfvae")
class Decoder(_EncoderOrDecoder):
    """p(x|z): z [..., L] -> a density over x [..., H, W, C] of the family `likelihood`.

    The network of a conditional one takes the one-hot label beside z. A y [B] serves each z of [K, B, L].

    `sigma`, `sigma_floor`, `start_stddev` and `sigma_pace` are those of a Gaussian likelihood: see `GaussianFamily`.
    """

    def __init__(
        self,
        *args: Any,
        likelihood: str = "bernoulli",
        sigma: float | str = 0.1,
        sigma_floor: float = 0.01,
        start_stddev: float | None = None,
        sigma_pace: float = 1.0,
        likelihood_components: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.likelihood, self.sigma, self.sigma_floor = likelihood, sigma, sigma_floor
        self.start_stddev, self.sigma_pace = start_stddev, sigma_pace
        self.likelihood_components = likelihood_components
        self.family = make_family(likelihood, sigma, sigma_floor, start_stddev, sigma_pace, likelihood_components)
        if self.own_trunk:
            self.trunk: Trunk = (self.make_own_trunk(self.own_trunk),)
        else:
            self.trunk = NETWORKS[self.network].decoder(self.architecture, self.layer_options)
        self.output_layer: keras.layers.Layer | None = None  # `build` makes it, when it knows the features' shape
        self.learned: tuple[keras.Variable, ...] = ()

    def get_config(self) -> dict[str, Any]:
        names = ("likelihood", "sigma", "sigma_floor", "start_stddev", "sigma_pace", "likelihood_components")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """[B, L]."""
        return (None, self.latent_dim)

    @property
    def features_shape(self) -> tuple[int | None, ...]:
        """Of what the trunk takes: [B, L], and the one-hot label of a conditional model: [B, L + classes]."""
        return (None, self.latent_dim + len(self.classes))

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """[B, H, W, C]: what p(x|z) is over."""
        return (None, *self.image_shape)

    def build(self, input_shape: Any = None) -> None:
        features = _build_trunk(self.trunk, self.features_shape)
        self.output_layer = self.new_output_layer(features)
        self.output_layer.build(features)
        for variable in self.family.variables(self.image_shape):
            # what a step sets is the same on every replica
            aggregation = "none" if variable.trainable else "only_first_replica"
            self.learned += (self.add_weight(**variable._asdict(), aggregation=aggregation),)
        self.built = True

    def new_output_layer(self, features: tuple[int | None, ...]) -> keras.layers.Layer:
        """A layer, not built, from features of this shape, [B, F] or [B, h, w, F], to what makes p(x|z)."""
        height, width, channels = self.image_shape
        parameters = self.family.parameters_per_pixel(channels)
        if len(features) == 4:
            return keras.layers.Conv2DTranspose(
                parameters, 3, padding="same", data_format=DATA_FORMAT, **self.layer_options("pixels")
            )
        return keras.layers.Dense(height * width * parameters, **self.layer_options("pixels"))

    def set_variance(self, mean_squared_error: tf.Tensor) -> None:
        """Sets the one log-variance to its maximum, of values with this error; an error that isn't finite is passed.

        Raises:
            ValueError: the likelihood's variance is not one that a step sets.
        """
        if not self.family.sets_variance:
            raise ValueError(f"sigma={self.sigma!r}: must be 'optimal' to be set")
        [variable] = self.learned
        log_variance = optimal_log_variance(mean_squared_error, self.sigma_floor)
        variable.assign(tf.where(tf.math.is_finite(log_variance), log_variance, variable.value))

    def learned_stddev(self) -> float | None:
        """The root of the values' mean variance, where it is a variable; None where it is a number, or depends on z."""
        if not self.learned:
            return None
        height, width, channels = self.image_shape
        outputs = tf.zeros([height, width, self.family.parameters_per_pixel(channels)])
        density = self.family.from_parameters(outputs, *(tf.convert_to_tensor(v) for v in self.learned))
        if not hasattr(density, "mean_variance"):  # what is learned is something else
            return None
        return float(tf.sqrt(cast(HasVariance, density).mean_variance))

    def __call__(self, z: Any, y: Any = None, **kwargs: Any) -> Density:
        """p(x|z), of a conditional model p(x|z, y).

        Raises:
            InputError: z is not finite numbers [..., L], or y is not what `given.as_places` takes.
        """
        require_condition(self.classes, y)
        if is_from_outside(z):
            z = as_latents(z, self.latent_dim)
            y = None if y is None else as_places(self.classes, y, tuple(z.shape[:-1]))
        elif hasattr(z, "shape"):
            require_latents(z.shape, self.latent_dim)
        return super().__call__(z, **({} if y is None else {"y": y}), **kwargs)

    def call(self, z: tf.Tensor, y: tf.Tensor | None = None) -> Density:
        height, width, channels = self.image_shape
        outputs = z if y is None else tf.concat([z, one_hot(y, len(self.classes), tf.shape(z)[:-1])], axis=-1)
        outputs = tf.reshape(outputs, [-1, *self.features_shape[1:]])
        for layer in (*self.trunk, self.output_layer):
            outputs = layer(outputs)
        if len(outputs.shape) == 4:
            outputs = outputs[:, :height, :width]  # the smallest image was rounded up
        outputs = tf.cast(outputs, tf.float32)
        shape = [height, width, self.family.parameters_per_pixel(channels)]
        raw = tf.reshape(outputs, tf.concat([tf.shape(z)[:-1], shape], axis=0))
        raw.set_shape([*z.shape[:-1], *shape])
        density = self.family.from_parameters(raw, *(tf.convert_to_tensor(variable) for variable in self.learned))
        return in_their_units(self.columns, density) if self.columns else density
