"""The oldest TensorFlow and Keras that the tests pass with: older ones end in tracebacks far from the cause."""

import importlib.metadata
import re

from tfvae.errors import InputError

OLDEST = {"tensorflow": (2, 20), "keras": (3, 10)}  # as in pyproject.toml: a test compares them


def require_versions() -> None:
    """Refuses an installed package that is too old, by its metadata: nothing is imported; raises InputError.

    A package that is installed under another name, as a nightly TensorFlow is, has no metadata here, and is not asked.
    """
    for package, oldest in OLDEST.items():
        try:
            installed = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        numbers = re.match(r"(\d+)\.(\d+)", installed)
        if numbers and (int(numbers[1]), int(numbers[2])) < oldest:
            needed = f"{oldest[0]}.{oldest[1]}"
            raise InputError(
                f"{package} {installed} is installed: must be {needed} or newer: pip install '{package}>={needed}'"
            )
