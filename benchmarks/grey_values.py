"""What a density does for grey values: python -m benchmarks.grey_values [--dataset=mnist] [--epochs=20]

Trains, in runs/grey_values/, a run with the Bernoulli's cross-entropy, which is no density of grey values, and one with
the continuous Bernoulli, of the same settings and seed. Each decoder's logits are then read both ways: what a run was
trained for is compared in the same numbers as what it was not. Writes its part of docs/results.md. Stop it at any
moment: the same command goes on with the runs.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tfvae
from benchmarks import page, runs
from tfvae import data
from tfvae.core.making import make_vae
from tfvae.core.vae import VAE
from tfvae.flags import of_config, run_command
from tfvae.training.scoring import Scoring

RUNS = Path("runs") / "grey_values"
LIKELIHOODS = ("bernoulli", "continuous_bernoulli")
SETTINGS: dict[str, Any] = {"latent_dim": 20, "hidden_units": (400,), "eval_samples": 100}
DATASET, EPOCHS = "mnist", 20  # where the command line names no others


class Reading(NamedTuple):
    """The test images' figures of logits that were trained for one likelihood and are read as another's."""

    trained: str
    read: str
    log_px: float  # nats an image
    log_px_standard_error: float
    kl: float
    squared_error: float  # of the reconstruction, a pixel


def train(dataset: str, epochs: int, likelihood: str) -> tfvae.Config:
    """The settings of a run, which goes on where it is not finished."""
    return runs.train(RUNS, likelihood, dataset, epochs, likelihood=likelihood, **SETTINGS)


def read_as(vae: VAE, config: tfvae.Config, likelihood: str) -> VAE:
    """A VAE of the same weights whose decoder's logits are those of this likelihood."""
    other = make_vae(dataclasses.replace(config, likelihood=likelihood), vae.encoder.image_shape, vae.encoder.white)
    other.set_weights(vae.get_weights())
    return other


def readings(config: tfvae.Config, images: np.ndarray) -> list[Reading]:
    """The figures of a trained run under each likelihood."""
    trained = tfvae.load(config.directory)
    found = []
    for likelihood in LIKELIHOODS:
        vae = read_as(trained.vae, trained.config, likelihood)
        scoring = Scoring(vae, dataclasses.replace(trained.config, likelihood=likelihood))
        columns = scoring.of_all(images, trained.config.eval_samples)
        figures = scoring.summary(columns.__getitem__)
        names = ("log_px", "log_px_standard_error", "kl", "squared_error")
        found.append(Reading(str(config.likelihood), likelihood, *(figures[name] for name in names)))
    return found


def table(rows: list[Reading]) -> str:
    """The part of the page."""
    lines = [
        "| trained with | read as | test log p(x), or what stands in its place | KL | squared error |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        kind = "density" if row.read == "continuous_bernoulli" else "cross-entropy, no density"
        log_px = f"{row.log_px:.2f} ± {row.log_px_standard_error:.2f} ({kind})"
        lines.append(f"| `{row.trained}` | `{row.read}` | {log_px} | {row.kl:.2f} | {row.squared_error:.4f} |")
    return "\n".join(lines)


def main(given: dict[str, Any]) -> None:
    dataset, epochs = given.get("dataset", DATASET), given.get("epochs", EPOCHS)
    rows = []
    for likelihood in LIKELIHOODS:
        config = train(dataset, epochs, likelihood)
        rows += readings(config, data.load(config).test.array)
    title = f"{dataset}, grey values, {epochs} epochs, {runs.in_words(SETTINGS)}, seed 0; {page.machine()}."
    page.write("results", "grey_values", f"{table(rows)}\n\n{title}")


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "benchmarks.grey_values", __doc__, of_config("dataset", "epochs"))
