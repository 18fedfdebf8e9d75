"""Checkpoints that a kill, a full disk or a damaged file can't take away.

Each is a directory `<run>/checkpoints/<step>/`, written aside, flushed to disk and renamed into place: it is there
whole or not at all. `variables.json` in it names every variable with its shape, for tf.train.Checkpoint by itself
would forget layers in lists and restore by position without a word.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config, InputError, RunError, read_flags
from tfvae.models import VAE, make_vae

_KEEP = 3


def write_atomically(path: Path, text: str) -> None:
    """Writes a file such that it is there whole or not at all, also after a power cut."""
    aside = path.with_name(f".{path.name}.tmp")
    with open(aside, "w", encoding="utf-8") as file:
        file.write(text)
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


def steps(run_dir: Path) -> list[int]:
    """The steps of which there is a checkpoint, in order."""
    return sorted(int(p.name) for p in (run_dir / "checkpoints").glob("*") if p.name.isdigit())


def save(run_dir: Path, variables: dict[str, tf.Variable], step: int, notes: dict[str, Any]) -> None:
    """Writes checkpoint `step`; keeps the last three.

    Raises:
        RunError: a variable is not finite; nothing is written.
    """
    folder = run_dir / "checkpoints"
    for name, variable in variables.items():
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            raise RunError(f"step {step}: {name} is not finite, so it is not saved; {safe_on_disk(run_dir)}")
    aside = folder / f".{step}.tmp"
    _remove_leftovers(folder)
    aside.mkdir(parents=True)
    tf.train.Checkpoint(variables=list(variables.values())).write(str(aside / "ckpt"))
    shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
    (aside / "variables.json").write_text(json.dumps({"variables": shapes, "notes": notes}, indent=1))
    shutil.rmtree(folder / str(step), ignore_errors=True)  # one that was damaged, and passed over
    move_into_place(aside, folder / str(step))
    for old in steps(run_dir)[:-_KEEP]:
        shutil.rmtree(folder / str(old))


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path)


def restore(
    run_dir: Path, make: Callable[[dict[str, Any]], dict[str, tf.Variable]], prefix: str = ""
) -> dict[str, Any]:
    """Restores the newest good checkpoint and returns its notes; a damaged one is named and passed over.

    `make(notes)` gives the variables to fill; with a `prefix` only those whose names start with it.

    Raises:
        InputError: there is no checkpoint, or it is of another model.
        RunError: there are some and none is good.
    """
    found = steps(run_dir)
    if not found:
        raise InputError(f"--run_dir={run_dir}: must be the directory of a run that has a checkpoint")
    for step in reversed(found):
        folder = run_dir / "checkpoints" / str(step)
        try:
            saved = json.loads((folder / "variables.json").read_text())
            variables = make(saved["notes"])
            _check_same(folder, saved["variables"], {k: v.shape.as_list() for k, v in variables.items()}, prefix)
            reader = tf.train.load_checkpoint(str(folder / "ckpt"))
            names = [name for name in saved["variables"] if name.startswith(prefix)]
            index = {name: i for i, name in enumerate(saved["variables"])}
            # reading verifies the checksums: all is read before any variable changes
            values = [reader.get_tensor(f"variables/{index[n]}/.ATTRIBUTES/VARIABLE_VALUE") for n in names]
        except InputError:
            raise
        except Exception as error:  # a damaged checkpoint raises anything from IndexError to DataLossError
            print(f"{folder} is damaged and passed over ({type(error).__name__})", flush=True)
            continue
        for name, value in zip(names, values):
            variables[name].assign(value)
        return saved["notes"]
    raise RunError(f"none of the checkpoints in {run_dir / 'checkpoints'} can be read")


def _check_same(folder: Path, saved: dict[str, list[int]], wanted: dict[str, list[int]], prefix: str) -> None:
    saved = {name: shape for name, shape in saved.items() if name.startswith(prefix)}
    if saved != wanted:
        name = next(n for n in {**saved, **wanted} if saved.get(n) != wanted.get(n))
        raise InputError(
            f"{folder}: must be of the same model, and {name} has the shape {saved.get(name)} there, "
            f"{wanted.get(name)} here"
        )


def safe_on_disk(run_dir: Path) -> str:
    """What a failure may tell: what is kept, and how to go on."""
    found = steps(run_dir)
    if not found:
        return f"no checkpoint in {run_dir} yet: the same command starts anew"
    return f"the checkpoint of step {found[-1]:,} is safe in {run_dir}: the same command goes on from there"


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


class Run(NamedTuple):
    """A trained VAE and how it came to be."""

    vae: VAE
    config: Config
    step: int


def load_run(run_dir: str | os.PathLike[str]) -> Run:
    """The trained VAE of a run directory, with its config: `vae, config, step = tfvae.load(run_dir)`.

    Raises:
        InputError: it is no run directory, or has no checkpoint yet.
        RunError: no checkpoint of it can be read.
    """
    path = Path(run_dir)
    config = read_flags(path / "config.flags")
    vaes: list[VAE] = []

    def make(notes: dict[str, Any]) -> dict[str, tf.Variable]:
        vaes[:] = [make_vae(config, tuple(notes["image_shape"]))]
        return {v.path: v.value for v in vaes[0].variables}

    notes = restore(path, make, prefix="vae/")
    return Run(vaes[0], config, notes["step"])
