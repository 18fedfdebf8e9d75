"""The `config.flags` of a run directory: a `Config` as text, one flag a line, and under which a run may go on."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from tfvae.config.architecture import other_setting
from tfvae.config.config import FIELDS, Config
from tfvae.config.data_names import ARRAYS, is_file_name
from tfvae.config.fields import to_python, to_text
from tfvae.errors import InputError, as_arguments

FILE_NAME = "config.flags"
_LEFT_TO_THE_DATA = (  # until these are read
    ("dataset", "auto"),
    ("validation_examples", None),
    ("epochs", None),
    ("filters", None),
    ("network", None),
    ("likelihood", None),
    ("sigma", None),
    ("scale", None),
    ("validate_every", None),
)
_OF_THE_MACHINE = ("run_dir", "strategy", "logical_cpus", "start_timeout", "memory_gb")


def to_flagfile(config: Config) -> str:
    """The flagfile that repeats this run, in a directory of its own and on any machine."""
    names = [name for name in FIELDS if name not in _OF_THE_MACHINE]
    return "".join(f"--{name}={to_text(getattr(config, name))}\n" for name in names)


def read_config(run_dir: str | os.PathLike[str]) -> Config:
    """The `Config` that a run directory records.

    Raises:
        InputError: it has no `config.flags`, or not one of ours.
    """
    run_dir = Path(run_dir)
    path = run_dir / FILE_NAME
    if not os.path.isfile(path):  # Path.is_file raises where it may not look
        raise InputError(f"--run_dir={run_dir}: must be the directory of a run, and has no {FILE_NAME}")
    try:
        return Config(**{**_read_flags(path.read_text()), "run_dir": str(run_dir)})
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: must be a readable text file: {error}") from None
    except InputError as error:
        message = f"{path}: {error.for_command_line}"
        raise InputError(message, in_python=message) from None  # the file holds flags, for Python too


def config_of_run(config: Config) -> Config | None:
    """What the run in `config.run_dir` records; None where there is no run yet. Raises InputError as `read_config`."""
    if config.run_dir is None or not os.path.isfile(config.directory / FILE_NAME):
        return None
    return read_config(config.directory)


def recorded_config(given: dict[str, Any]) -> Config:
    """The recorded `Config` of the run in `given["run_dir"]`, with what else is given in its place.

    Raises:
        InputError: no run directory is given, or `read_config` refuses it, or `Config` refuses what is given.
    """
    if given.get("run_dir") is None:
        raise InputError("--run_dir: must be given: the directory of a run")
    return dataclasses.replace(read_config(given["run_dir"]), **given).as_usual()


def _read_flags(content: str) -> dict[str, Any]:
    """{field: value} of lines `--name=value`; empty lines and comments (`#` or `//`) are passed over, as absl does."""
    values = {}
    for line in content.split("\n"):  # str.splitlines would also split at characters that a path may contain
        line = line.strip()
        if not line or line.startswith(("#", "//")):
            continue
        name, equals, value = line.removeprefix("--").partition("=")
        if not line.startswith("--") or not equals or name not in FIELDS:
            raise InputError(f"{line}: must be --name=value with the name of a flag of tfvae.train")
        try:
            values[name] = FIELDS[name].metadata["kind"].parse(value)
        except ValueError as error:
            raise InputError(f"--{name}={value}: {error}") from None
    return values


def may_move(dataset: str) -> bool:
    """Whether the same images may well have another name by now: those of a file, or handed in from Python."""
    return dataset == ARRAYS or is_file_name(dataset)


def check_resumable(config: Config, recorded: Config) -> None:
    """Refuses to go on with a run under settings that change its numbers.

    More `epochs` are allowed, except with `--lr_schedule=cosine`, whose shape depends on them. What `config` leaves to
    the data (auto) is not compared: before the data are read, the rest can be. The run that its weights started from
    may be at another place, but not another one.

    Raises:
        InputError: names each difference.
    """
    if config.init_from is not None and recorded.init_from is None:
        raise InputError(
            f"--init_from={config.init_from}: must be given with another --run_dir: {config.run_dir} was started "
            "without it"
        )
    new = config.settings()
    old = {name: getattr(recorded, name) for name in new}
    old_epochs = old["epochs"] or math.inf
    new_epochs = new["epochs"] or 0
    if new_epochs > old_epochs and new["lr_schedule"] != "cosine":
        old["epochs"] = new["epochs"]
    if may_move(old["dataset"]) and may_move(new["dataset"]):
        old["dataset"] = new["dataset"]  # that the images are the same is checked by itself
    names = [name for name in new if new[name] != old[name] and (name, new[name]) not in _LEFT_TO_THE_DATA]
    if not names:
        return
    flags = [f"--{name}={to_text(new[name])} (there: {to_text(old[name])})" for name in names]
    arguments = [f"{name}={to_python(new[name])} (there: {to_python(old[name])})" for name in names]
    refused = f"--run_dir={config.run_dir}: was made with other settings"
    ways = "must be another directory, or the same settings (--epochs may be raised, but not under a cosine)"
    if other_setting(config, recorded, "all") is None:
        ways += f"; another --run_dir with --init_from={config.run_dir} starts from the weights of this one"
    raise InputError(
        f"{refused}: {', '.join(flags)}; {ways}",
        in_python=f"{as_arguments(refused)}: {', '.join(arguments)}; {as_arguments(ways)}",
    )
