"""Which settings weights are made for: what two runs must share for one to start from the other's (`--init_from`)."""

from typing import Any

from tfvae.config.capabilities import LIKELIHOODS, PRIORS
from tfvae.config.config import Config
from tfvae.config.network_name import network_row
from tfvae.config.rules import has_filters

A_NUMBER = "a number"  # any: no weight belongs to a deviation that is one


def architecture(config: Config, part: str) -> dict[str, Any]:
    """The settings by which the weights of a part have their shapes and their meaning; None is not known yet.

    `part` is that of `--init_part`. A deviation that is a number is A_NUMBER.
    """
    names = ["network", "activation", "latent_dim", "condition"]
    if has_filters(config.network):
        names.append("filters")
    if config.network is not None and network_row(config.network).has_blocks:
        names.append("residual_blocks")
    if part != "decoder" or not has_filters(config.network):  # a decoder of convolutions has no hidden units
        names.append("hidden_units")
    if part in ("all", "encoder"):
        names += ["posterior", "missing"]
    if part in ("all", "decoder"):
        names.append("likelihood")
        if config.likelihood is not None and LIKELIHOODS[config.likelihood].has_components:
            names.append("likelihood_components")
    if part == "all":
        names.append("prior")
        if PRIORS[config.prior].has_components:
            names.append("prior_components")
    settings = {name: getattr(config, name) for name in names}
    has_sigma = config.likelihood is not None and LIKELIHOODS[config.likelihood].has_sigma
    if part in ("all", "decoder") and has_sigma:
        settings["sigma"] = A_NUMBER if isinstance(config.sigma, float) else config.sigma
    return settings


def other_setting(config: Config, of_weights: Config, part: str) -> str | None:
    """The name of the first setting by which weights of a run with `of_weights` do not fit a run with `config`.

    What `config` leaves to the data (auto) is not compared: before these are read, the rest can be.
    """
    there = architecture(of_weights, part)
    for name, value in architecture(config, part).items():
        if value is not None and value != there.get(name):
            return name
    return None
