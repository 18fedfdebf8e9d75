"""What the latents of a trained VAE show: reconstructions, samples, interpolations and traversals.

Functions from a VAE and arrays to arrays; where they draw, the noise is a function of `seed` alone. Those that take y
[N] give a conditional VAE the labels of the images: `data.classes`.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; what is returned is float32; z [..., L].
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.analysis.blocks import in_blocks, rows_together
from tfvae.core import noise
from tfvae.core.distributions import draw
from tfvae.core.given import at_labels
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.protocols import HasVariance, Vae
from tfvae.data.new_images import NewImages

_MOST_LATENTS = 10  # of a traversal
_OUTER_PROBABILITIES = (0.025, 0.975)  # of the prior, between which a traversal moves


def _over_blocks(
    vae: Vae, function: Callable[..., Sequence[tf.Tensor]], *arrays: np.ndarray | NewImages, y: np.ndarray | None
) -> list[np.ndarray]:
    """`in_blocks` of `function(vae, rows of each array)`; where there are y, the VAE is given those of the rows."""
    size = rows_together(vae)
    if y is None:
        return in_blocks(functools.partial(function, vae), *arrays, block_size=size)
    return in_blocks(lambda y, *rows: function(at_labels(vae, y), *rows), y, *arrays, block_size=size)


def decode(vae: Vae, z: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """The means of p(x|z): [..., H, W, C] for z [..., L], and y [...]."""
    labels = None if y is None else np.broadcast_to(y, z.shape[:-1]).reshape(-1)
    [images] = _over_blocks(vae, _decode_block, z.reshape(-1, z.shape[-1]), y=labels)
    return images.reshape(*z.shape[:-1], *images.shape[1:])


def _decode_block(vae: Vae, z: tf.Tensor) -> tuple[tf.Tensor]:
    return (vae.decode(z).mean,)


class Latents(NamedTuple):
    """q(z|x) of N images: the mean and the log-variance of each latent by itself, [N, L] both."""

    mean: np.ndarray
    log_variance: np.ndarray


def encode(vae: Vae, images: np.ndarray | NewImages, y: np.ndarray | None = None) -> Latents:
    """q(z|x) of the images."""
    return Latents(*_over_blocks(vae, _encode_block, images, y=y))


def _encode_block(vae: Vae, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    q = vae.encode(to_unit(images))
    return q.mean, q.marginal_log_variance()


class PosteriorDraws(NamedTuple):
    """A z of q(z|x) for each of N images, and the mean: [N, L] both."""

    z: np.ndarray
    mean: np.ndarray


def posterior_draws(vae: Vae, images: np.ndarray, seed: int, y: np.ndarray | None = None) -> PosteriorDraws:
    """One z ~ q(z|x) for each image; the noise is a function of `seed`."""
    latent_dim = vae.prior.as_mixture().mean.shape[-1]
    epsilon = noise.normal((len(images), latent_dim), noise.seed_for(seed, Stream.AGGREGATE)).numpy()
    return PosteriorDraws(*_over_blocks(vae, _draw_block, images, epsilon, y=y))


def _draw_block(vae: Vae, images: tf.Tensor, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    q = vae.encode(to_unit(images))
    return q.sample(epsilon), q.mean


def posterior_means(vae: Vae, images: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """The means of q(z|x): [N, L]."""
    return encode(vae, images, y).mean


def reconstructions(vae: Vae, images: np.ndarray | NewImages, y: np.ndarray | None = None) -> np.ndarray:
    """The means of p(x|z) at the means of q(z|x): [N, H, W, C]."""
    [means] = _over_blocks(vae, _reconstruct_block, images, y=y)
    return means


def _reconstruct_block(vae: Vae, images: tf.Tensor) -> tuple[tf.Tensor]:
    return _decode_block(vae, vae.encode(to_unit(images)).mean)


def mean_variances(vae: Vae, images: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    """The variance of each value under p(x|z), at the means of q(z|x), as a mean over the images: [H, W, C].

    The likelihood must have one: `protocols.HasVariance`.
    """
    [variances] = _over_blocks(vae, _variance_block, images, y=y)
    return variances.mean(axis=0, dtype=np.float64)


def _variance_block(vae: Vae, images: tf.Tensor) -> tuple[tf.Tensor]:
    return (cast(HasVariance, vae.decode(vae.encode(to_unit(images)).mean)).variance,)


def sample_latents(vae: Vae, count: int, seed: int) -> np.ndarray:
    """z ~ p(z): [count, L]."""
    prior = vae.prior
    latent_dim = prior.as_mixture().mean.shape[-1]
    return draw(prior, (count, latent_dim), noise.seed_for(seed, Stream.PRIOR)).numpy()


def samples(vae: Vae, count: int, seed: int, y: np.ndarray | None = None) -> np.ndarray:
    """The means of p(x|z) for z ~ p(z): [count, H, W, C]; y [count] are labels."""
    return decode(vae, sample_latents(vae, count, seed), y)


def samples_of_classes(vae: Vae, classes: int, count: int, seed: int) -> np.ndarray:
    """The means of p(x|z, y) for each of the first `classes` classes y, at the same z: [classes * count, H, W, C]."""
    z = np.tile(sample_latents(vae, count, seed), (classes, 1))
    return decode(vae, z, np.repeat(np.arange(classes, dtype=np.int32), count))


def interpolation(vae: Vae, first: np.ndarray, last: np.ndarray, steps: int = 10) -> np.ndarray:
    """From each of the images `first` to that of `last`: [N, steps, H, W, C], linear between their posterior means."""
    start = posterior_means(vae, first)[:, None]
    end = posterior_means(vae, last)[:, None]
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    return decode(vae, start * (1 - share) + end * share)


class Traversal(NamedTuple):
    """R latents, each moved by itself."""

    latents: np.ndarray  # their numbers, int64 [R], the most active first
    variances: np.ndarray  # of their posterior means over the images, [R]
    values: np.ndarray  # that they take, [R, steps]
    images: np.ndarray  # means of p(x|z), [R, steps, H, W, C]


def traversal(
    vae: Vae, images: np.ndarray, index: int, seed: int, steps: int = 11, y: np.ndarray | None = None
) -> Traversal:
    """Moves each of the R <= 10 most active latents by itself, the others at the posterior mean of images[index].

    A latent is active if its posterior mean varies over the images. The values are quantiles of the prior in equal
    steps from 2.5 % to 97.5 %; `seed` is that of the draws, where the prior estimates its quantiles by draws. Labels y
    stay as they are.
    """
    means = posterior_means(vae, images, y)
    variances = means.var(axis=0)
    latents = np.argsort(-variances)[:_MOST_LATENTS]
    quantiles = vae.prior.quantiles(np.linspace(*_OUTER_PROBABILITIES, steps), seed)
    values = quantiles.T[latents].astype(np.float32)
    z = np.tile(means[index], (len(latents), steps, 1))
    z[np.arange(len(latents)), :, latents] = values
    label = None if y is None else y[index]
    return Traversal(latents, variances[latents], values, decode(vae, z, label))
