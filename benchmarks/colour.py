"""Networks and likelihoods on colour images of 32x32: python -m benchmarks.colour [--epochs=N] [LIKELIHOOD ...]

Trains each in runs/colour/ on crops of scikit-learn's two photographs, or with --dataset=cifar10 on TFDS's set where it
is in --data_dir (or TFDS_DATA_DIR). Writes docs/colour.json, the table of docs/results.md, and into runs/colour/ a
picture of each model: test images above their reconstructions, then samples. With names of likelihoods it measures
these alone. Stop it at any moment: the same command goes on with the models that are trained.
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np

import tfvae
from benchmarks import page, photographs
from tfvae import data
from tfvae.analysis import figures
from tfvae.errors import InputError
from tfvae.flags import of_config, run_command
from tfvae.runtime.files import write_atomically

FILE = page.DOCS / "colour.json"
RUNS = Path("runs") / "colour"
SEED, SAMPLES = 0, 50  # of z, for log p(x)
TRAIN, TEST = 5_000, 500  # crops; of cifar10 all training images
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"network": "mlp", "hidden_units": (512,)},
    "conv": {"network": "conv", "hidden_units": (256,)},
    "resnet": {"network": "resnet", "hidden_units": (256,)},
    "resnet, 2 blocks": {"network": "resnet", "hidden_units": (256,), "residual_blocks": 2},
}
LIKELIHOODS: dict[str, dict[str, Any]] = {
    "gaussian": {"likelihood": "gaussian", "sigma": "learned", "dequantize": True},
    "discretized_logistic": {"likelihood": "discretized_logistic"},
    "logistic_mixture, K = 5": {"likelihood": "logistic_mixture", "likelihood_components": 5},
    "categorical": {"likelihood": "categorical"},
}
# their last layers would have 26 and 403 million weights: 512 units times the numbers for 1,024 pixels
LEFT_OUT = {("mlp", "logistic_mixture, K = 5"), ("mlp", "categorical")}
# one likelihood shows what a second block does
LEFT_OUT |= {("resnet, 2 blocks", name) for name in LIKELIHOODS if name != "discretized_logistic"}
COMMON = {"latent_dim": 64, "batch_size": 64, "validation_examples": 0, "eval_samples": SAMPLES, "seed": SEED}
EPOCHS = 5  # of each model


class Images(NamedTuple):
    """uint8 [N, 32, 32, 3] of each part, and what they are, in words."""

    train: np.ndarray
    test: np.ndarray
    words: str


def crops() -> Images:
    """Crops of the photographs; of the test crops' pixels no training crop has one."""
    made = photographs.make_crops(TRAIN, TEST)
    words = (
        f"{TRAIN:,} training and {TEST:,} test crops of 32x32 of scikit-learn's two photographs, which have only "
        f"{made.train_pixels:,} and {made.test_pixels:,} distinct pixels, none in common"
    )
    return Images(made.train, made.test, words)


def cifar10(folder: str) -> Images | None:
    """TFDS's set; None where it is not in this folder."""
    if not (Path(folder) / "cifar10").is_dir():
        return None
    parts = data.load(tfvae.Config(dataset="cifar10", data_dir=folder, validation_examples=0))
    train, test = parts.train.array, parts.test.array[:TEST]
    return Images(train, test, f"{len(train):,} training and the first {TEST:,} test images of TFDS's cifar10")


def measure(images: Images, name: str, settings: dict[str, Any], epochs: int) -> dict[str, float]:
    """The figures of a run, which goes on where it is not finished; its picture is drawn."""
    name = f"{name}-{epochs}-epochs"
    run_dir = RUNS / name
    config = tfvae.Config(**COMMON, **settings, epochs=epochs, run_dir=str(run_dir), export_dir=str(RUNS / "exports"))
    run = tfvae.fit(config, images.train, test=images.test)
    draw(run, images.test, RUNS / f"{name}.png")
    return figures_of(run.results, len(images.train), run.vae.count_params())


