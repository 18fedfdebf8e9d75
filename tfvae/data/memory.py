"""Images that Python hands in: arrays, nested lists, tensors, and finite datasets of tf.data, read once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core.inputs import as_array
from tfvae.data.labels import as_labels, number_words
from tfvae.data.splits import Split
from tfvae.data.vectors import check_plain
from tfvae.errors import InputError


def load(
    images: Any, validation: Any, test: Any, labels: Any, memory: float, with_labels: bool = True
) -> dict[str, Split]:
    """The parts that are handed in; `memory` are the bytes that a dataset of tf.data may take.

    `images` are the training images [N, H, W] or [N, H, W, C], `labels` whole numbers or words, [N] or [N, 1] of them;
    `validation` and `test` may be pairs (images, labels). A tf.data.Dataset has images, or pairs (image, label), one by
    one or in batches; without `with_labels` the labels of pairs are not looked at.

    Raises:
        InputError: it is no array, or endless, or too large, or its labels are not one for each image.
    """
    if labels is not None and isinstance(images, tf.data.Dataset):
        raise InputError("labels: must not be given beside a tf.data.Dataset, whose elements may be (image, label)")
    parts = {"train": _read("images", images, memory, with_labels)}
    if labels is not None:
        train = parts["train"].images
        count = len(train) if train.shape else 0  # that images without an axis are none is said later
        parts["train"] = Split(train, as_labels("labels:", _label_array(labels), count))
    if validation is not None:
        parts["validation"] = _read("validation", validation, memory, with_labels)
    if test is not None:
        parts["test"] = _read("test", test, memory, with_labels)
    return number_words("labels:", parts)


def _label_array(labels: Any) -> np.ndarray:
    """An array of labels; text in pandas' or TensorFlow's types makes one of objects, which `as_array` refuses."""
    try:
        return np.asarray(labels)
    except (TypeError, ValueError):
        return as_array(labels, "labels")  # says what is wrong


def _read(argument: str, images: Any, memory: float, with_labels: bool) -> Split:
    if isinstance(images, tf.data.Dataset):
        return _read_dataset(argument, images, memory, with_labels)
    if _is_pair(images):
        split = _read(argument, images[0], memory, with_labels)
        return split._replace(labels=as_labels(f"{argument}: its labels", _label_array(images[1]), len(split.images)))
    array = as_array(images, argument)
    check_plain(argument, array)
    return Split(array, None)


def _is_pair(images: Any) -> bool:
    """Whether they are (images, labels [N]), which no array of images is."""
    return isinstance(images, tuple) and len(images) == 2 and np.ndim(images[0]) > 1 and np.ndim(images[1]) == 1


def _read_dataset(argument: str, dataset: tf.data.Dataset, memory: float, with_labels: bool) -> Split:
    """All images (and labels) of a dataset of tf.data, in its order."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(f"{argument}: must be a finite tf.data.Dataset, and this one repeats without an end")
    has_labels = _has_labels(argument, dataset.element_spec)
    images, labels = [], []
    size = 0
    for element in _batches(argument, dataset, has_labels):
        images.append(element[0])
        labels.append(element[1])
        size += images[-1].nbytes
        if size > memory:
            raise InputError(
                f"{argument}: must be a finite tf.data.Dataset that fits into memory, and has more than "
                f"{memory / 1e9:.3g} GB (memory_gb); take a .npy file as --dataset"
            )
    if not images:
        raise InputError(f"{argument}: must have images, and this tf.data.Dataset has none")
    array = np.concatenate(images)
    if not (has_labels and with_labels):
        return Split(array, None)
    way_out = "; --labels=none does without"
    return Split(array, as_labels(f"{argument}: its labels", np.concatenate(labels), len(array), way_out))


def _has_labels(argument: str, spec: Any) -> bool:
    """Whether the elements are pairs (image, label)."""
    if isinstance(spec, tf.TensorSpec):
        return False
    if isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec):
        return True
    raise InputError(f"{argument}: must be a tf.data.Dataset of images, or of pairs (image, label), and has {spec}")


def _batches(argument: str, dataset: tf.data.Dataset, has_labels: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images [B, H, W] or [B, H, W, C] and labels [B] (or nothing) of each element of the dataset."""
    spec = dataset.element_spec[0] if has_labels else dataset.element_spec
    rank = spec.shape.rank
    if rank not in (2, 3, 4):
        raise InputError(f"{argument}: must be a tf.data.Dataset of images, and has elements of the shape {spec.shape}")
    is_batched = rank == 4 or (rank == 3 and spec.shape[0] is None)
    nothing = np.zeros(0, np.int64)
    for element in dataset.as_numpy_iterator():
        images, labels = element if has_labels else (element, nothing)
        if is_batched:
            yield images, labels
        else:
            yield images[None], np.asarray(labels)[None]
