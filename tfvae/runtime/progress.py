"""How far long work is: a bar where there is a terminal, and elsewhere, as in a log, a line every 30 seconds."""

import os
import sys
import time
from typing import Any

import tqdm

from tfvae.runtime import verbosity

_LONGEST_SILENCE = 30.0  # seconds without a line


def has_terminal() -> bool:
    """Whether a bar can be shown: standard error is a terminal, and not one of no columns, as some containers have."""
    if not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:
        return False


def duration(seconds: float) -> str:
    """A time in words: "a few seconds", "about 45 seconds", "about 12 minutes", "about 2.5 hours"."""
    minute, hour, day = 60, 3600, 86400
    if seconds < 7.5:
        return "a few seconds"
    if seconds < 1.5 * minute:
        return f"about {5 * round(seconds / 5)} seconds"
    if seconds < 1.5 * hour:
        return f"about {round(seconds / minute)} minutes"
    number, unit = (seconds / hour, "hours") if seconds < 2 * day else (seconds / day, "days")
    return f"about {number:.1f} {unit}".replace(".0 ", " ")


class Silence:
    """The time since the last line, by the clock."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A line has just been printed."""
        self.began = time.monotonic()

    def is_long(self) -> bool:
        """Whether the next line is due."""
        return time.monotonic() - self.began >= _LONGEST_SILENCE


class Progress:
    """Counts what is done of some work, of which `what` says what it is and `unit` what is counted.

    A bar at a terminal shows it from the first second on, and goes when it is finished. Without a terminal a line says
    it every 30 seconds. Only a process that `is_shown` says anything.
    """

    def __init__(self, what: str, total: int, unit: str, is_shown: bool = True) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        is_shown = is_shown and verbosity.shows_progress()
        has_bar = is_shown and has_terminal()
        self.has_lines = is_shown and not has_bar
        self.bar = tqdm.tqdm(total=total, desc=what, unit=f" {unit}", delay=1, leave=False, disable=not has_bar)
        self.silence = Silence()
        self.advanced_at = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Counts `count` more; all calls but the last count the same."""
        now = time.monotonic()
        seconds, self.advanced_at = now - self.advanced_at, now
        self.done += count
        self.bar.update(count)
        if self.has_lines and self.silence.is_long() and self.done < self.total:
            # by the last call's time: those before may have found their work done, after a kill
            left = duration(seconds / count * (self.total - self.done))
            verbosity.log(f"{self.what}: {self.done:,} of {self.total:,} {self.unit}, {left} left")
            self.silence.begin()

    def close(self) -> None:
        """Takes the bar away."""
        self.bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
