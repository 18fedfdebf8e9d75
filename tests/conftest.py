"""What all tests share."""

import os
import signal

import pytest

# jax, where it is installed, sets 1, also for commands that tests run
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def same_signal_handlers():
    """Commands set handlers of their own: afterwards those of before are there again."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def without_xla(monkeypatch):
    """Programs are compiled without XLA, which takes a second or more for each, and is not the subject."""
    monkeypatch.setattr("tfvae.core.fast.use_xla", lambda convolutional: False)
