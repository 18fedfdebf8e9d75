"""Images, or vectors, in files of NumPy: .npy and .npz."""

from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfvae.data.disk import DiskImages, open_images
from tfvae.data.labels import as_labels, number_words
from tfvae.data.splits import PARTS, Split
from tfvae.data.vectors import check_plain
from tfvae.errors import InputError

_SHORT = {"validation": "val"}  # in MedMNIST's names of arrays
_LABELS_BESIDE = {"X": "y", "data": "target"}  # scikit-learn's names of training vectors, and of what belongs to them


def load(path: Path, memory: float, with_labels: bool = True) -> dict[str, Split]:
    """The parts that a file holds; `memory` are the bytes that they may take.

    .npy: the images (or vectors [N, D], which are not checked here either) alone, which stay in the file if they take
    more than `memory`.
    .npz: the arrays that `_images_key` names, and with `with_labels` those that `_labels_key` does. Others are not
    read: they may be large, or pickles.

    Raises:
        InputError: the file can't be read, has no training images, or its labels are not one for each image.
    """
    try:
        with open(path, "rb") as file:  # np.load itself leaves a damaged .npz open
            if path.suffix == ".npy" and path.stat().st_size > memory:
                return {"train": Split(_open(path), None)}
            arrays = _read(file, path, memory, with_labels)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises anything from OSError to TokenError
        raise _unreadable(path, error) from None
    parts = [part for part in PARTS if _images_key(part, arrays) is not None]
    splits = {part: _split(part, arrays, path, with_labels) for part in parts}
    return number_words(f"--dataset={path}: labels", splits, way_out="; --labels=none does without")


def map_npy(path: Path) -> DiskImages | None:
    """The images of a .npy file, of which the header alone is read; None if it is a .npz file, whatever its name.

    Raises:
        InputError: the file can't be read.
    """
    try:
        with open(path, "rb") as file:
            prefix = file.read(len(np.lib.format.MAGIC_PREFIX))
        if prefix != np.lib.format.MAGIC_PREFIX:
            return None
        return _open(path)
    except InputError:
        raise
    except Exception as error:  # as in `load`
        raise _unreadable(path, error) from None


def _open(path: Path) -> DiskImages:
    images = open_images(path)
    check_plain(f"--dataset={path}", images.array)
    return images


def _unreadable(path: Path, error: Exception) -> InputError:
    """What to raise where NumPy fails on a file."""
    reason = " ".join(str(error).split())
    return InputError(f"--dataset={path}: must be a readable .npy or .npz file without pickles: {reason}")


def _read(file: BinaryIO, path: Path, memory: float, with_labels: bool) -> dict[str, np.ndarray]:
    """The arrays that are needed of a file, by name; that of a .npy is `images`."""
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"images": loaded}
    if _images_key("train", loaded.files) is None:
        keys = ", ".join(loaded.files) or "none"
        raise InputError(
            f"--dataset={path}: must hold an array images, imgs, train, x_train, train_images, X, data or X_train, "
            f"and has {keys}"
        )
    found = [_images_key(part, loaded.files) for part in PARTS]
    if with_labels:
        found += [_labels_key(part, loaded.files) for part in PARTS]
    needed = [key for key in found if key is not None]
    sizes = {member.filename.removesuffix(".npy"): member.file_size for member in loaded.zip.infolist()}
    if sum(sizes[key] for key in needed) > memory:
        raise InputError(f"--dataset={path}: must be a .npy of the images alone, or --memory_gb more, to be that large")
    return {key: _read_member(loaded, key, path) for key in needed}


def _read_member(loaded: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        array = loaded[key]
    except ValueError as error:  # a pickle, or a damaged header
        raise ValueError(f"{key}: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"--dataset={path}: must hold arrays alone, and {key} is none")
    return array


def _images_key(part: str, keys: Collection[str]) -> str | None:
    """The name of the array that holds a part's images, or None.

    `x_train` is Keras's, `train_images` and `val_images` are MedMNIST's, `imgs` is that of dSprites, `X`, `data` and
    `X_train` are those of scikit-learn's examples.
    """
    names = [f"x_{part}", part, f"{_SHORT.get(part, part)}_images"]
    if part == "train":
        names += ["images", "imgs", *_LABELS_BESIDE]
    if "X_train" in keys:  # else X_test is none of our business
        names.append(f"X_{part}")
    return next((name for name in names if name in keys), None)


def _labels_key(part: str, keys: Collection[str]) -> str | None:
    """The name of the array that holds a part's labels, or None."""
    names = [f"y_{part}", f"{_SHORT.get(part, part)}_labels"]
    if part == "train":
        names.append("labels")
        beside = _LABELS_BESIDE.get(_images_key(part, keys) or "")
        if beside is not None:  # beside other images, `y` and `target` may be anything
            names.append(beside)
    return next((name for name in names if name in keys), None)


def _split(part: str, arrays: dict[str, np.ndarray], path: Path, with_labels: bool) -> Split:
    images = arrays[str(_images_key(part, arrays))]
    check_plain(f"--dataset={path}", images)
    key = _labels_key(part, arrays)
    if key is None or not with_labels:
        return Split(images, None)
    source = f"--dataset={path}: {key}"
    count = len(images) if images.ndim else 0  # that images without an axis are none is said later
    return Split(images, as_labels(source, arrays[key], count, way_out="; --labels=none does without"))
