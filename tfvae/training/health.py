"""What a run's figures say is wrong with it: a line each, with what usually helps. A good run is told nothing.

Each rule asks for more than noise could do; where a figure does not mean anything, as the KL of an autoencoder, no rule
speaks of it.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.network_name import is_own
from tfvae.config.rules import has_filters
from tfvae.errors import InputError

# A variance is that of the floor and a learned one: at 1.1 times the floor, five sixths of it are the floor's.
_NEAR_FLOOR = 1.1
# 100 nats are the KL of a latent whose mean is 14 away from 0, where N(0, 1) draws none, or whose deviation is e^-100.
_MOST_KL_OF_A_UNIT = 100.0
# Means over a tenth of the validations, and over three at least, are compared: single ones vary from one to the next.
_LEAST_WINDOW = 3
# A fall is told if it is so many standard errors over the images. As each validation is of the same images and noise,
# the error of a difference is smaller still.
_STANDARD_ERRORS = 3.0

History = dict[str, list[Any]]  # as `history.read` returns it


class _Validation(NamedTuple):
    """What the epoch of a validation came to, in nats an example."""

    epoch: int
    train_elbo: float
    elbo: float
    standard_error: float


def warnings(config: Config, results: dict[str, Any], history: History, step: int) -> list[str]:
    """What is wrong with a run, a line each; nothing if nothing is.

    Args:
        results: `of` and `test`, as `report.results` and `results.json` have them.
        history: that of the run's epochs.
        step: of the weights that were evaluated; later epochs do not count.
    """
    if not OBJECTIVES[config.objective].has_prior:  # a plain autoencoder has neither KL nor ELBO
        return []
    test, several = results["test"], results["of"]["images"] > 1  # of a single one no latent's mean varies
    found = [
        _collapse(config, test) if several else None,
        _narrow_codes(config, test),
        _floor(config, test, results["of"].get("examples", "images")),
        _overfitting(config, _validations(history, step)),
    ]
    return [warning for warning in found if warning is not None]


def _collapse(config: Config, test: dict[str, Any]) -> str | None:
    """No latent says anything of x."""
    if test["active_units"] > 0:
        return None
    ways = ["longer training (--epochs)"]
    if config.kl_warmup_epochs == 0 and config.beta > 0 and _allows(config, kl_warmup_epochs=1.0):
        ways.append("--kl_warmup_epochs")
    if config.free_bits == 0 and config.beta > 0 and _allows(config, free_bits=0.1):
        ways.append("--free_bits")
    if config.beta > 0 and _allows(config, beta=0.5):
        ways.insert(0 if config.beta > 1 else len(ways), "a smaller --beta")
    return (
        f"no active unit: the posterior has collapsed (KL {test['kl']:.2f} nats), and z says nothing of x; what "
        f"usually helps: {_either(ways)}"
    )


def _narrow_codes(config: Config, test: dict[str, Any]) -> str | None:
    """The latents are used as a lookup table, far from where the prior draws them."""
    units = test["active_units"]
    if units == 0 or config.beta == 0 or test["kl"] <= _MOST_KL_OF_A_UNIT * units:
        return None
    ways = ["more latents (--latent_dim)", "a smaller --learning_rate"]
    if _allows(config, beta=2.0):
        ways.append("a larger --beta")
    if config.learns_sigma:
        ways.append("a larger --sigma_floor")
    return (
        f"KL {test['kl']:,.1f} nats, {test['kl'] / units:,.1f} for each active unit: more than "
        f"{_MOST_KL_OF_A_UNIT:g} are codes where p(z) draws none, so that samples look like no data; what usually "
        f"helps: {_either(ways)}"
    )


def _floor(config: Config, test: dict[str, Any], examples: str) -> str | None:
    """The learned deviation would be smaller, if it could."""
    sigma = test.get("sigma")
    if not config.learns_sigma or sigma is None or sigma > _NEAR_FLOOR * config.sigma_floor:
        return None
    ways = ["a smaller --sigma_floor (where values are as exact as that)"]
    if examples == "rows":
        ways.append("leaving out columns that are constant or follow from others")
    elif not config.dequantize and _allows(config, dequantize=True):
        ways.append("--dequantize (of 8-bit pixels)")
    ways.append("a number as --sigma")
    return (
        f"sigma {sigma:.4g} is at its floor (--sigma_floor={config.sigma_floor:g}): the log densities are as high as "
        f"the floor lets them be, and say little of the model; what usually helps: {_either(ways)}"
    )


def _overfitting(config: Config, validations: list[_Validation]) -> str | None:
    """The validation ELBO has fallen from its best while that of training rose."""
    window = max(_LEAST_WINDOW, len(validations) // 10)
    if len(validations) < 2 * window:
        return None
    elbo = _moving_means([validation.elbo for validation in validations], window)
    train_elbo = _moving_means([validation.train_elbo for validation in validations], window)
    place = int(np.argmax(elbo))
    best, last = max(validations, key=lambda validation: validation.elbo), validations[-1]
    has_fallen = elbo[place] - elbo[-1] > _STANDARD_ERRORS * best.standard_error
    has_risen = train_elbo[-1] > train_elbo[place]
    if not (has_fallen and has_risen):
        return None
    size = "--filters" if has_filters(config.network) else "--hidden_units"
    if is_own(config.network):
        size = "its layers"
    ways = ["fewer --epochs", f"a smaller network ({size}, --latent_dim)", "more training data"]
    if not config.keep_best and _allows(config, keep_best=True):
        ways.insert(0, "--keep_best")
    return (
        f"overfitting: the validation ELBO was best at epoch {best.epoch:,} ({best.elbo:.2f} nats) and is "
        f"{last.elbo:.2f} at epoch {last.epoch:,}, while the train ELBO rose from {best.train_elbo:.2f} to "
        f"{last.train_elbo:.2f}; what usually helps: {_either(ways)}"
    )


def _moving_means(values: list[float], window: int) -> np.ndarray:
    """The means over each `window` values that follow each other: [N - window + 1]."""
    return np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)


def _validations(history: History, step: int) -> list[_Validation]:
    """The validations up to a step; none of a run that is older than their standard errors."""
    names = ("step", "epoch", "elbo", "val_elbo", "val_elbo_standard_error")
    rows = zip(*(history.get(name, []) for name in names))
    return [_Validation(*row) for of_step, *row in rows if of_step <= step and None not in row]


def _allows(config: Config, **changes: Any) -> bool:
    """Whether these settings go with the others."""
    try:
        dataclasses.replace(config, **changes)
    except InputError:
        return False
    return True


def _either(ways: list[str]) -> str:
    """`a, b or c`."""
    *others, last = ways
    return f"{', '.join(others)} or {last}" if others else last
