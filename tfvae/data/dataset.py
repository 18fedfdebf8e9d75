"""Loads a data set in three parts that share no image: train, validation and test.

A source of images is a function that returns its parts, `dict[str, Split]`, in a module of this wing, and a line in
`_read_source`.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.config import ARRAYS, is_file_name
from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.data import arrays, digits, pixels, tfds
from tfvae.data.disk import DiskImages
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError

_MAX_TEST_IMAGES = 10_000  # that are taken off a set without a test part: a tenth at most
_SEED = 0  # the test set and its binarization are the same in every run, whatever --seed is
_VALIDATION_DRAW, _TEST_DRAW = 1, 2  # the places of these parts' draws in their stream
_ARGUMENTS = {"train": "images", "validation": "validation", "test": "test"}  # of Python, that hand the parts in


def resolve(config: Config) -> tuple[str, str]:
    """What `--dataset` stands for, and a line that says which data are taken and why."""
    name = config.dataset
    if is_file_name(name):
        name = str(Path(name).expanduser().absolute())
    if name != "auto":
        return name, f"data: {name}"
    try:
        tfds.prepare("mnist", config.data_dir)
    except InputError as error:
        return "digits", f"data: digits (mnist {error.reason})"
    return "mnist", "data: mnist (it is here)"


def load(config: Config, handed_in: dict[str, Split] | None = None) -> Dataset:
    """Loads `config.dataset` (resolved), or takes what Python has `handed_in` (`memory.load`); splits and binarizes it.

    Raises:
        InputError: it can't be had, or isn't images, or does not go with other settings.
    """
    name = config.dataset
    if handed_in is None:
        parts = {part: _checked(f"--dataset={name}", split) for part, split in _read_source(config).items()}
    else:
        parts = {part: _checked(_ARGUMENTS[part], split) for part, split in handed_in.items()}
    if "train" not in parts:
        raise InputError(f"--dataset={name}: must have a train split")
    white = 255
    if all(_is_zeros_and_ones(split.images) for split in parts.values()):
        white = 1
        parts = {part: _ones_to_255(split) for part, split in parts.items()}
    train, validation, test = _split(parts, config.validation_examples)
    dataset = Dataset(train, validation.in_memory(), test.in_memory(), white)
    _check_whole(config, dataset)
    if config.dequantize:
        return _dequantized(config, dataset)
    return _binarized(config, dataset)


def _read_source(config: Config) -> dict[str, Split]:
    """The parts that the source has, of `splits.PARTS`, with the pixels as they come."""
    memory = memory_bytes(config)
    if config.dataset == ARRAYS:
        raise InputError(
            f"--dataset={ARRAYS}: must be given: the run was made of arrays from Python; a .npy or .npz file of the "
            "same images does, and in Python the arrays"
        )
    if config.dataset == "digits":
        return digits.load()
    if is_file_name(config.dataset):
        return arrays.load(Path(config.dataset).expanduser(), memory)
    return tfds.load(config.dataset, config.data_dir, memory)


def memory_bytes(config: Config) -> float:
    """What training images may take; larger ones stay on disk."""
    if config.memory_gb is not None:
        return config.memory_gb * 1e9
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2


def load_of_run(config: Config, fingerprint: str, handed_in: dict[str, Split] | None = None) -> Dataset:
    """`load`, of the images that the run in `config.run_dir` was made with.

    Raises:
        InputError: they have changed since, or `load` raises it.
    """
    dataset = load(config, handed_in)
    if dataset.fingerprint() != fingerprint:
        raise changed(config, config.directory)
    return dataset


def changed(config: Config, run_dir: str | os.PathLike[str]) -> InputError:
    """What to raise where the images are not those of a run."""
    return InputError(f"--dataset={config.dataset}: must be the images that {run_dir} was made with: they changed")


def _checked(source: str, split: Split) -> Split:
    """The split with images [N, H, W, C], uint8 or float32 in [0, 1]; raises InputError where it has none."""
    if isinstance(split.images, DiskImages):
        split.images.check(source)
        return split
    return split._replace(images=pixels.as_images(source, split.images))


def _is_zeros_and_ones(images: np.ndarray | DiskImages) -> bool:
    """Whether they are uint8 and binary, but with 1 in place of 255: binary sets come both ways."""
    if images.dtype != np.uint8:
        return False
    return pixels.is_zeros_and_ones(images.array if isinstance(images, DiskImages) else images)


def _ones_to_255(split: Split) -> Split:
    if isinstance(split.images, DiskImages):
        return split._replace(images=split.images.scaled(255))
    return split._replace(images=split.images * np.uint8(255))


def _split(parts: dict[str, Split], validation_examples: int | None) -> tuple[Split, Split, Split]:
    """Makes train, validation and test of the parts that there are."""
    train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
    if test is None:
        train, test = _take_test_images(train)
    size = len(train.images) if validation is None else len(validation.images)
    if validation_examples is None and validation is None:
        # a small set spares a tenth of what it had before the test images were taken off
        tenth = round((len(train.images) + len(test.images)) / 10)
        validation_examples = min(5_000, tenth, size // 2)
    elif validation_examples is None:
        validation_examples = size
    limit = size - 1 if validation is None else size
    if validation_examples > limit:
        raise InputError(f"--validation_examples={validation_examples}: must be auto or at most {limit:,}")
    if validation is None:
        cut = size - validation_examples
        train, validation = train.rows(slice(cut)), train.rows(slice(cut, None))
    return train, validation.rows(slice(validation_examples)), test


def _take_test_images(train: Split) -> tuple[Split, Split]:
    """The rest and the test images of a set without a test part: a draw that every run shares; both keep the order."""
    size = len(train.images)
    if size < 10:
        raise InputError(f"--dataset: must have at least 10 images, and has {size}")
    order = noise.permutation(size, noise.seed_for(_SEED, Stream.SHUFFLE))
    is_test = np.zeros(size, bool)
    is_test[order[: min(round(size / 10), _MAX_TEST_IMAGES)]] = True
    return train.rows(~is_test), train.rows(is_test)


def _check_whole(config: Config, dataset: Dataset) -> None:
    """Refuses parts that don't go with each other or with the batch size; raises InputError."""
    shapes = {split.images.shape[1:] for split in dataset}
    dtypes = {split.images.dtype for split in dataset}
    if len(shapes) > 1 or len(dtypes) > 1:
        raise InputError(f"--dataset={config.dataset}: must have images of one shape and type in all its parts")
    size = len(dataset.train.images)
    if config.batch_size > size:
        raise InputError(f"--batch_size={config.batch_size}: must be at most the {size:,} training images")


