"""What went wrong with a disk or with memory in the middle of a run, in a line that says what to do about it."""

import contextlib
import errno
import re
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from tfvae.errors import RunError

_FULL = re.compile("No space left on device|Disk quota exceeded")
_LONGEST = 200  # characters of another's message


@contextlib.contextmanager
def told_plainly(places: tuple[Path, ...], safe: Callable[[], str]) -> Iterator[None]:
    """Turns the errors of files, of TensorFlow's too, into RunError.

    `places` are the directories that are written to; the first is there from the start, and must stay. `safe()` says
    what is safe on disk, and how to go on.
    """
    import tensorflow as tf

    of_tensorflow = (
        tf.errors.ResourceExhaustedError,
        tf.errors.PermissionDeniedError,
        tf.errors.NotFoundError,
        tf.errors.UnknownError,
    )
    try:
        yield
    except (OSError, *of_tensorflow) as error:
        raise RunError(f"{explain(error, places)}; {safe()}") from error


def explain(error: Exception, places: tuple[Path, ...]) -> str:
    """What an error says to a user: which disk is full, which directory is gone, or its own first sentence."""
    directory = places[0]
    if not directory.is_dir():
        return f"{directory} is gone: it was removed, or its disk was, while it was written to"
    text = str(error)
    if _FULL.search(text) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {_full_place(text, places)} is full: free some space"
    return f"{type(error).__name__}: {first_sentence(text)}"


def _full_place(text: str, places: tuple[Path, ...]) -> Path:
    """The place that an error names, or else the one whose disk has the least room."""
    for place in places:
        if str(place) in text:
            return place
    return min((place for place in places if place.is_dir()), key=lambda place: shutil.disk_usage(place).free)


def first_sentence(text: str) -> str:
    """A message without TensorFlow's nodes and operations, and no longer than a line."""
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", text.partition("\n")[0])
    return textwrap.shorten(text, _LONGEST, placeholder=" ...").rstrip(" ;:")
