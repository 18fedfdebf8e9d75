"""Puts runs beside each other: python -m tfvae.compare RUN [RUN ...] [--output=FILE]

A RUN is a run directory, a directory of runs, or a pattern of these ('runs/digits-*'). Prints the settings in which
they differ and their figures with standard errors, with means over seeds where runs differ in nothing else; figures of
different data, pixels or likelihoods are in tables of their own. --output=FILE.csv, .md, .json or .png writes it.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from tfvae.config.fields import Kind, field, text
from tfvae.errors import InputError
from tfvae.flags import run_command
from tfvae.runtime.files import write_atomically
from tfvae.training import comparison, comparison_files, records

SUFFIXES = (*comparison_files.WRITERS, ".png")


def _output_file() -> Kind:
    in_text = text(f"a file whose name ends in {', '.join(SUFFIXES)}")
    return dataclasses.replace(in_text, valid=lambda value: in_text.valid(value) and Path(value).suffix in SUFFIXES)


FLAGS = {"output": field("", _output_file(), "also written there: .csv has a row a run, .png the figures as a picture")}


def main(given: dict[str, Any]) -> None:
    if not given["runs"]:
        raise InputError("RUN: must be given: a run directory, or a directory of runs")
    output = Path(given["output"]).expanduser() if "output" in given else None
    if output and not output.absolute().parent.is_dir():
        raise InputError(f"--output={output}: must be in a directory that is there")
    if output and output.is_dir():
        raise InputError(f"--output={output}: must be a file, and is a directory")
    run_dirs, without = records.find(given["runs"])
    compared = comparison.compare([records.read(run_dir) for run_dir in run_dirs])
    content = comparison_files.to_bytes(compared, output) if output else b""
    for path in without:
        print(f"{path}: passed over, it is no run", file=sys.stderr)
    print(comparison_files.as_text(compared))
    if output:
        write_atomically(output, content)
        print(f"{output} has it too")


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.compare", __doc__, FLAGS, arguments="runs")


if __name__ == "__main__":
    run(sys.argv[1:])
