"""What a run shows while it trains: progress on the terminal, TensorBoard, pictures."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import tensorflow as tf
import tqdm

from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile
from tfvae.core.vae import VAE

DrawPictures = Callable[[VAE], dict[str, np.ndarray]]  # -> {name: uint8 [H, W, 1 or 3]}


class Monitor:
    """Writes one run's scalars and pictures to `<run>/tensorboard` and `<run>/figures`, and shows its progress.

    All of it happens on the host, between calls of compiled programs.
    """

    def __init__(self, run_dir: Path, config: Config, step: int, steps: int, draw_pictures: DrawPictures) -> None:
        self.run_dir, self.config, self.draw_pictures = run_dir, config, draw_pictures
        self.epoch_steps = steps // config.epoch_count
        folder = run_dir / "tensorboard"
        self.writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}
        self.bar = tqdm.tqdm(
            total=steps * config.batch_size,
            initial=step * config.batch_size,
            unit=" images",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        with self.writers["train"].as_default():
            text = "".join(f"    {line}\n" for line in to_flagfile(config).splitlines())
            tf.summary.text("config", text, step=step)

    def scalars(self, part: str, values: dict[str, float], step: int) -> None:
        """Writes values, in nats unless their names say otherwise, of `train` or `validation`."""
        with self.writers[part].as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def advance(self, count: int, step: int, elbo: float) -> None:
        """Moves the progress bar by `count` steps, the last of them number `step`; the epoch's train ELBO so far."""
        epoch = math.ceil(step / self.epoch_steps)
        self.bar.set_description(f"epoch {epoch}/{self.config.epochs}", refresh=False)
        self.bar.set_postfix_str(f"train ELBO {elbo:.2f} nats", refresh=False)
        self.bar.update(count * self.config.batch_size)

    def end_epoch(
        self, step: int, elbo: float, validation: dict[str, Any] | None, images_per_second: float, print_line: bool
    ) -> None:
        """Writes the validation's figures; prints a line on the epoch that ends at `step`, above the bar, if asked."""
        text = f"epoch {step // self.epoch_steps:,}/{self.config.epochs:,}: train ELBO {elbo:.2f}"
        if validation:
            names = ("elbo", "log_likelihood", "kl", "active_units")
            self.scalars("validation", {name: validation[name] for name in names}, step)
            text += f", validation ELBO {validation['elbo']:.2f} (one z an image)"
        if print_line:
            tqdm.tqdm.write(f"{text}, {images_per_second:,.0f} images/s")
            sys.stdout.flush()

    def pictures(self, vae: VAE, step: int) -> None:
        """Draws the pictures on fixed inputs, so that steps compare: to TensorBoard, and the newest as PNG files."""
        folder = self.run_dir / "figures"
        folder.mkdir(exist_ok=True)
        with self.writers["train"].as_default():
            for name, picture in self.draw_pictures(vae).items():
                tf.summary.image(name, picture[None], step=step)
                matplotlib.image.imsave(folder / f"{name}.png", np.broadcast_to(picture, (*picture.shape[:2], 3)))
        for writer in self.writers.values():
            writer.flush()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        for writer in self.writers.values():
            writer.close()
