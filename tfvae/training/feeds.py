"""Where a step finds its images: all of them on the device, or some steps' worth at a time from disk.

Batch t is a function of (seed, t) alone, and the same for both.
"""

import weakref
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.data.disk import DiskImages
from tfvae.errors import InputError, RunError
from tfvae.training.state import steps_per_epoch
from tfvae.training.strategy import Placement

_BUFFER_BYTES = 2**25  # of images that are streamed, at a time
_MOST_EPOCHS = 64  # whose orders are made at once
_ORDER_ROWS = 2**18  # in them, where that is more than one epoch's


class Stored(NamedTuple):
    """Images on each device, and of a conditional run the labels of these: `data.classes`."""

    images: tf.Tensor  # [M, H, W, C]
    y: tf.Tensor | None  # int32 [M]


class Rows(NamedTuple):
    """Images that serve steps start .. stop-1: the i-th of step t is in row `order[(t - start) * batch_size + i]`."""

    stored: Stored
    order: tf.Tensor  # int32 [(stop - start) * batch_size]
    start: int
    stop: int


def epoch_orders(seed: int, first: int, count: int, examples: int) -> np.ndarray:
    """The order of the images in each of the epochs first .. first+count-1: int32 [count, examples]."""
    return noise.permutations(examples, seed, Stream.SHUFFLE, first, count)


def epoch_order(seed: int, epoch: int, examples: int) -> np.ndarray:
    """The order of the images in an epoch: int32 [examples]."""
    return epoch_orders(seed, epoch, 1, examples)[0]


