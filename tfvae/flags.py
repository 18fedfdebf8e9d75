"""Command lines: absl flags made from `Config`'s fields and from each command's own, and how a command ends."""

import atexit
import dataclasses
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from absl import flags

from tfvae.config import help_page
from tfvae.config.config import FIELDS
from tfvae.config.fields import Kind, choice, field, to_text
from tfvae.errors import InputError, RunError
from tfvae.runtime import verbosity

# of every command, and no setting of a run
VERBOSITY = field(
    "normal",
    choice(*verbosity.LEVELS),
    "quiet: results and warnings alone; normal: also how far the work is; debug: also TensorFlow's own log",
)


class _Parser(flags.ArgumentParser):
    """absl's view of a `Kind`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.syntactic_help = kind.allowed

    def parse(self, argument: str) -> Any:
        return self.kind.parse(argument)


def of_config(*names: str) -> dict[str, dataclasses.Field]:
    """These fields of `Config` as flags of a command."""
    return {name: FIELDS[name] for name in names}


def parse(
    argv: Iterable[str],
    command: str,
    doc: str = "",
    fields: Mapping[str, dataclasses.Field] = FIELDS,
    arguments: str = "",
) -> dict[str, Any]:
    """Reads a command line (without the program's name) into {field: value} of the flags that it sets.

    `--verbosity` is set for the process. The flags live in an object of their own, not in absl's global `FLAGS`: two
    parsers in one process don't meet.
    `--help` prints the flags and exits with status 0. Arguments that are no flags are refused, or given back, a tuple,
    under the name `arguments`.

    Raises:
        InputError: an unknown flag, a value that isn't allowed, an unreadable flagfile, a leftover argument.
    """
    argv = list(argv)
    values = _define(fields, command)
    values.set_gnu_getopt(bool(arguments))  # flags may come after arguments
    rest = _read(values, argv, command)
    if values["help"].value:
        is_of_training = FIELDS.items() <= fields.items()
        print_help(help_page.page(doc, fields, {"verbosity": VERBOSITY}, is_of_training))
        sys.exit(0)
    level = values["verbosity"].value
    if level is not None:
        verbosity.choose(level)
    if rest and not arguments:
        raise InputError(f"{rest[0]}: arguments must be flags, --name=value")
    given = {name: values[name].value for name in fields if values[name].present}
    return given | {arguments: tuple(rest)} if arguments else given


def print_help(text: str) -> None:
    """Prints a text of which a reader may take the first lines alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # its reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it leaves


def _define(fields: Mapping[str, dataclasses.Field], command: str) -> flags.FlagValues:
    values = flags.FlagValues()
    for name, described in [*fields.items(), ("verbosity", VERBOSITY)]:
        text = f"{described.metadata['help']} (default: {to_text(described.default) or 'nothing'})"
        if type(described.default) is bool:
            flags.DEFINE_boolean(name, None, text, flag_values=values, module_name=command)
        elif described.metadata["repeated"]:
            parser: flags.ArgumentParser[Any] = _Parser(described.metadata["kind"])
            serializer: flags.ArgumentSerializer[Any] = flags.ArgumentSerializer()
            flags.DEFINE_multi(parser, serializer, name, None, text, values, module_name=command)
        else:
            flags.DEFINE(_Parser(described.metadata["kind"]), name, None, text, values, module_name=command)
    flags.DEFINE_boolean("help", False, "show this help", flag_values=values, module_name=command)
    return values


def _read(values: flags.FlagValues, argv: list[str], command: str) -> list[str]:
    """Fills `values`; returns the arguments that are no flags."""
    if any(argument.lstrip("-") == "flagfile=" for argument in argv):
        raise InputError("--flagfile=: must be a readable text file")
    try:
        return values([command, *argv])[1:]
    except flags.CantOpenFlagFileError as error:
        reason = str(error).partition("flagfile: ")[2]
        raise InputError(f"--flagfile: must be a readable text file: {reason}") from None
    except flags.Error as error:
        raise InputError(str(error).replace("\n", " ").removeprefix("flag ")) from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"--flagfile: must be a readable text file: {error}") from None


def run_command(
    main: Callable[[dict[str, Any]], None],
    argv: list[str],
    command: str,
    doc: str,
    fields: Mapping[str, dataclasses.Field] = FIELDS,
    arguments: str = "",
) -> None:
    """Runs a command on the arguments after its name, and leaves with its exit status.

    0 done, 2 bad command line or input, 1 failure after the start, 130/143 after a signal.
    """
    verbosity.choose(VERBOSITY.default)
    atexit.register(gc.freeze)  # a process that leaves need not look for garbage: that takes more than a second
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_by_signal)
    try:
        main(parse(argv, command, doc, fields, arguments))
    except InputError as error:
        print(f"{command}: {error.for_command_line}", file=sys.stderr)
        sys.exit(error.status)
    except RunError as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except OSError as error:
        print(f"{command}: {error}", file=sys.stderr)
        sys.exit(1)


def _exit_by_signal(number: int, _: object) -> None:
    sys.exit(128 + number)
