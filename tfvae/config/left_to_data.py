"""What a `Config` leaves to the data, filled in when they are known: the epochs, the validation images, the filters."""

import dataclasses
import math

from tfvae.config.config import Config
from tfvae.config.flagfile import FILE_NAME, read_config

_AUTO_IMAGES = 1_000_000  # that --epochs=auto passes over, in 10 epochs at least
_SMALLEST = 8  # pixels of the side of the image at which --filters=auto ends
_MOST_FILTERS = 256


def with_epochs(config: Config, train_images: int, validation_images: int) -> Config:
    """`config` with the epochs, the validation images and when to validate."""
    epochs = config.epochs or max(10, math.ceil(_AUTO_IMAGES / train_images))
    config = dataclasses.replace(config, epochs=epochs, validation_examples=validation_images)
    return dataclasses.replace(config, validate_every=config.epochs_a_validation)


def with_filters(config: Config, image_shape: tuple[int, int, int]) -> Config:
    """`config` with the filters of its convolutions: those that its run directory records, or those of the image."""
    if config.network != "conv" or config.filters is not None:
        return config
    filters = None
    if config.run_dir is not None and (config.directory / FILE_NAME).exists():
        filters = read_config(config.directory).filters
    return dataclasses.replace(config, filters=filters or default_filters(image_shape))


def default_filters(image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """The filters of `--filters=auto`: 32, 64, 128, 256, 256, ..., until an image is at most 8x8; two at least."""
    height, width, _ = image_shape
    filters = [32, 64]
    while max(height, width) > _SMALLEST * 2 ** len(filters):
        filters.append(min(_MOST_FILTERS, 2 * filters[-1]))
    return tuple(filters)
