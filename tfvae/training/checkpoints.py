"""Checkpoints that a kill, a full disk or a damaged file can't take away.

Each is a directory `<run>/checkpoints/<step>/`, written aside, flushed to disk and renamed into place: it is there
whole or not at all. `variables.json` in it names every variable with its shape, for tf.train.Checkpoint by itself
would forget layers in lists and restore by position without a word. It has the checksums of the other files too: each
of them knows its own, but not that it lies beside those of another checkpoint.

Beside these, `<run>/best/<step>/` has the VAE's variables alone, at the best validation (`training/best.py`).
"""

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.checkpoint_choice import AUTO, BEST, LAST, Choice
from tfvae.config.flagfile import read_config
from tfvae.config.network_name import is_own
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.core.vae import VAE
from tfvae.errors import InputError, RunError
from tfvae.runtime import verbosity
from tfvae.runtime.files import move_into_place, no_checkpoint, numbered_directories
from tfvae.training import network_file

_MOST_CHECKPOINTS = 3
BEST_FOLDER = "best"  # of a run
_DESCRIPTION = "variables.json"
_BLOCK = 2**20  # bytes of a file that are read at a time

Variables = dict[str, tf.Variable]  # by name


def steps(run_dir: Path) -> list[int]:
    """The steps of which there is a checkpoint, in order."""
    return list(numbered_directories(run_dir / "checkpoints"))


def save(run_dir: Path, variables: Variables, step: int, notes: dict[str, Any]) -> None:
    """Writes checkpoint `step`, with `notes` as JSON; keeps the last three.

    Raises:
        RunError: a variable is not finite; nothing is written.
    """
    for name, variable in variables.items():
        if variable.dtype.is_floating and not np.isfinite(variable.numpy()).all():
            raise RunError(f"step {step}: {name} is not finite, so it is not saved; {safe_on_disk(run_dir)}")
    write(run_dir / "checkpoints", variables, step, notes)
    _remove_old(run_dir, step)


def write(folder: Path, variables: Variables, step: int, notes: dict[str, Any]) -> None:
    """Writes the checkpoint `<folder>/<step>/`."""
    for leftover in folder.glob(".*.tmp"):  # of a process that was killed
        shutil.rmtree(leftover)
    aside = folder / f".{step}.tmp"
    folder.mkdir(exist_ok=True)  # not its parent, which a user may have removed: that must not come back by halves
    aside.mkdir()
    try:
        tf.train.Checkpoint(variables=list(variables.values())).write(str(aside / "ckpt"))
        shapes = {name: variable.shape.as_list() for name, variable in variables.items()}
        content = {"variables": shapes, "notes": notes, "files": _checksums(aside)}
        (aside / _DESCRIPTION).write_text(json.dumps({**content, "crc32": _crc32(content)}, indent=1))
        shutil.rmtree(folder / str(step), ignore_errors=True)  # one that was damaged, and passed over
        move_into_place(aside, folder / str(step))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_old(run_dir: Path, step: int) -> None:
    """Removes all but the last three up to `step`; later ones are damaged, and `restore` has passed over them."""
    present = steps(run_dir)
    newest = [s for s in present if s <= step][-_MOST_CHECKPOINTS:]
    for other in set(present) - set(newest):
        shutil.rmtree(run_dir / "checkpoints" / str(other))


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def _checksums(folder: Path) -> dict[str, int]:
    """The CRC-32 of each file of a checkpoint, but for the description itself, by its name."""
    checksums = {}
    for path in sorted(folder.iterdir()):
        if path.name == _DESCRIPTION or not path.is_file():
            continue
        checksum = 0
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                checksum = zlib.crc32(block, checksum)
        checksums[path.name] = checksum
    return checksums


def restore(run_dir: Path, make: Callable[[dict[str, Any]], Variables], prefix: str = "") -> dict[str, Any]:
    """Restores the newest good checkpoint and returns its notes; a damaged one is named and passed over.

    `make(notes)` gives the variables to fill; with a `prefix` only those whose names start with it.

    Raises:
        InputError: there is no checkpoint, or it is of another model.
        RunError: there are some and none is good.
    """
    if not steps(run_dir):
        raise no_checkpoint(run_dir)
    return restore_first(_last_folders(run_dir), make, prefix)


def restore_first(folders: list[Path], make: Callable[[dict[str, Any]], Variables], prefix: str = "") -> dict[str, Any]:
    """Restores the first good one of these checkpoints, as `restore` does."""
    for folder in folders:
        try:
            shapes, notes = _read_description(folder)
            variables = make(notes)
            _check_same(folder, shapes, variables, prefix)
            # reading verifies the checksums: all is read before any variable changes
            values = _read_values(folder, shapes, prefix)
        except InputError:
            raise
        except Exception as error:  # a damaged checkpoint raises anything from IndexError to DataLossError
            print(f"{folder} is damaged and passed over ({type(error).__name__})", flush=True)
            continue
        for name, value in values.items():
            variables[name].assign(value)
        return notes
    parent = folders[0].parent
    others = f": the last weights are in {parent.parent}, by --checkpoint=last" if parent.name == BEST_FOLDER else ""
    raise RunError(f"none of the checkpoints in {parent} can be read{others}")


