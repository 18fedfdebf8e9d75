"""A Gaussian likelihood's deviation, learned, optimal and fixed: python -m benchmarks.sigma [--frey=FILE]

On Frey faces (FILE: 1,965 frames, as .npy or .npz), the digits, and crops of scikit-learn's two colour pictures, each
deviation trains for the same epochs from three seeds, in runs/sigma/. The linear model is compared with probabilistic
PCA. Writes the table of docs/sigma.md. Stop it at any moment: the same command goes on.
"""

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from absl import app, flags

import tfvae
from benchmarks import page, photographs
from tfvae import data, run
from tfvae.analysis import baselines
from tfvae.core.inputs import to_unit

RUNS = Path("runs") / "sigma"
SEEDS = (0, 1, 2)
LINEAR = {  # 240 steps
    "dataset": "digits",
    "hidden_units": (),
    "latent_dim": 3,
    "posterior": "full",
    "num_samples": 4,
    "learning_rate": 0.1,
    "lr_schedule": "cosine",
    "batch_size": 539,
    "epochs": 80,
}
FREY = flags.DEFINE_string("frey", None, "the Frey faces, as .npy or .npz; without them their rows are left out")


class Task(NamedTuple):
    """A data set, how long each deviation trains on it, and the fixed deviations, the best of them not at an end."""

    title: str
    settings: dict[str, Any]
    fixed: tuple[float, ...]


def crops() -> Path:
    """The file of 10,000 training and 2,000 test crops of 32x32x3, which are of different parts of the photographs."""
    path = RUNS / "crops.npz"
    if not path.exists():
        made = photographs.make_crops()
        RUNS.mkdir(parents=True, exist_ok=True)
        np.savez(path, x_train=made.train, x_test=made.test)
    return path


def make_tasks(frey: str | None) -> list[Task]:
    """What is compared."""
    digits = {"dataset": "digits", "latent_dim": 8, "epochs": 150}
    colours = {"dataset": str(crops()), "latent_dim": 16, "hidden_units": (256,), "epochs": 10}
    tasks = [
        Task("digits, 8x8, z = 8, 150 epochs", digits, (0.07, 0.08, 0.09, 0.1, 0.12)),
        Task("colour crops, 32x32x3, z = 16, 10 epochs", colours, (0.07, 0.08, 0.09, 0.1, 0.12)),
    ]
    if frey:
        faces = {"dataset": frey, "latent_dim": 16, "epochs": 150}
        tasks.insert(0, Task("Frey faces, 28x20, z = 16, 150 epochs", faces, (0.025, 0.03, 0.035, 0.04, 0.05)))
    return tasks


def train(settings: dict[str, Any], sigma: float | str, seed: int) -> tuple[tfvae.Config, dict[str, Any]]:
    """The settings and the results of a run, which goes on where it is not finished."""
    dataset = Path(settings["dataset"]).stem
    folder = RUNS / f"{dataset}-z{settings['latent_dim']}-sigma-{sigma}-seed-{seed}"
    config = tfvae.Config(
        **{"likelihood": "gaussian", "eval_samples": 20, "validation_examples": 0, **settings},
        sigma=sigma,
        seed=seed,
        run_dir=str(folder),
        export_dir=str(RUNS / "exports"),
    )
    return config, run.train(config)


def rows_of(task: Task) -> list[str]:
    """The table's rows: each seed's ELBO, and how far their mean is below that of the best fixed deviation, a value."""
    tests: dict[float | str, list[dict[str, float]]] = {}
    for sigma in ("learned", "optimal", *task.fixed):
        tests[sigma] = [train(task.settings, sigma, seed)[1]["test"] for seed in SEEDS]
    means = {sigma: statistics.mean(test["elbo"] for test in of_seeds) for sigma, of_seeds in tests.items()}
    best = max(task.fixed, key=means.__getitem__)
    values = math.prod(data.load(tfvae.Config(dataset=task.settings["dataset"])).image_shape)
    rows = [f"| **{task.title}** | | | | |"]
    for sigma, of_seeds in tests.items():
        name = f"{sigma}, the best fixed" if sigma == best else str(sigma)
        behind = (means[best] - means[sigma]) / values
        elbos = ", ".join(f"{test['elbo']:.1f}" for test in of_seeds)
        deviations = ", ".join(f"{test['sigma']:.3f}" for test in of_seeds)
        errors = ", ".join(f"{test['rmse']:.3f}" for test in of_seeds)
        rows.append(f"| {name} | {elbos} | {behind:+.4f} | {deviations} | {errors} |")
    return rows


def linear_row(sigma: str) -> str:
    """How far a linear model's density of the training digits is below probabilistic PCA's after 240 steps."""
    images = data.load(tfvae.Config(dataset="digits", validation_examples=0)).train.images
    x = to_unit(images).reshape(-1, 64).astype(np.float64)
    maximum = baselines.fit_pca(x, LINEAR["latent_dim"]).score_samples(x).mean()
    gaps = []
    for seed in SEEDS:
        config, _ = train(LINEAR, sigma, seed)
        decoder = tfvae.load(config.directory).vae.decoder
        weights = decoder.output_layer.kernel.numpy().T.astype(np.float64)
        covariance = weights @ weights.T + decoder.learned_stddev() ** 2 * np.eye(64)
        density = scipy.stats.multivariate_normal(decoder.output_layer.bias.numpy(), covariance)
        gaps.append(maximum - density.logpdf(x).mean())
    return f"| {sigma} | {', '.join(f'{gap:.4f}' for gap in gaps)} |"


def main(_: list[str]) -> None:
    rows = [row for task in make_tasks(FREY.value) for row in rows_of(task)]
    table = [
        "| σ | test ELBO, seeds 0, 1, 2 | below the best fixed, nats a value | σ at the end | RMSE |",
        "|---|---|---|---|---|",
        *rows,
    ]
    page.write("sigma", "deviations", "\n".join([*table, "", f"{page.machine()}."]))
    linear = ["| σ | nats below probabilistic PCA, seeds 0, 1, 2 |", "|---|---|"]
    page.write("sigma", "linear", "\n".join([*linear, linear_row("learned"), linear_row("optimal")]))


if __name__ == "__main__":
    app.run(main)
