"""What the tests of this wing share: files of images, and how they are loaded or refused."""

from collections import Counter

import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

from tfvae.config import Config  # noqa: E402
from tfvae.data import dataset as data  # noqa: E402
from tfvae.errors import InputError  # noqa: E402

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 5, 7), dtype=np.uint8)
GREY[0, 0, :2] = 0, 255
UNPLUGGED = "no network: unplugged"


def load(dataset, **settings):
    return data.load(Config(dataset=str(dataset), **{"batch_size": 1, **settings}))


def refused(dataset, **settings):
    """The message that refuses it: one line."""
    with pytest.raises(InputError) as caught:
        load(dataset, **settings)
    message = str(caught.value)
    assert "\n" not in message and not message.startswith("(")
    return message


def npy(folder, array, **options):
    np.save(folder / "x.npy", array, **options)
    return folder / "x.npy"


def npz(folder, **arrays):
    np.savez(folder / "x.npz", **arrays)
    return folder / "x.npz"


def together(dataset):
    return np.concatenate([split.images for split in dataset])


def rows(images, labels=None):
    return Counter((image.tobytes(), None if labels is None else int(labels[i])) for i, image in enumerate(images))
