"""The pictures that show a VAE while it is trained: on fixed inputs, so that those of two steps can be compared."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfvae.analysis import figures
from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.distributions import draw
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.data.splits import Dataset

_RECONSTRUCTED_IMAGES = 40
_SCATTERED_IMAGES = 5_000
_SAMPLES = 100


def draw_pictures(vae: VAE, dataset: Dataset, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """The pictures, one after the other: names, and uint8 [H, W, 1 or 3].

    They are of test images, and of z drawn from the prior by `config.seed`.
    """
    images = dataset.test.rows(slice(_RECONSTRUCTED_IMAGES)).array
    reconstructed = vae(to_unit(images)).numpy()
    yield "reconstructions", figures.reconstructions(images, reconstructed)
    z = draw(vae.prior, (_SAMPLES, config.latent_dim), noise.seed_for(config.seed, Stream.PRIOR))
    yield "samples", figures.tile(vae.decode(z).mean.numpy(), columns=10)
    if config.latent_dim == 2:
        yield "manifold", _manifold(vae)
        yield "latent_scatter", _latent_scatter(vae, dataset)


def _manifold(vae: VAE) -> np.ndarray:
    """The means of p(x|z) on a grid of the two latents."""
    means = vae.decode(tf.constant(figures.manifold_latents())).mean.numpy()
    return figures.tile(means, columns=20)


def _latent_scatter(vae: VAE, dataset: Dataset) -> np.ndarray:
    """The means of q(z|x) of test images."""
    split = dataset.test.rows(slice(_SCATTERED_IMAGES))
    means = vae.encode(to_unit(split.array)).mean.numpy()
    return figures.latent_scatter(means, split.labels, f"posterior means of {len(means):,} test images")
