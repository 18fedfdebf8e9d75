"""What a setting may hold and how its text is read: the kinds of `Config`'s fields and of each command's flags."""

import dataclasses
import difflib
import numbers
import os
import reprlib
import sys
from collections.abc import Callable
from typing import Any

from tfvae.errors import InputError


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of value.

    `allowed` says in words what is allowed on the command line; `read` turns a flag's text into a value, and raises
    ValueError where it can't; `valid` says whether a value is allowed. `from_python` turns a value that Python hands in
    into the plain one that it stands for (a list into a tuple, a Path into text, NumPy's numbers into Python's), and
    returns any other as it is; `allowed_in_python` says what is allowed there, where the words differ.
    """

    allowed: str
    read: Callable[[str], Any]
    valid: Callable[[Any], bool]
    from_python: Callable[[Any], Any]
    allowed_in_python: str = ""
    names: tuple[str, ...] = ()  # of which a value is one, where it is a name

    def words_in_python(self) -> str:
        """What is allowed, in the words of Python."""
        return self.allowed_in_python or self.allowed

    def argument(self, name: str, given: Any) -> Any:
        """The plain value that `given` stands for; raises InputError, in Python's words, where it is not allowed."""
        value = self.from_python(given)
        if not self.valid(value):
            words = f"must be {self.words_in_python()}{_in_utf8(value)}{self._nearest(value, repr)}"
            raise InputError(f"{name}={to_python(given)}: {words}")
        return value

    def parse(self, text: str) -> Any:
        """The value that `text` spells; raises ValueError, which says what is allowed."""
        try:
            value = self.read(text)
        except ValueError:
            raise ValueError(f"must be {self.allowed}") from None
        if not self.valid(value):
            raise ValueError(f"must be {self.allowed}{_in_utf8(value)}{self._nearest(value, str)}")
        return value

    def _nearest(self, value: Any, spell: Callable[[str], str]) -> str:
        """The end of a message that refuses a mistyped name."""
        near = difflib.get_close_matches(value, self.names, n=1) if isinstance(value, str) else []
        return f": did you mean {spell(near[0])}?" if near else ""


