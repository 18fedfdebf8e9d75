"""Images from outside for a trained model, by the rule of its run, and made into x block by block."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.inputs import InputRule
from tfvae.core.noise import Stream
from tfvae.core.vectors import VectorRule
from tfvae.data import draws, pixels
from tfvae.data.disk import DiskImages

_SEED = 0  # of the pixels that are drawn: the same in every run, as for test images
_NEW_DRAW = 3  # the place of these draws in their stream, after those of validation and test
_TRAINING_DRAW = 4  # that of training images
_DRAWN_TOGETHER = 256  # images: part of the numbers
_CHECKED_BYTES = 2**25  # of images on disk that are checked together


class NewImages:
    """N images that follow the rule of a run: `images[rows]` are [R, H, W, C], uint8 or float32 in [0, 1].

    They are binarized or dequantized as the run's test images were, pixels being drawn once, by a fixed seed and an
    image's place. Images that are binary already stay as they are. Only the rows that are asked for are converted, and
    those of `DiskImages` read, so memory does not grow with N.

    Raises:
        InputError: `rule` refuses them; the message speaks of the argument `name`.
    """

    def __init__(self, images: Any, rule: InputRule | VectorRule, config: Config, name: str = "x") -> None:
        if tf.is_tensor(images):
            images = images.numpy()  # of which `checked` keeps whole numbers whole
        if isinstance(images, DiskImages):
            _check_on_disk(images, rule, name)
        else:
            images = np.asarray(rule.checked(images, name))
        self.images: np.ndarray | DiskImages = images
        self.rule, self.config = rule, config
        self.seed = noise.seed_for(_SEED, Stream.BINARIZE, _NEW_DRAW)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        images = self._stored(rows)
        draw = functools.partial(_uniform_of_rows, rows)
        if self.config.binarize == "threshold":
            return pixels.threshold(images)
        if self.config.binarize == "stochastic":
            return draws.draw_once(images, self.seed, draw)
        if self.config.dequantize and images.dtype == np.uint8:
            return draws.dequantize_once(images, self.seed, draw)
        return images

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.rule.stored(_read(self.images, rows)))


class TrainingImages(NewImages):
    """The training images of a run, whose pixels are drawn once, as those of its test images are."""

    def __init__(self, images: np.ndarray | DiskImages, config: Config) -> None:
        self.images, self.config = images, config
        self.seed = noise.seed_for(_SEED, Stream.BINARIZE, _TRAINING_DRAW)

    def _stored(self, rows: np.ndarray) -> np.ndarray:
        return _read(self.images, rows)


def _read(images: np.ndarray | DiskImages, rows: np.ndarray) -> np.ndarray:
    return images.read(rows) if isinstance(images, DiskImages) else images[rows]


def _check_on_disk(images: DiskImages, rule: InputRule | VectorRule, name: str) -> None:
    """Refuses what the rule does, of images of which a few are in memory at a time."""
    images.check(name)
    together = max(1, _CHECKED_BYTES * len(images) // images.nbytes)
    for first in range(0, len(images), together):
        rule.checked(images.read(np.arange(first, min(first + together, len(images)))), name)


def _uniform_of_rows(rows: np.ndarray, shape: tuple[int, ...], seed: Any) -> np.ndarray:
    """Uniform noise of `shape`, [R, ...]: that of an image depends on its place and `seed` alone."""
    uniform = np.empty(shape, np.float32)
    groups = rows // _DRAWN_TOGETHER
    for group in np.unique(groups):
        of_group = noise.uniform((_DRAWN_TOGETHER, *shape[1:]), noise.fold_in(seed, group)).numpy()
        uniform[groups == group] = of_group[rows[groups == group] % _DRAWN_TOGETHER]
    return uniform
