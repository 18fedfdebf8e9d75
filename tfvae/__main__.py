"""`tfvae COMMAND [flags]`, the same as `python -m tfvae.COMMAND [flags]`."""

import difflib
import importlib
import importlib.metadata
import platform
import sys

import tfvae
from tfvae.config.commands import COMMANDS
from tfvae.flags import print_help

_FORMS = ("usage: tfvae COMMAND [flags]", "       tfvae COMMAND --help    its flags", "       tfvae --version")


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:12}{description}" for name, description in COMMANDS.items()]
    return "\n".join([*_FORMS, "", *lines])


def version() -> str:
    """What a report of a fault needs: the versions of the package and of what it stands on; nothing is imported."""
    parts = [f"{name} {importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy")]
    return f"tfvae {tfvae.__version__} ({', '.join(parts)}, python {platform.python_version()})"


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("--help", "-h", "help"):
        print_help(usage())
        return
    if name == "--version":
        print(version())
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        question = f": did you mean {near[0]}?" if near else ""
        print(f"tfvae: {name or 'no command'}: must be one of {', '.join(COMMANDS)}{question}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"tfvae.{name}").run(sys.argv[2:])


if __name__ == "__main__":
    main()
