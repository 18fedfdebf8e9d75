"""What a name of a network tells of it: one of `core/networks.py`, or one of the user's own.

A network of the user's own is a function that `--network` names, `package.module:function`, or two layers of Keras that
Python hands in: a run keeps these as JSON, and calls them LAYERS.
"""

import difflib
import re

from tfvae.config.capabilities import NETWORKS, OWN_NETWORK, Network
from tfvae.config.fields import Kind, plain_text

LAYERS = "layers"
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def network_name() -> Kind:
    """The kind of `--network`."""
    names = ", ".join(NETWORKS)
    return Kind(
        f"one of {names}, or a function of your own, package.module:function",
        str,
        lambda value: isinstance(value, str) and (value in NETWORKS or is_own(value)),
        plain_text,
        allowed_in_python=f"one of {', '.join(map(repr, NETWORKS))}, or a function of your own, "
        "'package.module:function'; tfvae.fit(config, encoder=..., decoder=...) takes layers",
        names=tuple(NETWORKS),
    )


def is_own(network: str | None) -> bool:
    """Whether it is a network of the user's own."""
    return network == LAYERS or is_function(network)


def is_function(network: str | None) -> bool:
    """Whether it names a function, `package.module:function`."""
    return network is not None and _FUNCTION.fullmatch(network) is not None


def network_row(network: str) -> Network:
    """What a network can do."""
    return OWN_NETWORK if is_own(network) else NETWORKS[network]


def nearest(name: str, names: list[str]) -> str:
    """The end of a message that says that there is no such name."""
    near = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {near[0]}?" if near else ""
