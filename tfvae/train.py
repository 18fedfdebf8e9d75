"""Trains a VAE, evaluates it and exports its decoder: python -m tfvae.train --latent_dim=2

The same command, run again, goes on from the last checkpoint and ends with the same weights, bit for bit.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from tfvae.config import Config, train_options
from tfvae.config.config import FIELDS
from tfvae.config.flagfile import FILE_NAME, read_config
from tfvae.errors import InputError
from tfvae.flags import run_command
from tfvae.run import RUNS, dry_run, train
from tfvae.runtime.files import require_writable

FLAGS = train_options.OPTIONS


def main(given: dict[str, Any]) -> None:
    is_dry_run, profile_steps = given.pop("dry_run", False), given.pop("profile_steps", None)
    config = Config(**given)
    require_writable("run_dir", config.run_dir or RUNS)
    if config.run_dir:
        if (Path(config.run_dir) / FILE_NAME).is_file():
            config = dataclasses.replace(read_config(config.run_dir), **given)  # an unset flag: the recorded value
    require_writable("export_dir", config.export_dir)
    from tfvae.training import strategy, workers  # after the flags: it imports NumPy

    if is_dry_run:
        if strategy.is_multi_worker(config):
            raise InputError("--dry_run=true: must be false where TF_CONFIG names several workers")
        dry_run(config)
    elif strategy.is_multi_worker(config):
        train(config, workers.fork_guarded(config), profile_steps)
    else:
        train(config, profile_steps=profile_steps)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.train", __doc__, FIELDS | FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
