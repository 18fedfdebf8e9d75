"""Prints what a shell needs to complete commands, flags and their values: eval "$(tfvae completion bash)"

For zsh: eval "$(tfvae completion zsh)". The line goes into ~/.bashrc or ~/.zshrc.
"""

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfvae.config.commands import COMMANDS
from tfvae.config.config import FIELDS
from tfvae.errors import InputError
from tfvae.flags import VERBOSITY, run_command


def flags_of(command: str) -> Mapping[str, dataclasses.Field]:
    """{name: flag} of a command."""
    own = getattr(importlib.import_module(f"tfvae.{command}"), "FLAGS", {})
    settings = FIELDS if command == "train" else {}
    return {**settings, **own, "verbosity": VERBOSITY}


def script() -> str:
    """What bash reads."""
    flags, values = [], []
    for command in COMMANDS:
        names = flags_of(command)
        words = " ".join(f"--{name}" if type(flag.default) is bool else f"--{name}=" for name, flag in names.items())
        flags.append(f'        {command}) COMPREPLY=($(compgen -W "{words} --help" -- "$word")) ;;')
        for name, flag in names.items():
            if flag.metadata["kind"].names:
                values.append(f'            "{command} --{name}") values="{" ".join(flag.metadata["kind"].names)}" ;;')
    template = Path(__file__).with_suffix(".bash").read_text()
    body = template[template.index("_tfvae()") :]  # without the comment on the template
    filled = body.replace("COMMANDS", " ".join(COMMANDS))
    return filled.replace("VALUES", "\n".join(values)).replace("FLAGS", "\n".join(flags)).rstrip()


def main(given: dict[str, Any]) -> None:
    shell = " ".join(given["shell"])
    if shell not in ("bash", "zsh"):
        raise InputError(f"{shell or 'no shell'}: must be bash or zsh: tfvae completion bash")
    if shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    print(script())


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.completion", __doc__, {}, arguments="shell")


if __name__ == "__main__":
    run(sys.argv[1:])
