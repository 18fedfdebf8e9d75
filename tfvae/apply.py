"""Applies a trained run to any data: python -m tfvae.apply --run_dir=runs/NAME --what=latents --output=latents.npz

Writes the latents, scores or reconstructions of the run's own data or of others (--dataset), the data with their
missing values filled in, or samples, into a .npz, .csv or .parquet file, one picture (.png), or a directory of pictures
(out/); what they are of into `<output>.json`. Killed, the same command goes on. A given `--seed` is that of the draws.
"""

import sys
from typing import Any

from tfvae.applied import apply
from tfvae.config import checkpoint_choice
from tfvae.config.anomaly_request import AnomalyRequest
from tfvae.config.application import PARTS_OF_RUN, SPLITS, Request
from tfvae.config.capabilities import APPLICATIONS, SCORES
from tfvae.config.fields import choice, field, number_from, or_auto, text, true_or_false, whole
from tfvae.config.flagfile import recorded_config
from tfvae.errors import InputError
from tfvae.flags import of_config, run_command

OWN_FLAGS = {
    "what": field("latents", choice(*APPLICATIONS), "what is computed"),
    "output": field(None, or_auto(text("a file or a directory")), "where it goes: .npz, .csv, .parquet, .png or DIR/"),
    "split": field("all", choice(*SPLITS), "of the run's own data a split of the run, of other data a part of theirs"),
    "count": field(None, or_auto(whole(1)), "of --what=samples: how many; auto: 100"),
    "draw": field(False, true_or_false(), "of --what=samples: x drawn from p(x|z), and not its means"),
    "draws": field(0, whole(0), "of --what=impute: so many draws of the missing values too, for multiple imputation"),
    "observed": field(
        None,
        or_auto(text("a .npy file")),
        "of --what=impute: True or 1 where a pixel is observed, [N, H, W] or [N, H, W, C], in the output's order; of "
        "vectors empty cells and NaN are missing",
    ),
    "overwrite": field(False, true_or_false(), "write over an output that is there"),
} | checkpoint_choice.FLAG
ANOMALY_FLAGS = {
    "threshold_quantile": field(
        None, or_auto(number_from(0, 1)), "of --what=scores: examples beyond this quantile of --threshold_split"
    ),
    "threshold_split": field("validation", choice(*PARTS_OF_RUN), "the run's own examples that are usual"),
    "threshold_by": field(
        None, or_auto(choice(*SCORES)), "the score that examples are found by; auto: complexity_score, or log_px"
    ),
    "anomalous_labels": field(
        None, or_auto(text("labels, separated by commas")), "of examples that are known to be anomalous, for the AUROC"
    ),
}
FLAGS = (
    of_config("run_dir")
    | OWN_FLAGS
    | ANOMALY_FLAGS
    | of_config("dataset", "data_dir", "labels", "label_column", "skip_damaged")
    | of_config("eval_samples", "eval_memory_gb", "memory_gb", "seed")
)


def main(given: dict[str, Any]) -> None:
    own = {name: given.pop(name) for name in OWN_FLAGS if name in given}
    if own.get("output") is None:
        raise InputError("--output: must be given: a file that ends in .npz, .csv, .parquet or .png, or a directory/")
    anomalies = AnomalyRequest(**{name: given.pop(name) for name in ANOMALY_FLAGS if name in given})
    apply(recorded_config(given), Request(**own, anomalies=anomalies), given.get("label_column") is not None)


def run(argv: list[str]) -> None:
    """Runs the command on the arguments after its name."""
    run_command(main, argv, "tfvae.apply", __doc__, FLAGS)


if __name__ == "__main__":
    run(sys.argv[1:])
