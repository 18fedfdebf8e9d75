"""Makes three splits that share no image of what `sources` has read, and draws the pixels of validation and test."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.data import classes, draws, pixels, place, scaling, sources
from tfvae.data.disk import DiskImages
from tfvae.data.sources import Parts
from tfvae.data.splits import PARTS, Dataset, Split
from tfvae.errors import InputError

_SEED = 0  # the test set and its binarization are the same in every run, whatever --seed is
_VALIDATION_DRAW, _TEST_DRAW = 1, 2  # the places of these parts' draws in their stream
_TEST_ROWS, _VALIDATION_ROWS = 0, 1  # the places in theirs of the draws of rows


def load(config: Config, handed_in: dict[str, Split] | None = None) -> Dataset:
    """Loads `config.dataset` (resolved), or takes what Python has `handed_in` (`memory.load`); splits and binarizes it.

    Raises:
        InputError: it can't be had, or isn't images, or does not go with other settings.
    """
    return divide(config, sources.read(config, handed_in))


def divide(config: Config, parts: Parts) -> Dataset:
    """The three splits of a source: images binarized or dequantized, vectors with their columns, as `config` says.

    Raises:
        InputError: validation or test images, taken off images on disk, have pixels out of range; or the labels of a
            conditional run number no classes.
    """
    dataset = _divide(config, parts)
    return dataset if config.condition == "none" else classes.with_classes(config, dataset)


def _divide(config: Config, parts: Parts) -> Dataset:
    train, validation, test = _split(parts)
    if parts.kind == "vectors":
        return _vectors(config, (train, validation, test))
    dataset = Dataset(train, validation.in_memory(), test.in_memory(), parts.white, value_range=parts.value_range)
    if config.dequantize:
        return _dequantized(dataset)
    return _binarized(config, dataset)


def _vectors(config: Config, splits: tuple[Split, Split, Split]) -> Dataset:
    """The splits of vectors, whose scales are those of the training part."""
    columns = scaling.fit_columns(f"--dataset={config.dataset}", splits[0].array, splits[0].columns, config)
    train, validation, test = (scaling.as_stored(split) for split in splits)
    return Dataset(train, validation, test, columns=columns)


def load_of_run(config: Config, fingerprint: str, parts: Parts | None = None) -> Dataset:
    """The splits of the images that the run in `config.run_dir` was made with; without `parts` they are read.

    Raises:
        InputError: they have changed since, or can't be had.
    """
    if parts is None:
        parts = place.read(config)
    dataset = divide(config, parts)
    if dataset.fingerprint() != fingerprint:
        raise changed(config, config.directory, dataset.fingerprint(), fingerprint)
    return dataset


def changed(config: Config, run_dir: str | os.PathLike[str], here: str, of_run: str) -> InputError:
    """What to raise where the images are not those of a run; `here` and `of_run` are the fingerprints."""
    labels = "" if config.condition == "none" else ", or have other labels"
    return InputError(
        f"--dataset={config.dataset}: must be the images that {run_dir} was made with, and these are others, or in "
        f"another order{labels}: their checksum is {here}, and that of the run's images {of_run}"
    )


def _split(parts: Parts) -> tuple[Split, Split, Split]:
    """Makes train, validation and test of the parts that there are."""
    train, sizes = parts.splits["train"], parts.sizes
    if "test" in parts.splits:
        test = parts.splits["test"]
    else:
        train, test = _take(train, sizes.test, _TEST_ROWS)
    if "validation" in parts.splits:
        validation = parts.splits["validation"].rows(slice(sizes.validation))
    elif parts.kind != "images":  # files and tables are often sorted by their classes
        train, validation = _take(train, sizes.validation, _VALIDATION_ROWS)
    else:
        validation = train.rows(slice(sizes.train, None))
        train = train.rows(slice(sizes.train))
    return train, validation, test


def divide_values(parts: Parts, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is known of each example of the source's parts, as its row or its file's name, divided as the examples are.

    Args:
        values: [N] of each of the source's parts.

    Returns:
        [N] of each of the three splits.
    """
    as_splits = {part: Split(of_part, None) for part, of_part in values.items()}
    return {part: split.array for part, split in zip(PARTS, _split(parts._replace(splits=as_splits)))}


def _take(train: Split, count: int, place: int) -> tuple[Split, Split]:
    """The rest, and `count` images that are taken off: a draw that every run shares; both keep the order.

    `place` is that of the draw in its stream.
    """
    size = len(train.images)
    order = noise.permutation(size, noise.seed_for(_SEED, Stream.SHUFFLE, place))
    is_taken = np.zeros(size, bool)
    is_taken[order[:count]] = True
    return train.rows(~is_taken), train.rows(is_taken)


def _dequantized(dataset: Dataset) -> Dataset:
    """With the noise of `--dequantize` in validation and test images, once and for all; training draws its own."""
    validation = _draw(dataset.validation, draws.dequantize_once, _VALIDATION_DRAW)
    test = _draw(dataset.test, draws.dequantize_once, _TEST_DRAW)
    return dataclasses.replace(dataset, validation=validation, test=test)


def _binarized(config: Config, dataset: Dataset) -> Dataset:
    """As `--binarize` says, once and for all; stochastic training images are drawn by each step of training."""
    if config.binarize == "threshold":
        return dataclasses.replace(
            dataset,
            train=_thresholded(dataset.train),
            validation=_thresholded(dataset.validation),
            test=_thresholded(dataset.test),
        )
    if config.binarize == "stochastic":
        validation = _draw(dataset.validation, draws.draw_once, _VALIDATION_DRAW)
        test = _draw(dataset.test, draws.draw_once, _TEST_DRAW)
        return dataclasses.replace(dataset, validation=validation, test=test)
    return dataset


def _thresholded(split: Split) -> Split:
    if len(split.images) == 0:
        return split
    if isinstance(split.images, DiskImages):
        return split._replace(images=split.images.thresholded())
    return split._replace(images=pixels.threshold(split.images))


def _draw(split: Split, draw: Callable[[np.ndarray, tf.Tensor], np.ndarray], place: int) -> Split:
    """The split with its images drawn by `draw`, a function of `draws`."""
    if len(split.images) == 0:
        return split
    seed = noise.seed_for(_SEED, Stream.BINARIZE, place)
    return split._replace(images=draw(split.array, seed))
