"""The classes of a conditional run (`--condition=label`): those of its training part, by name and in order.

y, int32 [N], are the places of N examples' labels among them.
"""

import dataclasses
from typing import Any

import numpy as np

from tfvae.config import Config
from tfvae.config.data_names import ARRAYS, TABLES
from tfvae.data.labels import as_labels
from tfvae.data.splits import PARTS, Dataset, Split
from tfvae.errors import InputError

_MOST = 1_000  # classes; more are numbers of another kind
_SHOWN = 10  # in a message


def require(config: Config, splits: dict[str, Split]) -> None:
    """Refuses the parts of a source for a conditional run, whose labels are missing or number no classes.

    Raises:
        InputError: names the part.
    """
    if config.condition == "none":
        return
    for part in PARTS:
        if part in splits and len(splits[part].images) and splits[part].labels is None:
            raise _refusal(config, f"its {part} part has no labels{_way_out(config)}")
    count = len(np.unique(splits["train"].known_labels))
    if not 2 <= count <= _MOST:
        raise _refusal(config, f"its training part has {count:,} different labels, and classes are 2 to {_MOST:,}")


def with_classes(config: Config, dataset: Dataset) -> Dataset:
    """The data set of a conditional run with the classes of its training part, and the place of each label in them.

    Raises:
        InputError: as `require`; or another part has a class that the training part has not.
    """
    splits = dict(zip(PARTS, dataset))
    require(config, splits)
    train = splits["train"]
    values = np.unique(train.known_labels)
    for part, split in splits.items():
        splits[part] = split._replace(y=_places_of(config, part, split, values))
    names = tuple(_name(train, value) for value in values)
    return dataclasses.replace(
        dataset, train=splits["train"], validation=splits["validation"], test=splits["test"], classes=names
    )


def _places_of(config: Config, part: str, split: Split, values: np.ndarray) -> np.ndarray:
    """The places of a part's labels among `values`, which are sorted."""
    if split.labels is None:  # of a part without examples
        return np.zeros(0, np.int32)
    places = np.minimum(np.searchsorted(values, split.labels), len(values) - 1)
    others = split.labels[values[places] != split.labels]
    if len(others):
        raise _refusal(
            config,
            f"its {part} part has the class {_name(split, others[0])}, of which its training part has no example",
        )
    return places.astype(np.int32)


def _name(split: Split, label: int) -> str:
    return split.label_names[label] if split.label_names else str(label)


def _refusal(config: Config, reason: str) -> InputError:
    return InputError(f"--condition=label: must be none for --dataset={config.dataset}: {reason}")


def _way_out(config: Config) -> str:
    """How a source is given labels; nothing where it has what it has."""
    if config.dataset.endswith(TABLES):
        return ": --label_column names the column that has them"
    if config.dataset == ARRAYS:
        return ": hand in labels=..., and validation and test as pairs (images, labels)"
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
        shown = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "")
        raise InputError(
            f"{name}: must be of the model's {len(classes):,} classes, {shown}, and one is {words[found.index(-1)]}"
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
            f"{', '.join(classes[:_SHOWN])}{', ...' if len(classes) > _SHOWN else ''}"
        )
    if not classes and labels is not None:
        raise InputError(f"{name}: must not be given: the run is not conditional: its condition is 'none'")
    return places(classes, labels, count, name) if classes else None
