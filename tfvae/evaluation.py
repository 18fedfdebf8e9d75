"""How good a trained VAE is: its ELBO and terms, log p(x) by importance sampling, active units.

All figures are means over images, never over batches; a short last block is filled up and its filling thrown away.

Shapes: N images in blocks of B; S importance samples, drawn one at a time, so memory doesn't grow with S.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae import noise, objectives
from tfvae.noise import Stream

_BLOCK = 256  # images a block: part of the numbers, for the noise is drawn by block
_CHUNK = 1_000  # samples a call
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


class PerImage(NamedTuple):
    """What evaluation finds out about each image; in nats, [N] unless it says otherwise."""

    log_likelihood: np.ndarray  # mean over the S samples of log p(x|z)
    kl: np.ndarray
    log_px: np.ndarray  # L_S (Burda et al. 2016, eq. 8)
    mean: np.ndarray  # of q(z|x): [N, L]

    def summary(self) -> dict[str, float | int | None]:
        """Means over the images, with the standard error (over images) of log p(x), and the active units."""
        terms = {name: float(np.mean(getattr(self, name), dtype=np.float64)) for name in self._fields[:3]}
        n = len(self.log_px)
        error = float(np.std(self.log_px, dtype=np.float64, ddof=1) / n**0.5) if n > 1 else None  # one tells nothing
        return {
            "elbo": terms["log_likelihood"] - terms["kl"],
            **terms,
            "log_px_standard_error": error,
            "active_units": active_units(self.mean),
        }


def active_units(posterior_mean: np.ndarray) -> int:
    """How many latents' posterior means vary over the images by more than 0.01 (Burda et al. 2016, section 5.2)."""
    return int(np.sum(np.var(posterior_mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE))


def make_evaluate(vae: Any, latent_dim: int, seed: int) -> Callable[..., PerImage]:
    """Compiles evaluation of `vae`, its noise a function of `seed`.

    Returns:
        evaluate(images, samples, on_block=None) -> PerImage: for images [N, H, W, C] (uint8, or float32 in [0, 1]),
        with S = `samples` draws of z each; `on_block` is called with the number of images of each finished block.
    """

    @tf.function(jit_compile=vae.xla, autograph=False)
    def run_block(images: tf.Tensor, block: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = tf.image.convert_image_dtype(images, tf.float32)
        q = vae.encode(x)
        seed_of_block = noise.seed_for(seed, Stream.EVALUATION, block)

        def body(s: tf.Tensor, total: tf.Tensor, top: tf.Tensor, rest: tf.Tensor) -> tuple[tf.Tensor, ...]:
            epsilon = noise.normal((1, _BLOCK, latent_dim), noise.fold_in(seed_of_block, s))
            log_w, log_likelihood = (t[0] for t in objectives.log_weights(vae, q, x, epsilon))
            new_top = tf.maximum(top, log_w)  # sum_s exp(log_w_s) = exp(top) rest, without overflow
            rest = rest * tf.exp(top - new_top) + tf.exp(log_w - new_top)
            return s + 1, total + log_likelihood, new_top, rest

        start = (first, tf.zeros([_BLOCK]), tf.fill([_BLOCK], -float("inf")), tf.zeros([_BLOCK]))
        _, total, top, rest = tf.while_loop(lambda s, *_: s < last, body, start)
        return total, top + tf.math.log(rest), q.kl(vae.prior), q.mean

    def evaluate_block(images: np.ndarray, block: int, samples: int) -> tuple[np.ndarray, ...]:
        chunks = []  # a call makes at most _CHUNK samples: float32 sums stay exact, and a signal is heard
        for first in range(0, samples, _CHUNK):
            arguments = (block, first, min(first + _CHUNK, samples))
            chunks.append([r.numpy() for r in run_block(tf.constant(images), *map(tf.constant, arguments))])
        totals, log_sums = (np.array([chunk[i] for chunk in chunks], np.float64) for i in (0, 1))
        log_px = np.logaddexp.reduce(log_sums, axis=0) - np.log(samples)
        return totals.sum(axis=0) / samples, chunks[0][2], log_px, chunks[0][3]

    def evaluate(images: np.ndarray, samples: int, on_block: Callable[[int], Any] | None = None) -> PerImage:
        blocks = []
        for first in range(0, len(images), _BLOCK):
            rows = np.minimum(np.arange(first, first + _BLOCK), len(images) - 1)
            blocks.append(evaluate_block(images[rows], first // _BLOCK, samples))
            if on_block:
                on_block(min(_BLOCK, len(images) - first))
        return PerImage(*(np.concatenate(column)[: len(images)] for column in zip(*blocks)))

    return evaluate
