"""Checkpoints that a kill, a full disk or a damaged file can't take away.

Each is a directory `<run>/checkpoints/<step>/`, written aside, flushed to disk and renamed into place: it is there
whole or not at all. `variables.json` in it names every variable with its shape, for tf.train.Checkpoint by itself
would forget layers in lists and restore by position without a word.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config, InputError, RunError, read_flags
from tfvae.models import VAE, make_vae
from tfvae.safety import move_into_place

_KEEP = 3


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
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed
        shutil.rmtree(leftover)
    aside = folder / f".{step}.tmp"
    aside.mkdir(parents=True)
    try:
        tf.train.Checkpoint(variables=list(variables.values())).write(str(aside / "ckpt"))
        shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
        content = {"variables": shapes, "notes": notes}
        (aside / "variables.json").write_text(json.dumps({**content, "crc32": _crc32(content)}, indent=1))
        shutil.rmtree(folder / str(step), ignore_errors=True)  # one that was damaged, and passed over
        move_into_place(aside, folder / str(step))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    found = steps(run_dir)
    kept = [s for s in found if s <= step][-_KEEP:]  # later ones were damaged and passed over
    for other in set(found) - set(kept):
        shutil.rmtree(folder / str(other))


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


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
            if saved.pop("crc32") != _crc32(saved):
                raise ValueError("variables.json was changed")
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


class Run(NamedTuple):
    """A trained VAE and how it came to be; `fingerprint` is that of its images."""

    vae: VAE
    config: Config
    step: int
    fingerprint: str


def load_run(run_dir: str | os.PathLike[str]) -> Run:
    """The trained VAE of a run directory, with its config: `run.vae`, `run.config`.

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
    return Run(vaes[0], config, notes["step"], notes["fingerprint"])
