"""Labels from outside: whole numbers or words, one for each example.

Words are numbered by their sorted order, and kept as `Split.label_names`. Other labels are refused, each kind in a line
of its own.
"""

import numpy as np

from tfvae.data.splits import Split
from tfvae.errors import InputError, is_printable


def as_labels(source: str, labels: np.ndarray, count: int, way_out: str = "") -> np.ndarray:
    """The labels [N] of N = `count` examples, of an array [N] or, as Keras's data sets have them, [N, 1].

    Args:
        source: what the labels are, for the message: an argument's name, or a file and the key in it.
        way_out: the message's end: how to do without them.

    Returns:
        Whole numbers, or words, of NumPy's type str, that `number_words` is due for. Truth values and numbers of
        floating point that are all whole become int64.

    Raises:
        InputError: they are neither whole numbers nor words, or not one for each example.
    """
    if labels.shape in ((count,), (count, 1)):
        taken = _whole_numbers_or_words(labels.reshape(count))
        if taken is not None:
            return taken
    raise InputError(
        f"{source} must be a whole number or a word for each of the {count:,} examples, and has the shape "
        f"{list(labels.shape)} and the type {labels.dtype}{_hint(labels, count)}{way_out}"
    )


def are_words(labels: np.ndarray | None) -> bool:
    """Whether they are words that have no numbers yet."""
    return labels is not None and labels.dtype.kind == "U"


def number_words(source: str, parts: dict[str, Split], way_out: str = "") -> dict[str, Split]:
    """The same parts, with numbers and their names in place of labels that are words.

    The names are those of all parts together, sorted, so that a number means the same word in each part. `source` and
    `way_out` begin and end the message.

    Raises:
        InputError: some parts have words and others numbers, or a word can't be printed in a line.
    """
    words = {part: split.known_labels for part, split in parts.items() if are_words(split.labels)}
    if not words:
        return parts
    with_numbers = [part for part, split in parts.items() if split.labels is not None and part not in words]
    if with_numbers:
        raise InputError(
            f"{source} must be of one kind in all parts, and are words in {', '.join(words)} and numbers in "
            f"{', '.join(with_numbers)}{way_out}"
        )
    names = np.unique(np.concatenate(list(words.values())))
    label_names = tuple(names.tolist())
    for name in label_names:
        if not is_printable(name):
            raise InputError(f"{source} must be words that can be printed, and one is {name}{way_out}")
    numbered = {
        part: parts[part]._replace(labels=np.searchsorted(names, labels), label_names=label_names)
        for part, labels in words.items()
    }
    return parts | numbered


def _whole_numbers_or_words(labels: np.ndarray) -> np.ndarray | None:
    """Labels [N] as whole numbers or words; None where they are neither."""
    kind = labels.dtype.kind
    if kind in "iu":
        return labels
    if kind == "b" or (kind == "f" and are_whole(labels)):
        return labels.astype(np.int64)
    if kind in "USOT":
        return _words(labels)
    return None


def are_whole(values: np.ndarray) -> bool:
    """Whether numbers of floating point are all whole, and so small that int64 has them."""
    return bool(np.all(np.isfinite(values) & (values == np.trunc(values)) & (np.abs(values) < 2**63)))


def _words(labels: np.ndarray) -> np.ndarray | None:
    """Text [N], of any type that holds some, as NumPy's str; None where one is no text, or no UTF-8."""
    if labels.dtype.kind == "U":
        return labels
    words = []
    for label in labels.tolist():
        if isinstance(label, bytes):  # of TensorFlow's strings, and of NumPy's type S
            try:
                label = label.decode()
            except UnicodeDecodeError:
                return None
        if not isinstance(label, str):
            return None
        words.append(label)
    return np.array(words, str)


def _hint(labels: np.ndarray, count: int) -> str:
    """What wrong labels seem to be, and what makes whole numbers of them; nothing where their number is wrong."""
    if labels.ndim not in (1, 2) or len(labels) != count:
        return ""
    kind = labels.dtype.kind
    if labels.ndim == 2 and labels.shape[1] != 1:
        if kind in "biuf" and _is_one_hot(labels):
            return ", one-hot: its argmax(axis=1) numbers the classes"
        return ", several for each example: take one column"
    if kind == "f":
        return ", with fractions or others that number no class"
    if kind in "SOT":
        return ", and not all are text (UTF-8)"
    return ""


def _is_one_hot(labels: np.ndarray) -> bool:
    """Whether each row has a single 1 and else zeros."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
