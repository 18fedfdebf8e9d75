"""What a figure is a figure of, in words: without them an ELBO means nothing."""

from typing import Any

import numpy as np

from tfvae.config import Config
from tfvae.config.capabilities import LEVELS, LIKELIHOODS
from tfvae.config.usual import USUAL
from tfvae.core.columns import Columns

_VALUE_OF = {1: "grey value", 3: "colour value", 4: "colour value"}  # channels: what one of their values is called


def examples(columns: Columns | None) -> str:
    """What the examples of a data set are called; `columns` are those of vectors."""
    return "images" if columns is None else "rows"


def describe_pixels(config: Config, images: np.ndarray, columns: Columns | None = None) -> str:
    """What the pixels are that a likelihood is of: figures of grey and of binarized ones differ by tens of nats.

    `images` [N, H, W, C] are any of the data set's, after binarization: uint8 or float32; `columns` are those of
    vectors.
    """
    if columns:
        return _describe_vectors(config, columns)
    if config.dequantize:
        return "8-bit pixels with uniform noise"
    if config.binarize == "threshold":
        return "pixels 1 above 0.5"
    value = _VALUE_OF.get(images.shape[-1], "value")
    if LIKELIHOODS[config.likelihood or USUAL["likelihood"]].support == LEVELS:
        return f"{value}s of 256 levels"
    if config.binarize == "stochastic":
        return f"pixels drawn with their {value} as the probability"
    return "binary pixels as they come" if _are_binary(images) else f"{value}s"


def _describe_vectors(config: Config, columns: Columns) -> str:
    words = "values in their own units"
    if config.scale == "standardize":
        words += " (the network's: less the training part's mean, over its deviation)"
    if config.scale == "unit":
        words += " (the network's: the training part's range as [0, 1])"
    return f"{words}, the missing ones left out" if columns.missing else words


def _are_binary(images: np.ndarray) -> bool:
    white = 255 if images.dtype == np.uint8 else 1
    return bool(np.isin(images, (0, white)).all())


def likelihood_advice(config: Config, images: np.ndarray) -> str | None:
    """A line for those who train a Bernoulli likelihood on colours, of which it is none; None for all others.

    `images` as for `describe_pixels`.
    """
    is_drawn = config.binarize != "none" or config.dequantize
    if config.likelihood != "bernoulli" or is_drawn or images.shape[-1] not in (3, 4) or _are_binary(images):
        return None
    return (
        "advice: of colour values --likelihood=bernoulli is a cross-entropy and no density; "
        "--likelihood=gaussian --sigma=learned gives log densities, discretized_logistic probabilities of 8-bit pixels "
        "(docs/models.md)"
    )


def describe_sigma(config: Config) -> str:
    """The deviation of p(x|z) in words, after a comma; nothing where it has none."""
    return f", sigma {config.sigma}" if LIKELIHOODS[config.likelihood_name].has_sigma else ""


def given_label(config: Config) -> str:
    """What figures of a conditional run are given, after a comma; nothing of another."""
    return ", given the label" if config.condition == "label" else ""


def provenance(
    config: Config,
    images: np.ndarray,
    samples: int,
    columns: Columns | None = None,
    initial_weights: str | None = None,
) -> dict[str, Any]:
    """What test figures are numbers of.

    `images` are the test images [N, H, W, C]; `samples` is the number of z for each of them. `columns` are those
    of vectors, which are `images` [N, 1, 1, D]. `initial_weights` says which weights of another run the run started
    from, if it did.
    """
    pixels = describe_pixels(config, images, columns)
    if config.binarize == "stochastic" or config.dequantize:
        pixels += " (once, by a fixed seed)"
    condition = {} if config.condition == "none" else {"condition": config.condition}
    of_another_run = {} if initial_weights is None else {"initial_weights": initial_weights}
    return {
        "dataset": config.dataset,
        "split": "test",
        "images": len(images),
        "examples": examples(columns),
        "pixels": pixels,
        "likelihood": config.likelihood_name + describe_sigma(config),
        "posterior": config.posterior,
        "prior": config.prior,
        "objective": config.objective,
        "kl": "closed" if config.closed_kl else "sampled",
        "samples": samples,
        "seed": config.seed,
        "units": f"nats per {examples(columns).removesuffix('s')}",
        **condition,
        **of_another_run,
    }
