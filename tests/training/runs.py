"""What the tests of this wing share: small images, training programs on them, and whole runs on the digits."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

import tfvae.run  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.training import checkpoints  # noqa: E402
from tfvae.training.state import TrainState, create_state  # noqa: E402
from tfvae.training.step import TrainProgram  # noqa: E402

ROOT = Path(__file__).parents[2]
PAUSING = Path(__file__).parent / "pausing.py"

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 1), dtype=np.uint8)
OPTIONS = {"hidden_units": (8,), "batch_size": 16, "epochs": 4}  # on IMAGES: 3 steps an epoch

EPOCH_STEPS = 11  # of SMALL: 1,437 training images in batches of 128
SMALL = {"dataset": "digits", "hidden_units": (16,), "eval_samples": 5, "epochs": 4}


def make_program(images=IMAGES, start_stddev=None, **options):
    """A new state, and the program that trains it."""
    config = Config(**{**OPTIONS, **options}).as_usual()
    state = create_state(config, images.shape[1:], len(images), start_stddev=start_stddev)
    return state, TrainProgram(state, config, images)


def run_program(calls, images=IMAGES, **options):
    """The state after `TrainProgram.run` with each of these (first, count), and what the calls returned."""
    state, program = make_program(images, **options)
    return state, [program.run(first, count) for first, count in calls]


def values(state: TrainState) -> dict[str, np.ndarray]:
    """Every variable by its name."""
    return {name: variable.numpy() for name, variable in state.variables().items()}


def assert_same_values(state, other):
    """Of two states, to the bit."""
    ours, theirs = values(state), values(other)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def train(folder: Path, **settings: Any) -> dict[str, Any]:
    """Trains on the digits in `<folder>/run`, exports to `<folder>/export`."""
    config = Config(**{**SMALL, **settings}, run_dir=str(folder / "run"), export_dir=str(folder / "export")).as_usual()
    return tfvae.run.train(config)


def final_state(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of the newest checkpoint in `<folder>/run`."""
    newest = folder / "run" / "checkpoints" / str(checkpoints.steps(folder / "run")[-1])
    reader = tf.train.load_checkpoint(str(newest / "ckpt"))
    tensors = {key: np.asarray(reader.get_tensor(key)) for key in reader.get_variable_to_shape_map()}
    return {k: (str(v.dtype), list(v.shape), v.tobytes()) for k, v in tensors.items() if "OBJECT_GRAPH" not in k}


def named_variables(run_dir: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step of the newest checkpoint, and its variables by name."""
    step = checkpoints.steps(run_dir)[-1]
    folder = run_dir / "checkpoints" / str(step)
    names = json.loads((folder / "variables.json").read_text())["variables"]
    reader = tf.train.load_checkpoint(str(folder / "ckpt"))
    return step, {n: reader.get_tensor(f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE") for i, n in enumerate(names)}


def results(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "results.json").read_text())


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder: names, times of change and contents."""
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}


def wait_until(condition, alive=lambda: True, seconds=300.0):
    """Waits for an event that something else makes; fails when that is gone, or long after it was due."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert alive() and time.monotonic() < deadline
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start(command: list[str], **options: Any) -> subprocess.Popen:
    """A Python process that sees this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.Popen([sys.executable, *command], env=environment, text=True, **options)
