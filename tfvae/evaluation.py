"""How good a trained VAE is: its ELBO and terms, log p(x) by importance sampling, active units.

All figures are means over images, never over batches; a short last block is filled up and its filling thrown away.

Shapes: N images in blocks of B; S importance samples, drawn a few at a time, so memory doesn't grow with S.
"""

import contextlib
import functools
import io
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tqdm

from tfvae import noise, objectives, safety
from tfvae.noise import Stream
from tfvae.strategy import Placement, one_device

_BLOCK = 256  # images a block: part of the numbers, for the noise is drawn by block
_AT_ONCE = 5  # samples that are decoded together, for larger matrix products are faster; part of the numbers as well
_CHUNK = 200 * _AT_ONCE  # samples a call
_WORTH_KEEPING = 1.0  # seconds that a block took, from which on it is kept for a restart
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


class PerImage(NamedTuple):
    """What evaluation finds out about each image; in nats, [N] unless it says otherwise."""

    log_likelihood: np.ndarray  # mean over the S samples of log p(x|z)
    kl: np.ndarray
    log_px: np.ndarray  # L_S (Burda et al. 2016, eq. 8)
    log_px_variance: np.ndarray  # of log_px over other draws of its S samples, by the delta method: nats^2
    squared_error: np.ndarray  # of the reconstruction at the mean of q(z|x): mean over pixels, x in [0, 1]
    mean: np.ndarray  # of q(z|x): [N, L]

    def summary(self) -> dict[str, float | int | None]:
        """Means over the images, their standard errors (of log p(x) the Monte-Carlo one too), and the active units."""
        names = ("log_likelihood", "kl", "log_px", "squared_error")
        terms = {name: float(np.mean(getattr(self, name), dtype=np.float64)) for name in names}
        n = len(self.log_px)

        def over_images(values: np.ndarray) -> float | None:
            return float(np.std(values, dtype=np.float64, ddof=1) / n**0.5) if n > 1 else None  # one tells nothing

        return {
            "elbo": terms["log_likelihood"] - terms["kl"],
            "elbo_standard_error": over_images(self.log_likelihood - self.kl),
            **terms,
            "log_px_standard_error": over_images(self.log_px),
            "log_px_monte_carlo_error": float(np.sum(self.log_px_variance, dtype=np.float64) ** 0.5 / n),
            "active_units": active_units(self.mean),
        }


