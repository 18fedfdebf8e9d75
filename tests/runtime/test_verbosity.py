"""`--verbosity`: how much a command says, and how Python sets it."""

import logging
import os

import pytest

from tfvae.flags import run_command
from tfvae.runtime import verbosity
from tfvae.runtime.progress import Progress


@pytest.fixture(autouse=True)
def as_it_was(same_signal_handlers):
    yield
    verbosity.choose("normal")


@pytest.mark.parametrize(
    ("argument", "printed"),
    [("quiet", "result\n"), ("normal", "half done\nresult\n"), ("debug", "half done\nresult\n")],
)
def test_verbosity_says_whether_progress_is_told(argument, printed, capsys, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # set back afterwards

    def command(given):
        verbosity.log("half done")
        print("result")

    run_command(command, [f"--verbosity={argument}"], "t", "doc")
    assert capsys.readouterr().out == printed
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == ("0" if argument == "debug" else "3")


def test_a_verbosity_that_there_is_not_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(dict, ["--verbosity=quite"], "t", "doc")
    assert caught.value.code == 2
    said = "t: --verbosity=quite: must be one of quiet, normal, debug: did you mean quiet?\n"
    assert capsys.readouterr().err == said


def test_the_logger_of_python_is_the_same_setting(capsys):
    logging.getLogger("tfvae").setLevel("WARNING")
    verbosity.log("half done")
    assert capsys.readouterr().out == "" and not verbosity.shows_progress()
    logging.getLogger("tfvae").setLevel("INFO")
    verbosity.log("half done")
    assert capsys.readouterr().out == "half done\n"


def test_quiet_work_has_neither_bar_nor_lines(monkeypatch):
    monkeypatch.setattr("tfvae.runtime.progress.has_terminal", lambda: True)
    verbosity.choose("quiet")
    with Progress("reading", 10, "images") as progress:
        assert progress.bar.disable and not progress.has_lines
