"""`tfvae COMMAND [flags]`, the same as `python -m tfvae.COMMAND [flags]`."""

import difflib
import importlib
import sys

from tfvae.config.commands import COMMANDS


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:12}{description}" for name, description in COMMANDS.items()]
    return "\n".join(["usage: tfvae COMMAND [flags]; tfvae COMMAND --help lists the flags", "", *lines])


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("--help", "-h", "help"):
        print(usage())
        return
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        question = f": did you mean {near[0]}?" if near else ""
        print(f"tfvae: {name or 'no command'}: must be one of {', '.join(COMMANDS)}{question}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"tfvae.{name}").run(sys.argv[2:])


if __name__ == "__main__":
    main()
