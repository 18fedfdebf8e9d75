"""Pictures of a VAE in training, drawn by a thread of their own: training does not wait for them."""

import concurrent.futures
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import tensorflow as tf

from tfvae.core.vae import VAE
from tfvae.runtime.failures import first_sentence

DrawHistory = Callable[[int], Iterator[tuple[str, np.ndarray]]]  # of the run up to a step
DrawPictures = Callable[[VAE], Iterator[tuple[str, np.ndarray]]]  # -> names, and uint8 [H, W, 1 or 3]

_ROUNDS_A_HISTORY = 4  # from one round with the pictures of the history to the next
_PICTURES = 10  # times that pictures are drawn between the start and the end, at most
_SHARE = 0.01  # of the time that goes by, which the rounds between the first and the last may take of a processor
_LOOK_SECONDS = 0.1
_SECONDS_WHEN_STOPPING = 5.0


def pictured_epochs(epochs: int, interval: int) -> set[int]:
    """The epochs after which pictures are drawn: spread over all, each with a validation."""
    pictured = {epochs}
    for i in range(1, _PICTURES + 1):
        nearest = round(i * epochs / (_PICTURES + 1) / interval) * interval
        if 0 < nearest < epochs:
            pictured.add(nearest)
    return pictured


class Painter:
    """Draws a round of pictures at a time, to TensorBoard, and the newest as PNG files in `folder`.

    It works on a VAE of its own, made by `make_vae`, which takes over the weights. When the training stops before its
    end (`is_stopping()`), a round has 5 seconds, and else is dropped whole; the picture in hand is finished.

    A short run has fewer rounds than were ordered: those between the first and the last take a hundredth of its time.
    """

    def __init__(
        self,
        folder: Path,
        writer: tf.summary.SummaryWriter,
        make_vae: Callable[[], VAE],
        draw_pictures: DrawPictures,
        is_stopping: Callable[[], bool],
        draw_history: DrawHistory = lambda step: iter(()),
    ) -> None:
        self.folder, self.writer, self.is_stopping = folder, writer, is_stopping
        self.make_vae, self.draw_pictures, self.draw_history = make_vae, draw_pictures, draw_history
        self.vae: VAE | None = None  # made by the thread
        self.thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self.round: concurrent.futures.Future[None] | None = None
        self.rounds = 0
        self.began, self.seconds = time.monotonic(), 0.0  # of the processor, for rounds after the first
        self.dropped = False
        self.writing = threading.Lock()

    def paint(self, vae: VAE, step: int, is_last: bool = False) -> None:
        """Begins to draw `vae` as it is after `step`; waits for the round before, and raises what made it fail.

        It does nothing where the rounds before have taken more than their share of the time. Every fourth round, and
        the one that `is_last`, has the pictures of the history too: they tell what was before.
        """
        self._wait()
        if self.is_stopping():
            return
        if self.seconds > _SHARE * (time.monotonic() - self.began) and not is_last:
            return
        self.rounds += 1
        weights = [variable.numpy() for variable in vae.variables]
        with_history = is_last or self.rounds % _ROUNDS_A_HISTORY == 0
        self.round = self.thread.submit(self._paint, weights, step, with_history)

    def _paint(self, weights: list[np.ndarray], step: int, with_history: bool) -> None:
        began, is_first = time.thread_time(), self.vae is None
        if self.vae is None:
            self.vae = self.make_vae()
        for variable, value in zip(self.vae.variables, weights):
            variable.assign(value)
        pictures = {}
        of_history = self.draw_history(step) if with_history else iter(())
        for name, picture in itertools.chain(self.draw_pictures(self.vae), of_history):
            if self.dropped:
                return
            pictures[name] = picture
        with self.writing:
            if not self.dropped:
                self._write(pictures, step)
        if not is_first:  # which takes longer: much is made once
            self.seconds += time.thread_time() - began

    def _write(self, pictures: dict[str, np.ndarray], step: int) -> None:
        self.folder.mkdir(exist_ok=True)
        with self.writer.as_default():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], step=step)
                matplotlib.image.imsave(self.folder / f"{name}.png", np.broadcast_to(picture, (*picture.shape[:2], 3)))
        self.writer.flush()

    def _wait(self, is_hurried: bool = False) -> None:
        """Waits for the round that is being drawn; for 5 seconds, if it `is_hurried` or the training is stopping.

        Raises:
            OSError: its files can't be written (or whatever else made it fail).
        """
        if self.round is None or self.dropped:
            return
        deadline = None
        while not concurrent.futures.wait([self.round], _LOOK_SECONDS).done:
            now = time.monotonic()
            if deadline is None and (is_hurried or self.is_stopping()):
                deadline = now + _SECONDS_WHEN_STOPPING
            if deadline is not None and now > deadline:
                with self.writing:
                    self.dropped = True
                return
        finished, self.round = self.round, None
        finished.result()

    def close(self, failed: bool) -> None:
        """Waits for the last round, after which none is drawn.

        Raises:
            OSError: its files can't be written; where the training has `failed` or is stopping, that is only printed.
        """
        try:
            self._wait(is_hurried=failed)
        except Exception as error:
            if not (failed or self.is_stopping()):
                raise
            print(f"the last pictures could not be drawn: {first_sentence(str(error))}", flush=True)
        finally:
            self.thread.shutdown(wait=False)
