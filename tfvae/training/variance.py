"""Where a learned sigma starts, and the last step of --sigma=optimal: the variance of all training images.

Shapes: images in blocks of B = batch_size; K = num_samples draws of z for each.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import fast, noise, objectives
from tfvae.core.inputs import to_unit
from tfvae.core.keras_fit import uniform_like
from tfvae.core.noise import Stream
from tfvae.core.repeatable import sums_in_order
from tfvae.core.vae import VAE
from tfvae.data import moments
from tfvae.data.disk import DiskImages
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError, RunError
from tfvae.runtime.progress import Progress
from tfvae.training import checkpoints
from tfvae.training.initial import InitialWeights
from tfvae.training.strategy import Placement


def start_stddev(config: Config, dataset: Dataset, run_dir: Path, initial: InitialWeights | None) -> float | None:
    """Where a learned sigma starts: at the training images' own deviation; None in runs that were made before that.

    One that comes with another run's decoder counts from where it started there.
    """
    if not config.learns_sigma:
        return None
    if checkpoints.steps(run_dir):
        return checkpoints.read_notes(run_dir).get("start_stddev")
    if initial is not None and initial.has_decoder:
        return initial.start_stddev
    return moments.stddev(dataset.train.images, dataset.columns)


class VariancePass:
    """A pass over the training images, which takes the mean squared error of p(x|z)'s mean, at sampled z.

    Its noise is a function of the seed and of a block's place. The workers of `placement` take the blocks in turns, on
    one device each, so the sum is the same on any number of replicas to within float64's rounding.
    """

    def __init__(self, config: Config, vae: VAE, train: Split, placement: Placement) -> None:
        self.config, self.vae, self.placement = config, vae, placement
        self.images, self.y = train.images, train.y
        images = self.images
        self.blocks = -(-len(images) // config.batch_size)
        jit_compile = fast.use_xla(vae.convolutional)
        self._compiled_errors = tf.function(self._squared_errors, jit_compile=jit_compile, autograph=False)

    @sums_in_order()
    def mean_squared_error(self, is_stopping: Callable[[], bool]) -> float | None:
        """The mean over all training images, a value; None where `is_stopping()` has ended the pass.

        Raises:
            RunError: images that are read from disk can't be.
        """
        own_total = 0.0
        with Progress("sigma", self.blocks, "blocks of training images", self.placement.chief) as progress:
            for first in range(0, self.blocks, self.placement.workers):
                if is_stopping():
                    return None
                block = first + self.placement.index
                if block < self.blocks:
                    own_total += self._sum_over_images(block)
                progress.advance(min(self.placement.workers, self.blocks - first))
        return float(self.placement.all_gather(np.array([own_total])).sum()) / len(self.images)

    def _sum_over_images(self, block: int) -> float:
        """The sum of the mean squared errors of a block's images."""
        first = block * self.config.batch_size
        rows = np.arange(first, first + self.config.batch_size)
        is_image = rows < len(self.images)
        filled_up = np.minimum(rows, len(self.images) - 1)  # the last block
        y = None if self.y is None else tf.constant(self.y[filled_up])
        errors = self._compiled_errors(tf.constant(self._read(filled_up)), y, tf.constant(block)).numpy()
        return float(np.sum(errors[is_image], dtype=np.float64))

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self.images, DiskImages):
            return self.images[rows]
        try:
            return self.images.read(rows)
        except (InputError, OSError) as error:
            raise RunError(str(error)) from None

    def _squared_errors(self, images: tf.Tensor, y: tf.Tensor | None, block: tf.Tensor) -> tf.Tensor:
        """The mean squared error a value of each image of a block, in the graph: [B]."""
        seed = noise.seed_for(self.config.seed, Stream.VARIANCE, block)
        x = to_unit(images)
        draw = functools.partial(uniform_like, x)
        x = noise.drawn_pixels(x, self.config.binarize, self.config.dequantize, noise.fold_in(seed, 1), draw)
        shape = (self.config.num_samples, self.config.batch_size, self.config.latent_dim)
        return objectives.mean_squared_error(self.vae.given(y), x, noise.normal(shape, seed))