def active_units(posterior_mean: np.ndarray) -> int:
    """How many latents' posterior means vary over the images by more than 0.01 (Burda et al. 2016, section 5.2)."""
    return int(np.sum(np.var(posterior_mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE))


def make_evaluate(
    vae: Any, latent_dim: int, seed: int, closed_kl: bool = True, placement: Placement | None = None
) -> Callable[..., PerImage]:
    """Compiles evaluation of `vae`, its noise a function of `seed`; without `closed_kl` the KL is sampled too.

    The replicas of `placement` (None: one) take a block each at a time; their number changes nothing.

    Returns:
        evaluate(images, samples, on_block=None, kept=None) -> PerImage: for images [N, H, W, C] (uint8, or float32 in
        [0, 1]), with S = `samples` draws of z each; `on_block` is called with the number of images of each finished
        block; slow blocks are written to the directory `kept`, and those found there are not computed again.
    """

    placement = placement or one_device()
    strategy, replicas = placement.strategy, placement.strategy.num_replicas_in_sync

    @tf.function(jit_compile=vae.xla, autograph=False)
    def run_block(images: tf.Tensor, block: tf.Tensor, first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, ...]:
        x = tf.image.convert_image_dtype(images, tf.float32)
        q = vae.encode(x)
        seed_of_block = noise.seed_for(seed, Stream.EVALUATION, block)

        def body(count: int, s: tf.Tensor, sums: tf.Tensor, top: tf.Tensor) -> tuple[tf.Tensor, ...]:
            epsilon = noise.normal((_AT_ONCE, _BLOCK, latent_dim), noise.fold_in(seed_of_block, s // _AT_ONCE))
            epsilon = tf.gather(epsilon, s % _AT_ONCE + tf.range(count))
            log_w, log_likelihood = objectives.log_weights(vae, q, x, epsilon)
            higher = tf.maximum(top, tf.reduce_max(log_w, axis=0))
            before, w = tf.exp(top - higher), tf.exp(log_w - higher)  # sum w = exp(top) times a sum that can't overflow
            sums *= tf.stack([tf.ones_like(top), tf.ones_like(top), before, tf.square(before)])
            new = [tf.reduce_sum(values, axis=0) for values in (log_likelihood, log_w, w, tf.square(w))]
            return s + count, sums + tf.stack(new), higher

        state = (first, tf.zeros([4, _BLOCK]), tf.fill([_BLOCK], -float("inf")))
        for count in (_AT_ONCE, 1):  # and what remains
            within = functools.partial(lambda count, s, *_: s + count <= last, count)
            state = tf.while_loop(within, functools.partial(body, count), state)
        _, sums, top = state
        logs = tf.stack([top + tf.math.log(sums[2]), 2 * top + tf.math.log(sums[3])])  # of sum w and sum w^2
        kl = q.kl(vae.prior) if closed_kl else tf.zeros([_BLOCK])
        error = tf.reduce_mean(tf.square(vae.decode(q.mean).mean - x), axis=(1, 2, 3))
        return sums[:2], logs, kl, error, q.mean

    @tf.function(autograph=False)
    def run_blocks(*arguments: Any) -> list[tuple[tf.Tensor, ...]]:  # each of this worker's replicas its own
        # tf.distribute would compile a tf.function that it is given for all replicas at once, which XLA can't do
        return strategy.experimental_local_results(strategy.run(lambda *a: run_block(*a), args=arguments))

    def run(images: list[np.ndarray], blocks: list[int], first: int, last: int) -> list[tuple[np.ndarray, ...]]:
        limits = (tf.constant(first), tf.constant(last))
        if replicas == 1:
            results = [run_block(tf.constant(images[0]), tf.constant(blocks[0]), *limits)]
        else:
            results = run_blocks(placement.per_replica(images), placement.per_replica(blocks), *limits)
        return [tuple(value.numpy() for value in block) for block in results]

    def combine(chunks: list[tuple[np.ndarray, ...]], samples: int) -> tuple[np.ndarray, ...]:
        log_likelihood, log_w = np.sum([chunk[0] for chunk in chunks], axis=0, dtype=np.float64) / samples
        log_sum, log_squares = np.logaddexp.reduce(np.array([chunk[1] for chunk in chunks], np.float64), axis=0)
        kl, error, mean = chunks[0][2:]
        # of the mean weight, relative to it: (mean w^2 / (mean w)^2 - 1) / (S - 1)
        spread = samples * np.exp(log_squares - 2 * log_sum) - 1
        variance = np.maximum(spread, 0) / max(samples - 1, 1)
        kl = kl if closed_kl else log_likelihood - log_w
        return log_likelihood, kl, log_sum - np.log(samples), variance, error, mean

    def evaluate(
        images: np.ndarray, samples: int, on_block: Callable[[int], Any] | None = None, kept: Path | None = None
    ) -> PerImage:
        done = []  # this worker's blocks
        for turn in range(0, -(-len(images) // _BLOCK), replicas):
            blocks = [turn + placement.index * placement.local + i for i in range(placement.local)]
            combined = [_read_block(kept, b) for b in blocks]
            if None in combined:
                start = time.monotonic()
                rows = [np.minimum(b * _BLOCK + np.arange(_BLOCK), len(images) - 1) for b in blocks]
                some = [images[r] for r in rows]
                # a call makes at most _CHUNK samples: float32 sums stay exact, and a signal is heard
                limits = [(first, min(first + _CHUNK, samples)) for first in range(0, samples, _CHUNK)]
                chunks = [run(some, blocks, *limit) for limit in limits]
                combined = [combine(list(of_block), samples) for of_block in zip(*chunks)]
                if kept and time.monotonic() - start >= _WORTH_KEEPING:
                    for block, columns in zip(blocks, combined):
                        _write_block(kept, block, columns)
            done += combined
            if on_block:
                on_block(min(replicas * _BLOCK, len(images) - turn * _BLOCK))
        columns = []
        for column in zip(*done):
            column = np.stack(column).reshape(-1, placement.local, *column[0].shape)  # [turns, replicas, _BLOCK, ...]
            column = np.swapaxes(placement.all_gather(column), 0, 1)  # [turns, workers, replicas, _BLOCK, ...]
            columns.append(column.reshape(-1, *column.shape[4:])[: len(images)])
        return PerImage(*columns)

    return evaluate


def _write_block(kept: Path, block: int, columns: tuple[np.ndarray, ...]) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, *columns)
    safety.write_atomically(kept / f"{block}.npz", content.getvalue())


def _read_block(kept: Path | None, block: int) -> tuple[np.ndarray, ...] | None:
    if kept is None:
        return None
    try:
        with open(kept / f"{block}.npz", "rb") as file, np.load(file) as columns:
            return tuple(columns.values())
    except Exception:  # there is none, or a damaged one, which raises anything
        return None


def of_run(
    evaluate: Callable[..., PerImage], images: np.ndarray, samples: int, run_dir: Path, step: int, shown: bool = True
) -> PerImage:
    """Evaluates step `step` of a run with a progress bar; killed, it goes on with the next block, until `forget`."""
    with tqdm.tqdm(
        total=len(images), unit=" images", desc=f"S = {samples:,}", leave=False,
        disable=not (shown and sys.stderr.isatty()),
    ) as bar:  # fmt: skip
        return evaluate(images, samples, bar.update, _kept(run_dir, step, samples))


def forget(run_dir: Path, step: int, samples: int) -> None:
    """Removes what `of_run` has kept, once its results are written."""
    shutil.rmtree(_kept(run_dir, step, samples), ignore_errors=True)
    with contextlib.suppress(OSError):  # there is none, or another evaluation's in it
        (run_dir / "evaluation").rmdir()


def _kept(run_dir: Path, step: int, samples: int) -> Path:
    return run_dir / "evaluation" / f"{step}-{samples}"
