"""A network of the user's own: what its function, or Python, hands in, checked and kept as JSON.

The encoder takes x [B, H, W, C] (of vectors [B, 1, 1, D], or [B, 1, 1, 2 D] where values may be missing) and gives
features [B, F] or [B, h, w, F]; the decoder takes z [B, L] and gives [B, F], or [B, h, w, F] with h >= H and w >= W.
`own_checks.py` refuses what does not.
"""

import dataclasses
import json
import re
import zlib
from typing import Any, NamedTuple

import keras

from tfvae.config import Config
from tfvae.config.left_to_data import default_filters
from tfvae.config.network_name import nearest
from tfvae.core.keras_globals import as_in_new_process
from tfvae.core.own_modules import import_module, reason
from tfvae.core.own_trunk import names_of_main, own_modules, to_json
from tfvae.errors import InputError

_OF_A_CALL = ("build_config", "compile_config", "build_input_shape")  # keys of Keras's configs


class Trunks(NamedTuple):
    """The encoder's trunk and the decoder's, each as the JSON of its config."""

    encoder: str
    decoder: str

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that are others for another network."""
        return f"{zlib.crc32(' '.join(self).encode()):08x}"

    @property
    def modules(self) -> list[str]:
        """The modules of the user's own classes."""
        return sorted({*own_modules(self.encoder), *own_modules(self.decoder)})

    @property
    def names_of_main(self) -> list[str]:
        """The user's own classes and functions that are in no module: a notebook's, or a script's."""
        return sorted({*names_of_main(self.encoder), *names_of_main(self.decoder)})


def call_function(network: str, image_shape: tuple[int, int, int], latent_dim: int, config: Config) -> Any:
    """What the function that `--network` names returns for these sizes; `config` has nothing left to the data.

    Raises:
        InputError: there is no such function, or it, or its module, fails: the message says where.
    """
    argument = f"--network={network}"
    module_name, _, name = network.partition(":")
    module = import_module(argument, module_name)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [other for other in vars(module) if callable(getattr(module, other))]
        raise InputError(f"{argument}: must name a function, and {module_name} has no {name}{nearest(name, functions)}")
    if config.filters is None:
        config = dataclasses.replace(config, filters=default_filters(image_shape))
    try:
        with as_in_new_process(0):  # whose weights are not taken
            return function(image_shape, latent_dim, config)
    except Exception as error:  # of the user's code
        raise InputError(
            f"{argument}: must be a function of (image_shape, latent_dim, config), and raised {reason(error)}"
        ) from error


def as_trunks(network: str, pair: Any) -> Trunks:
    """The JSON of an encoder and a decoder: the same whatever was made before them, and whether they were called.

    Raises:
        InputError: they are no pair of layers of Keras, or have no config that can be kept.
    """
    argument = f"--network={network}"
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(x, keras.Layer) for x in pair)):
        found = ", ".join(type(x).__name__ for x in pair) if isinstance(pair, tuple | list) else type(pair).__name__
        raise InputError(f"{argument}: must be an encoder and a decoder, two layers or models of Keras, and is {found}")
    kept = []
    for part, layer in zip(("encoder", "decoder"), pair):
        try:
            kept.append(_with_names_counted_anew(to_json(layer)))
        except Exception as error:  # `get_config` is the user's code
            raise InputError(
                f"{argument}: its {part} must have a config that can be kept as JSON: {reason(error)}"
            ) from error
    return Trunks(*kept)


def _with_names_counted_anew(serialized: str) -> str:
    """The JSON with the names that Keras gives (dense_7) as a new process would have them (dense, dense_1)."""
    content = _without_state(json.loads(serialized))
    names: list[tuple[str, str]] = []  # of the layers: what Keras would call it, and its name
    _find_names(content, names)
    taken = {name for kind, name in names if not re.fullmatch(rf"{kind}(_\d+)?", name)}
    new: dict[str, str] = {}
    for kind, name in names:
        if name in taken or name in new:
            continue
        free = (f"{kind}_{i}" if i else kind for i in range(len(names) + len(taken)))
        new[name] = next(candidate for candidate in free if candidate not in taken and candidate not in new.values())
    return json.dumps(_renamed(content, new))


def _without_state(node: Any) -> Any:
    """The config without what it says of a call that the layer has had: the network is the same before and after it."""
    if isinstance(node, list):
        return [_without_state(value) for value in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _without_state(value) for key, value in node.items() if key not in _OF_A_CALL}
    if kept.get("class_name") == "Sequential" and isinstance(kept["config"], dict):
        layers = kept["config"].get("layers", [])
        kept["config"]["layers"] = [layer for layer in layers if layer["class_name"] != "InputLayer"]
    return kept


def _find_names(node: Any, names: list[tuple[str, str]]) -> None:
    if isinstance(node, dict):
        config = node.get("config")
        if isinstance(node.get("class_name"), str) and isinstance(config, dict) and isinstance(config.get("name"), str):
            names.append((_snake_case(node["class_name"]), config["name"]))
        for value in node.values():
            _find_names(value, names)
    elif isinstance(node, list):
        for value in node:
            _find_names(value, names)


def _snake_case(class_name: str) -> str:
    """As Keras names a layer of this class."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _renamed(node: Any, new: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _renamed(value, new) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, new) for value in node]
    return new.get(node, node) if isinstance(node, str) else node
