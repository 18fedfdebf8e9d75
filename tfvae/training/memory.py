"""Whether a network fits into the machine's memory, told before it is built: the first step would end the process."""

from typing import NamedTuple

from tfvae.config import Config
from tfvae.config.network_name import is_own
from tfvae.config.rules import has_filters
from tfvae.core import cost, fast
from tfvae.core.making import make_networks
from tfvae.core.own_network import Trunks
from tfvae.data.splits import Dataset
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

    @property
    def total_bytes(self) -> int:
        """All that is there at a time: with the state all gradients, or what the layers put out for a batch."""
        return self.state_bytes + max(self.gradient_bytes, self.batch_bytes)


def needs_of(config: Config, dataset: Dataset, local_replicas: int, trunks: Trunks | None = None) -> Needs:
    """What a network of `config`, or of the user's own `trunks`, needs for these data; it is not built."""
    encoder, decoder = make_networks(
        config, dataset.image_shape, columns=dataset.columns, classes=dataset.classes, trunks=trunks
    )
    of_encoder, of_decoder = cost.of_encoder(encoder), cost.of_decoder(decoder)
    weights = of_encoder.weights + of_decoder.weights
    outputs = of_encoder.outputs + config.num_samples * of_decoder.outputs
    gradient_bytes = weights * _FLOAT_BYTES * local_replicas
    state_bytes = gradient_bytes * (1 + _SLOTS[config.optimizer])
    return Needs(weights, state_bytes, gradient_bytes, config.batch_size * outputs * _FLOAT_BYTES)


def require_fitting(config: Config, dataset: Dataset, local_replicas: int, trunks: Trunks | None = None) -> None:
    """Refuses a network whose training can't fit into this machine's memory; a GPU's own is not looked at.

    Raises:
        InputError: with the figures.
    """
    if fast.computes_on_gpu():
        return
    needs, total = needs_of(config, dataset, local_replicas, trunks), machine_bytes()
    if needs.total_bytes <= total:
        return
    flag = f"--batch_size={config.batch_size}"
    way = "a smaller --batch_size"
    if needs.state_bytes > needs.batch_bytes:
        flag, way = f"--network={config.network}", "smaller --hidden_units"
        if has_filters(config.network):
            way = "--filters=auto, or smaller --hidden_units"
        if is_own(config.network):
            way = "smaller layers"
    raise InputError(
        f"{flag}: must fit into this machine's {total / 1e9:.1f} GB: {needs.weights:,} weights with "
        f"{config.optimizer}'s variables take {needs.state_bytes / 1e9:.1f} GB, their gradients "
        f"{needs.gradient_bytes / 1e9:.1f} GB, and what the layers put out for a batch "
        f"{needs.batch_bytes / 1e9:.1f} GB: take {way}"
    )
