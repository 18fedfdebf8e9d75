"""What a `Config` leaves to the data, filled in when they are known: network, likelihood, epochs, filters and so on."""

import dataclasses
import math
from typing import Any

from tfvae.config.capabilities import LIKELIHOODS, REALS
from tfvae.config.config import Config
from tfvae.config.fields import to_text
from tfvae.config.flagfile import config_of_run
from tfvae.config.rules import has_filters

_AUTO_IMAGES = {"images": 1_000_000, "folder": 100_000, "vectors": 300_000}  # that --epochs=auto passes over
_LEAST_EPOCHS = 10  # of --epochs=auto
_OF_KIND = {
    "folder": {"network": "conv", "likelihood": "gaussian", "sigma": "learned", "scale": "none"},
    "vectors": {"network": "mlp", "likelihood": "gaussian", "sigma": "per_pixel"},
}
_SMALLEST = 8  # pixels of the side of the image at which --filters=auto ends
_MOST_FILTERS = 256


def with_models(config: Config, kind: str) -> Config:
    """`config` with the network, the likelihood, sigma and the scale.

    `kind` is what is trained on: `vectors`, a `folder` of images, or `images` of any other source.
    """
    values: dict[str, Any] = dict(_OF_KIND.get(kind, {}))
    if kind == "vectors" and LIKELIHOODS[config.likelihood or values["likelihood"]].support == REALS:
        values["scale"] = "standardize"
    left = [name for name in values if getattr(config, name) is None]
    return dataclasses.replace(config, **{name: values[name] for name in left}).as_usual()


def choices(config: Config, kind: str, channels: int) -> tuple[str, ...]:
    """What `with_models` and `with_epochs` have chosen of vectors or of a folder, in words; of other images nothing.

    `channels` are those of the images; of colour ones the network for photographs is named.
    """
    if kind == "images":
        return ()
    words = f"--network={config.network}"
    if kind == "folder" and channels == 3 and config.network == "conv":
        words += " (of photographs resnet has a smaller error after as many epochs, and takes longer)"
    words += f", --likelihood={config.likelihood}"
    if config.likelihood is not None and LIKELIHOODS[config.likelihood].has_sigma:
        words += f", --sigma={to_text(config.sigma)}"
    if kind == "vectors":
        words += f", --scale={config.scale}"
    return (f"{words}, --epochs={config.epochs}",)


def with_epochs(config: Config, train_images: int, validation_images: int, kind: str = "images") -> Config:
    """`config` with the epochs, the validation images and when to validate; `kind` is that of `with_models`."""
    epochs = config.epochs or max(_LEAST_EPOCHS, math.ceil(_AUTO_IMAGES[kind] / train_images))
    validate_every = config.validate_every
    recorded = config_of_run(config)
    if recorded is not None and config.selects:  # more epochs must not change which validations count
        validate_every = validate_every or recorded.validate_every
    config = dataclasses.replace(config, epochs=epochs, validation_examples=validation_images)
    return dataclasses.replace(config, validate_every=validate_every or config.epochs_a_validation)


def with_filters(config: Config, image_shape: tuple[int, int, int]) -> Config:
    """`config` with the filters of its convolutions: those that its run directory records, or those of the image."""
    if not has_filters(config.network) or config.filters is not None:
        return config
    recorded = config_of_run(config)
    filters = recorded.filters if recorded is not None else None
    return dataclasses.replace(config, filters=filters or default_filters(image_shape))


def default_filters(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The filters of `--filters=auto`: 32, 64, 128, 256, 256, ..., until an image is at most 8x8; two at least."""
    height, width, _ = image_shape
    filters = [32, 64]
    while max(height, width) > _SMALLEST * 2 ** len(filters):
        filters.append(min(_MOST_FILTERS, 2 * filters[-1]))
    return tuple(filters)
