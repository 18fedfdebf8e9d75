"""How well anomalies are told apart, by each score: python -m benchmarks.anomalies [--data_dir=DIR]

Three models of MNIST's digits 0 to 8, and one of crops of scikit-learn's photographs, from three seeds each, in
runs/anomalies/. Writes docs/anomalies.json and the tables of docs/anomalies.md. Stop it at any moment: the same command
goes on with the models that are trained.
"""

import json
import math
import statistics
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

import tfvae
from benchmarks import page, sigma
from tfvae import data
from tfvae.analysis import anomalies
from tfvae.runtime.files import write_atomically
from tfvae.scores import Scores

FILE = page.DOCS / "anomalies.json"
RUNS = "runs/anomalies"
SEEDS = (0, 1, 2)
SAMPLES = 50  # of z
METHODS = {
    "elbo": "ELBO",
    "log_px": "log p(x)",
    "squared_error": "squared error",
    "complexity_score": "complexity score",
}
DENSITY = {"likelihood": "gaussian", "sigma": "learned", "dequantize": True}
DIGIT_MODELS = {
    "gaussian": DENSITY,
    "bernoulli, threshold": {"binarize": "threshold"},
    "bernoulli, grey": {},
}
DIGITS = {"latent_dim": 16, "hidden_units": (512,), "epochs": 10}
CROPS = {**DENSITY, "latent_dim": 32, "hidden_units": (256,), "epochs": 10}
MOST_IMAGES = 2_000  # of a kind that are scored
DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS's directory; without it TFDS_DATA_DIR")


class Task(NamedTuple):
    """What a model was trained on, other images like these, and by name sets of anomalous ones."""

    train: np.ndarray
    usual: np.ndarray
    anomalous: dict[str, np.ndarray]


def flat_images(image_shape: tuple[int, int, int]) -> np.ndarray:
    """One flat image of each of the 256 grey levels."""
    levels = np.arange(256, dtype=np.uint8)[:, None, None, None]
    return np.tile(levels, (1, *image_shape))


def digits() -> Task:
    """MNIST without nines; nines, clothes and flat images as anomalies."""
    mnist = data.load(tfvae.Config(dataset="mnist", data_dir=DATA_DIR.value, validation_examples=0))
    clothes = data.load(tfvae.Config(dataset="fashion_mnist", data_dir=DATA_DIR.value, validation_examples=0))
    is_nine = mnist.test.known_labels == 9
    return Task(
        mnist.train.array[mnist.train.known_labels != 9],
        mnist.test.array[~is_nine][:MOST_IMAGES],
        {
            "digit 9, held out": mnist.test.array[is_nine][:MOST_IMAGES],
            "Fashion-MNIST": clothes.test.array[:MOST_IMAGES],
            "flat grey images": flat_images((28, 28, 1)),
        },
    )


def crops() -> Task:
    """Crops of two photographs; flat ones as anomalies."""
    with np.load(sigma.crops()) as parts:
        return Task(parts["x_train"], parts["x_test"], {"flat grey crops": flat_images((32, 32, 3))})


def train(task: Task, name: str, settings: dict[str, Any], seed: int) -> tfvae.Run:
    """A run, which goes on where it is not finished."""
    config = tfvae.Config(
        **settings,
        seed=seed,
        eval_samples=SAMPLES,
        validation_examples=0,
        run_dir=f"{RUNS}/{name}-seed-{seed}",
        export_dir=f"{RUNS}/exports",
    )
    return tfvae.fit(config, task.train, test=task.usual)


def measure(task: Task, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """{set of anomalies: the figures of each seed}."""
    measured: dict[str, Any] = {anomaly: [] for anomaly in task.anomalous}
    for seed in SEEDS:
        run = train(task, name, settings, seed)
        usual = run.score(task.usual)
        for anomaly, images in task.anomalous.items():
            measured[anomaly].append(figures(usual, run.score(images)))
    return measured


def figures(usual: Scores, anomalous: Scores) -> dict[str, Any]:
    """The AUROC by each score, and medians; `is_code` says whether there is a complexity score."""
    is_anomalous = np.repeat([False, True], [len(usual.squared_error), len(anomalous.squared_error)])
    aurocs = {}
    for by in METHODS:
        values = np.concatenate([score_of(usual, by), score_of(anomalous, by)])
        aurocs[by] = anomalies.auroc(anomalies.anomaly_score(values, by), is_anomalous).value
    return {
        "auroc": aurocs,
        "is_code": usual.complexity_score is not None,
        "log_px": [float(np.median(scores.log_px)) for scores in (usual, anomalous)],
        "complexity": [float(np.median(scores.complexity)) for scores in (usual, anomalous)],
    }


def score_of(scores: Scores, by: str) -> np.ndarray:
    """A field of the scores; that of complexity also where a run has none, to show why."""
    return -scores.log_px - scores.complexity if by == "complexity_score" else getattr(scores, by)


def auroc_table(measured: dict[str, Any]) -> str:
    """AUROC by each score: means over the seeds and their standard errors."""
    rows = [
        f"| anomalies | model | {' | '.join(METHODS.values())} |",
        "| --- | --- |" + " --- |" * len(METHODS),
    ]
    for anomaly, models in measured.items():
        for model, of_seeds in models.items():
            cells = [auroc_cell(of_seeds, by) for by in METHODS]
            rows.append(f"| {anomaly} | {model} | {' | '.join(cells)} |")
    return "\n".join(rows)


def auroc_cell(of_seeds: list[dict[str, Any]], by: str) -> str:
    """A mean and its standard error; in brackets where a run has no such score."""
    values = [of_seed["auroc"][by] for of_seed in of_seeds]
    standard_error = statistics.stdev(values) / math.sqrt(len(values))
    cell = f"{statistics.mean(values):.3f} ± {standard_error:.3f}"
    if by == "complexity_score" and not of_seeds[0]["is_code"]:
        return f"({cell})"
    return cell


def median_table(measured: dict[str, Any]) -> str:
    """Medians over the images, means over the seeds: of usual images and of anomalous ones."""
    rows = [
        "| anomalies | model | log p(x), usual | log p(x), anomalous | L(x), usual | L(x), anomalous |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for anomaly, models in measured.items():
        for model, of_seeds in models.items():
            columns = [of_seed["log_px"] + of_seed["complexity"] for of_seed in of_seeds]
            means = [statistics.mean(column) for column in zip(*columns)]
            rows.append(f"| {anomaly} | {model} | {' | '.join(f'{mean:,.0f}' for mean in means)} |")
    return "\n".join(rows)


def main(_: list[str]) -> None:
    measured: dict[str, Any] = {}
    task = digits()
    for model, settings in DIGIT_MODELS.items():
        name = f"digits-{model.replace(', ', '-')}"
        for anomaly, of_seeds in measure(task, name, {**DIGITS, **settings}).items():
            measured.setdefault(anomaly, {})[model] = of_seeds
    for anomaly, of_seeds in measure(crops(), "crops", CROPS).items():
        measured[anomaly] = {"gaussian": of_seeds}
    write_atomically(FILE, json.dumps(measured, indent=1) + "\n")
    page.write("anomalies", "aurocs", auroc_table(measured))
    page.write("anomalies", "medians", median_table(measured))


if __name__ == "__main__":
    app.run(main)
