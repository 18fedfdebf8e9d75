"""Whether a network fits into the machine's memory, told before it is built: the first step would end the process."""

from typing import NamedTuple

from tfvae.config import Config
from tfvae.config.rules import has_filters
from tfvae.core import cost, fast
from tfvae.core.columns import Columns
from tfvae.core.making import make_networks
from tfvae.core.own_network import Trunks
from tfvae.errors import InputError
from tfvae.runtime.memory import machine_bytes

_FLOAT_BYTES = 4
_SLOTS = {"adam": 2, "rmsprop": 1, "adagrad": 1, "sgd": 0}  # of the optimizer, for each weight


class Needs(NamedTuple):
    """What a training takes for certain, on this machine's replicas together."""

    weights: int  # numbers, of one copy of the network
    state_bytes: int  # the weights, and the optimizer's variables
    gradient_bytes: int
    batch_bytes: int  # what the layers put out for a batch, which the backward pass frees on its way to the gradients


def needs_of(
    config: Config,
    image_shape: tuple[int, int, int],
    local_replicas: int,
    columns: Columns | None = None,
    classes: tuple[str, ...] = (),
    trunks: Trunks | None = None,
) -> Needs:
    """What a network of `config` needs; it is not built. What follows `local_replicas` is that of `make_networks`."""
    encoder, decoder = make_networks(config, image_shape, columns=columns, classes=classes, trunks=trunks)
    of_encoder, of_decoder = cost.of_encoder(encoder), cost.of_decoder(decoder)
    weights = of_encoder.weights + of_decoder.weights
    outputs = of_encoder.outputs + config.num_samples * of_decoder.outputs
    gradient_bytes = weights * _FLOAT_BYTES * local_replicas
    state_bytes = gradient_bytes * (1 + _SLOTS[config.optimizer])
    return Needs(weights, state_bytes, gradient_bytes, config.batch_size * outputs * _FLOAT_BYTES)


def require_fitting(
    config: Config,
    image_shape: tuple[int, int, int],
    local_replicas: int,
    columns: Columns | None = None,
    classes: tuple[str, ...] = (),
    trunks: Trunks | None = None,
) -> None:
    """Refuses a network whose training can't fit into this machine's memory; a GPU's own is not looked at.

    What is counted is there for certain: the weights and the optimizer's variables on each replica, and beside them
    all gradients, or what the layers put out for a batch, which the backward pass frees on its way to the gradients.

    Raises:
        InputError: with the figures.
    """
    if fast.computes_on_gpu():
        return
    needs = needs_of(config, image_shape, local_replicas, columns, classes, trunks)
    weights, state_bytes, gradient_bytes, batch_bytes = needs
    total = machine_bytes()
    if state_bytes + max(gradient_bytes, batch_bytes) <= total:
        return
    flag = f"--batch_size={config.batch_size}"
    way = "a smaller --batch_size"
    if state_bytes > batch_bytes:
        flag, way = f"--network={config.network}", "smaller --hidden_units"
        if has_filters(config.network):
            way = "--filters=auto, or smaller --hidden_units"
        if trunks is not None:
            way = "smaller layers"
    raise InputError(
        f"{flag}: must fit into this machine's {total / 1e9:.1f} GB: {weights:,} weights with {config.optimizer}'s "
        f"variables take {state_bytes / 1e9:.1f} GB, their gradients {gradient_bytes / 1e9:.1f} GB, and what the "
        f"layers put out for a batch {batch_bytes / 1e9:.1f} GB: take {way}"
    )
