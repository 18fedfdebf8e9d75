"""Missing pixels: filled in with their mean given the observed ones, and how likely the true ones are.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; S importance samples of z; z [..., L]. The noise of T images, a
tile, is drawn together, whatever the number B of them is that are computed together.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.analysis.blocks import rows_together
from tfvae.core import fast, noise
from tfvae.core.distributions import draw
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.protocols import AnyDensity, Density, Posterior, Vae
from tfvae.core.repeatable import sums_in_order

_LATENTS_OF_TILE = 4_000  # z's: part of the numbers, for each tile draws its own noise
_FILLINGS = 19  # of an image with missing pixels: their posteriors, and the prior, propose z


def _log_prob_where(p: Density, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """log p of the values of x where `mask` is 1 and not 0, in nats: [...]."""
    return tf.reduce_sum(p.element_log_prob(x) * mask, axis=(-3, -2, -1))


class Imputation(NamedTuple):
    """Images with their missing pixels filled in, and the log-likelihood of what was missing, [N] in nats."""

    filled: np.ndarray
    log_prob: np.ndarray
    effective_samples: np.ndarray | None = None  # of z behind each image, [N]

    def row(self, images: np.ndarray, observed: np.ndarray) -> dict[str, float]:
        """RMSE over all missing pixels, and the mean over images of log p with its standard error."""
        missing = np.broadcast_to(observed, images.shape) == 0
        squares = np.square(self.filled - to_unit(images))[missing]
        row = {
            "RMSE": np.mean(squares, dtype=np.float64) ** 0.5,
            "log p(missing | observed)": self.log_prob.mean(),
            "standard error": np.std(self.log_prob, dtype=np.float64) / len(images) ** 0.5,
        }
        if self.effective_samples is not None:
            row["effective samples"] = np.mean(self.effective_samples, dtype=np.float64)
        return {key: float(value) for key, value in row.items()}


class Imputer:
    """Fills in missing pixels by S = `samples` importance samples of z for each image, drawn by `seed`.

    A sample's proposal is number 0, the prior, or number k, q(z|x) of the k-th filling; samples take them in turn.
    """

    def __init__(self, vae: Vae, samples: int, seed: int) -> None:
        self.vae, self.samples, self.seed = vae, samples, seed
        self.proposal_of_sample = np.arange(samples) % (_FILLINGS + 1)
        shares = np.bincount(self.proposal_of_sample, minlength=_FILLINGS + 1) / samples
        self.log_shares = np.log(np.maximum(shares, 1e-30)).astype(np.float32)
        self.latents_together = rows_together(vae, _LATENTS_OF_TILE)
        use_xla = fast.use_xla(vae.convolutional)
        self.propose = tf.function(self._propose, jit_compile=use_xla, autograph=False)
        self.add_samples = tf.function(self._add_samples, jit_compile=use_xla, autograph=False)

    def impute(self, images: np.ndarray, observed: np.ndarray, train_images: np.ndarray) -> Imputation:
        """Fills in E[x_missing | x_observed] where `observed`, which broadcasts to the images, is 0.

        log p(x_missing | x_observed) is the estimate of log p(x) less that of log p(x_observed). Few effective samples
        flatter it: the second is then underestimated more. The training images' means are the first guess.
        """
        guess = fill_means(self.vae, images, observed, train_images).filled
        observed = np.broadcast_to(observed, images.shape)
        # each image twice: given its observed pixels, and given all of them
        x = np.concatenate([guess, to_unit(images)])
        masks = np.concatenate([observed, np.ones_like(observed)]).astype(np.float32)
        log_prob, mean, effective_samples = self.condition(x, masks)
        log_p_observed, log_p_all = np.split(log_prob, 2)
        size = len(images)
        return Imputation(np.where(observed, guess, mean[:size]), log_p_all - log_p_observed, effective_samples[:size])

    @sums_in_order()
    def condition(self, x: np.ndarray, observed: np.ndarray) -> list[np.ndarray]:
        """Conditions on the pixels of x where `observed` (its shape) is 1, not 0.

        z is proposed in turn by the prior and by q(z|x filled in), for the fillings that pseudo-Gibbs sampling runs
        through from x on (Rezende et al. 2014, appendix F). The weights p(x_observed, z) / proposal(z), of the mixture
        of all these, are bounded and correct what pseudo-Gibbs gets wrong (Mattei & Frellsen 2018, section 3).

        Returns:
            log p(x_observed) [N] in nats, E[x|x_observed] [N, H, W, C], the effective number of samples [N].
        """
        size = len(x)
        tile = min(size, max(1, _LATENTS_OF_TILE // self.samples))
        together = min(tile, max(1, self.latents_together // self.samples))
        blocks = []
        for tile_first in range(0, size, tile):
            tile_size = min(tile, size - tile_first)
            for first in range(0, tile_size, together):
                # the last block is filled up with copies of the last image
                rows_of_tile = np.minimum(first + np.arange(together), tile_size - 1)
                number = tf.constant(tile_first // tile)
                noise_of_tile = _TileNoise(self.seed, number, tile, tf.constant(rows_of_tile, tf.int32))
                rows = tile_first + rows_of_tile
                columns = self._condition(noise_of_tile, tf.constant(x[rows]), tf.constant(observed[rows]))
                blocks.append([column[: tile_size - first] for column in columns])
        return [np.concatenate(column) for column in zip(*blocks)]

    def _condition(self, noise_of_tile: "_TileNoise", x: tf.Tensor, observed: tf.Tensor) -> list[np.ndarray]:
        """What `condition` returns, of one block of images; its samples are decoded so many together as fit."""
        z, log_ratio = self.propose(noise_of_tile.tile, noise_of_tile.number, noise_of_tile.rows, x, observed)
        sums = WeightedSums.zero(x)
        for first in range(0, self.samples, self.latents_together):
            chosen = slice(first, first + self.latents_together)
            sums = self.add_samples(x, observed, z[chosen], log_ratio[chosen], sums)
        return sums.results(self.samples)

    def _add_samples(
        self, x: tf.Tensor, observed: tf.Tensor, z: tf.Tensor, log_ratio: tf.Tensor, sums: "WeightedSums"
    ) -> "WeightedSums":
        """The sums with samples z [K, B, L], of which `log_ratio` [K, B] is log p(z) / proposal(z)."""
        p = self.vae.decode(z)
        return sums.plus(_log_prob_where(p, x, observed) + log_ratio, p.mean)

    def _propose(
        self, tile: int, number: tf.Tensor, rows: tf.Tensor, x: tf.Tensor, observed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """z of each sample [S, B, L], by the noise of these rows of a tile, and log p(z) / proposal(z) [S, B]."""
        noise_of_tile = _TileNoise(self.seed, number, tile, rows)
        posteriors = self._posteriors(self._fillings(x, observed, noise_of_tile))
        z = self._draw(posteriors, noise_of_tile)
        log_prior = self.vae.prior.log_prob(z)
        # of z by each proposal: [S, 1 + fillings, B]
        log_proposals = tf.concat([log_prior[:, None], cast(AnyDensity, posteriors).log_prob(z[:, None])], axis=1)
        log_mixture = tf.reduce_logsumexp(log_proposals + self.log_shares[:, None], axis=1)
        return z, log_prior - log_mixture

    def _fillings(self, x: tf.Tensor, observed: tf.Tensor, noise_of_tile: "_TileNoise") -> tf.Tensor:
        """x, and what pseudo-Gibbs sampling makes of it in turn: [fillings, B, H, W, C]."""
        later = tf.scan(
            lambda filled, i: tf.where(observed > 0, x, self._redraw(filled, i, noise_of_tile)),
            tf.range(_FILLINGS - 1),
            x,
        )
        return tf.concat([x[None], later], axis=0)

    def _redraw(self, x: tf.Tensor, i: tf.Tensor, noise_of_tile: "_TileNoise") -> tf.Tensor:
        """x' ~ p(x'|z) for z ~ q(z|x)."""
        q = self.vae.encode(x)
        p = self.vae.decode(self.vae.sampling(q, noise_of_tile.of(noise.normal, q.mean.shape, 2 * i + 2)))
        return p.sample(noise_of_tile.of(p.noise, x.shape, 2 * i + 3))

    def _posteriors(self, fillings: tf.Tensor) -> Posterior:
        """q(z|x) of each filling, over [fillings, B, L]; one after the other, for all of them are many images."""
        of_fillings = [self.vae.encode(filling) for filling in tf.unstack(fillings)]
        return tf.nest.map_structure(lambda *parameters: tf.stack(parameters), *of_fillings)

    def _draw(self, posteriors: Posterior, noise_of_tile: "_TileNoise") -> tf.Tensor:
        """z of each sample by its proposal: [S, B, L]."""
        filling_of_sample = np.maximum(self.proposal_of_sample - 1, 0)
        q = tf.nest.map_structure(lambda parameter: tf.gather(parameter, filling_of_sample), posteriors)
        shape = (self.samples, *q.mean.shape[1:])
        of_posterior = self.vae.sampling(q, noise_of_tile.of(noise.normal, shape, 0, axis=1))
        of_prior = noise_of_tile.of(functools.partial(draw, self.vae.prior), shape, 1, axis=1)
        return tf.where((self.proposal_of_sample == 0)[:, None, None], of_prior, of_posterior)


class _TileNoise(NamedTuple):
    """The noise of some rows, int32 [B], of tile `number` of `tile` images."""

    seed: int
    number: tf.Tensor
    tile: int
    rows: tf.Tensor

    def of(
        self, draw_noise: Callable[..., tf.Tensor], shape: tuple[int, ...], use: int | tf.Tensor, axis: int = 0
    ) -> tf.Tensor:
        """Noise of `shape`, whose `axis` of length B is the images': `draw_noise` draws that of the whole tile."""
        seed = noise.fold_in(noise.seed_for(self.seed, Stream.EVALUATION, self.number), use)
        of_tile = draw_noise((*shape[:axis], self.tile, *shape[axis + 1 :]), seed)
        return tf.gather(of_tile, self.rows, axis=axis)


