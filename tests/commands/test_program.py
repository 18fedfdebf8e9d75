"""`tfvae COMMAND` is `python -m tfvae.COMMAND`."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from command_line import ROOT
from house import NO_COMMANDS

import tfvae as tfvae_package
from tfvae import __main__ as program

pytestmark = pytest.mark.usefixtures("same_signal_handlers")


def tfvae(*arguments):
    command = [sys.executable, "-m", "tfvae", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_every_command_is_named_with_what_it_does():
    own = {path.stem for path in (ROOT / "tfvae").glob("*.py")} - NO_COMMANDS - {"__init__"}
    assert set(program.COMMANDS) == own
    usage = program.usage()
    assert all(len(line) <= 80 for line in usage.splitlines())
    assert all(f"  {name}" in usage and description in usage for name, description in program.COMMANDS.items())


@pytest.mark.parametrize("argument", ["--help", "-h", "help"])
def test_help_is_the_usage(argument, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfvae", argument])
    program.main()
    assert capsys.readouterr().out == program.usage() + "\n"


def test_version_is_that_of_the_package_and_of_what_it_stands_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfvae", "--version"])
    program.main()
    first, rest = capsys.readouterr().out.split(" (")
    assert first == f"tfvae {tfvae_package.__version__}"
    python = ".".join(map(str, sys.version_info[:3]))
    assert rest == f"tensorflow {tf.__version__}, keras {keras.__version__}, numpy {np.__version__}, python {python})\n"


@pytest.mark.parametrize(
    ("arguments", "name", "question"),
    [
        ([], "no command", ""),
        (["trian"], "trian", ": did you mean train?"),
        (["--train"], "--train", ": did you mean train?"),
        (["draw"], "draw", ""),
    ],
)
def test_what_is_no_command_is_refused_in_one_line(arguments, name, question, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfvae", *arguments])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 2
    names = ", ".join(program.COMMANDS)
    assert capsys.readouterr().err == f"tfvae: {name}: must be one of {names}{question}\n"


@pytest.mark.parametrize("name", program.COMMANDS)
def test_a_command_s_flags_are_passed_on(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfvae", name, "--frobnicate=3"])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tfvae.{name}: ") and "frobnicate" in error and len(error.splitlines()) == 1


def test_for_real_as_python_m_does():
    done = tfvae("train", "--latent_dim=0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tfvae.train: --latent_dim=0: must be a whole number from 1 to 65536\n"
    command = [sys.executable, "-m", "tfvae.train", "--latent_dim=0"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stderr == done.stderr


@pytest.mark.parametrize(("arguments", "first"), [("train --help", "Trains a VAE"), ("--help", "usage: tfvae COMMAND")])
def test_help_whose_reader_leaves_ends_in_silence(arguments, first):
    command = f"{sys.executable} -m tfvae {arguments} | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(first) and done.stderr == ""