def _read_description(folder: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """A checkpoint's variables, {name: shape} in the order in which they are stored, and its notes."""
    content = json.loads((folder / _DESCRIPTION).read_text())
    if content.pop("crc32") != _crc32(content):
        raise ValueError(f"{_DESCRIPTION} was changed")
    of_files = content.get("files", {})  # older checkpoints have none
    if not of_files.items() <= _checksums(folder).items():  # what else lies there, as of a file system, does no harm
        raise ValueError(f"the files are not those that {_DESCRIPTION} was written with")
    return {current_name(name): shape for name, shape in content["variables"].items()}, content["notes"]


def _last_folders(run_dir: Path) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    return [run_dir / "checkpoints" / str(step) for step in reversed(steps(run_dir))]


def best_folders(run_dir: Path) -> list[Path]:
    """The best weights that the newest checkpoint knows of, first, and older ones that may stand in for them.

    The first is named also where it is not there any more: whoever asks for the best must not get the last.
    """
    best_step = read_notes(run_dir).get("best_step")
    if best_step is None:
        return []
    older = [step for step in numbered_directories(run_dir / BEST_FOLDER) if step < best_step]
    return [run_dir / BEST_FOLDER / str(step) for step in (best_step, *reversed(older))]


def read_notes(run_dir: Path) -> dict[str, Any]:
    """The notes of the newest checkpoint whose description can be read; nothing where there is none."""
    for folder in _last_folders(run_dir):
        with contextlib.suppress(Exception):  # `restore` names the damaged ones
            return _read_description(folder)[1]
    return {}


def current_name(name: str) -> str:
    """The name of a variable that an older version may have saved under another.

    The encoder's outputs were layers of their own, `vae/encoder/mean/kernel`, before they were weights of one.
    """
    name = re.sub(r"^vae/encoder/(mean|log_variance|below)/(kernel|bias)$", r"vae/encoder/head/\1_\2", name)
    slot = r"^optimizer/vae_encoder_(mean|log_variance|below)_(kernel|bias)_"
    return re.sub(slot, r"optimizer/vae_encoder_head_\1_\2_", name)


def _read_values(folder: Path, shapes: dict[str, list[int]], prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(folder / "ckpt"))
    values = {}
    for place, name in enumerate(shapes):
        if name.startswith(prefix):
            values[name] = reader.get_tensor(f"variables/{place}/.ATTRIBUTES/VARIABLE_VALUE")
    return values


def _check_same(folder: Path, saved: dict[str, list[int]], variables: Variables, prefix: str) -> None:
    """Raises InputError unless the saved variables are these, of the same shapes; their order does not matter."""
    saved = {name: shape for name, shape in saved.items() if name.startswith(prefix)}
    wanted = {name: variable.shape.as_list() for name, variable in variables.items()}
    if saved == wanted:
        return
    for name in {**saved, **wanted}:
        if saved.get(name) != wanted.get(name):
            raise InputError(
                f"{folder}: must be of the same model, and {name} has the shape {saved.get(name)} there, "
                f"{wanted.get(name)} here"
            )


def safe_on_disk(run_dir: Path) -> str:
    """What a failure tells its user: what is safe, and how to go on."""
    how = "goes on from there" if steps(run_dir) else "starts anew"
    return f"{newest(run_dir)}: the same command {how}"


def newest(run_dir: Path) -> str:
    """The newest checkpoint in words."""
    present = steps(run_dir)
    if not present:
        return f"no checkpoint in {run_dir} yet"
    return f"the checkpoint of step {present[-1]:,} is safe in {run_dir}"


class SavedRun(NamedTuple):
    """A trained VAE of a run directory, and how it came to be; `fingerprint` is that of its images."""

    vae: VAE
    config: Config
    step: int
    fingerprint: str


def _chosen_folders(config: Config, checkpoint: Choice) -> list[Path]:
    """The checkpoints that `checkpoint` stands for, of which the first good one is taken; raises InputError."""
    run_dir = config.directory
    if not steps(run_dir):
        raise no_checkpoint(run_dir)
    best = best_folders(run_dir) if config.keep_best else []
    if checkpoint == LAST or (checkpoint == AUTO and not best):
        return _last_folders(run_dir)
    if checkpoint == BEST and not best:
        why = "has had no validation yet" if config.keep_best else "was made without --keep_best"
        raise InputError(f"--checkpoint=best: must be last or auto: {run_dir} {why}")
    if checkpoint in (AUTO, BEST):
        return best
    there = {int(folder.name): folder for folder in [*best[:1], *_last_folders(run_dir)] if folder.is_dir()}
    if checkpoint not in there:
        kept = ", ".join(str(step) for step in sorted(there))
        raise InputError(f"--checkpoint={checkpoint}: must be a step that {run_dir} has kept: {kept}")
    return [there[checkpoint]]


def load_run(run_dir: str | os.PathLike[str], checkpoint: Choice = AUTO) -> SavedRun:
    """The trained VAE of a run directory, with its config: `run.vae`, `run.config`.

    `checkpoint` says which weights: the last ones, the best ones (of a run with --keep_best), or those of a step. The
    default is the best ones where they are kept.

    Raises:
        InputError: it is no run directory, or has no such checkpoint.
        RunError: no checkpoint of it can be read.
    """
    config = read_config(run_dir).as_usual()
    folders = _chosen_folders(config, checkpoint)
    trunks = network_file.read(config.directory, verbosity.log) if is_own(config.network) else None
    vaes: list[VAE] = []  # of the checkpoints that were tried

    def make(notes: dict[str, Any]) -> Variables:
        shape = tuple(notes["image_shape"])
        columns = Columns.from_json(notes.get("columns"))
        facts = (notes.get("white", 255), notes.get("start_stddev"), columns, notes.get("value_range"))
        vaes.append(make_vae(config, shape, *facts, tuple(notes.get("classes", ())), trunks))
        return {v.path: v.value for v in vaes[-1].variables}

    notes = restore_first(folders, make, prefix="vae/")
    return SavedRun(vaes[-1], config, notes["step"], notes["fingerprint"])
