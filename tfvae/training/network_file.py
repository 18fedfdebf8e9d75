"""`<run>/network.json`: a network of the user's own, as Keras's config of its two trunks, and where its code was.

All that takes up the run makes its layers of this file, and calls no function again: the run stays the one that it is
where its user's file has changed since, which is told. What needs no TensorFlow is told without it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfvae.config import Config
from tfvae.config.network_name import LAYERS, is_function, is_own
from tfvae.core import own_modules
from tfvae.errors import InputError
from tfvae.runtime.files import write_atomically

if TYPE_CHECKING:
    import keras

    from tfvae.core.own_network import Trunks
    from tfvae.data.splits import Dataset

FILE_NAME = "network.json"


def check_early(config: Config, layers: "tuple[keras.Layer, keras.Layer] | None") -> None:
    """Refuses a network of the user's own that can't be there, before TensorFlow is imported; raises InputError."""
    if config.run_dir is not None and os.path.isfile(config.directory / FILE_NAME):
        return
    if config.network == LAYERS and layers is None:
        raise InputError(
            f"--network={LAYERS}: must be handed in from Python, tfvae.fit(config, encoder=..., decoder=...)"
        )
    if config.network is not None and is_function(config.network):
        own_modules.require_module(f"--network={config.network}", config.network.partition(":")[0])


def network_of(
    config: Config, dataset: "Dataset", layers: "tuple[keras.Layer, keras.Layer] | None", say: Callable[[str], None]
) -> "Trunks | None":
    """The trunks of a run with this `config`, nothing of which is auto: those that it has kept, or else new ones.

    `layers` are the encoder and the decoder that Python hands in, if it does. `say` is told of code that has changed
    since, and of classes that are in no module.

    Raises:
        InputError: they can't be made, or trained, or are not those of the run.
    """
    if not is_own(config.network):
        return None
    from tfvae.core import own_checks, own_network
    from tfvae.core.given import label_channels
    from tfvae.core.vectors import features_shape

    network = str(config.network)
    kept = read(config.directory, say) if (config.directory / FILE_NAME).is_file() else None
    if kept is not None and layers is None:
        return kept
    height, width, channels = features_shape(dataset.image_shape, dataset.columns)
    classes = len(dataset.classes)
    of_encoder = (height, width, channels + label_channels(classes, dataset.columns is not None))
    latents = config.latent_dim + classes  # the label is beside z
    if layers is None:
        layers = own_network.call_function(network, of_encoder, latents, config)
    trunks = own_network.as_trunks(network, layers)
    if kept is not None and trunks != kept:
        raise InputError(
            f"encoder, decoder: must be those that {config.directory} was made with, and its {FILE_NAME} has others"
        )
    own_checks.check_network(network, trunks, layers, (None, *of_encoder), latents, dataset.image_shape)
    if trunks.names_of_main:
        say(
            f"{', '.join(trunks.names_of_main)}: defined in a notebook or a script, where the commands "
            "can't find it: none of them will load this run; move the definition into a file and import it"
        )
    return trunks


def write_once(run_dir: Path, config: Config, trunks: "Trunks | None") -> None:
    """Writes the file of a network of the user's own, unless it is there: its sources are those of the run's start."""
    if trunks is None or (run_dir / FILE_NAME).is_file():
        return
    network = str(config.network)
    modules = {*trunks.modules, *([network.partition(":")[0]] if is_function(network) else [])}
    content = {
        "network": network,
        "encoder": json.loads(trunks.encoder),
        "decoder": json.loads(trunks.decoder),
        "sources": {module: _source(module) for module in sorted(modules)},
    }
    write_atomically(run_dir / FILE_NAME, json.dumps(content, indent=1) + "\n")


def _source(module: str) -> dict[str, Any]:
    """Where a module is, and the checksum of its file; None of a module without one."""
    file = own_modules.find_file(module)
    return {"file": file, "sha256": _checksum(file)}


def _checksum(file: str | None) -> str | None:
    if not file or not os.path.isfile(file):
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def read(run_dir: Path, say: Callable[[str], None]) -> "Trunks":
    """The trunks that a run has kept; `say` is told of code that has changed since.

    Raises:
        InputError: there is no such file, or not one of ours; a module of its layers can't be imported.
    """
    from tfvae.core.own_network import Trunks

    path = run_dir / FILE_NAME
    try:
        content = json.loads(path.read_text())
        trunks = Trunks(json.dumps(content["encoder"]), json.dumps(content["decoder"]))
        sources = dict(content["sources"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: must be the network of a run, as it was written: {error}") from None
    needed = trunks.modules
    for module, source in sources.items():
        if module in needed:
            own_modules.import_module(f"{path}: the layers of {module}, which was {source['file']}", module)
        file = own_modules.find_file(module)
        if file and source["sha256"] not in (None, _checksum(file)):
            say(f"{path}: {file} has changed since: the layers are those of then, their code is that of now")
    return trunks
