"""States on 8x8 images, their checkpoints, and every way in which one may be damaged."""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.training.checkpoints import save
from tfvae.training.state import TrainState, create_state

IMAGE = (8, 8, 1)
DATA, INDEX, NAMES = "ckpt.data-00000-of-00001", "ckpt.index", "variables.json"


def make_state(seed: int | None = None, **settings: Any) -> TrainState:
    """A state on 8x8 images; with a seed every one of its variables is random, the optimizer's too."""
    state = create_state(Config(**{"hidden_units": (5,), **settings}), IMAGE, 1437)
    if seed is not None:
        random = np.random.default_rng(seed)
        for variable in state.variables().values():
            value = random.normal(size=variable.shape) if variable.dtype.is_floating else random.integers(1_000_000)
            variable.assign(tf.cast(value, variable.dtype))
    return state


def values(state: TrainState) -> dict[str, bytes]:
    return {name: variable.numpy().tobytes() for name, variable in state.variables().items()}


def notes(step: int) -> dict[str, Any]:
    return {"image_shape": IMAGE, "step": step, "fingerprint": "0"}


def save_states(run_dir: Path, *saved: int) -> dict[int, dict[str, bytes]]:
    """Saves a state of its own for each step, and returns what it holds."""
    states = {step: make_state(step) for step in saved}
    for step, state in states.items():
        save(run_dir, state.variables(), step, notes(step))
    return {step: values(state) for step, state in states.items()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def cut(name: str) -> Callable[[Path], Any]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def empty(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(b"")


def zero(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(bytes((folder / name).stat().st_size))


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def flip(name: str, place: float) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[int(place * len(content))] ^= 1
        (folder / name).write_bytes(content)

    return damage


def replace_text(old: str, new: str) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        text = (folder / NAMES).read_text()
        assert old in text
        (folder / NAMES).write_text(text.replace(old, new))

    return damage


def make_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def of_another(*names: str) -> Callable[[Path], Any]:
    """Takes these files of checkpoint 20 in the place of its own."""

    def damage(folder: Path) -> None:
        for name in names:
            shutil.copy(folder.parent / "20" / name, folder / name)

    return damage


def without_checksums(folder: Path) -> None:
    """Makes a checkpoint one as older versions wrote them."""
    content = json.loads((folder / NAMES).read_text())
    del content["crc32"], content["files"]
    crc32 = zlib.crc32(json.dumps(content).encode())
    (folder / NAMES).write_text(json.dumps({**content, "crc32": crc32}, indent=1))


DAMAGES = {
    "data truncated": cut(DATA),
    "data empty": empty(DATA),
    "data zeroed": zero(DATA),
    "data missing": remove(DATA),
    "data's first byte flipped": flip(DATA, 0),
    "data byte flipped": flip(DATA, 0.5),
    "index truncated": cut(INDEX),
    "index empty": empty(INDEX),
    "index byte flipped": flip(INDEX, 0.5),
    "index missing": remove(INDEX),
    "names missing": remove(NAMES),
    "names empty": empty(NAMES),
    "names truncated": cut(NAMES),
    "names zeroed": zero(NAMES),
    "names not UTF-8": lambda folder: (folder / NAMES).write_bytes(b"\xff\xfe\xfa"),
    "names of another kind": lambda folder: (folder / NAMES).write_text("[1]"),
    "a name changed": replace_text("encoder", "encodes"),
    "the notes' step changed": replace_text('"step": 30', '"step": 31'),
    "names of another": of_another(NAMES),
    "variables of another": of_another(DATA, INDEX),
    "data of another": of_another(DATA),
    "empty directory": make_empty,
}