def _dequantized(config: Config, dataset: Dataset) -> Dataset:
    """With the noise of `--dequantize` in validation and test images, once and for all; training draws its own."""
    if dataset.train.images.dtype != np.uint8:
        raise InputError(f"--dequantize=True: must have 8-bit pixels, and {config.dataset} has fractions")
    validation = _draw(dataset.validation, pixels.dequantize_once, _VALIDATION_DRAW)
    test = _draw(dataset.test, pixels.dequantize_once, _TEST_DRAW)
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
        validation = _draw(dataset.validation, pixels.draw_once, _VALIDATION_DRAW)
        test = _draw(dataset.test, pixels.draw_once, _TEST_DRAW)
        return dataclasses.replace(dataset, validation=validation, test=test)
    return dataset


def _thresholded(split: Split) -> Split:
    if len(split.images) == 0:
        return split
    if isinstance(split.images, DiskImages):
        return split._replace(images=split.images.thresholded())
    return split._replace(images=pixels.threshold(split.images))


def _draw(split: Split, draw: Callable[[np.ndarray, tf.Tensor], np.ndarray], place: int) -> Split:
    """The split with its images drawn by `draw`, a function of `pixels`."""
    if len(split.images) == 0:
        return split
    seed = noise.seed_for(_SEED, Stream.BINARIZE, place)
    return split._replace(images=draw(split.array, seed))
