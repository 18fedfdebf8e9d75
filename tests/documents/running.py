"""How each command of the documents is run, and why some are not."""

import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from documents import ROOT, Command, Piece, parse
from workshop import QUICK, Workshop

from tfvae import completion
from tfvae.config.commands import COMMANDS

SECONDS = 300  # that one command may take
PORT = 8501  # that the text names; a free one takes its place
SAMPLES = ["--eval_samples=5"]
LONGER = ["--epochs=25", *SAMPLES]  # of a run whose steps 200 and more are traced: the digits have 11 an epoch

IN_PROCESS, OF_ITS_OWN, SERVER = "in this process", "in a process of its own", "as a server, until the page ends"
SHELL, PYTHON = "by bash", "as Python"
BY_BASH = ("curl", "saved_model_cli", "eval", "ls")


class Way(NamedTuple):
    """How a piece is run, or, where `how` is empty, why it is not."""

    how: str
    reason: str = ""


NOT_RUN = {  # the first words of a command: why no test of a page runs it
    "docker": "docker needs a daemon and images from a registry",
    "kubectl": "kubectl needs a cluster",
    "srun": "srun needs a cluster",
    "git clone": "the nightly test clones the checkout",
    "cd": "the checkout is where the commands run",
    "pip install": "test_the_extras_that_pip_is_told_to_install_are_there checks the name",
    "python -m pip install": "test_the_extras_that_pip_is_told_to_install_are_there checks the name",
    "python3 -m venv": "the nightly test makes an environment by it",
    ".venv/bin/pip install": "the nightly test installs by it",
    ".venv/bin/python -m pytest": "it would run the tests, this one too",
    "python -m pytest": "it would run the tests, this one too",
    "pytest": "it would run the tests, this one too",
    "python -m benchmarks": "a benchmark takes minutes to hours, and writes into docs/; its file is looked for",
    "python benchmarks": "a benchmark takes minutes to hours, and writes into docs/; its file is looked for",
    "python tests": "test_server.py calls it",
    "jupyter": "test_notebooks.py executes the notebooks",
    "mkdocs": ".ci/run builds the site",
    "ruff": ".ci/run runs it",
    "mypy": ".ci/run runs it",
    "pre-commit": ".ci/run runs what it runs",
}


class UnknownCommand(ValueError):
    """A command that the tests know no way to run, and no reason not to."""


def way(piece: Piece) -> Way:
    """How a piece is run. Raises UnknownCommand."""
    if piece.language == "python":
        return Way(PYTHON)
    if not piece.is_complete:
        return Way("", "it stands for others: its flags are checked")
    command = parse(piece.text)
    if piece.language == "inline" and command.tfvae and not command.tfvae[1]:
        return Way("", "it names a command, which must be there")
    if not command.words:
        return Way(SHELL)  # variables, for the next ones
    if command.words[0].startswith("--"):
        return Way("", "it is a part of a command: its flags are checked")
    if command.tfvae and any(flag.startswith("--logical_cpus") for flag in command.words):
        return Way(OF_ITS_OWN)  # this process has its devices already
    if command.tfvae:
        is_server = command.tfvae[0] == "serve" and "--help" not in command.words
        return Way(SERVER if is_server else IN_PROCESS)
    if command.words[0] == "tensorboard":
        return Way(SERVER)
    if command.words[0] == "curl" and not shutil.which("curl"):
        return Way("", "there is no curl")
    if command.words[0] in BY_BASH or command.words[:2] == ["python", "serving/client.py"]:
        return Way(SHELL)
    for start, reason in NOT_RUN.items():
        if f"{' '.join(command.words)} ".startswith((f"{start} ", f"{start}.", f"{start}/")):
            return Way("", reason)
    raise UnknownCommand(f"{piece.place}: {piece.text}: no test knows how to run it: see tests/documents/running.py")


def quick(command: str, argv: list[str]) -> list[str]:
    """The arguments with the flags, at their end, that make the command quick."""
    if any(argument.lstrip("-") == "help" for argument in argv):
        return argv
    if command in ("launch", "grid"):
        return [*argv, *([] if "--" in argv else ["--"]), *QUICK]
    if command == "train" and any(argument.startswith("--profile_steps") for argument in argv):
        return [*argv, *LONGER]
    if command == "train":
        return [*argv, *QUICK]
    takes_samples = command == "apply" and any(what in argv for what in ("--what=scores", "--what=impute"))
    return [*argv, *SAMPLES] if command in ("evaluate", "explore") or takes_samples else argv