class HeldImages:
    """All images on the device(s): the rows of a step are found through the orders of some epochs."""

    def __init__(self, config: Config, images: np.ndarray, placement: Placement, y: np.ndarray | None = None) -> None:
        self.seed, self.examples = config.seed, len(images)
        self.epoch_steps = steps_per_epoch(config, len(images))
        self.epoch_rows = self.epoch_steps * config.batch_size
        self.epochs_at_once = max(1, min(_MOST_EPOCHS, _ORDER_ROWS // len(images)))
        self.stored = _on_devices(placement, images, y)
        self.rows = Rows(self.stored, tf.zeros([0], tf.int32), 0, 0)

    def rows_at(self, step: int, count: int) -> Rows:
        """Rows that serve `step`; of the count-1 steps after it as many as it can have at once."""
        if self.rows.start <= step < self.rows.stop:
            return self.rows
        first = step // self.epoch_steps
        epochs = (step + max(count, 1) - 1) // self.epoch_steps + 1 - first
        epochs = min(epochs, self.epochs_at_once)
        orders = epoch_orders(self.seed, first, epochs, self.examples)
        # always of one size, so that nothing compiles anew
        padded = np.zeros((self.epochs_at_once, self.epoch_rows), np.int32)
        padded[:epochs] = orders[:, : self.epoch_rows]
        start = first * self.epoch_steps
        self.rows = Rows(self.stored, tf.constant(padded.ravel()), start, start + epochs * self.epoch_steps)
        return self.rows


def _on_devices(placement: Placement, images: np.ndarray, y: np.ndarray | None) -> Stored:
    """Images, and their labels if they have some, on each of this worker's devices."""
    copies = placement.local_replicas
    labels = None if y is None else placement.per_replica([y] * copies)
    return Stored(placement.per_replica([images] * copies), labels)


class _DiskReader:
    """Reads this worker's rows of some steps at a time, in the order of training.

    A thread of tf.data holds it, so it knows nothing of the feed, which is to end with its last user.
    """

    def __init__(self, config: Config, images: DiskImages, placement: Placement, y: np.ndarray | None) -> None:
        self.images, self.batch_size = images, config.batch_size
        self.y = np.zeros(len(images), np.int32) if y is None else y
        self.epoch_steps = steps_per_epoch(config, len(images))
        self.worker_rows = config.batch_size // placement.workers  # of each batch
        self.first_row = placement.index * self.worker_rows
        image_bytes = images.nbytes // len(images)
        self.steps = max(1, min(self.epoch_steps, _BUFFER_BYTES // (self.worker_rows * image_bytes)))
        self.seed, self.newest_order = config.seed, (-1, np.zeros(0, np.int32))  # of an epoch
        self.error = ""  # what is wrong with an image: tf.data would make the text of a traceback of it

    @property
    def buffer_shape(self) -> tuple[int, ...]:
        return (self.steps * self.worker_rows, *self.images.shape[1:])

    def order(self) -> tf.Tensor:
        """Where row r of these steps' batches lies in a buffer; other workers' rows are not there, nor asked for."""
        row = np.arange(self.steps * self.batch_size)
        step, place = row // self.batch_size, row % self.batch_size
        return tf.constant(step * self.worker_rows + place - self.first_row, tf.int32)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """The order of one epoch; the newest is remembered."""
        if epoch != self.newest_order[0]:
            self.newest_order = (epoch, epoch_order(self.seed, epoch, len(self.images)))
        return self.newest_order[1]

    def buffers(self, step: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """From `step` on: the first step of a buffer, the step after its last, its images and their labels."""
        while True:
            epoch, first = divmod(step, self.epoch_steps)
            count = min(self.steps, self.epoch_steps - first)
            batches = self._epoch_order(epoch)[first * self.batch_size : (first + count) * self.batch_size]
            batches = batches.reshape(count, self.batch_size)
            own = batches[:, self.first_row : self.first_row + self.worker_rows].ravel()
            buffer = np.zeros(self.buffer_shape, self.images.dtype)
            labels = np.zeros(len(buffer), np.int32)
            labels[: len(own)] = self.y[own]
            try:
                buffer[: len(own)] = self.images.read(own)
            except InputError as error:
                self.error = error.for_command_line
                return
            except OSError as error:
                self.error = str(error)
                return
            yield step, step + count, buffer, labels
            step += count


class StreamedImages:
    """Images on disk, in the same order as `HeldImages`: some steps' rows at a time, the next ones read meanwhile."""

    epochs_at_once = 1

    def __init__(self, config: Config, images: DiskImages, placement: Placement, y: np.ndarray | None = None) -> None:
        self.placement, self.has_labels = placement, y is not None
        self.reader = _DiskReader(config, images, placement, y)
        self.order = self.reader.order()
        self.rows = Rows(Stored(tf.zeros([]), None), self.order, 0, 0)
        self.coming: list[Iterator[tuple[tf.Tensor, ...]]] = []  # at most one; a list, which `finalize` clears
        # else the interpreter's end and the thread that reads would wait for each other
        weakref.finalize(self, self.coming.clear)

    def rows_at(self, step: int, count: int) -> Rows:
        """The rows of some steps, `step` among them, whatever `count` is; raises RunError: an image can't be read."""
        if self.rows.start <= step < self.rows.stop:
            return self.rows
        if step != self.rows.stop or not self.coming:
            self.coming[:] = [self._read_from(step)]
        buffer = next(self.coming[0], None)
        if buffer is None:
            raise RunError(self.reader.error)
        start, stop, images, y = buffer
        stored = _on_devices(self.placement, images, y if self.has_labels else None)
        self.rows = Rows(stored, self.order, int(start), int(stop))
        return self.rows

    def _read_from(self, step: int) -> Iterator[tuple[tf.Tensor, ...]]:
        number = tf.TensorSpec([], tf.int32)
        shape = self.reader.buffer_shape
        images, labels = tf.TensorSpec(shape, self.reader.images.dtype), tf.TensorSpec(shape[:1], tf.int32)
        signature = (number, number, images, labels)
        reader = self.reader
        data = tf.data.Dataset.from_generator(lambda: reader.buffers(step), output_signature=signature)
        return iter(data.prefetch(2))


def make_feed(
    config: Config, images: np.ndarray | DiskImages, placement: Placement, y: np.ndarray | None = None
) -> HeldImages | StreamedImages:
    """The feed for training images that are in memory, or on disk; y are their labels, of a conditional run."""
    if isinstance(images, DiskImages):
        return StreamedImages(config, images, placement, y)
    return HeldImages(config, images, placement, y)