class WeightedSums(NamedTuple):
    """Sums over samples of B images, of weights w relative to exp(largest), which can't overflow."""

    largest: tf.Tensor  # log weight so far, [B]
    w: tf.Tensor  # [B]
    squared_w: tf.Tensor  # [B]
    mean: tf.Tensor  # of w * E[x|z], [B, H, W, C]

    @classmethod
    def zero(cls, x: tf.Tensor) -> "WeightedSums":
        """Before the first sample for images x."""
        zeros = tf.zeros([len(x)])
        return cls(tf.fill([len(x)], -float("inf")), zeros, zeros, tf.zeros_like(x))

    def plus(self, log_weights: tf.Tensor, means: tf.Tensor) -> "WeightedSums":
        """After more samples: their log weights [K, B] and E[x|z] [K, B, H, W, C]."""
        largest = tf.maximum(self.largest, tf.reduce_max(log_weights, axis=0))
        scale, w = tf.exp(self.largest - largest), tf.exp(log_weights - largest)
        mean = tf.reduce_sum(w[..., None, None, None] * means, axis=0)
        return WeightedSums(
            largest,
            self.w * scale + tf.reduce_sum(w, axis=0),
            self.squared_w * tf.square(scale) + tf.reduce_sum(tf.square(w), axis=0),
            self.mean * scale[:, None, None, None] + mean,
        )

    def results(self, samples: int) -> list[np.ndarray]:
        """log of the mean weight, the weighted mean of E[x|z], the effective number of samples."""
        log_prob = self.largest + tf.math.log(self.w) - np.log(samples)
        mean = self.mean / self.w[:, None, None, None]
        return [column.numpy() for column in (log_prob, mean, tf.square(self.w) / self.squared_w)]


def fill_means(vae: Vae, images: np.ndarray, observed: np.ndarray, train_images: np.ndarray) -> Imputation:
    """Fills in the training images' means; log p is that of independent pixels of these means (and variances)."""
    x, train_x = to_unit(images), to_unit(train_images)
    mean = np.asarray(np.mean(train_x, axis=0, dtype=np.float64))
    variance = np.asarray(np.var(train_x, axis=0, dtype=np.float64))
    density = vae.decode(vae.encode(tf.constant(x[:1])).mean)  # any of the family
    pixels = density.fitted_to(mean, variance, len(train_x))
    missing = tf.constant(np.broadcast_to(observed, x.shape) == 0, tf.float32)
    filled = np.where(observed, x, mean.astype(np.float32))
    return Imputation(filled, _log_prob_where(pixels, x, missing).numpy())
