"""What a setting may hold and how its text is read: the kinds of `Config`'s fields and of each command's flags."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of value.

    `allowed` says in words what is allowed; `read` turns a flag's text into a value, and raises ValueError where it
    can't; `valid` says whether a value is allowed.
    """

    allowed: str
    read: Callable[[str], Any]
    valid: Callable[[Any], bool]

    def parse(self, text: str) -> Any:
        """The value that `text` spells; raises ValueError, which says what is allowed."""
        try:
            value = self.read(text)
        except ValueError:
            raise ValueError(f"must be {self.allowed}") from None
        if not self.valid(value):
            raise ValueError(f"must be {self.allowed}")
        return value


def field(default: Any, kind: Kind, help: str, *, free: bool = False) -> Any:
    """A field of `Config` or a flag of one command; `free` ones (paths, intervals) may change when a run is resumed."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help, "free": free})


def to_text(value: Any) -> str:
    """How a value is spelled on the command line."""
    if value is None:
        return "auto"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def whole(low: int, high: int = 2**31 - 1) -> Kind:
    """A whole number from `low` to `high`."""
    return Kind(f"a whole number from {low} to {high}", int, lambda value: type(value) is int and low <= value <= high)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def number(low: float) -> Kind:
    """A finite number, `low` or more."""
    return Kind(f"a finite number not below {low:g}", float, lambda value: _is_finite(value) and value >= low)


def number_above(low: float) -> Kind:
    """A finite number, more than `low`."""
    return Kind(f"a finite number above {low:g}", float, lambda value: _is_finite(value) and value > low)


def choice(*names: str) -> Kind:
    """One of some names."""
    return Kind("one of " + ", ".join(names), str, lambda value: value in names)


def text(allowed: str) -> Kind:
    """A line of text that is not empty."""
    return Kind(allowed, str, lambda value: isinstance(value, str) and value.strip() != "" and "\n" not in value)


def true_or_false() -> Kind:
    """A switch; absl reads its text."""
    return Kind("true or false", _read_bool, lambda value: isinstance(value, bool))


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


def whole_numbers(items: str, *, may_be_empty: bool) -> Kind:
    """A tuple of whole numbers, written with commas."""
    allowed = f"{items}: whole numbers from 1 to {2**20 - 1}, separated by commas"
    if may_be_empty:
        allowed += ", or nothing"

    def valid(value: Any) -> bool:
        if not isinstance(value, tuple) or not (value or may_be_empty):
            return False
        return all(type(item) is int and 0 < item < 2**20 for item in value)

    return Kind(allowed, _read_whole_numbers, valid)


def _read_whole_numbers(text: str) -> tuple[int, ...]:
    if not text.strip():
        return ()
    return tuple(int(part) for part in text.split(","))


def or_auto(kind: Kind) -> Kind:
    """`kind`, or None, which is spelled `auto` on the command line."""

    def read(text: str) -> Any:
        return None if text == "auto" else kind.read(text)

    return Kind(f"auto or {kind.allowed}", read, lambda value: value is None or kind.valid(value))


def learning_rate_schedule() -> Kind:
    """`constant`, `cosine`, or the epochs and factors that `read_steps` reads."""
    allowed = "constant, cosine, or EPOCH:FACTOR,... with growing epochs"
    return Kind(allowed, str, _is_schedule)


def read_steps(schedule: str) -> list[tuple[int, float]]:
    """Reads `EPOCH:FACTOR,...` into [(epoch, factor)]; raises ValueError unless the epochs grow from 1 on."""
    steps = []
    last_epoch = 0
    for part in schedule.split(","):
        epoch, factor = part.split(":")
        steps.append((int(epoch), float(factor)))
        if int(epoch) <= last_epoch or not 0 < float(factor) < math.inf:
            raise ValueError(schedule)
        last_epoch = int(epoch)
    return steps


def _is_schedule(value: Any) -> bool:
    if value in ("constant", "cosine"):
        return True
    try:
        return isinstance(value, str) and bool(read_steps(value))
    except ValueError:
        return False


LEARNED_SIGMAS = ("learned", "per_pixel", "of_z")


def sigma() -> Kind:
    """A gaussian likelihood's deviation: a number, or the name of a way to learn it."""
    return Kind(f"{', '.join(LEARNED_SIGMAS)} or a finite number above 0", _read_sigma, _is_sigma)


def _read_sigma(text: str) -> float | str:
    return text if text in LEARNED_SIGMAS else float(text)


def _is_sigma(value: Any) -> bool:
    if isinstance(value, str):
        return value in LEARNED_SIGMAS
    return type(value) in (int, float) and 0 < value < math.inf
