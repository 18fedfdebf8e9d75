"""What is refused of a network of the user's own, by name, before it is trained.

A run must go on to the same bits, on any number of replicas, from its weights and the optimizer's alone: so a layer may
keep nothing else that training changes, and draw no random numbers by itself.
"""

import collections
import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.keras_globals import as_in_new_process
from tfvae.core.own_modules import reason
from tfvae.core.own_network import Trunks
from tfvae.core.own_trunk import OwnTrunk, inner_layers, make_layer
from tfvae.core.traced_cost import trace
from tfvae.errors import InputError

Shape = tuple[int | None, ...]

_TOLERANCE = 1e-4  # of two layers that compute the same in another order


def check_network(
    network: str,
    trunks: Trunks,
    layers: tuple[keras.Layer, keras.Layer],
    features_shape: Shape,
    latents: int,
    image_shape: tuple[int, int, int],
) -> None:
    """Refuses what can't be trained; `layers` are those that `trunks` are the JSON of.

    The encoder takes x of `features_shape` [B, ...], the decoder z [B, `latents`].

    Raises:
        InputError: names the network, the part and the layer.
    """
    encoder = _Part(f"--network={network}: its encoder", trunks.encoder, features_shape)
    encoder.check(layers[0])
    decoder = _Part(f"--network={network}: its decoder", trunks.decoder, (None, latents))
    decoder.check(layers[1])
    _require_weights_of_their_own(network, *layers)
    height, width, _ = image_shape
    features = decoder.trunk.features_shape
    if len(features) == 4 and not ((features[1] or 0) >= height and (features[2] or 0) >= width):
        raise InputError(
            f"{decoder.argument} must give [B, F], or [B, h, w, F] with h >= {height} and w >= {width}, and gives "
            f"{_words(features)}"
        )


def _require_weights_of_their_own(network: str, encoder: keras.Layer, decoder: keras.Layer) -> None:
    """Refuses weights that are in both, built: a run makes each of its own config, and they would be two there."""
    of_encoder = {id(weight) for weight in encoder.weights}
    for weight in decoder.weights:
        if id(weight) in of_encoder:
            raise InputError(
                f"--network={network}: its encoder and its decoder must share no weights, for each is made of its own "
                f"config, and both have {weight.path}"
            )


class _Part:
    """The checks of one of the two; `argument` begins each message."""

    def __init__(self, argument: str, serialized: str, input_shape: Shape) -> None:
        self.argument, self.input_shape = argument, input_shape
        self.trunk = OwnTrunk(serialized, 0, name="network")

    def check(self, original: keras.Layer) -> None:
        """All of them, in an order in which each finds what it needs."""
        self.build(original)
        self.check_features()
        self.check_randomness()
        self.check_weights()
        self.check_names()
        self.check_graph()
        self.check_config(original)

    def build(self, original: keras.Layer) -> None:
        """Makes the layer anew of its config, and has both take an input."""
        try:
            with as_in_new_process(0):
                make_layer(self.trunk.serialized)
        except InputError as error:
            raise InputError(f"{self.argument}: {error}") from None
        except Exception as error:  # the user's code runs
            raise InputError(f"{self.argument} must be made of its config again, and raises {reason(error)}") from error
        with self.calls():
            self.trunk.build(self.input_shape)
            with as_in_new_process(0):
                original(keras.KerasTensor(self.input_shape, "float32"))

    @contextlib.contextmanager
    def calls(self) -> Iterator[None]:
        """Within it the layers take an input: what they raise is told in a line, with its place."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.argument} {error}") from None
        except Exception as error:  # the user's code runs
            raise InputError(
                f"{self.argument} must take {_words(self.input_shape)}, and raises {reason(error)}"
            ) from error

    def check_features(self) -> None:
        shape = self.trunk.features_shape
        if len(shape) not in (2, 4) or None in shape[1:] or shape[0] is not None:
            raise InputError(f"{self.argument} must give features [B, F] or [B, h, w, F], and gives {_words(shape)}")
        if not tf.as_dtype(self.trunk.features_dtype).is_floating:
            raise InputError(
                f"{self.argument} must give numbers of floating point, and gives {self.trunk.features_dtype}"
            )

    def check_randomness(self) -> None:
        for layer in inner_layers(self.trunk):
            # cells of recurrent layers have a generator in any case, and draw where they drop out alone
            rates = [getattr(layer, name, None) for name in ("dropout", "recurrent_dropout")]
            if getattr(layer, "_seed_generators", None) and rates != [0, 0]:
                raise InputError(
                    f"{self.argument} must draw no random numbers by a state of its own, which no checkpoint has, and "
                    f"its layer {_named(layer)} does: tfvae.Dropout draws by the run's seed and step"
                )

    def check_weights(self) -> None:
        for layer in sorted(inner_layers(self.trunk), key=lambda layer: len(inner_layers(layer))):  # innermost first
            kept = [weight.name for weight in layer.non_trainable_weights]
            if kept:
                raise InputError(
                    f"{self.argument} must have no weights that training does not learn, and its layer "
                    f"{_named(layer)} has {', '.join(kept)}: GroupNormalization and LayerNormalization have none"
                )
            others = [weight for weight in layer.weights if weight.dtype != "float32"]
            if others:
                raise InputError(
                    f"{self.argument} must have weights of float32, and its layer {_named(layer)} has "
                    f"{others[0].name} of {others[0].dtype}"
                )

    def check_names(self) -> None:
        """Checkpoints know weights, and the optimizer's variables, by their names."""
        names = collections.Counter(weight.path.replace("/", "_") for weight in self.trunk.weights)
        for weight in self.trunk.weights:
            if names[weight.path.replace("/", "_")] > 1:
                raise InputError(
                    f"{self.argument} must give each weight a name of its own, and has {weight.path} twice: give its "
                    "layers names"
                )

    def check_graph(self) -> None:
        with self.calls():
            traced = trace(self.trunk, self.input_shape)
        if traced.random_operation is not None:
            raise InputError(
                f"{self.argument} must draw no random numbers by a state of its own, and has the operation "
                f"{traced.random_operation}: tfvae.Dropout draws by the run's seed and step"
            )
        weights = {id(weight.value) for weight in self.trunk.weights}
        others = [variable.name for variable in traced.variables if id(variable) not in weights]
        if others:
            raise InputError(
                f"{self.argument} must use no variable but the weights of its layers, and uses {others[0]}: hold "
                "layers as attributes, and give keras.random no state"
            )

    def check_config(self, original: keras.Layer) -> None:
        """The layer that is made of the config must compute the same: a class may forget some of its arguments."""
        shapes_here, shapes_there = ([tuple(w.shape) for w in layer.weights] for layer in (self.trunk, original))
        is_same = shapes_here == shapes_there
        if is_same:
            shape = [2, *(length or 1 for length in self.input_shape[1:])]
            x = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
            self.trunk.set_weights(original.get_weights())
            with self.calls():
                here, there = self.trunk(x), original(x)
            is_same = np.allclose(here, there, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        if not is_same:
            raise InputError(
                f"{self.argument} must be the same when it is made of its config again, and is another network: the "
                f"get_config of {type(original).__name__}, or of a class within it, must have all arguments"
            )


def _named(layer: keras.Layer) -> str:
    return f"{layer.name} ({type(layer).__name__})"


def _words(shape: Shape) -> str:
    """[B, 28, 28, 1]"""
    return f"[B, {', '.join('any' if length is None else str(length) for length in shape[1:])}]"
