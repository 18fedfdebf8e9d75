"""Images in files of NumPy: .npy and .npz."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfvae.data.disk import DiskImages, open_images
from tfvae.data.labels import as_labels
from tfvae.data.splits import PARTS, Split
from tfvae.errors import InputError


def load(path: Path, memory: float, with_labels: bool = True) -> dict[str, Split]:
    """The parts that a file holds; `memory` are the bytes that they may take.

    .npy: the images alone, which stay in the file if they take more than `memory`.
    .npz: `train`, `validation`, `test` (or Keras's `x_train`, `x_test`), or one array `images`; labels in `y_train`,
    `y_validation`, `y_test`, or `labels`, which are not looked at without `with_labels`.

    Raises:
        InputError: the file can't be read, has no training images, or its labels are not one for each image.
    """
    try:
        with open(path, "rb") as file:  # np.load itself leaves a damaged .npz open
            if path.suffix == ".npy" and path.stat().st_size > memory:
                return {"train": Split(open_images(path), None)}
            arrays = _read(file, path, memory)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises anything from OSError to TokenError
        raise _unreadable(path, error) from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"--dataset={path}: must hold arrays alone, and {key} is none")
    splits = {part: _split(part, arrays, path, with_labels) for part in PARTS if _images_key(part, arrays) is not None}
    if "train" not in splits:
        keys = ", ".join(arrays) or "none"
        raise InputError(f"--dataset={path}: must hold an array images, train or x_train, and has {keys}")
    return splits


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
        return open_images(path)
    except Exception as error:  # as in `load`
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    """What to raise where NumPy fails on a file."""
    reason = " ".join(str(error).split())
    return InputError(f"--dataset={path}: must be a readable .npy or .npz file without pickles: {reason}")


def _read(file: BinaryIO, path: Path, memory: float) -> dict[str, np.ndarray]:
    """The file's arrays by name; that of a .npy is `images`."""
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"images": loaded}
    if sum(member.file_size for member in loaded.zip.infolist()) > memory:
        raise InputError(f"--dataset={path}: must be a .npy of the images alone, or --memory_gb more, to be that large")
    return {key: loaded[key] for key in loaded.files}


def _images_key(part: str, arrays: dict[str, np.ndarray]) -> str | None:
    """The name of the array that holds a part's images, or None."""
    keys = [f"x_{part}", part]
    if part == "train":
        keys.append("images")
    return next((key for key in keys if key in arrays), None)


def _split(part: str, arrays: dict[str, np.ndarray], path: Path, with_labels: bool) -> Split:
    images = arrays[str(_images_key(part, arrays))]
    key = _labels_key(part, arrays)
    if key is None or not with_labels:
        return Split(images, None)
    source = f"--dataset={path}: {key}"
    count = len(images) if images.ndim else 0  # that images without an axis are none is said later
    return Split(images, as_labels(source, arrays[key], count, way_out="; --labels=none does without"))


def _labels_key(part: str, arrays: dict[str, np.ndarray]) -> str | None:
    """The name of the array that holds a part's labels, or None."""
    keys = [f"y_{part}"]
    if part == "train":
        keys.append("labels")
    return next((key for key in keys if key in arrays), None)
