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
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


class PerImage(NamedTuple):
    """What evaluation finds out about each image; in nats, [N] unless it says otherwise."""

    log_likelihood: np.ndarray  # mean over the S samples of log p(x|z)
    kl: np.ndarray
    log_px: np.ndarray  # L_S (Burda et al. 2016, eq. 8)
    log_px_variance: np.ndarray  # of log_px over other draws of the S samples, by the delta method; nats^2
    squared_error: np.ndarray  # of the reconstruction at the mean of q(z|x): mean over pixels, x in [0, 1]
    mean: np.ndarray  # of q(z|x): [N, L]

    def summary(self) -> dict[str, float | int]:
        """Means over the images, two standard errors of log p(x) (over images, Monte-Carlo), and the active units."""
        names = ("log_likelihood", "kl", "log_px", "squared_error")
        terms = {name: float(np.mean(getattr(self, name), dtype=np.float64)) for name in names}
        error = np.std(self.log_px, dtype=np.float64, ddof=min(1, len(self.log_px) - 1)) / len(self.log_px) ** 0.5
        return {
            "elbo": terms["log_likelihood"] - terms["kl"],
            **terms,
            "log_px_standard_error": float(error),
            "log_px_monte_carlo_error": float(np.sqrt(np.sum(self.log_px_variance, dtype=np.float64)) / len(self.kl)),
            "active_units": active_units(self.mean),
        }


def active_units(posterior_mean: np.ndarray) -> int:
    """How many latents' posterior means vary over the images by more than 0.01 (Burda et al. 2016, section 5.2)."""
    return int(np.sum(np.var(posterior_mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE))


def make_evaluate(vae: Any, latent_dim: int, seed: int, closed_kl: bool = True) -> Callable[..., PerImage]:
    """Compiles evaluation of `vae`, its noise a function of `seed`; without `closed_kl` the KL is sampled too.

    Returns:
        evaluate(images, samples, on_block=None) -> PerImage: for images [N, H, W, C] (uint8, or float32 in [0, 1]),
        with S = `samples` draws of z each; `on_block` is called with the number of images of each finished block.
    """

    @tf.function(jit_compile=vae.xla, autograph=False)
    def run_block(images: tf.Tensor, block: tf.Tensor, samples: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = tf.image.convert_image_dtype(images, tf.float32)
        q = vae.encode(x)
        seed_of_block = noise.seed_for(seed, Stream.EVALUATION, block)

        def body(s: tf.Tensor, sums: tf.Tensor, top: tf.Tensor) -> tuple[tf.Tensor, ...]:
            epsilon = noise.normal((1, _BLOCK, latent_dim), noise.fold_in(seed_of_block, s))
            log_w, log_likelihood = (t[0] for t in objectives.log_weights(vae, q, x, epsilon))
            higher = tf.maximum(top, log_w)  # sum_s exp(log_w_s) = exp(top) w, without overflow
            ratio, w = tf.exp(top - higher), tf.exp(log_w - higher)
            scale = tf.stack([tf.ones_like(w), tf.ones_like(w), ratio, tf.square(ratio)])
            return s + 1, sums * scale + tf.stack([log_likelihood, log_likelihood - log_w, w, tf.square(w)]), higher

        start = (tf.constant(0), tf.zeros([4, _BLOCK]), tf.fill([_BLOCK], -float("inf")))
        _, sums, top = tf.while_loop(lambda s, *_: s < samples, body, start)
        number = tf.cast(samples, tf.float32)
        log_likelihood, kl = sums[0] / number, sums[1] / number
        if closed_kl:
            kl = q.kl(vae.prior)
        log_px = top + tf.math.log(sums[2] / number)
        # of the mean weight, relative to it: (mean w^2 / (mean w)^2 - 1) / (S - 1)
        spread = sums[3] / tf.square(sums[2]) * number - 1.0
        variance = tf.maximum(spread, 0.0) / tf.maximum(number - 1.0, 1.0)
        error = tf.reduce_mean(tf.square(vae.decode(q.mean).mean - x), axis=(1, 2, 3))
        return log_likelihood, kl, log_px, variance, error, q.mean

    def evaluate(images: np.ndarray, samples: int, on_block: Callable[[int], Any] | None = None) -> PerImage:
        blocks = []
        for first in range(0, len(images), _BLOCK):
            rows = np.arange(first, first + _BLOCK)
            results = run_block(
                tf.constant(images[np.minimum(rows, len(images) - 1)]),
                tf.constant(first // _BLOCK),
                tf.constant(samples),
            )
            blocks.append([result.numpy() for result in results])
            if on_block:
                on_block(min(_BLOCK, len(images) - first))
        return PerImage(*(np.concatenate(column)[: len(images)] for column in zip(*blocks)))

    return evaluate
