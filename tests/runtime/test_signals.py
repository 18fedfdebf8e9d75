"""Signals that wait, and processes that end with their parent: with real signals and real processes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tfvae.runtime.signals import signals_held

ROOT = Path(__file__).parents[2]
HOLDER = """
import signal, sys, time
from tfvae.runtime.signals import signals_held
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
with signals_held() as signals:
    print("held", flush=True)
    while len(signals) < 2:
        time.sleep(0.01)
    print(*signals, flush=True)
print("let go", flush=True)
signal.pause()
"""
PARENT = """
import signal, subprocess, sys
from tfvae.runtime.signals import die_with_parent
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], preexec_fn=die_with_parent)
child.wait()
"""
CHILD = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print(os.getpid(), flush=True)
print("signal", signal.sigwait([signal.SIGTERM]), flush=True)
"""


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@contextlib.contextmanager
def started(*arguments):
    """A Python process, which is killed where the test ends before it."""
    command = [sys.executable, "-c", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def test_signals_are_collected_in_order_and_the_handlers_come_back():
    before = handlers()
    with signals_held() as signals:
        assert not signals and handlers() != before
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
    assert signals == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
    assert handlers() == before


def test_the_handlers_come_back_after_an_error_too():
    before = handlers()
    with pytest.raises(KeyError):
        with signals_held():
            raise KeyError
    assert handlers() == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_other_threads_leave_the_handlers_alone():
    before, collected = handlers(), []

    def hold():
        with signals_held() as signals:
            collected.append((signals, handlers()))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert collected == [([], before)]


def test_a_process_that_holds_signals_ends_by_none_until_it_lets_go():
    with started(HOLDER) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        numbers = {int(number) for number in process.stdout.readline().split()}
        assert numbers == {signal.SIGTERM, signal.SIGINT}  # in any order: they came at once
        assert process.stdout.readline() == "let go\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_a_child_gets_its_signal_when_kill_9_ends_its_parent():
    with started(PARENT, CHILD) as parent:
        child = int(parent.stdout.readline())
        try:
            parent.kill()
            output, _ = parent.communicate(timeout=60)  # ends when the child, which has the same stdout, has ended
        except subprocess.TimeoutExpired:
            os.kill(child, signal.SIGKILL)
            raise
    assert output == f"signal {signal.SIGTERM.value}\n"
