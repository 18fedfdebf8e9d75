"""The tasks of `tfvae.explore`: each makes a picture of a trained VAE, and numbers where it has some.

To add one, write a function from `Context` to `TaskResult`, put it into TASKS, and add its row to
`config/capabilities.py`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import tensorflow as tf

from tfvae.analysis import column_figures, features, figures, hidden_pixels, latents
from tfvae.analysis.conditional import Conditioner
from tfvae.config import Config
from tfvae.config.rules import check_task
from tfvae.core import noise
from tfvae.core.columns import Columns
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.data.provenance import describe_pixels, examples
from tfvae.data.splits import Dataset, Split
from tfvae.runtime.files import write_atomically

_SAMPLES = 100
_COLUMNS = 10  # of samples
_CLASSES = 20  # of samples of a conditional run, a row each
_PAIRS = 8  # of interpolated images
_IMPUTED_IMAGES = 1_000
_IMPUTED_COLUMNS = 15  # of them in the picture


class Context(NamedTuple):
    """What a task works with; `config` is the run's, but with the seed and the numbers of samples of the task."""

    vae: VAE
    config: Config
    images_of_run: Dataset | None  # there are none for a task that needs none

    @property
    def dataset(self) -> Dataset:
        """The run's images; raises ValueError where the task has said that it needs none."""
        if self.images_of_run is None:
            raise ValueError("dataset: must be there, and is not: the task's row says that it needs no data")
        return self.images_of_run


class TaskResult(NamedTuple):
    """What a task makes."""

    images: np.ndarray | None  # the test images that it is of, [N, H, W, C]; None where it is of none
    rows: dict[str, dict[str, float]]  # each row by name, its values by column
    description: str
    picture: np.ndarray  # uint8 [H, W, 1 or 3]
    drawn: np.ndarray | None = None  # images that are written as an array too


def samples(context: Context) -> TaskResult:
    """Means of p(x|z) for z from the prior; of a conditional run a row for each class, and a column for each z."""
    classes = context.vae.classes
    if classes:
        shown = classes[:_CLASSES]
        drawn = latents.samples_of_classes(context.vae, len(shown), _COLUMNS, context.config.seed)
        description = f"{_COLUMNS} means of p(x|z, y) of each class y, the same z from the prior: {', '.join(shown)}"
        if len(shown) < len(classes):
            description += f", the first of {len(classes):,}"
    else:
        drawn = latents.samples(context.vae, _SAMPLES, context.config.seed)
        description = f"{_SAMPLES} means of p(x|z), z from the prior"
    columns = context.vae.decoder.columns
    if columns:
        drawn = drawn[:, 0, 0]
        return TaskResult(None, {}, description, column_figures.histograms(drawn, columns.names, description), drawn)
    return TaskResult(None, {}, description, figures.tile(drawn, _COLUMNS), drawn)


def interpolation(context: Context) -> TaskResult:
    """Pairs of test images, and what is decoded on the way from one to the other."""
    images = context.dataset.test.array
    first, last = to_unit(images[:_PAIRS]), to_unit(images[-_PAIRS:])
    strips = latents.interpolation(context.vae, first, last)
    strips = np.concatenate([first[:, None], strips, last[:, None]], axis=1)
    description = "pairs, and 10 steps between their reconstructions"
    return TaskResult(images, {}, description, figures.tile(np.concatenate(strips), columns=12))


def traversal(context: Context) -> TaskResult:
    """The first test image, with one latent at a time moved through the prior's quantiles."""
    images = context.dataset.test.array
    result = latents.traversal(context.vae, images, 0, context.config.seed, y=context.dataset.test.y)
    rows = {}
    for latent, variance, values in zip(result.latents, result.variances, result.values):
        rows[f"z[{latent}]"] = {"variance": float(variance), "from": float(values[0]), "to": float(values[-1])}
    description = "variance of posterior means, and the prior's quantiles that the picture's rows go through"
    return TaskResult(images, rows, description, figures.tile(np.concatenate(result.images), columns=11))


def impute(context: Context) -> TaskResult:
    """Test images without their lower or a random half, filled in by the VAE and by the training images' means."""
    vae, config = context.vae, context.config
    test = context.dataset.test.rows(slice(_IMPUTED_IMAGES))
    images = test.array
    train_images = context.dataset.train.in_memory().array
    conditioner = Conditioner(vae, config.eval_samples, config.seed)
    rows, strips = {}, []
    for name, observed in _masks(images, config.seed).items():
        by_mean = hidden_pixels.by_means(vae, images, observed, train_images, test.y)
        by_vae = hidden_pixels.by_vae(conditioner, images, observed, train_images, test.y)
        rows[f"{name}: VAE"] = by_vae.row(images, observed)
        rows[f"{name}: means"] = by_mean.row(images, observed)
        with_hole = np.where(observed, to_unit(images), 0.5)
        strips += [strip[:_IMPUTED_COLUMNS] for strip in (to_unit(images), with_hole, by_mean.images, by_vae.images)]
    description = f"missing pixels, nats an image by {config.eval_samples} samples"
    picture = figures.tile(np.concatenate(strips), min(_IMPUTED_COLUMNS, len(images)))
    return TaskResult(images, rows, description, picture)


