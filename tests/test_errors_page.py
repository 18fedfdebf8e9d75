"""docs/errors.md has each message of the package, and no message that is there no more."""

import re
from pathlib import Path

import house
import messages
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "errors.md"
FEWEST_LETTERS = 7  # of a message that can be looked for
FILLED_IN = (  # lines whose text is in no single place of the source
    "must be WHAT IS ALLOWED: did you mean NAME?",
    "must be mlp for vectors, which have no pixels",
    "must be none for vectors, which have no pixels",
    "must be false for vectors, which have no pixels",
    "must not be of 8-bit pixels for vectors, which have no pixels",
    "must be auto, digits, the name of a TFDS data set, a folder of images, or a .npy, .npz, .csv or .parquet file",
    "none of the checkpoints in DIRECTORY can be read: the last weights are in DIRECTORY, by --checkpoint=last",
    "the disk of PLACE is full: free some space; WHAT IS SAFE",
    "DIRECTORY is gone: it was removed, or its disk was, while it was written to; WHAT IS SAFE",
)


@pytest.fixture(scope="module")
def of_package():
    modules = house.modules_of(ROOT / "tfvae")
    found = [message for name, module in modules.items() for message in messages.messages_of(name, module)]
    return [message for message in found if message.letters >= FEWEST_LETTERS]


def fenced_lines(page):
    return [line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


def codes(page):
    """What is in `backquotes`, outside fences."""
    return re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def test_every_message_is_on_the_page(of_package):
    page = PAGE.read_text()
    lines = fenced_lines(page) + codes(page)
    lacking = [message for message in of_package if not any(message.is_in(line) for line in lines)]
    assert not lacking, "docs/errors.md needs a line (and its cause, and what to do) for these"


def test_every_line_of_the_page_is_a_message(of_package):
    stale = []
    for line in fenced_lines(PAGE.read_text()):
        letters = messages.small_letters(line)
        told = max((message.letters for message in of_package if message.is_in(line)), default=0)
        if line not in FILLED_IN and letters >= FEWEST_LETTERS and told < letters / 2:
            stale.append(line)
    assert not stale, "no message of the package says so"


def test_a_new_message_is_missed():
    module = house.Module('def f(x):\n    raise InputError(f"--x={x}: must be a whole number of elephants")\n')
    [message] = messages.messages_of("new", module)
    assert message == messages.Message(("--x=", ": must be a whole number of elephants"), "new:2")
    assert not any(message.is_in(line) for line in fenced_lines(PAGE.read_text()))
    assert message.is_in("--x=VALUE: must be a whole number of elephants")


def test_what_is_no_message_is_not_asked_for():
    source = '"""It must be said."""\nfield(1, "which must be one")\nre.compile("must be .*")\nlabel = "a plain text"\n'
    assert messages.messages_of("quiet", house.Module(source)) == []
