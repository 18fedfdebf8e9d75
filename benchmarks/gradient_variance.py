"""Variance of the ELBO's gradient in the encoder by its estimators: python benchmarks/gradient_variance.py

On MNIST (or --dataset) with 20 latents, at the weights after an epoch of training: for one batch, over draws of the
noise alone, the variance of each entry of the gradient, summed. Writes docs/gradient_variance.md and .png.
"""

import sys
from pathlib import Path
from typing import Any

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tfvae import data  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.core import noise  # noqa: E402
from tfvae.core.noise import Stream  # noqa: E402
from tfvae.core.objectives import training_loss  # noqa: E402
from tfvae.flags import of_config, run_command  # noqa: E402
from tfvae.training.state import create_state, steps_per_epoch  # noqa: E402
from tfvae.training.step import TrainProgram  # noqa: E402

ESTIMATORS = {
    "reparameterized": {},
    "score function": {"estimator": "score_function"},
    "score function, leave-one-out": {"estimator": "score_function", "baseline": "leave_one_out"},
}
SAMPLES = (1, 2, 4, 8)


def variance(config: Config, vae: tf.keras.Model, x: tf.Tensor, draws: int) -> float:
    """The summed variance over the noise of the encoder's gradient of the batch's mean loss: nats^2."""
    weights = [v.value for v in vae.encoder.trainable_variables]
    shape = (config.num_samples, len(x), config.latent_dim)

    @tf.function(jit_compile=True)
    def gradient(t: tf.Tensor) -> tf.Tensor:
        epsilon = noise.normal(shape, noise.seed_for(config.seed, Stream.EVALUATION, t))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(training_loss(config, vae, x, epsilon, 1.0)[0])
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, weights)], axis=0)

    mean, squares = 0.0, 0.0
    for t in range(draws):
        g = gradient(tf.constant(t)).numpy().astype(np.float64)
        mean, squares = mean + g / draws, squares + g**2 / draws
    return float((squares - mean**2).sum() * draws / (draws - 1))


def compare(dataset: str, data_dir: str | None = None, draws: int = 100, epochs: int = 1) -> dict[str, list[float]]:
    """{estimator: its variance for each of SAMPLES, NaN where it isn't defined}, on one training batch of 128."""
    base = {"dataset": dataset, "data_dir": data_dir, "hidden_units": (200,), "latent_dim": 20, "epochs": epochs}
    config = Config(**base)
    images = data.load(config).train.images
    state = create_state(config, images.shape[1:], len(images))
    TrainProgram(state, config, images).run(0, epochs * steps_per_epoch(config, len(images)))
    x = tf.image.convert_image_dtype(images[:128], tf.float32)
    found = {}
    for name, options in ESTIMATORS.items():
        smallest = 2 if "baseline" in options else 1
        found[name] = [
            variance(Config(**base, **options, num_samples=m), state.vae, x, draws) if m >= smallest else float("nan")
            for m in SAMPLES
        ]
    return found


def main(given: dict[str, Any]) -> None:
    dataset = given.get("dataset", "mnist")
    found = compare(dataset, given.get("data_dir"))
    rows = ["| estimator | " + " | ".join(f"m = {m}" for m in SAMPLES) + " |", "| --- |" + " --- |" * len(SAMPLES)]
    rows += [
        f"| {name} | " + " | ".join("not defined" if v != v else f"{v:.4g}" for v in values) + " |"
        for name, values in found.items()
    ]
    table = "\n".join(rows)
    folder = Path(__file__).parents[1] / "docs"
    text = (
        "# The variance of the gradient\n\n"
        f"Made by `python benchmarks/gradient_variance.py --dataset={dataset}`. Summed over the encoder's weights (200 "
        f"units, z = 20), for one training batch of 128 {dataset} images, grey values, Bernoulli likelihood, after an "
        "epoch of training, over 100 draws of the noise (seed 0), in nats squared; m samples of z an image.\n\n"
        f"{table}\n\n![the same as a plot](gradient_variance.png)\n"
    )
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="samples m of z an image", ylabel="variance of the gradient, nats²", title=dataset)
    for name, values in found.items():
        axes.loglog(SAMPLES, values, "o-", label=name)
    axes.set_xticks(SAMPLES, map(str, SAMPLES))
    axes.set_xticks([], minor=True)
    axes.legend()
    figure.savefig(folder / "gradient_variance.png")
    (folder / "gradient_variance.md").write_text(text)
    print(table)


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "gradient_variance", __doc__, of_config("dataset", "data_dir"))
