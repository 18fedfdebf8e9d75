"""What keeps work safe: files that are there whole or not at all, one process a directory, signals that wait."""

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tfvae.config import InputError

_PR_SET_PDEATHSIG = 1


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file such that it is there whole or not at all, also after a power cut."""
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flushes a directory's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_into_place(aside: Path, final: Path) -> None:
    """Flushes every file below `aside` to disk and renames it to `final`; raises OSError if that exists."""
    for path in [p for p in aside.rglob("*")] + [aside]:
        sync_directory(path)
    os.rename(aside, final)
    sync_directory(final.parent)


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Makes the run directory and keeps other processes out of it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = open(run_dir / ".lock", "w")
    except OSError as error:
        raise InputError(f"--run_dir={run_dir}: must be a directory that can be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"--run_dir={run_dir}: must not be in use, and another process trains there") from None
        yield


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Has this process sent a signal when its parent ends, however that ends, lest it live on alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


@contextlib.contextmanager
def signals_held() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of letting them end the process at once."""
    signals: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {s: signal.signal(s, lambda n, _: signals.append(n)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
