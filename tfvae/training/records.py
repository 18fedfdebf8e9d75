"""Runs as they lie on disk: their settings, their figures, how far they are. Read from text, without TensorFlow."""

import glob
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tfvae.config import Config
from tfvae.config.flagfile import FILE_NAME, read_config
from tfvae.errors import InputError
from tfvae.training import history


class RunRecord(NamedTuple):
    """A run directory's contents."""

    directory: Path
    config: Config  # as it is recorded; what an old run left to the data is as usual
    results: dict[str, Any] | None  # `report.results`, once it is trained and evaluated
    epochs_done: int


def read(run_dir: Path) -> RunRecord:
    """The record of a run directory.

    Raises:
        InputError: it has no `config.flags`, or a file of it can't be read.
    """
    config = read_config(run_dir).as_usual()
    results = _read_results(run_dir)
    if results and not is_trained(results, config):
        results = None  # those of fewer epochs, which were raised since
    if results:
        return RunRecord(run_dir, config, results, results["train"].get("stopped_at_epoch", config.epoch_count))
    epochs = history.read(run_dir).get("epoch", [0])
    return RunRecord(run_dir, config, None, int(epochs[-1] or 0))


def is_trained(results: dict[str, Any], config: Config) -> bool:
    """Whether these are the results of all epochs that `config` asks for, or of a training that --patience ended."""
    train = results["train"]
    return train["epochs"] == config.epochs or "stopped_at_epoch" in train


def _read_results(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / "results.json"
    try:
        results = json.loads(path.read_text())
        results["train"]["epochs"], results["test"], results["of"]  # what all versions have written
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: must be the results of a run: {type(error).__name__}: {error}") from None
    return results


def find(arguments: Iterable[str]) -> tuple[list[Path], list[str]]:
    """The run directories that arguments name, each once, and those of the arguments that hold no run.

    An argument is a run directory, a directory of run directories, or a glob pattern of these.

    Raises:
        InputError: an argument names nothing, or none of them holds a run.
    """
    runs: dict[Path, Path] = {}  # by their real places: one may be named twice
    without: list[str] = []
    for argument in arguments:
        paths = _matches(argument)
        if not paths:
            raise InputError(f"{argument}: must be a run directory or a directory of runs, and there is none")
        for path in paths:
            of_path = _runs_at(path)
            runs.update({run.resolve(): run for run in of_path if run.resolve() not in runs})
            if not of_path:
                without.append(str(path))
    if not runs:
        raise InputError(
            f"{', '.join(without)}: must be a run directory or a directory of runs, and has no {FILE_NAME}"
        )
    return list(runs.values()), without


def _matches(argument: str) -> list[Path]:
    """What an argument names: itself if it is there, otherwise what it matches as a pattern."""
    argument = os.path.expanduser(argument)
    if os.path.exists(argument):
        return [Path(argument)]
    return [Path(match) for match in sorted(glob.glob(argument))]


def _runs_at(path: Path) -> list[Path]:
    """The run that a directory is, or the runs in it."""
    if os.path.isfile(path / FILE_NAME):
        return [path]
    if not os.path.isdir(path):
        return []
    return sorted(child for child in path.iterdir() if os.path.isfile(child / FILE_NAME))
