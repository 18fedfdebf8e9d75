"""The pictures that show a VAE while it is trained: on fixed inputs, so that those of two steps can be compared."""

import math
from collections.abc import Iterator

import numpy as np

from tfvae.analysis import column_figures, figures, latents, posterior_figures
from tfvae.config import Config
from tfvae.config.capabilities import LIKELIHOODS, OBJECTIVES
from tfvae.core.columns import Columns
from tfvae.core.vae import VAE
from tfvae.data.provenance import examples
from tfvae.data.splits import Dataset, Split

_RECONSTRUCTED_IMAGES = 40
_SCATTERED_IMAGES = 5_000
_AGGREGATED_IMAGES = 2_000
_TRAVERSED_IMAGES = 1_000  # by which the most active latents are found
_TRAVERSAL_STEPS = 11
_SAMPLES = 100
_COLUMNS = 10
_CLASSES = 20  # of samples of a conditional run, a row each
_MANIFOLD_SIDE = 20  # images
_MOST_PIXELS = 2**22  # of a picture's images: of large ones it shows fewer


def draw_pictures(vae: VAE, dataset: Dataset, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures, one after the other: names, and uint8 [H, W, 1 or 3].

    They are of test images, and of z drawn from the prior by `config.seed`; of vectors, of test rows alone.
    """
    if dataset.columns:
        yield from _pictures_of_vectors(vae, dataset, dataset.columns, config)
        return
    height, width, _ = dataset.image_shape
    rows = max(1, _MOST_PIXELS // (height * width * _COLUMNS))  # of images
    shown = _reconstructed(dataset.test, min(_RECONSTRUCTED_IMAGES, rows * _COLUMNS))
    means = latents.reconstructions(vae, shown.array, shown.y)
    yield "reconstructions", figures.reconstructions(shown.array, means)
    if dataset.classes:
        classes = min(len(dataset.classes), _CLASSES, rows)
        drawn = latents.samples_of_classes(vae, classes, _COLUMNS, config.seed)  # a row each, a column for each z
    else:
        drawn = latents.samples(vae, min(_SAMPLES, rows * _COLUMNS), config.seed)
    yield "samples", figures.tile(drawn, _COLUMNS)
    if config.latent_dim == 2:
        side = min(_MANIFOLD_SIDE, math.isqrt(rows * _COLUMNS))
        if not dataset.classes:  # each class has one of its own
            yield "manifold", _manifold(vae, side)
        yield "latent_scatter", _latent_scatter(vae, dataset)
    if OBJECTIVES[config.objective].has_prior:
        if config.latent_dim != 2 or dataset.classes:  # of two, the manifold has every walk
            yield "traversal", _traversal(vae, dataset.test, config.seed, rows)
        yield "aggregate_posterior", _aggregate_posterior(vae, dataset, config.seed)


def _pictures_of_vectors(
    vae: VAE, dataset: Dataset, columns: Columns, config: Config
) -> Iterator[tuple[str, np.ndarray]]:
    split = dataset.test.rows(slice(_SCATTERED_IMAGES))
    rows = split.array
    reconstructed = latents.reconstructions(vae, rows, split.y)
    yield "reconstructions", column_figures.reconstructions(rows[:, 0, 0], reconstructed[:, 0, 0], columns.names)
    if config.likelihood and LIKELIHOODS[config.likelihood].has_sigma:
        stddev = np.sqrt(latents.mean_variances(vae, rows, split.y)[0, 0])
        own = dataset.train.array[:, 0, 0].astype(np.float64)
        yield "deviations", column_figures.deviations(stddev, np.nanstd(own, axis=0), columns.names)
    if config.latent_dim == 2:
        yield "latent_scatter", _latent_scatter(vae, dataset)
    if OBJECTIVES[config.objective].has_prior:
        yield "aggregate_posterior", _aggregate_posterior(vae, dataset, config.seed)


def _reconstructed(test: Split, most: int) -> Split:
    """The first test images; of a folder of classes, which lie one after the other, some from all over."""
    if not test.label_names:
        return test.rows(slice(most))
    count = min(most, len(test.images))
    return test.rows(np.linspace(0, len(test.images) - 1, count).astype(int))


def _manifold(vae: VAE, side: int) -> np.ndarray:
    """The means of p(x|z) on a grid of the two latents, `side` images high and wide."""
    return figures.tile(latents.decode(vae, figures.manifold_latents(side)), columns=side)


def _latent_scatter(vae: VAE, dataset: Dataset) -> np.ndarray:
    """The means of q(z|x) of test images."""
    split = dataset.test.rows(slice(_SCATTERED_IMAGES))
    means = latents.posterior_means(vae, split.array, split.y)
    title = f"posterior means of {len(means):,} test {examples(dataset.columns)}"
    return figures.latent_scatter(means, split.labels, title, split.label_names)


def _traversal(vae: VAE, test: Split, seed: int, rows: int) -> np.ndarray:
    """The first test image with each of the most active latents moved by itself, a row each; `rows` are the most."""
    split = test.rows(slice(_TRAVERSED_IMAGES))
    moved = latents.traversal(vae, split.array, 0, seed, _TRAVERSAL_STEPS, split.y).images[:rows]
    return figures.tile(np.concatenate(moved), _TRAVERSAL_STEPS)


def _aggregate_posterior(vae: VAE, dataset: Dataset, seed: int) -> np.ndarray:
    """A draw of z for each of some test images, beside the prior, along the most active latents."""
    split = dataset.test.rows(slice(_AGGREGATED_IMAGES))
    draws = latents.posterior_draws(vae, split.array, seed, split.y)
    active = np.argsort(-draws.mean.var(axis=0), kind="stable")
    title = (
        f"q(z|x), a draw for each of {len(split.images):,} test {examples(dataset.columns)} (blue), and p(z) (orange)"
    )
    return posterior_figures.aggregate_posterior(draws.z, active, vae.prior.as_mixture(), title)