def _masks(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Where pixels are observed, by the name of what is missing; each broadcasts to the images."""
    height = images.shape[1]
    is_upper = np.arange(height)[:, None, None] < height // 2
    halves = tf.fill([*images.shape[:3], 1], 0.5)
    is_drawn = noise.bernoulli(halves, noise.seed_for(seed, Stream.BINARIZE)).numpy() > 0
    return {"lower half": is_upper, "random half": is_drawn}


def probe_features(context: Context) -> TaskResult:
    """How well simple classifiers tell test images apart by their latents."""
    train, test = _train_and_test(context)
    return _accuracies(context, features.features(context.vae, train, test))


def fine_tune(context: Context) -> TaskResult:
    """How many labels a trained encoder spares."""
    train, test = _train_and_test(context)
    return _accuracies(context, features.fine_tuning(context.vae, train, test, context.config.seed))


def _train_and_test(context: Context) -> tuple[Split, Split]:
    """Labelled images, the training images' pixels drawn as the VAE saw them, but once."""
    train = context.dataset.train.in_memory()
    if context.config.binarize == "stochastic":
        seed = noise.seed_for(context.config.seed, Stream.BINARIZE)
        train = train._replace(images=noise.bernoulli(to_unit(train.array), seed).numpy())
    return train, context.dataset.test


def _accuracies(context: Context, rows: features.Accuracies) -> TaskResult:
    config, images = context.config, context.dataset.test.array
    name = examples(context.dataset.columns)
    picture = figures.accuracies(rows, f"{config.dataset}, {len(images):,} test {name}, seed {config.seed}")
    return TaskResult(images, rows, f"accuracy, {len(context.dataset.train.images):,} train {name}", picture)


TASKS: dict[str, Callable[[Context], TaskResult]] = {
    "samples": samples,
    "interpolation": interpolation,
    "traversal": traversal,
    "imputation": impute,
    "features": probe_features,
    "fine_tuning": fine_tune,
}


def explore(config: Config, vae: VAE, step: int, dataset: Dataset | None, task: str) -> dict[str, Any]:
    """Does `task` with the VAE of `step`, its draws by `config.seed`; writes and prints what comes out.

    Writes `<run>/explore/<task>.png`, `<task>.json` and, of samples, `<task>.npy`. `dataset` may be None where the
    task's row says that it needs no data.

    Returns:
        What the JSON file holds, `rows` of numbers, and `of`, what they are numbers of; and `picture`, its file.

    Raises:
        InputError: the data set has no labels, which the task needs; nothing is written.
    """
    has_labels = dataset is None or dataset.has_labels
    check_task(config, task, has_labels, vae.decoder.columns is not None)
    result = TASKS[task](Context(vae, config, dataset))
    of = {
        "dataset": config.dataset,
        **({} if result.images is None else {"split": "test", "images": len(result.images)}),
        "step": step,
        "seed": config.seed,
        "what": result.description,
    }
    folder = config.directory / "explore"
    folder.mkdir(exist_ok=True)
    _write(folder, task, result, of)
    _print(folder / task, config, result, vae.decoder.columns)
    return {"of": of, "rows": result.rows, "picture": folder / f"{task}.png"}


def _write(folder: Path, task: str, result: TaskResult, of: dict[str, Any]) -> None:
    if result.drawn is not None:
        np.save(folder / f"{task}.npy", result.drawn)
    picture = result.picture
    if picture.shape[-1] == 1:
        picture = picture.repeat(3, axis=-1)
    matplotlib.image.imsave(folder / f"{task}.png", picture)
    write_atomically(folder / f"{task}.json", json.dumps({"of": of, "rows": result.rows}, indent=1) + "\n")


def _print(path: Path, config: Config, result: TaskResult, columns: Columns | None) -> None:
    of = config.dataset
    if result.images is not None:
        of += f", {len(result.images):,} test {examples(columns)}, {describe_pixels(config, result.images, columns)}"
    print(f"{path}.png: {of}, seed {config.seed}: {result.description}", flush=True)
    for number, (name, row) in enumerate(result.rows.items()):
        if number == 0:
            print(" " * 22 + "".join(f"{column:>27}" for column in row))
        print(f"  {name:20}" + "".join(f"{value:27.4f}" for value in row.values()), flush=True)
