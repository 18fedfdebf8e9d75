"""Puts a trained run to use: python -m tfvae.explore --run_dir=runs/NAME --task=imputation

Prints a table or a line and writes `<run>/explore/<task>.png`, `<task>.json` and, of samples, `samples.npy`. A given
`--seed` is that of the task's own draws.
"""

import sys
from typing import Any

from tfvae.config import checkpoint_choice
from tfvae.config.capabilities import TASKS
from tfvae.config.fields import choice, field
from tfvae.config.flagfile import recorded_config
from tfvae.flags import of_config, run_command
from tfvae.trained import explore

FLAGS = (
    of_config("run_dir")
    | {"task": field("samples", choice(*TASKS), "what to do with the trained model")}
    | checkpoint_choice.FLAG
    | of_config("seed", "eval_samples", "dataset", "data_dir", "labels")
)


def main(given: dict[str, Any]) -> None:
    task = given.pop("task", "samples")
    checkpoint = given.pop("checkpoint", checkpoint_choice.AUTO)
    explore(recorded_config(given), task, checkpoint=checkpoint)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.explore", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