def figures_of(results: dict[str, Any], train_images: int, weights: int) -> dict[str, float]:
    """What the table shows: of the test images, of the training's time, and of the network."""
    test, train = results["test"], results["train"]
    return {
        "bits": test["bits_per_dimension"],
        "bits_standard_error": test["log_px_standard_error"] / (math.prod(photographs.SHAPE) * math.log(2)),
        "rmse": math.sqrt(test["squared_error"]),
        "kl": test["kl"],
        "seconds": train["epochs"] * train_images / train["images_per_second"],
        "weights": weights,
    }


def draw(run: tfvae.Run, test: np.ndarray, path: Path) -> None:
    """Ten test images above their reconstructions, and two rows of samples: both are means."""
    shown = test[:10]
    pairs = figures.reconstructions(shown, run.reconstruct(shown))
    samples = figures.tile(run.sample(20), 10, gap=3)
    picture = np.concatenate([pairs, samples]).repeat(2, axis=0).repeat(2, axis=1)
    matplotlib.image.imsave(path, picture)


def table(measured: dict[str, Any]) -> str:
    """Of each data set and number of epochs its words, and a row for each model, the fewest bits first."""
    lines = []
    for of in measured.values():
        lines += [f"{of['words']}; {of['how']}.", ""]
        lines += ["| network | likelihood | bits per dimension | RMSE | KL, nats | weights | training, s |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for row in sorted(of["models"], key=lambda row: row["bits"]):
            bits = f"{row['bits']:.3f} ± {row['bits_standard_error']:.3f}"
            cells = (bits, f"{row['rmse']:.4f}", f"{row['kl']:.0f}", f"{row['weights']:,}", f"{row['seconds']:.0f}")
            lines.append(f"| {row['network']} | {row['likelihood']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def models_of(likelihoods: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Network, likelihood and settings of each model with one of these likelihoods."""
    for network, of_network in NETWORKS.items():
        for likelihood, of_likelihood in LIKELIHOODS.items():
            if of_likelihood["likelihood"] in likelihoods and (network, likelihood) not in LEFT_OUT:
                yield network, likelihood, {**of_network, **of_likelihood}


def main(given: dict[str, Any]) -> None:
    names = tuple(settings["likelihood"] for settings in LIKELIHOODS.values())
    likelihoods = given.get("likelihoods") or names
    if unknown := [name for name in likelihoods if name not in names]:
        raise InputError(f"{unknown[0]}: must be one of {', '.join(names)}")
    dataset, epochs = given.get("dataset", "photographs"), given.get("epochs", EPOCHS)
    folder = given.get("data_dir") or os.environ.get("TFDS_DATA_DIR", "")
    images = cifar10(folder) if dataset == "cifar10" else crops()
    if images is None:
        print("cifar10: left out: it is in neither --data_dir nor TFDS_DATA_DIR")
        return
    print(images.words)
    models = []
    for network, likelihood, settings in models_of(likelihoods):
        name = f"{dataset}-{network.replace(', ', '-').replace(' ', '-')}-{settings['likelihood']}"
        found = measure(images, name, settings, epochs)
        models.append({"network": network, "likelihood": likelihood, **found})
    how = (
        f"{epochs} epochs, z = {COMMON['latent_dim']}, seed {SEED}; -log2 p(x) by S = {SAMPLES} samples of z and "
        f"its standard error over the test images; {page.machine()}"
    )
    measured = json.loads(FILE.read_text()) if FILE.exists() else {}
    measured[f"{dataset}, {epochs} epochs"] = {"words": images.words, "how": how, "models": models}
    write_atomically(FILE, json.dumps(measured, indent=1) + "\n")
    page.write("results", "colour", table(measured))


if __name__ == "__main__":
    run_command(
        main, sys.argv[1:], "benchmarks.colour", __doc__, of_config("dataset", "data_dir", "epochs"), "likelihoods"
    )
