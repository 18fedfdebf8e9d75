"""What Python hands in: images, or vectors, as the parts of a data set, and the two layers of a network."""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfvae.config import Config
from tfvae.config.data_names import ARRAYS
from tfvae.config.network_name import LAYERS
from tfvae.errors import InputError
from tfvae.runtime.tensorflow import import_tensorflow

if TYPE_CHECKING:
    import keras

    from tfvae.data.splits import Split


def of_arrays(config: Config) -> Config:
    """`config` of a run that is made of arrays; raises InputError where it names a data set."""
    if config.dataset not in ("auto", ARRAYS):
        raise InputError(f"images: must not be given beside --dataset={config.dataset}")
    return dataclasses.replace(config, dataset=ARRAYS)


def parts(config: Config, images: Any, validation: Any, test: Any, labels: Any) -> "dict[str, Split] | None":
    """The parts that were handed in, or None where nothing was."""
    if images is None:
        for name, value in {"validation": validation, "test": test, "labels": labels}.items():
            if value is not None:
                raise InputError(f"{name}: must not be given without images")
        return None
    import_tensorflow()
    from tfvae.data import memory, sources

    return memory.load(images, validation, test, labels, sources.memory_bytes(config), config.labels == "auto")


def network(
    config: Config, encoder: "keras.Layer | None", decoder: "keras.Layer | None"
) -> "tuple[Config, tuple[keras.Layer, keras.Layer] | None]":
    """`config` with the name of a network that was handed in, and its layers; None where nothing was.

    Raises:
        InputError: only one of them is given, or they are beside a network that `config` names.
    """
    if encoder is None and decoder is None:
        return config, None
    for name, value, other in (("encoder", encoder, "decoder"), ("decoder", decoder, "encoder")):
        if value is None:
            raise InputError(f"{name}: must be given with {other}: a layer or model of Keras")
    if config.network not in (None, LAYERS):
        raise InputError(f"encoder, decoder: must not be given beside --network={config.network}")
    return dataclasses.replace(config, network=LAYERS), (encoder, decoder)
