"""The classes of a conditional run (`--condition=label`): those of its training part, by name and in order.

y, int32 [N], are the places of N examples' labels among them.
"""

import dataclasses
from typing import Any

import numpy as np

from tfvae.config import Config
from tfvae.config.data_names import ARRAYS, FILES, TABLES, is_file_name
from tfvae.data.labels import as_labels
from tfvae.data.splits import PARTS, Dataset, Split
from tfvae.errors import InputError, listed

_MOST = 1_000  # classes; more are numbers of another kind


def require(config: Config, splits: dict[str, Split]) -> None:
    """Refuses the parts of a source for a conditional run, where labels are missing or number no classes.

    Raises:
        InputError: names the part. A part has no labels, or a class that the training part has not; or the training
            part has no 2 to 1,000 classes.
    """
    if config.condition == "none":
        return
    for part in PARTS:
        if part in splits and len(splits[part].images) and splits[part].labels is None:
            raise _refusal(config, f"its {part} part has no labels{_way_out(config)}")
    values = np.unique(splits["train"].known_labels)
    if not 2 <= len(values) <= _MOST:
        found = "a single label" if len(values) == 1 else f"{len(values):,} different labels"
        raise _refusal(config, f"its training part has {found}, and classes are 2 to {_MOST:,}")
    for part, split in splits.items():
        _require_known(config, part, split, values)


def with_classes(config: Config, dataset: Dataset) -> Dataset:
    """The data set of a conditional run with the classes of its training part, and the place of each label in them.

    Raises:
        InputError: as `require`, of the parts that the run has made of its source's.
    """
    splits = dict(zip(PARTS, dataset))
    require(config, splits)
    train = splits["train"]
    values = np.unique(train.known_labels)
    for part, split in splits.items():
        # a part without examples may have no labels
        y = np.zeros(0, int) if split.labels is None else np.searchsorted(values, split.labels)
        splits[part] = split._replace(y=y.astype(np.int32))
    names = tuple(_name(train, value) for value in values)
    return dataclasses.replace(
        dataset, train=splits["train"], validation=splits["validation"], test=splits["test"], classes=names
    )


def _require_known(config: Config, part: str, split: Split, values: np.ndarray) -> None:
    """Refuses a part that has another label than these `values`."""
    if split.labels is None:  # of a part without examples
        return
    others = split.labels[~np.isin(split.labels, values)]
    if len(others):
        raise _refusal(
            config,
            f"its {part} part has the class {_name(split, others[0])}, of which its training part has no example",
        )


def _name(split: Split, label: int) -> str:
    has_name = 0 <= label < len(split.label_names)  # TFDS has -1 where a label is not told
    return split.label_names[label] if has_name else str(label)


def _refusal(config: Config, reason: str) -> InputError:
    return InputError(f"--condition=label: must be none for --dataset={config.dataset}: {reason}")


def _way_out(config: Config) -> str:
    """How a source is given labels; nothing where it has what it has."""
    if config.dataset.endswith(TABLES):
        return ": --label_column names the column that has them"
    if config.dataset == ARRAYS:
        return ": hand in labels=..., and validation and test as pairs (images, labels)"
    if config.dataset.endswith(FILES):
        return ": the array labels has them, or y_train, y_test beside x_train, x_test, in an .npz file"
    if is_file_name(config.dataset):
        return ": a folder's classes are its subfolders"
    return ""


def places(classes: tuple[str, ...], labels: Any, count: int, name: str = "labels") -> np.ndarray:
    """y [N] of labels from outside, whole numbers or names as the training data had, one for each or one for all.

    Raises:
        InputError: they are not N = `count`, or one is of no class; the message speaks of the argument `name`.
    """
    given = np.asarray(labels)
    given = np.broadcast_to(given, count) if given.ndim == 0 else given
    known = {of_class: place for place, of_class in enumerate(classes)}
    words = as_labels(f"{name}:", given, count).tolist()
    found = [known.get(str(word), -1) for word in words]
    if -1 in found:
        raise InputError(
            f"{name}: must be of the model's {len(classes):,} classes, {listed(classes)}, and one is "
            f"{words[found.index(-1)]}"
        )
    return np.array(found, np.int32)


def places_if_conditional(classes: tuple[str, ...], labels: Any, count: int, name: str = "labels") -> np.ndarray | None:
    """`places` for a conditional model; None for another, which takes no labels.

    Raises:
        InputError: as `places`; or there are none for a conditional model, or some for another.
    """
    if classes and labels is None:
        raise InputError(
            f"{name}: must be given: the run is conditional (condition='label'): the class of each example, of "
            f"{listed(classes)}"
        )
    if not classes and labels is not None:
        raise InputError(f"{name}: must not be given: the run is not conditional: its condition is 'none'")
    return places(classes, labels, count, name) if classes else None
