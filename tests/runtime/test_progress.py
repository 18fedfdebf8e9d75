"""What is said of long work: a bar on a terminal, a line every 30 seconds without one. The clock is the test's."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest

from tfvae.runtime import progress
from tfvae.runtime.progress import Progress, Silence, duration, has_terminal


class Clock:
    """In the place of the module `time`."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal():
    """A real terminal."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    with open(theirs, "w") as stream:
        yield Terminal(ours, stream)
    os.close(ours)


class Terminal:
    """The end `screen`, which a user sees, and the end `stream`, which a program writes to."""

    def __init__(self, screen, stream):
        self.screen, self.stream = screen, stream

    def set_columns(self, columns):
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        return os.read(self.screen, 10_000).decode()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds"),
        (7.4, "a few seconds"),
        (7.6, "about 10 seconds"),
        (31, "about 30 seconds"),
        (88, "about 90 seconds"),
        (91, "about 2 minutes"),
        (720, "about 12 minutes"),
        (3600, "about 60 minutes"),
        (5400, "about 1.5 hours"),
        (7200, "about 2 hours"),
        (36_000, "about 10 hours"),
        (172_000, "about 47.8 hours"),
        (172_800, "about 2 days"),
        (100 * 86_400, "about 100 days"),
    ],
)
def test_a_time_has_the_unit_that_its_length_asks_for(seconds, words):
    assert duration(seconds) == words


def test_a_terminal_of_no_columns_and_a_file_show_no_bar(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    terminal.set_columns(80)
    assert has_terminal()
    terminal.set_columns(0)
    assert not has_terminal()
    with open(tmp_path / "log", "w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        assert not has_terminal()


def test_a_silence_is_long_after_30_seconds(clock):
    silence = Silence()
    clock.now += 29.9
    assert not silence.is_long()
    clock.now += 0.1
    assert silence.is_long()
    silence.begin()
    assert not silence.is_long()


def test_a_log_has_a_line_every_30_seconds_and_short_work_none(clock, capsys):
    with Progress("evaluation, S = 7", 10_000, "test images") as work:
        for _ in range(8):
            clock.now += 10
            work.advance(1000)
        assert capsys.readouterr().out == (
            "evaluation, S = 7: 3,000 of 10,000 test images, about 70 seconds left\n"
            "evaluation, S = 7: 6,000 of 10,000 test images, about 40 seconds left\n"
        )
        clock.now += 600
        work.advance(2000)  # the last: what it says follows now
    assert capsys.readouterr() == ("", "")


def test_what_was_found_done_does_not_count_as_speed(clock, capsys):
    with Progress("evaluation", 100, "images") as work:
        for _ in range(50):
            work.advance(1)  # kept blocks, in no time
        clock.now += 60
        work.advance(1)
    assert capsys.readouterr().out == "evaluation: 51 of 100 images, about 49 minutes left\n"


def test_another_process_than_the_chief_says_nothing(clock, capsys):
    with Progress("evaluation", 100, "images", is_shown=False) as work:
        clock.now += 60
        work.advance(1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_bar_in_the_place_of_lines(clock, capsys, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    terminal.set_columns(80)
    with Progress("evaluation", 100, "images") as work:
        work.bar.delay = 0  # in the place of a second
        clock.now += 60
        work.advance(40)
        work.bar.refresh()
    assert "evaluation:  40%" in terminal.read()
    assert capsys.readouterr().out == ""
