"""Draws README's moving picture, docs/manifold.webp: python benchmarks/moving_picture.py --data_dir=DIR

A two-dimensional VAE while it is trained on MNIST, by Keras's `fit` with a callback that draws a frame at certain
steps. Each frame shows the plane of z three times: what is decoded at each place; where the test images fall, coloured
by digit; and the image that is decoded at a point which walks through the plane. Both axes are in the prior's
quantiles, so that a place is the same place in all of them. Three minutes on two cores.
"""

import io
import math
import sys
from typing import Any

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from page import DOCS  # noqa: E402
from PIL import Image  # noqa: E402

from tfvae import data  # noqa: E402
from tfvae.analysis import figures, latents  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.core.making import make_vae  # noqa: E402
from tfvae.core.vae import VAE  # noqa: E402
from tfvae.flags import of_config, run_command  # noqa: E402

FILE = DOCS / "manifold.webp"
SIDE = 14  # images along an axis of the manifold
SHOWN = 2_000  # test images
EPOCHS, BATCH_SIZE = 20, 128
TRAINING_FRAMES, WALK_FRAMES = 40, 40
FIRST = 8  # step that is drawn after step 0
MILLISECONDS = 120  # of a frame
QUALITY = 70  # of WebP
PANEL = 300  # pixels of a panel's side
RADIUS = 0.36  # of the walk's circle, where the plane's side is 1


def walk(frame: int) -> np.ndarray:
    """The place of the walking point at a frame, [2] in the plane of quantiles: once around in WALK_FRAMES."""
    angle = 2 * math.pi * frame / WALK_FRAMES
    return 0.5 + RADIUS * np.array([math.cos(angle), math.sin(angle)])


class Frames(keras.callbacks.Callback):
    """Draws a frame before the first step, at steps that grow geometrically, and a walk around at the end."""

    def __init__(self, vae: VAE, images: np.ndarray, labels: np.ndarray, steps: int) -> None:
        super().__init__()
        self.vae, self.images, self.labels = vae, images, labels
        self.total = steps
        self.due = {round(step) for step in np.geomspace(FIRST, steps, TRAINING_FRAMES)}
        self.steps = 0
        self.drawn: list[Image.Image] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.draw()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.steps in self.due:
            self.draw()

    def on_train_end(self, logs: Any = None) -> None:
        for _ in range(WALK_FRAMES):
            self.draw()

    def draw(self) -> None:
        at = walk(len(self.drawn))
        z = scipy.stats.norm.ppf(at).astype(np.float32)[None]
        manifold = np.asarray(self.vae.decode(figures.manifold_latents(SIDE)).mean)
        means = latents.encode(self.vae, self.images).mean
        self.drawn.append(self.frame(manifold, scipy.stats.norm.cdf(means), np.asarray(self.vae.decode(z).mean)[0], at))

    def frame(self, manifold: np.ndarray, places: np.ndarray, decoded: np.ndarray, at: np.ndarray) -> Image.Image:
        figure = Figure(figsize=(3 * PANEL / 100, PANEL / 100 + 0.3), dpi=100)
        canvas = FigureCanvasAgg(figure)
        top = PANEL / (PANEL + 30)
        titles = (
            "decoded, over the plane of z",
            f"test images at step {self.steps:,} of {self.total:,}",
            "decoded at the point",
        )
        panels = []
        for i, title in enumerate(titles):
            axes = figure.add_axes((i / 3 + 0.004, 0.008, 1 / 3 - 0.008, top - 0.01))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(title, fontsize=10, pad=5)
            panels.append(axes)
        tiles = figures.tile(manifold, SIDE, gap=0)[..., 0]
        panels[0].imshow(tiles, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 0, 1), aspect="auto")
        colors = [f"C{label}" for label in self.labels]
        panels[1].scatter(places[:, 0], places[:, 1], c=colors, s=4, linewidths=0, alpha=0.8, clip_on=False)
        panels[2].imshow(decoded[..., 0], cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="bicubic")
        for axes in panels[:2]:
            axes.set(xlim=(0, 1), ylim=(0, 1))
            axes.plot(*at, "o", markersize=9, markerfacecolor="none", markeredgecolor="white", markeredgewidth=4)
            axes.plot(*at, "o", markersize=9, markerfacecolor="none", markeredgecolor="crimson", markeredgewidth=2)
        return Image.fromarray(figures.rasterized(canvas))


def main(given: dict[str, Any]) -> None:
    config = Config(dataset="mnist", latent_dim=2, hidden_units=(512,), validation_examples=0, **given)
    mnist = data.load(config)
    keras.utils.set_random_seed(config.seed)  # by which `fit` orders the images
    vae = make_vae(config, mnist.image_shape)
    steps = EPOCHS * (len(mnist.train.images) // BATCH_SIZE)
    frames = Frames(vae, mnist.test.images[:SHOWN], mnist.test.labels[:SHOWN], steps)
    vae.compile("adam")
    images = mnist.train.images[: steps // EPOCHS * BATCH_SIZE]  # whole batches
    vae.fit(images, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=2, callbacks=[frames])
    content = io.BytesIO()
    first, *others = frames.drawn
    first.save(
        content, "WEBP", save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=QUALITY, method=6
    )
    FILE.write_bytes(content.getvalue())
    print(f"{FILE}: {len(frames.drawn)} frames, {len(content.getvalue()) / 1e6:.2f} MB")


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "moving_picture", __doc__, of_config("data_dir", "seed"))
