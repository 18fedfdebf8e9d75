"""p(x | x_observed): its mean, draws from it, and how likely the observed values are, by importance samples of z.

Shapes: images [N, H, W, C], float32, those of vectors [N, 1, 1, D]; S importance samples of z; z [..., L]. The noise of
T images, a tile, is drawn together, whatever the number B of them is that are computed together.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.analysis.blocks import rows_together
from tfvae.core import fast, noise
from tfvae.core.distributions import draw
from tfvae.core.given import at_labels
from tfvae.core.noise import Stream
from tfvae.core.protocols import AnyDensity, Density, OfSingleValues, Posterior, Vae
from tfvae.core.repeatable import sums_in_order

_LATENTS_OF_TILE = 4_000  # z's: part of the numbers, for each tile draws its own noise
_FILLINGS = 19  # of an image with missing values: their posteriors, and the prior, propose z


def log_prob_where(p: Density, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """log p of the values of x where `mask` is 1 and not 0, in nats: [...]."""
    return tf.reduce_sum(cast(OfSingleValues, p).element_log_prob(x) * mask, axis=(-3, -2, -1))


class Conditional(NamedTuple):
    """What is known of N images given their observed values."""

    log_observed: np.ndarray  # log p(x_observed) in nats, [N]
    mean: np.ndarray  # E[x | x_observed], [N, H, W, C]
    effective_samples: np.ndarray  # of z behind each image, [N]
    draws: np.ndarray  # of x given x_observed, [M, N, H, W, C]

    def of_images(self, chosen: np.ndarray) -> "Conditional":
        """Of the images where `chosen` [N] is True."""
        return Conditional(
            self.log_observed[chosen], self.mean[chosen], self.effective_samples[chosen], self.draws[:, chosen]
        )

    @classmethod
    def joined(cls, blocks: "list[Conditional]") -> "Conditional":
        """Of the images of all blocks, one after the other."""
        return cls(
            np.concatenate([block.log_observed for block in blocks]),
            np.concatenate([block.mean for block in blocks]),
            np.concatenate([block.effective_samples for block in blocks]),
            np.concatenate([block.draws for block in blocks], axis=1),
        )


class Conditioner:
    """Conditions on observed values by S = `samples` importance samples of z for each image, drawn by `seed`.

    A sample's proposal is number 0, the prior, or number k, q(z|x) of the k-th filling; samples take them in turn.
    """

    def __init__(self, vae: Vae, samples: int, seed: int) -> None:
        self.vae, self.samples, self.seed = vae, samples, seed
        self.tile = max(1, _LATENTS_OF_TILE // samples)
        self.proposal_of_sample = np.arange(samples) % (_FILLINGS + 1)
        shares = np.bincount(self.proposal_of_sample, minlength=_FILLINGS + 1) / samples
        self.log_shares = np.log(np.maximum(shares, 1e-30)).astype(np.float32)
        self.latents_together = rows_together(vae, _LATENTS_OF_TILE)
        use_xla = fast.use_xla(vae.convolutional)
        self.propose = tf.function(self._propose, jit_compile=use_xla, autograph=False)
        self.add_samples = tf.function(self._add_samples, jit_compile=use_xla, autograph=False)
        self.draw_x = tf.function(self._draw_x, jit_compile=use_xla, autograph=False)

    def condition(
        self,
        x: np.ndarray,
        observed: np.ndarray,
        place: int = 0,
        draws: int = 0,
        tile: int | None = None,
        y: np.ndarray | None = None,
    ) -> Conditional:
        """Conditions on the values of x where `observed` (its shape) is 1, not 0; the others are a first guess.

        z is proposed in turn by the prior and by q(z|x filled in), for the fillings that pseudo-Gibbs sampling runs
        through from x on (Rezende et al. 2014, appendix F). The weights p(x_observed, z) / proposal(z), of the mixture
        of all these, are bounded and correct what pseudo-Gibbs gets wrong (Mattei & Frellsen 2018, section 3). Where
        nothing is observed, z is of the prior. M = `draws` draws of x are of z that the normalised weights choose
        (sampling importance resampling, Rubin 1987).

        The noise of an image is a function of the seed and of its place in the whole set, where these images begin at
        `place`; and so are the images that are computed beside it. Hence parts of a set give the same bits as the whole
        set. `tile` is T, which is part of the numbers. y [N] are the labels of a conditional VAE, all of which is given
        them.
        """
        tile = tile or self.tile
        end = place + len(x)
        blocks = []
        for number in range(place // tile, (end - 1) // tile + 1):
            first_of_tile, end_of_tile = number * tile, (number + 1) * tile
            for places in self._blocks_of_tile(first_of_tile, end_of_tile):
                is_wanted = (places >= place) & (places < min(end, end_of_tile))
                if is_wanted.any():
                    # where a block has no image it is filled up with copies of the nearest
                    rows = np.clip(places, place, end - 1) - place
                    rows_of_tile = np.minimum(places - first_of_tile, tile - 1)
                    noise_of_tile = _TileNoise(
                        self.seed, tf.constant(number), tile, tf.constant(rows_of_tile, tf.int32)
                    )
                    labels = None if y is None else tf.constant(y[rows])
                    images = (tf.constant(x[rows]), tf.constant(observed[rows]))
                    block = self._condition(noise_of_tile, *images, draws, labels)
                    blocks.append(block.of_images(is_wanted))
        return Conditional.joined(blocks)

    def _blocks_of_tile(self, first: int, end: int) -> list[np.ndarray]:
        """The places of the images that are computed together, B each; the last may pass the tile's end."""
        together = min(end - first, max(1, self.latents_together // self.samples))
        return [np.arange(start, start + together) for start in range(first, end, together)]

    @sums_in_order()
    def _condition(
        self, noise_of_tile: "_TileNoise", x: tf.Tensor, observed: tf.Tensor, draws: int, y: tf.Tensor | None
    ) -> Conditional:
        """What `condition` returns, of one block of images; its samples are decoded so many together as fit."""
        tile, number, rows = noise_of_tile.tile, noise_of_tile.number, noise_of_tile.rows
        z, log_ratio = self.propose(tile, number, rows, x, observed, y)
        sums, log_weights = WeightedSums.zero(x), []
        for first in range(0, self.samples, self.latents_together):
            chosen = slice(first, first + self.latents_together)
            sums, of_chosen = self.add_samples(x, observed, y, z[chosen], log_ratio[chosen], sums)
            log_weights.append(of_chosen)
        drawn = np.empty((draws, *x.shape), np.float32)
        for i in range(draws):
            drawn[i] = self.draw_x(tile, number, rows, y, z, tf.concat(log_weights, axis=0), tf.constant(i))
        log_observed, mean, effective_samples = sums.results(self.samples)
        return Conditional(log_observed, mean, effective_samples, drawn)

    def _add_samples(
        self,
        x: tf.Tensor,
        observed: tf.Tensor,
        y: tf.Tensor | None,
        z: tf.Tensor,
        log_ratio: tf.Tensor,
        sums: "WeightedSums",
    ) -> tuple["WeightedSums", tf.Tensor]:
        """The sums with samples z [K, B, L], of which `log_ratio` [K, B] is log p(z) / proposal(z); log weights."""
        p = at_labels(self.vae, y).decode(z)
        log_weights = log_prob_where(p, x, observed) + log_ratio
        return sums.plus(log_weights, p.mean), log_weights

    def _propose(
        self, tile: int, number: tf.Tensor, rows: tf.Tensor, x: tf.Tensor, observed: tf.Tensor, y: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """z of each sample [S, B, L], by the noise of these rows of a tile, and log p(z) / proposal(z) [S, B]."""
        noise_of_tile = _TileNoise(self.seed, number, tile, rows)
        is_empty = tf.reduce_max(observed, axis=(1, 2, 3)) == 0
        posteriors = self._posteriors(at_labels(self.vae, y), x, observed, noise_of_tile)
        z = self._draw(posteriors, is_empty, noise_of_tile)
        log_prior = self.vae.prior.log_prob(z)
        # of z by each proposal: [S, 1 + fillings, B]
        log_proposals = tf.concat([log_prior[:, None], cast(AnyDensity, posteriors).log_prob(z[:, None])], axis=1)
        log_mixture = tf.reduce_logsumexp(log_proposals + self.log_shares[:, None], axis=1)
        return z, tf.where(is_empty, 0.0, log_prior - log_mixture)

    def _posteriors(self, vae: Vae, x: tf.Tensor, observed: tf.Tensor, noise_of_tile: "_TileNoise") -> Posterior:
        """q(z|x) of x, and of what pseudo-Gibbs sampling makes of it in turn: over [fillings, B, L]."""
        first = vae.encode(x)
        later = tf.scan(
            lambda q, i: vae.encode(tf.where(observed > 0, x, self._redraw(vae, q, x.shape, i, noise_of_tile))),
            tf.range(_FILLINGS - 1),
            first,
        )
        return tf.nest.map_structure(lambda *parts: tf.concat([parts[0][None], parts[1]], axis=0), first, later)

    def _redraw(
        self, vae: Vae, q: Posterior, shape: tuple[int, ...], i: tf.Tensor, noise_of_tile: "_TileNoise"
    ) -> tf.Tensor:
        """x' ~ p(x'|z) of this shape for z ~ q(z|x)."""
        p = vae.decode(vae.sampling(q, noise_of_tile.of(noise.normal, q.mean.shape, 2 * i + 2)))
        return p.sample(noise_of_tile.of(p.noise, shape, 2 * i + 3))

    def _draw(self, posteriors: Posterior, is_empty: tf.Tensor, noise_of_tile: "_TileNoise") -> tf.Tensor:
        """z of each sample by its proposal, of the prior for images of which nothing is observed: [S, B, L]."""
        filling_of_sample = np.maximum(self.proposal_of_sample - 1, 0)
        q = tf.nest.map_structure(lambda parameter: tf.gather(parameter, filling_of_sample), posteriors)
        shape = (self.samples, *q.mean.shape[1:])
        of_posterior = self.vae.sampling(q, noise_of_tile.of(noise.normal, shape, 0, axis=1))
        of_prior = noise_of_tile.of(functools.partial(draw, self.vae.prior), shape, 1, axis=1)
        is_of_prior = (self.proposal_of_sample == 0)[:, None] | is_empty
        return tf.where(is_of_prior[..., None], of_prior, of_posterior)

    def _draw_x(
        self,
        tile: int,
        number: tf.Tensor,
        rows: tf.Tensor,
        y: tf.Tensor | None,
        z: tf.Tensor,
        log_weights: tf.Tensor,
        i: tf.Tensor,
    ) -> tf.Tensor:
        """Draw i of x, [B, H, W, C]: by p(x|z) of the z that the weights of z [S, B, L] choose."""
        noise_of_tile = _TileNoise(self.seed, number, tile, rows)
        use = 2 * (_FILLINGS + 1 + i)  # after those of the fillings
        uniform = noise_of_tile.of(noise.uniform, tuple(log_weights.shape), use, axis=1)
        # the largest of log weights + Gumbel noise is a sample with its weight as the probability
        chosen = tf.argmax(log_weights - tf.math.log(-tf.math.log(uniform)), axis=0)
        p = at_labels(self.vae, y).decode(tf.gather(tf.transpose(z, [1, 0, 2]), chosen, batch_dims=1))
        return p.sample(noise_of_tile.of(p.noise, p.mean.shape, use + 1))


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
