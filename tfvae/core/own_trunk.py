"""A trunk that the user has made: any Keras layer or model, kept as the JSON of its config.

It is made of that config wherever a VAE is made, its weights a function of the run's seed and of the config. Layers
that were handed in, or that a function returned, are never trained themselves.

Shapes: x [B, H, W, C] or z [B, L] -> features [B, F] or [B, h, w, F].
"""

import json
import warnings
from collections.abc import Iterator
from typing import Any, cast

import keras
import tensorflow as tf

from tfvae.core.dropout import Dropout
from tfvae.core.keras_globals import as_in_new_process
from tfvae.core.own_modules import import_module
from tfvae.errors import InputError

_OF_LIBRARIES = ("keras", "builtins", "tfvae")  # the packages whose classes need no import
_ARGUMENT = "custom layers"
_NO_LAMBDA = "a lambda has none: write a function, and above it @keras.saving.register_keras_serializable()"


def to_json(layer: keras.Layer) -> str:
    """The config of a layer as JSON; raises what its `get_config` does, TypeError where a value has no JSON."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The object being serialized includes a .lambda")  # of an activation
        try:
            serialized = json.dumps(keras.saving.serialize_keras_object(layer))
        except UserWarning:
            raise TypeError(_NO_LAMBDA) from None
    if '"__lambda__"' in serialized:  # of a Lambda layer; Keras loads neither
        raise TypeError(_NO_LAMBDA)
    return serialized


def own_objects(serialized: str) -> Iterator[dict[str, Any]]:
    """The configs of the classes and functions in a layer's config that are not Keras's."""
    waiting = [json.loads(serialized)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if {"module", "class_name", "registered_name"} <= node.keys() and not _is_of_keras(node["module"]):
                yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _is_of_keras(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in _OF_LIBRARIES


def own_modules(serialized: str) -> list[str]:
    """The names of the modules that the config's own classes and functions are in; those of __main__ are not named."""
    return sorted({node["module"] for node in own_objects(serialized) if node["module"] not in (None, "__main__")})


def names_of_main(serialized: str) -> list[str]:
    """The names of the config's own classes and functions that are in __main__: a notebook's, or a script's."""
    return sorted({_name(node) for node in own_objects(serialized) if _is_of_main(node)})


def _is_of_main(node: dict[str, Any]) -> bool:
    """Whether it is a registered class or function of __main__, in the place of which Keras writes None."""
    return node["module"] in (None, "__main__") and ">" in str(node["registered_name"])


def _name(node: dict[str, Any]) -> str:
    return node["config"] if node["class_name"] == "function" else node["class_name"]


def make_layer(serialized: str) -> keras.Layer:
    """A new layer of a config, after the import of the modules that it needs.

    Raises:
        InputError: a module can't be imported, or a class is not registered; Keras can't make the layer.
    """
    for module in own_modules(serialized):
        import_module(_ARGUMENT, module)
    for node in own_objects(serialized):
        _require_registered(node)
    return keras.saving.deserialize_keras_object(json.loads(serialized))


def _require_registered(node: dict[str, Any]) -> None:
    if keras.saving.get_registered_object(node["registered_name"]) is not None:
        return
    if _is_of_main(node):
        raise InputError(
            f"{_name(node)}: must be in a module that can be imported: it was defined in a notebook or a script, "
            "__main__, and is known in that process alone"
        )
    raise InputError(
        f"{_name(node)}: must be registered, for a run keeps layers by their config: write "
        "@keras.saving.register_keras_serializable() above it"
    )


@keras.saving.register_keras_serializable("tfvae")
class OwnTrunk(keras.layers.Layer):
    """The layer that `serialized` is the JSON of; its first weights are a function of that and of `seed`."""

    def __init__(self, serialized: str, seed: int, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.serialized, self.seed = serialized, seed
        self.layer: keras.Layer | None = None  # `build` makes it, where the names of its weights begin with ours
        self.features_shape: tuple[int | None, ...] = ()
        self.features_dtype = "float32"

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "serialized": self.serialized, "seed": self.seed}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raises InputError as `make_layer`, and what the layer itself raises for inputs of this shape."""
        with as_in_new_process(self.seed):
            self.layer = make_layer(self.serialized)
            features = self.layer(keras.KerasTensor(input_shape, "float32"))
        if not isinstance(features, keras.KerasTensor):
            raise InputError(f"must give one array of features, and gives a {type(features).__name__}")
        self.features_shape, self.features_dtype = tuple(features.shape), features.dtype
        for place, dropout in enumerate(inner_layers(self.layer, Dropout)):
            dropout.seed = (self.seed + place) % 2**31
        self.built = True

    def built_copy(self, input_shape: tuple[int | None, ...]) -> "OwnTrunk":
        """One that is built: itself, or another one for inputs of this shape, to be thrown away."""
        if self.built:
            return self
        copy = OwnTrunk(self.serialized, self.seed, name=self.name)
        copy.build(input_shape)
        return copy

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the features."""
        return self.built_copy(input_shape).features_shape

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return cast(keras.Layer, self.layer)(x)


def inner_layers(layer: keras.Layer, kind: type[keras.Layer] = keras.Layer) -> list[Any]:
    """The layer and all within it that are of a kind, always in the same order."""
    return [inner for inner in layer._flatten_layers() if isinstance(inner, kind)]
