"""Labels from outside: whole numbers, one for each image. Other ones are refused, each kind in a line of its own."""

import numpy as np

from tfvae.errors import InputError


def as_labels(source: str, labels: np.ndarray, count: int, way_out: str = "") -> np.ndarray:
    """The labels [N] of N = `count` images, of an array [N] or, as Keras's data sets have them, [N, 1].

    Args:
        source: what the labels are, for the message: an argument's name, or a file and the key in it.
        way_out: the message's end: how to do without them.

    Raises:
        InputError: they are not whole numbers, or not one for each image.
    """
    if labels.shape in ((count,), (count, 1)) and labels.dtype.kind in "iu":
        return labels.reshape(count)
    raise InputError(
        f"{source} must be a whole number for each of the {count:,} images, and has the shape {list(labels.shape)} "
        f"and the type {labels.dtype}{_hint(labels, count)}{way_out}"
    )


def _hint(labels: np.ndarray, count: int) -> str:
    """What wrong labels seem to be, and what makes whole numbers of them; nothing where their number is wrong."""
    if labels.ndim not in (1, 2) or len(labels) != count:
        return ""
    kind = labels.dtype.kind
    if kind in "USOT":
        return ", text: np.unique(labels, return_inverse=True)[1] numbers its classes"
    if labels.ndim == 2 and labels.shape[1] != 1:
        if kind in "biuf" and _is_one_hot(labels):
            return ", one-hot: its argmax(axis=1) numbers the classes"
        return ", several for each image: take one column"
    if kind == "b":
        return ", truth values: its astype(int) is 0 and 1"
    if kind == "f":
        return ", of floating point: if they number classes, take its astype(int)"
    return ""


def _is_one_hot(labels: np.ndarray) -> bool:
    """Whether each row has a single 1 and else zeros."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
