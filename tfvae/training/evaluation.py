"""How good a trained VAE is: its ELBO and terms, log p(x) by importance sampling, active units.

All figures are means over images, never over batches; a short last block is filled up and its filling thrown away.

Shapes: N images in blocks of B, a power of two up to 256 that `BlockPlan` chooses; S importance samples, drawn a few at
a time, so memory doesn't grow with S. The noise is that of tiles of 256 images and 5 samples, whatever B is.
"""

import contextlib
import functools
import io
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.core import fast, noise, objectives
from tfvae.core.given import at_labels
from tfvae.core.inputs import to_unit
from tfvae.core.noise import Stream
from tfvae.core.protocols import ClosedKl, HasVariance, Posterior, Vae
from tfvae.core.repeatable import sums_in_order
from tfvae.data.new_images import NewImages
from tfvae.data.splits import Split
from tfvae.runtime import files
from tfvae.runtime.progress import Progress
from tfvae.training.block_plan import SAMPLES_AT_ONCE, TILE, WHOLE_TILES, BlockPlan
from tfvae.training.sample_sums import BlockSums, SampleSums
from tfvae.training.strategy import Placement, one_device

_WORTH_KEEPING = 1.0  # seconds that a block took, from which on it is kept for a restart
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 5.2


class PerImage(NamedTuple):
    """What evaluation finds out about each image; in nats, [N] unless it says otherwise."""

    log_likelihood: np.ndarray  # mean over the S samples of log p(x|z)
    kl: np.ndarray
    log_px: np.ndarray  # L_S (Burda et al. 2016, eq. 8)
    log_px_variance: np.ndarray  # of log_px over draws of other samples, by the delta method: nats^2, <= 1
    squared_error: np.ndarray  # of the reconstruction at the mean of q(z|x): mean over pixels, x in [0, 1]
    sigma_squared: np.ndarray  # of p(x|z) there: mean over pixels; NaN of a likelihood that has none
    mean: np.ndarray  # of q(z|x): [N, L]

    def summary(self) -> dict[str, Any]:
        """Means over the images, their standard errors (of log p(x) the Monte-Carlo one too), and the active units."""
        names = ("log_likelihood", "kl", "log_px", "squared_error")
        terms = {name: float(np.mean(getattr(self, name), dtype=np.float64)) for name in names}
        sigma = float(np.mean(self.sigma_squared, dtype=np.float64)) ** 0.5
        beside_sigma = {} if math.isnan(sigma) else {"rmse": terms["squared_error"] ** 0.5, "sigma": sigma}
        monte_carlo_error = np.sum(self.log_px_variance, dtype=np.float64) ** 0.5 / len(self.log_px)
        return {
            "elbo": terms["log_likelihood"] - terms["kl"],
            "elbo_standard_error": standard_error(self.log_likelihood - self.kl),
            **terms,
            "log_px_standard_error": standard_error(self.log_px),
            "log_px_monte_carlo_error": float(monte_carlo_error),
            **beside_sigma,
            "active_units": active_units(self.mean),
        }


def standard_error(values: np.ndarray) -> float | None:
    """Of their mean; None of a single one, which tells nothing of its spread."""
    if len(values) < 2:
        return None
    return float(np.std(values, dtype=np.float64, ddof=1) / len(values) ** 0.5)


def has_few_effective_samples(log_px_variance: Any) -> Any:
    """Whether fewer than about two samples are behind a log p(x): its error is then larger than this variance says.

    (sum w)^2 / sum w^2 effective samples of S have the variance (1 / effective - 1 / S) S / (S - 1), which is 1 at most
    where the error of log p(x) can be hundreds of nats.
    """
    return log_px_variance > 0.5


def active_units(posterior_mean: np.ndarray) -> int:
    """How many latents' posterior means vary over the images by more than 0.01 (Burda et al. 2016, section 5.2)."""
    return int(np.sum(np.var(posterior_mean, axis=0, dtype=np.float64) > ACTIVE_VARIANCE))