def flags_of(command: str) -> set[str]:
    """The names of a command's flags. Raises UnknownCommand: there is no such command."""
    if command not in COMMANDS:
        raise UnknownCommand(f"tfvae.{command}")
    return {*completion.flags_of(command), "help", "flagfile"}


class Page:
    """The pieces of one page, run one after the other in a directory of its own."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.names: dict[str, object] = {"__name__": "__main__"}  # of the page's Python
        self.variables: list[str] = []  # that its shell has set
        self.servers: list[subprocess.Popen[str]] = []
        self.port = PORT

    def run(self, piece: Piece) -> None:
        """Runs a piece as `way` says; raises what it raises, AssertionError where its exit status is not 0."""
        how = way(piece).how
        if how == PYTHON:
            fitted = re.search(r"run_dir=.runs/(\w+)", piece.text)
            self.workshop.provide(piece.text, made=fitted and fitted[1])
            padded = "\n" * (piece.line - 1) + piece.text  # tracebacks have the page's lines
            exec(compile(padded, str(ROOT / piece.page), "exec"), self.names)
            return
        command = parse(piece.text)
        made = _made_by(command)
        self.workshop.provide(piece.text, made)
        if how == IN_PROCESS:
            _run_in_process(*command.tfvae)
        elif how == OF_ITS_OWN:
            _run_in_a_process(*command.tfvae)
        elif how == SERVER:
            self._serve(command)
        elif how == SHELL:
            self._run_by_bash(piece.text, command)

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.communicate()

    def _serve(self, command: Command) -> None:
        """Starts a server, and waits until it listens."""
        if command.tfvae:
            flags = [flag for flag in command.tfvae[1] if not flag.startswith("--port")]
            self.port = free_port()
            words = ["-m", "tfvae.serve", *flags, f"--port={self.port}"]
        else:
            words = ["-m", "tensorboard.main", *command.words[1:], "--port=0"]
        server = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )
        self.servers.append(server)
        printed = []
        for line in server.stdout:
            printed.append(line)
            if "http://" in line:
                return
        raise AssertionError(f"{' '.join(words)} ended: {''.join(printed)}")

    def _run_by_bash(self, text: str, command: Command) -> None:
        if not command.words:
            self.variables.append(text)
            return
        if str(PORT) in text + " ".join(self.variables) and self.port == PORT:
            self.workshop.provide("saved_models/NAME", made=None)
            self._serve(parse("python -m tfvae.serve saved_models/NAME"))  # which TensorFlow Serving's container would
        if command.words[0] == "curl":
            text = text.replace("curl ", "curl --silent --show-error --fail ", 1)
        lines = ['tfvae() { python -m tfvae "$@"; }', *self.variables, text]
        script = "\n".join(lines).replace(str(PORT), str(self.port))
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=SECONDS, env=environment()
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"


def _made_by(command: Command) -> str | None:
    """The run that a command of training makes: `photos` of --run_dir=runs/photos."""
    if command.tfvae and command.tfvae[0] in ("train", "launch"):
        for argument in command.tfvae[1]:
            if found := re.match(r"--run_dir=runs/(\w+)$", argument):
                return found[1]
    return None


def _run_in_process(command: str, argv: list[str]) -> None:
    argv = [os.path.expandvars(argument) for argument in quick(command, argv)]
    try:
        importlib.import_module(f"tfvae.{command}").run(argv)
    except SystemExit as left:
        assert left.code in (0, None), f"tfvae.{command} {' '.join(argv)}: exit status {left.code}"


def _run_in_a_process(command: str, argv: list[str]) -> None:
    words = [sys.executable, "-m", f"tfvae.{command}", *quick(command, argv)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, env=environment())
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"


def environment() -> dict[str, str]:
    """Of child processes, which find the checkout, and the programs of this environment."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": programs}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def extras(pieces: Iterator[Piece]) -> Iterator[tuple[Piece, str]]:
    """The extras in `pip install 'tfvae[serve]'` and its like."""
    for piece in pieces:
        for names in re.findall(r"pip install[^\n]*(?:tfvae|\.)\[([\w,]+)\]", piece.text):
            for name in names.split(","):
                yield piece, name
