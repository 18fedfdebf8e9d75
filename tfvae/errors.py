"""The failures that a command reports in one line, and the exit status of each."""

import re
import unicodedata
from collections.abc import Sequence

_FLAG = re.compile(r"(?<![^\s(])--(?=[a-z][a-z_]*(?:[=:;,.)\s]|$))")  # as a word: not within a path, not `-- `

_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's names of controls, surrogates, line and paragraph separators

_LISTED = 10  # names in a message


class InputError(ValueError):
    """A flag, argument, setting or input file that can't be used: exit status 2.

    Messages are written in the words of the command line, which prints `for_command_line`. `str(error)`, which Python
    shows, speaks of arguments: `--latent_dim=0` is `latent_dim=0` there. Both are one line that can be printed.

    Args:
        message: the text for the command line.
        reason: the reason alone, without the flag and its value, where another message quotes it.
        in_python: the text for Python, where it differs from `message` in more than the dashes of flags.
    """

    status = 2

    def __init__(self, message: str, reason: str = "", *, in_python: str | None = None) -> None:
        super().__init__(printable(as_arguments(message) if in_python is None else in_python))
        self.for_command_line = printable(message)
        self.reason = reason


def as_arguments(text: str) -> str:
    """`text` with its flags as Python's arguments: without the dashes."""
    return _FLAG.sub("", text)


def printable(text: str) -> str:
    """`text` with escapes for what would break its line, and for the bytes of a file's name that are no UTF-8."""
    return "".join(c if is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def is_printable(text: str) -> bool:
    """Whether text has no line breaks or other control characters, and all of it can be written as UTF-8."""
    return not any(unicodedata.category(c) in _UNPRINTABLE for c in text)


def listed(names: Sequence[str]) -> str:
    """At most ten of the names, and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more:,} more" if more > 0 else "")


class RunError(RuntimeError):
    """A failure after the start: exit status 1."""

    status = 1


class WorkerLost(RunError):
    """Another worker of the job is gone: all must be started again, and go on from the last checkpoint."""

    status = 75  # EX_TEMPFAIL: try again