class Evaluator:
    """Evaluation of `vae`, compiled, its noise a function of `seed`; without `closed_kl` the KL is sampled too.

    The replicas of `placement` (None: one) take a block each at a time; their number changes nothing. `plan` says what
    is computed together.
    """

    def __init__(
        self,
        vae: Vae,
        latent_dim: int,
        seed: int,
        closed_kl: bool = True,
        placement: Placement | None = None,
        plan: BlockPlan = WHOLE_TILES,
    ) -> None:
        self.vae, self.latent_dim, self.seed, self.closed_kl, self.plan = vae, latent_dim, seed, closed_kl, plan
        self.placement = placement or one_device()
        self.strategy = self.placement.strategy
        # one for each size of blocks: TensorFlow warns of a function that is traced for many shapes
        self._compiled_block = functools.cache(self._compile_block)
        self._compiled_blocks = tf.function(self._blocks_of_replicas, autograph=False)

    def evaluate(
        self,
        images: np.ndarray | NewImages,
        samples: int,
        on_block: Callable[[int], Any] | None = None,
        kept_blocks: "KeptBlocks | None" = None,
        blocks: range | None = None,
        y: np.ndarray | None = None,
    ) -> PerImage:
        """Evaluates images [N, H, W, C] (uint8, or float32 in [0, 1]) with S = `samples` draws of z each.

        `on_block` is called with the number of images of each finished block. Slow blocks are put into `kept_blocks`,
        and those that are there are not computed again. With `blocks` only the images of these blocks are evaluated.
        y [N] are the labels of a conditional VAE, whose figures are then of p(x|y).
        """
        replicas = self.strategy.num_replicas_in_sync
        local_replicas = self.placement.local_replicas
        size = self.plan.block_size(len(images))
        blocks = blocks or range(math.ceil(len(images) / size))
        end = min(blocks.stop * size, len(images))
        finished = []  # this worker's blocks
        for first_block in range(blocks.start, blocks.stop, replicas):
            own_first = first_block + self.placement.index * local_replicas
            finished += self._finish(
                images, y, samples, list(range(own_first, own_first + local_replicas)), kept_blocks
            )
            if on_block:
                on_block(min(replicas * size, end - first_block * size))
        return PerImage(*(self._gather(column, end - blocks.start * size) for column in zip(*finished)))

    def _finish(
        self,
        images: np.ndarray | NewImages,
        y: np.ndarray | None,
        samples: int,
        blocks: list[int],
        kept_blocks: "KeptBlocks | None",
    ) -> list[PerImage]:
        """These blocks, one on each of this worker's replicas: kept, or computed."""
        if kept_blocks:
            kept = [kept_blocks.read(block) for block in blocks]
            whole = [of_block for of_block in kept if of_block is not None]
            if len(whole) == len(blocks):
                return whole
        start = time.monotonic()
        size = self.plan.block_size(len(images))
        first_images = [block * size for block in blocks]
        # rows past the end repeat the last image; `_gather` cuts them off
        rows = [np.minimum(first_image + np.arange(size), len(images) - 1) for first_image in first_images]
        images_of_blocks = [images[r] for r in rows]
        y_of_blocks = None if y is None else [y[r] for r in rows]
        calls = []
        for first in range(0, samples, self.plan.samples_in_call):
            last = min(first + self.plan.samples_in_call, samples)
            calls.append(self._call(images_of_blocks, y_of_blocks, first_images, first, last))
        finished = [self._combine(list(calls_of_block), samples) for calls_of_block in zip(*calls)]
        if kept_blocks and time.monotonic() - start >= _WORTH_KEEPING:
            for block, of_block in zip(blocks, finished):
                kept_blocks.write(block, of_block)
        return finished

    @sums_in_order()
    def _call(
        self, images: list[np.ndarray], y: list[np.ndarray] | None, first_images: list[int], first: int, last: int
    ) -> list[BlockSums]:
        """Samples first .. last-1 of a block, which begins with this image, on each of this worker's replicas."""
        limits = (tf.constant(first), tf.constant(last))
        if self.strategy.num_replicas_in_sync == 1:
            compiled_block = self._compiled_block(len(images[0]))
            labels = None if y is None else tf.constant(y[0])
            results = [compiled_block(tf.constant(images[0]), labels, tf.constant(first_images[0]), *limits)]
        else:
            per_replica = self.placement.per_replica
            labels = None if y is None else per_replica(y)
            results = self._compiled_blocks(per_replica(images), labels, per_replica(first_images), *limits)
        return [BlockSums(*(value.numpy() for value in sums)) for sums in results]

    def _compile_block(self, size: int) -> Callable[..., Any]:
        """`_block` for blocks of so many images."""
        block = functools.partial(self._block)
        block.__name__ = "_block"  # type: ignore[attr-defined]  # which TensorFlow calls the program by
        return tf.function(block, jit_compile=fast.use_xla(self.vae.convolutional), autograph=False)

    def _blocks_of_replicas(self, *arguments: Any) -> list[BlockSums]:
        # tf.distribute would compile a tf.function that it is given for all replicas at once, which XLA can't do
        per_replica = self.strategy.run(lambda *own: self._compiled_block(own[0].shape[0])(*own), args=arguments)
        return self.strategy.experimental_local_results(per_replica)

    def _block(
        self, images: tf.Tensor, y: tf.Tensor | None, first_image: tf.Tensor, first: tf.Tensor, last: tf.Tensor
    ) -> BlockSums:
        """Samples first .. last-1 of a block of images, in the graph."""
        vae = at_labels(self.vae, y)
        x = to_unit(images)
        size = images.shape[0]
        q = vae.encode(x)
        s, sums = first, SampleSums.zero(size)
        for count in sorted({self.plan.samples_at_once, 1}, reverse=True):  # as long as five remain, then one at a time
            within = functools.partial(_fits, last, count)
            add_samples = functools.partial(self._samples, vae, x, q, first_image, count)
            s, sums = tf.while_loop(within, add_samples, (s, sums), parallel_iterations=1)  # or some turns' memory
        kl = cast(ClosedKl, q).kl(vae.prior) if self.closed_kl else tf.zeros([size])
        reconstruction = vae.decode(q.mean)
        squared_error = tf.reduce_mean(tf.square(reconstruction.residual(x)), axis=(1, 2, 3))
        if hasattr(reconstruction, "observed_share"):  # a missing value has no error
            squared_error /= reconstruction.observed_share(x)
        sigma_squared = tf.fill([size], float("nan"))
        if hasattr(reconstruction, "mean_variance"):
            sigma_squared = cast(HasVariance, reconstruction).mean_variance
        log_likelihood, log_w, w, squared_w = tf.unstack(sums.rows)
        log_sum_w = sums.largest + tf.math.log(w)
        log_sum_squared_w = 2 * sums.largest + tf.math.log(squared_w)
        return BlockSums(log_likelihood, log_w, log_sum_w, log_sum_squared_w, kl, squared_error, sigma_squared, q.mean)

    def _samples(
        self, vae: Vae, x: tf.Tensor, q: Posterior, first_image: tf.Tensor, count: int, s: tf.Tensor, sums: SampleSums
    ) -> tuple[tf.Tensor, SampleSums]:
        """Adds samples s .. s+count-1, whose noise is drawn by the tile, whatever their count and the images' is."""
        seed = noise.seed_for(self.seed, Stream.EVALUATION, first_image // TILE)
        shape = (SAMPLES_AT_ONCE, TILE, self.latent_dim)
        epsilon = noise.normal(shape, noise.fold_in(seed, s // SAMPLES_AT_ONCE))
        epsilon = tf.gather(epsilon, s % SAMPLES_AT_ONCE + tf.range(count))
        size = x.shape[0]
        if size < TILE:
            epsilon = tf.gather(epsilon, first_image % TILE + tf.range(size), axis=1)
        log_w, log_likelihood = objectives.log_weights(vae, q, x, epsilon)
        return s + count, sums.plus(log_likelihood, log_w)

    def _combine(self, calls: list[BlockSums], samples: int) -> PerImage:
        """Means over all samples of a block."""
        log_likelihood = np.sum([call.log_likelihood for call in calls], axis=0, dtype=np.float64) / samples
        log_w = np.sum([call.log_w for call in calls], axis=0, dtype=np.float64) / samples
        log_sum = np.logaddexp.reduce(np.array([call.log_sum_w for call in calls], np.float64), axis=0)
        log_squares = np.logaddexp.reduce(np.array([call.log_sum_squared_w for call in calls], np.float64), axis=0)
        # of the mean weight, relative to it: (mean w^2 / (mean w)^2 - 1) / (S - 1)
        spread = samples * np.exp(log_squares - 2 * log_sum) - 1
        variance = np.maximum(spread, 0) / max(samples - 1, 1)
        kl = calls[0].kl if self.closed_kl else log_likelihood - log_w
        log_px = log_sum - np.log(samples)
        return PerImage(
            np.asarray(log_likelihood),
            np.asarray(kl),
            log_px,
            variance,
            calls[0].squared_error,
            calls[0].sigma_squared,
            calls[0].mean,
        )

    def _gather(self, column: tuple[np.ndarray, ...], images: int) -> np.ndarray:
        """One of `PerImage`'s columns in the images' order, of all workers' blocks."""
        local_replicas = self.placement.local_replicas
        own = np.stack(column).reshape(-1, local_replicas, *column[0].shape)  # [turns, replicas, B, ...]
        by_worker = np.swapaxes(self.placement.all_gather(own), 0, 1)  # [turns, workers, replicas, B, ...]
        return by_worker.reshape(-1, *by_worker.shape[4:])[:images]


def _fits(last: tf.Tensor, count: int, s: tf.Tensor, sums: SampleSums) -> tf.Tensor:
    """Whether `count` more samples remain."""
    return s + count <= last


class KeptBlocks:
    """Finished blocks of an evaluation on disk, with which it goes on after it was killed."""

    def __init__(self, run_dir: Path, step: int, samples: int, block_size: int = TILE) -> None:
        name = f"{step}-{samples}"
        if block_size != TILE:
            name += f"-{block_size}"
        self.folder = run_dir / "evaluation" / name

    def write(self, block: int, of_block: PerImage) -> None:
        """Keeps a block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez(content, *of_block)
        files.write_atomically(self.folder / f"{block}.npz", content.getvalue())

    def read(self, block: int) -> PerImage | None:
        """A block, or None: it is not there, or damaged."""
        try:
            with open(self.folder / f"{block}.npz", "rb") as file, np.load(file) as columns:
                return PerImage(*columns.values())
        except Exception:  # a damaged file raises anything
            return None

    def forget(self) -> None:
        """Removes them, once the evaluation's results are written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is none, or another evaluation's in it
            self.folder.parent.rmdir()


def evaluate_run(
    evaluator: Evaluator,
    test: Split,
    samples: int,
    kept_blocks: KeptBlocks,
    examples: str = "images",
    is_shown: bool = True,
) -> PerImage:
    """Evaluates the test images of a run, and shows its progress; `examples` is what they are called.

    Killed, it goes on with the next block, until `kept_blocks.forget`.
    """
    with Progress(f"evaluation, S = {samples:,}", len(test.images), f"test {examples}", is_shown) as progress:
        return evaluator.evaluate(test.array, samples, progress.advance, kept_blocks, y=test.y)
