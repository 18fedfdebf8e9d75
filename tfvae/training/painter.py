"""Pictures of a VAE in training, drawn by a thread of their own: training does not wait for them."""

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import tensorflow as tf

from tfvae.core.vae import VAE

DrawPictures = Callable[[VAE], Iterator[tuple[str, np.ndarray]]]  # -> names, and uint8 [H, W, 1 or 3]

_LOOK_SECONDS = 0.1
_SECONDS_AFTER_A_SIGNAL = 5.0


class Painter:
    """Draws a round of pictures at a time, to TensorBoard, and the newest as PNG files in `folder`.

    It works on a VAE of its own, made by `make_vae`, which takes over the weights. After a signal (`signals` has one
    then) or an error of the training a round has 5 seconds; else it is dropped whole.
    """

    def __init__(
        self,
        folder: Path,
        writer: tf.summary.SummaryWriter,
        make_vae: Callable[[], VAE],
        draw_pictures: DrawPictures,
        signals: list[int],
    ) -> None:
        self.folder, self.writer, self.signals = folder, writer, signals
        self.make_vae, self.draw_pictures = make_vae, draw_pictures
        self.vae: VAE | None = None  # made by the thread
        self.thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self.round: concurrent.futures.Future[None] | None = None
        self.dropped = False
        self.writing = threading.Lock()

    def paint(self, vae: VAE, step: int) -> None:
        """Begins to draw `vae` as it is after `step`; waits for the round before, and raises what made it fail."""
        self.wait()
        if self.dropped:
            return
        weights = [variable.numpy() for variable in vae.variables]
        self.round = self.thread.submit(self._paint, weights, step)

    def _paint(self, weights: list[np.ndarray], step: int) -> None:
        if self.vae is None:
            self.vae = self.make_vae()
        for variable, value in zip(self.vae.variables, weights):
            variable.assign(value)
        pictures = {}
        for name, picture in self.draw_pictures(self.vae):
            if self.dropped:
                return
            pictures[name] = picture
        with self.writing:
            if not self.dropped:
                self._write(pictures, step)

    def _write(self, pictures: dict[str, np.ndarray], step: int) -> None:
        self.folder.mkdir(exist_ok=True)
        with self.writer.as_default():
            for name, picture in pictures.items():
                tf.summary.image(name, picture[None], step=step)
                matplotlib.image.imsave(self.folder / f"{name}.png", np.broadcast_to(picture, (*picture.shape[:2], 3)))
        self.writer.flush()

    def wait(self, seconds: float | None = None) -> None:
        """Waits for the round that is being drawn, at most so many seconds, and 5 after a signal; then drops it.

        Raises:
            OSError: its files can't be written (or whatever else made it fail).
        """
        if self.round is None:
            return
        began = time.monotonic()
        while not concurrent.futures.wait([self.round], _LOOK_SECONDS).done:
            if self.signals and seconds is None:
                seconds = time.monotonic() - began + _SECONDS_AFTER_A_SIGNAL
            if seconds is not None and time.monotonic() - began > seconds:
                with self.writing:
                    self.dropped = True
                return
        finished, self.round = self.round, None
        finished.result()

    def close(self, failed: bool) -> None:
        """Waits for the last round, 5 seconds at most where the training has `failed`."""
        try:
            self.wait(_SECONDS_AFTER_A_SIGNAL if failed else None)
        finally:
            self.thread.shutdown(wait=False)
