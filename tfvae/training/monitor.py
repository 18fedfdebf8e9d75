"""What a run shows while it trains: progress on the terminal, TensorBoard, pictures."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tqdm
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile
from tfvae.core.vae import VAE
from tfvae.training.forecast import Forecast
from tfvae.training.painter import DrawPictures, Painter


class Monitor:
    """Writes one run's scalars and pictures to `<run>/tensorboard` and `<run>/figures`, and shows its progress.

    All of it happens on the host, between calls of compiled programs; pictures are drawn by the `Painter`'s thread.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        step: int,
        steps: int,
        make_vae: Callable[[], VAE],
        draw_pictures: DrawPictures,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.run_dir, self.config = run_dir, config
        self.epoch_steps = steps // config.epoch_count
        self.forecast = Forecast(config, step, steps)
        folder = run_dir / "tensorboard"
        self.writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}
        self.painter = Painter(run_dir / "figures", self.writers["train"], make_vae, draw_pictures, is_stopping)
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
        summary = Summary()
        for name, value in values.items():
            summary.value.extend(scalar_pb(name, value).value)
        # all at once, as tf.summary.scalar writes each: a call of that for each of them takes five times as long
        with self.writers[part].as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def advance(self, count: int, step: int, elbo: float) -> None:
        """Moves the progress bar by `count` steps, the last of them number `step`; the epoch's train ELBO so far."""
        epoch = math.ceil(step / self.epoch_steps)
        self.bar.set_description(f"epoch {epoch}/{self.config.epochs}", refresh=False)
        self.bar.set_postfix_str(f"train ELBO {elbo:.2f} nats", refresh=False)
        self.bar.update(count * self.config.batch_size)
        forecast = self.forecast.read(step)
        if forecast:
            self._write(forecast)

    def validation(self, figures: dict[str, Any], step: int) -> None:
        """Writes the figures of a validation."""
        names = ("elbo", "log_likelihood", "kl", "active_units", "rmse", "sigma")
        self.scalars("validation", {name: figures[name] for name in names if name in figures}, step)
        self.forecast.after_validation(step)

    def print_line(self, step: int, elbo: float, validation: dict[str, Any] | None, images_per_second: float) -> None:
        """Prints a line on the epoch that ends at `step`, above the bar."""
        text = f"epoch {step // self.epoch_steps:,}/{self.config.epochs:,}: train ELBO {elbo:.2f}"
        if validation:
            text += f", validation ELBO {validation['elbo']:.2f} (one z an image)"
        self._write(f"{text}, {images_per_second:,.0f} images/s")

    def _write(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.tqdm.write(line)
        sys.stdout.flush()

    def pictures(self, vae: VAE, step: int) -> None:
        """Begins to draw the pictures on fixed inputs, so that steps compare, of `vae` as it is after `step`.

        Raises:
            OSError: those before can't be written.
        """
        self.painter.paint(vae, step)
        for writer in self.writers.values():
            writer.flush()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        try:
            self.painter.close(failed=error is not None)
        finally:
            for writer in self.writers.values():
                writer.close()
