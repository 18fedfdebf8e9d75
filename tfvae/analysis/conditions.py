"""The classes that a conditional run (`--condition=label`) is given by `tfvae.apply`: of examples, and of samples.

y, int32 [N], are places among the run's classes, as `data.classes` has them.
"""

import numpy as np

from tfvae.config.fields import to_text
from tfvae.data.classes import places
from tfvae.data.examples import Examples, ExamplesPart
from tfvae.errors import InputError, listed


def with_y(classes: tuple[str, ...], label: tuple[str, ...] | None, examples: Examples) -> Examples:
    """The examples with the y of each, of its own label, or of the one that is given for all.

    Raises:
        InputError: several are given; or there are no labels, or one is of no class of the run.
    """
    if not classes:
        return examples
    parts = []
    for part in examples.parts:
        y = _y_of_part(classes, label, examples.source, part)
        parts.append(ExamplesPart(part.name, part.images, part.names, part.labels, y))
    return Examples(examples.source, tuple(parts), examples.checksum, examples.notes, examples.are_of_run)


def _y_of_part(classes: tuple[str, ...], label: tuple[str, ...] | None, source: str, part: ExamplesPart) -> np.ndarray:
    if label is not None:
        given = _names(classes, label)
        if len(given) > 1:
            raise InputError(f"--label={to_text(label)}: must be one class: it is that of all the examples")
        return np.repeat(places(classes, given, 1, f"--label={given[0]}"), len(part))
    if part.labels is None:
        raise InputError(
            f"--dataset={source}: must have labels, for the run is conditional and is given them; or --label=NAME "
            f"gives one for all, of {listed(classes)}"
        )
    return places(classes, part.labels, len(part), f"--dataset={source}: labels")


def y_of_samples(classes: tuple[str, ...], label: tuple[str, ...] | None, count: int) -> np.ndarray | None:
    """The y of so many samples: the given classes, or else all, in turn; None of a run that has no classes.

    Raises:
        InputError: one of them is none of the run's.
    """
    if not classes:
        return None
    given = classes if label is None else _names(classes, label)
    return np.resize(places(classes, given, len(given), f"--label={to_text(given)}"), count)


def described(classes: tuple[str, ...], label: tuple[str, ...] | None, is_of_samples: bool) -> str:
    """What the numbers of a conditional run are given, to be put behind what they are; nothing of another run."""
    if not classes:
        return ""
    if label is None:
        return f", given the {len(classes):,} classes in turn" if is_of_samples else ", given the label of each"
    names = _names(classes, label)
    if len(names) == 1:
        return f", given the class {names[0]}"
    return f", given the classes {', '.join(names)} in turn"


def _names(classes: tuple[str, ...], label: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are given: the command line separates them by commas, which one name may have, too."""
    together = ",".join(label)
    return (together,) if together in classes else label
