"""What a grid of runs varies: `NAME=VALUE;VALUE;...` read into settings, and all their combinations checked."""

import itertools
import re
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from tfvae.config.config import FIELDS, Config
from tfvae.config.fields import to_text
from tfvae.errors import InputError

_LONGEST_NAME = 150  # characters; a file's name may have 255, and an export's has the grid's before it


class Variation(NamedTuple):
    """A setting, and the values that it takes."""

    name: str
    values: tuple[Any, ...]


class Combination(NamedTuple):
    """One value of each setting that is varied."""

    values: dict[str, Any]
    config: Config

    @property
    def name(self) -> str:
        """As a directory is called: latent_dim=2,seed=0, in the order of `Config`'s fields."""
        words = [f"{name}={to_text(self.values[name])}" for name in FIELDS if name in self.values]
        name = ",".join(re.sub(r"[^A-Za-z0-9.+=_-]+", "_", word) for word in words)
        if len(name) <= _LONGEST_NAME:
            return name
        return f"{name[:_LONGEST_NAME]}-{zlib.crc32(','.join(words).encode()):08x}"

    @property
    def flags(self) -> list[str]:
        """As `tfvae.train` takes them."""
        return [f"--{name}={to_text(value)}" for name, value in self.values.items()]


def read_variation(text: str) -> Variation:
    """Reads `NAME=VALUE;VALUE;...`.

    Raises:
        InputError: NAME is no setting that changes numbers, a value is not allowed, or given twice.
    """
    name, equals, values_text = text.partition("=")
    name = name.removeprefix("--")
    if not equals:
        raise InputError(f"--vary={text}: must be NAME=VALUE;VALUE;...")
    if name not in FIELDS:
        raise InputError(f"--vary={text}: must be NAME=VALUE;VALUE;..., and {name} is no flag of tfvae.train")
    if FIELDS[name].metadata["free"]:
        raise InputError(f"--vary={text}: must be of a setting that changes a run's numbers, and {name} does not")
    values: list[Any] = []
    for value_text in values_text.split(";"):
        try:
            value = FIELDS[name].metadata["kind"].parse(value_text)
        except ValueError as error:
            raise InputError(f"--vary={text}: {name}={value_text}: {error}") from None
        if value in values:
            raise InputError(f"--vary={text}: must have each value once, and {value_text} is there twice")
        values.append(value)
    return Variation(name, tuple(values))


def require_unset(variations: list[Variation], train_flags: list[str], given: dict[str, Any]) -> None:
    """Refuses flags of `tfvae.train` that a grid gives by itself; `given` are the values that they set.

    What is varied may be set in a flagfile, where a recipe sets all; a flag of the command line wins over it.

    Raises:
        InputError: names the flag.
    """
    for name in ("run_dir", "export_name"):
        if given.get(name) is not None:
            raise InputError(f"--{name}={given[name]}: must not be given: each run has its own, by --grid_dir")
    for variation in variations:
        flag = re.compile(rf"--?(no)?{variation.name}(=|$)")
        if any(flag.match(argument) for argument in train_flags):
            raise InputError(f"--{variation.name}: must not be given after -- as well: it is varied")


def combinations(variations: list[Variation], given: dict[str, Any]) -> list[Combination]:
    """All combinations, the last setting varying fastest; `given` are the settings of all of them.

    Raises:
        InputError: a setting is varied twice; `Config` refuses a combination, which is named; two have one name.
    """
    names = [variation.name for variation in variations]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--vary={name}=...: must be given once for each setting")
    all_of: list[Combination] = []
    for values in itertools.product(*(variation.values for variation in variations)):
        of_names = dict(zip(names, values))
        try:
            all_of.append(Combination(of_names, Config(**{**given, **of_names})))
        except InputError as error:
            words = ", ".join(f"{name}={to_text(value)}" for name, value in of_names.items())
            raise InputError(f"--vary: {words} can't be combined: {error.for_command_line}") from None
    _require_names_of_their_own(all_of)
    return all_of


def _require_names_of_their_own(all_of: Iterable[Combination]) -> None:
    seen: dict[str, Combination] = {}
    for combination in all_of:
        other = seen.setdefault(combination.name, combination)
        if other is not combination:
            raise InputError(
                f"--vary: {' '.join(other.flags)} and {' '.join(combination.flags)} must differ in more than signs, "
                f"for both runs would be called {combination.name}"
            )


def grid_name(all_of: list[Combination]) -> str:
    """A name for the directory of a grid, the same for other values of the same settings: more can be added."""
    varied = sorted(all_of[0].values)
    fixed = [(name, to_text(value)) for name, value in all_of[0].config.settings().items() if name not in varied]
    return f"grid-{'-'.join(varied)}-{zlib.crc32(repr(fixed).encode()):08x}"
