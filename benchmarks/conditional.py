"""What the label does: python -m benchmarks.conditional [--dataset=mnist] [--epochs=20]

Trains a conditional run and one without a condition, of the same settings and seed, in runs/conditional/. A classifier
that is trained on the real training images judges samples of each class. Writes its part of docs/results.md and the
picture docs/conditional.png. Stop it at any moment: the same command goes on with the runs.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import matplotlib.image
import numpy as np

import tfvae
from benchmarks import page, runs
from tfvae import data
from tfvae.analysis import figures, latents
from tfvae.core.inputs import to_unit
from tfvae.core.vae import VAE
from tfvae.data.splits import Dataset
from tfvae.flags import of_config, run_command

RUNS = Path("runs") / "conditional"
SETTINGS: dict[str, Any] = {"latent_dim": 5, "hidden_units": (512,), "binarize": "stochastic", "eval_samples": 200}
SAMPLES = 1_000  # of each class
SHOWN = 12  # of each class, in the picture
CLASSIFIER_EPOCHS = 4
DATASET, EPOCHS = "mnist", 20  # where the command line names no others


class Judged(NamedTuple):
    """How often the classifier finds the class that samples were drawn of."""

    of_classes: np.ndarray  # [classes], each of SAMPLES
    of_real: float  # of the real test images


def train(dataset: str, epochs: int, condition: str) -> tfvae.Run:
    """A run, which goes on where it is not finished."""
    config = runs.train(RUNS, condition, dataset, epochs, condition=condition, **SETTINGS)
    return tfvae.load(config.directory)


def train_classifier(dataset: Dataset, epochs: int = CLASSIFIER_EPOCHS) -> keras.Model:
    """Convolutions of the real, grey training images, from x in [0, 1] to a class."""
    keras.utils.set_random_seed(0)
    convolution = {"strides": 2, "padding": "same", "activation": "relu"}
    model = keras.Sequential(
        [
            keras.layers.Conv2D(32, 5, **convolution),
            keras.layers.Conv2D(64, 3, **convolution),
            keras.layers.Flatten(),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(len(dataset.classes)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], jit_compile=False)  # XLA's convolutions are slow on CPU
    train = dataset.train.in_memory()
    model.fit(to_unit(train.array), train.y, batch_size=128, epochs=epochs, verbose=0)
    return model


def accuracy(classifier: keras.Model, images: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether the classifier finds y: [N]."""
    return np.argmax(classifier.predict(images, batch_size=1_000, verbose=0), axis=1) == y


def judge(vae: VAE, dataset: Dataset, classifier: keras.Model, seed: int = 0) -> Judged:
    """The classifier on means of p(x|z, y), z ~ p(z), and on the real test images."""
    of_classes = []
    for y in range(len(dataset.classes)):
        labels = np.full(SAMPLES, y, np.int32)
        drawn = latents.samples(vae, SAMPLES, seed + y, labels)
        of_classes.append(accuracy(classifier, drawn, labels).mean())
    test = dataset.test
    return Judged(np.array(of_classes), float(accuracy(classifier, to_unit(test.array), test.y).mean()))


def table(dataset: Dataset, results: dict[str, dict[str, Any]], judged: Judged) -> str:
    """The part of the page."""
    rows = [
        "| run | test ELBO | test log p(x) or log p(x\\|y), S samples | KL | squared error |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        test, of = result["test"], result["of"]
        given = "log p(x\\|y)" if "condition" in of else "log p(x)"
        error, other_draws = test["log_px_standard_error"], test["log_px_monte_carlo_error"]
        log_px = f"{given} {test['log_px']:.2f} ± {error:.2f} (Monte Carlo {other_draws:.3f}), S = {of['samples']}"
        rows.append(f"| {name} | {test['elbo']:.2f} | {log_px} | {test['kl']:.2f} | {test['squared_error']:.4f} |")
    of_classes = ", ".join(f"{name} {share:.1%}" for name, share in zip(dataset.classes, judged.of_classes))
    words = (
        f"{SAMPLES:,} samples (means of p(x|z, y), z from p(z)) of each class, by a classifier of the real training "
        f"images that is right on {judged.of_real:.2%} of the real test images: **{judged.of_classes.mean():.2%}** are "
        f"of their class: {of_classes}."
    )
    return "\n".join([*rows, "", words])


def picture(vae: VAE, classes: int, seed: int = 0) -> np.ndarray:
    """Samples: a row for each class, a column for each z."""
    return figures.tile(latents.samples_of_classes(vae, classes, SHOWN, seed), SHOWN)


def main(given: dict[str, Any]) -> None:
    name, epochs = given.get("dataset", DATASET), given.get("epochs", EPOCHS)
    trained = {condition: train(name, epochs, condition) for condition in ("none", "label")}
    results = {f"`--condition={condition}`": run.results for condition, run in trained.items()}
    config, vae = trained["label"].config, trained["label"].vae
    grey = tfvae.Config(dataset=config.dataset, condition="label", validation_examples=config.validation_examples)
    dataset = data.load(grey)
    judged = judge(vae, dataset, train_classifier(dataset))
    title = f"{name}, {epochs} epochs, {runs.in_words(SETTINGS)}, seed 0; {page.machine()}."
    page.write("results", "conditional", f"{table(dataset, results, judged)}\n\n{title}")
    image = picture(vae, len(dataset.classes))
    matplotlib.image.imsave(page.DOCS / "conditional.png", np.broadcast_to(image, (*image.shape[:2], 3)))


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "benchmarks.conditional", __doc__, of_config("dataset", "epochs"))
