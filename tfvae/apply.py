"""Applies a trained run to any data: python -m tfvae.apply --run_dir=runs/NAME --what=latents --output=latents.npz

Writes the latents, scores or reconstructions of the run's own data or of others (--dataset), the data with their
missing values filled in, or samples, into a .npz, .csv or .parquet file, one picture (.png), or a directory of pictures
(out/); what they are of into `<output>.json`. Killed, the same command goes on. A given `--seed` is that of the draws.
"""

import sys
from typing import Any

from tfvae.applied import apply
from tfvae.config import apply_options
from tfvae.config.flagfile import recorded_config
from tfvae.flags import of_config, run_command

FLAGS = of_config("run_dir") | apply_options.OPTIONS


def main(given: dict[str, Any]) -> None:
    request, settings = apply_options.divide(given)
    apply(recorded_config(settings), request, settings.get("label_column") is not None)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.apply", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