def _is_utf8(text: str) -> bool:
    """Whether it can be printed and written; Python keeps other bytes of a path as halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_utf8(value: Any) -> str:
    """The end of a message that refuses `value`, where it is text that is no UTF-8."""
    return ", in UTF-8" if isinstance(value, str) and not _is_utf8(value) else ""


def field(default: Any, kind: Kind, help: str, *, free: bool = False, repeated: bool = False) -> Any:
    """A field of `Config` or a flag of one command; `free` ones (paths, intervals) may change when a run is resumed.

    A `repeated` flag may be given several times, and its value is the list of all.
    """
    metadata = {"kind": kind, "help": help, "free": free, "repeated": repeated}
    return dataclasses.field(default=default, metadata=metadata)


def to_text(value: Any) -> str:
    """How a value is spelled on the command line."""
    if value is None:
        return "auto"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


_LONGEST_REPR = 60  # characters of a value in a message

_short_repr = reprlib.Repr()  # which stops early in a long list, as of images
_short_repr.maxlevel = 2
_short_repr.maxlist = _short_repr.maxtuple = 30
_short_repr.maxstring = _short_repr.maxother = _LONGEST_REPR


def to_python(value: Any) -> str:
    """How a message in Python shows a value: one short line, without the elements of an array."""
    shape = getattr(value, "shape", None)
    if shape:  # numbers of NumPy have the shape ()
        return f"<{type(value).__name__} of shape {tuple(shape)} and type {getattr(value, 'dtype', 'unknown')}>"
    text = " ".join(_short_repr.repr(value).split())
    if len(text) > _LONGEST_REPR:
        return f"{text[: _LONGEST_REPR - 3]}..."
    return text


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool):
        return value  # True is no 1
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return value


def plain_text(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else value  # NumPy's text is a subclass


def _plain_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else plain_text(value)


def _plain_bool(value: Any) -> Any:
    is_numpy_bool = str(getattr(value, "dtype", None)) == "bool" and value.shape == ()
    return bool(value) if is_numpy_bool else value


def _plain_tuple(value: Any) -> Any:
    return tuple(_plain_number(item) for item in value) if isinstance(value, (list, tuple)) else value


def whole(low: int, high: int = 2**31 - 1) -> Kind:
    """A whole number from `low` to `high`."""
    allowed = f"a whole number from {low} to {high}"
    return Kind(allowed, int, lambda value: type(value) is int and low <= value <= high, _plain_number)


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # math.isfinite fails at 10**400


def number(low: float) -> Kind:
    """A finite number, `low` or more."""
    allowed = f"a finite number not below {low:g}"
    return Kind(allowed, float, lambda value: _is_finite(value) and value >= low, _plain_number)


def number_above(low: float) -> Kind:
    """A finite number, more than `low`."""
    allowed = f"a finite number above {low:g}"
    return Kind(allowed, float, lambda value: _is_finite(value) and value > low, _plain_number)


def number_from(low: float, high: float) -> Kind:
    """A number from `low` to `high`."""
    allowed = f"a number from {low:g} to {high:g}"
    return Kind(allowed, float, lambda value: _is_finite(value) and low <= value <= high, _plain_number)


def choice(*names: str) -> Kind:
    """One of some names."""
    return Kind(
        f"one of {', '.join(names)}",
        str,
        lambda value: isinstance(value, str) and value in names,  # an array does not say whether it equals a name
        plain_text,
        allowed_in_python=f"one of {', '.join(map(repr, names))}",
        names=names,
    )


def text(allowed: str, allowed_in_python: str = "") -> Kind:
    """A line of text that is not empty, in UTF-8; in Python also a path."""

    def valid(value: Any) -> bool:
        is_line = isinstance(value, str) and value.strip() != "" and "\n" not in value and "\0" not in value
        return is_line and _is_utf8(value)

    return Kind(allowed, str, valid, _plain_path, allowed_in_python)


def file_name() -> Kind:
    """A name of a file or directory, without those above it; no hidden one."""
    in_text = text("a name without / that doesn't begin with a dot")

    def valid(value: Any) -> bool:
        return in_text.valid(value) and "/" not in value and not value.startswith(".")

    return dataclasses.replace(in_text, valid=valid)


def true_or_false() -> Kind:
    """A switch; absl reads its text."""
    return Kind("true or false", _read_bool, lambda value: isinstance(value, bool), _plain_bool, "True or False")


def _read_bool(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")


_LONGEST_SIDE = 4096  # of an image, in pixels


def whole_numbers(items: str, *, may_be_empty: bool) -> Kind:
    """A tuple of whole numbers, written with commas on the command line; in Python also a list."""
    allowed = f"{items}: whole numbers from 1 to {2**20 - 1}, separated by commas"
    allowed_in_python = f"a tuple of one or more whole numbers from 1 to {2**20 - 1}"
    if may_be_empty:
        allowed += ", or nothing"
        allowed_in_python = f"a tuple of whole numbers from 1 to {2**20 - 1}, or ()"

    def valid(value: Any) -> bool:
        if not isinstance(value, tuple) or not (value or may_be_empty):
            return False
        return all(type(item) is int and 0 < item < 2**20 for item in value)

    return Kind(allowed, _read_whole_numbers, valid, _plain_tuple, allowed_in_python)


def _read_whole_numbers(text: str) -> tuple[int, ...]:
    if not text.strip():
        return ()
    return tuple(int(part) for part in text.split(","))


def one_of_numbers(*allowed: int) -> Kind:
    """One of some whole numbers."""
    return Kind(
        f"one of {', '.join(map(str, allowed))}",
        int,
        lambda value: type(value) is int and value in allowed,
        _plain_number,
    )


def height_and_width() -> Kind:
    """The size of an image in pixels, (height, width); one number stands for both."""
    in_text = whole_numbers("a size in pixels", may_be_empty=False)

    def as_pair(value: Any) -> Any:
        value = _plain_tuple(_plain_number(value))
        return (value, value) if type(value) is int else value

    def read(text: str) -> Any:
        sizes = in_text.read(text)
        return sizes * 2 if len(sizes) == 1 else sizes

    def valid(value: Any) -> bool:
        return in_text.valid(value) and len(value) == 2 and max(value) <= _LONGEST_SIDE

    allowed = f"a number of pixels from 1 to {_LONGEST_SIDE}, or height,width"
    allowed_in_python = f"a number of pixels from 1 to {_LONGEST_SIDE}, or (height, width)"
    return Kind(allowed, read, valid, as_pair, allowed_in_python)


def first_and_last() -> Kind:
    """Two numbers of steps, 0 or more, the second one larger."""

    def read(text: str) -> Any:
        first, last = text.split(",")
        return (int(first), int(last))

    def valid(value: Any) -> bool:
        is_pair = isinstance(value, tuple) and len(value) == 2 and all(type(item) is int for item in value)
        return is_pair and 0 <= value[0] < value[1]

    return Kind("two whole numbers A,B, 0 <= A < B", read, valid, _plain_tuple, "a tuple (a, b) with 0 <= a < b")


def low_and_high() -> Kind:
    """Two finite numbers, the second one larger."""

    def read(text: str) -> Any:
        low, high = text.split(",")
        return (float(low), float(high))

    def as_floats(value: Any) -> Any:
        value = _plain_tuple(value)
        if isinstance(value, tuple) and all(_is_finite(item) for item in value):
            return tuple(float(item) for item in value)
        return value

    def valid(value: Any) -> bool:
        is_pair = isinstance(value, tuple) and len(value) == 2 and all(_is_finite(item) for item in value)
        return is_pair and value[0] < value[1]

    return Kind("two numbers LOW,HIGH, the second larger", read, valid, as_floats, "a tuple (low, high)")


def or_auto(kind: Kind) -> Kind:
    """`kind`, or None, which is spelled `auto` on the command line."""

    def read(text: str) -> Any:
        return None if text == "auto" else kind.read(text)

    return Kind(
        f"auto or {kind.allowed}",
        read,
        lambda value: value is None or kind.valid(value),
        kind.from_python,
        allowed_in_python=f"None or {kind.words_in_python()}",
        names=kind.names,
    )


LEARNED_SIGMAS = ("learned", "optimal", "per_pixel", "of_z")
SIGMA_RANGE = (1e-6, 1e6)  # of x in [0, 1]; far beyond it a density's square is 0 or infinite in float32


def sigma() -> Kind:
    """A gaussian likelihood's deviation: a number, or the name of a way to learn it."""
    return Kind(
        f"{', '.join(LEARNED_SIGMAS)} or a number from 1e-6 to 1e6",
        _read_sigma,
        _is_sigma,
        _plain_sigma,
        allowed_in_python=f"{', '.join(map(repr, LEARNED_SIGMAS))} or a number from 1e-6 to 1e6",
    )


def _plain_sigma(value: Any) -> Any:
    value = plain_text(_plain_number(value))
    if type(value) is int and _is_finite(value):
        return float(value)  # 1 and 1.0 are one setting, and give a run one name
    return value


def _read_sigma(text: str) -> float | str:
    return text if text in LEARNED_SIGMAS else float(text)


def _is_sigma(value: Any) -> bool:
    if isinstance(value, str):
        return value in LEARNED_SIGMAS
    return _is_finite(value) and SIGMA_RANGE[0] <= value <= SIGMA_RANGE[1]
