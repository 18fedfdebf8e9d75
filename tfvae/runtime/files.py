"""Files that are there whole or not at all, directories that can be written, and one process a run directory."""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfvae.errors import InputError

_LOCK_NAME = ".lock"
_WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,17}")  # ASCII alone; more digits may not fit into 64 bits


def whole_number(name: str) -> int | None:
    """The version or step that a name is: 0 to 10^18 - 1, without a leading zero; None where it is another name.

    `str.isdigit` would not do: it takes ², which `int` refuses.
    """
    return int(name) if _WHOLE_NUMBER.fullmatch(name) else None


def numbered_directories(parent: Path) -> dict[int, Path]:
    """The directories of a directory whose names are whole numbers, in order; none where `parent` can't be read."""
    found = {}
    for path in parent.glob("*"):
        number = whole_number(path.name)
        if number is not None and os.path.isdir(path):
            found[number] = path
    return dict(sorted(found.items()))


def numbered_files(parent: Path, ending: str) -> dict[int, Path]:
    """The files of a directory that are named by whole numbers and this ending, in order."""
    found = {}
    for path in parent.glob(f"*{ending}"):
        number = whole_number(path.name.removesuffix(ending))
        if number is not None:
            found[number] = path
    return dict(sorted(found.items()))


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
    """Flushes every file below `aside` to disk and renames it to `final`; raises OSError if that has content."""
    for path in [*aside.rglob("*"), aside]:
        sync_directory(path)
    os.rename(aside, final)
    sync_directory(final.parent)


@contextlib.contextmanager
def locked(directory: Path, flag: str = "run_dir", work: str = "trains") -> Iterator[None]:
    """Makes a directory, which `flag` names, and keeps other processes that do this work out of it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / _LOCK_NAME, "w")
    except OSError as error:
        raise InputError(f"--{flag}={directory}: must be a directory that can be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"--{flag}={directory}: must not be in use, and another process {work} there") from None
        yield


def is_locked(directory: Path) -> bool:
    """Whether a process is in a directory that it has `locked`."""
    try:
        with open(directory / _LOCK_NAME) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock
        return False
    return False


def require_checkpoints(run_dir: Path) -> None:
    """Refuses a run directory that has no directory of checkpoints; raises InputError."""
    if not os.path.isdir(run_dir / "checkpoints"):  # Path.is_dir raises where it may not look
        raise no_checkpoint(run_dir)


def no_checkpoint(run_dir: Path) -> InputError:
    """What to raise where a run has no checkpoint yet."""
    return InputError(f"--run_dir={run_dir}: must be the directory of a run that has a checkpoint")


def require_writable(flag: str, path: str | os.PathLike[str], *below: str) -> None:
    """Refuses a directory that can't be made or written to, before anything is; raises InputError.

    `below` are the names of what will be made or written in it as directories. Nothing stays that was not there.
    """
    for place in (Path(path), *(Path(path, name) for name in below)):
        reason = _why_not_writable(place.absolute())
        if reason:
            raise InputError(f"--{flag}={path}: must be a directory that can be written{reason}")


def require_place(flag: str, path: Path) -> None:
    """Refuses a file, or a directory, in a directory that can't be made or written to; raises InputError."""
    reason = _why_not_writable(path.absolute().parent)
    if reason:
        raise InputError(f"--{flag}={path}: must be in a directory that can be written{reason}")


def _why_not_writable(place: Path) -> str:
    """Makes a directory in `place`, or in the nearest directory above it that is there, and removes it; "" if it can.

    Only making one tells: `os.access` allows root to write in /proc, where nothing can be made.
    """
    try:
        while not _is_there(place):
            place = place.parent
    except OSError as error:
        return f": {error.strerror}"
    if not os.path.isdir(place):
        return f", and {place} can't: it is no directory"
    try:
        before = place.stat()
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=place):  # no other process's name
            pass
    except OSError as error:
        return f", and {place} can't: {error.strerror}"
    with contextlib.suppress(OSError):  # another user's directory keeps the new time
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    return ""


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name, a link to nothing too; raises OSError where that can't be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
