"""Evaluates a trained run on its test images: python -m tfvae.evaluate --run_dir=runs/NAME

Prints the ELBO and its terms, log p(x) by importance sampling and the active units, with --baselines also exact
baselines on the same images, and writes them to `<run>/evaluation.json`.
"""

import sys
from typing import Any

from tfvae.config import checkpoint_choice
from tfvae.config.fields import field, true_or_false
from tfvae.config.flagfile import recorded_config
from tfvae.flags import of_config, run_command
from tfvae.trained import evaluate

FLAGS = (
    of_config("run_dir", "eval_samples", "eval_memory_gb", "dataset", "data_dir", "labels")
    | checkpoint_choice.FLAG
    | {
        "baselines": field(
            False, true_or_false(), "also PCA, probabilistic PCA and a Gaussian mixture on the same split"
        ),
    }
)


def main(given: dict[str, Any]) -> None:
    with_baselines = given.pop("baselines", False)
    checkpoint = given.pop("checkpoint", checkpoint_choice.AUTO)
    evaluate(recorded_config(given), with_baselines, checkpoint=checkpoint)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.evaluate", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
