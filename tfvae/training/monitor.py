"""What a run shows while it trains: progress on the terminal, TensorBoard, pictures."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.flagfile import to_flagfile
from tfvae.core.vae import VAE
from tfvae.runtime import verbosity
from tfvae.runtime.progress import Silence, duration, has_terminal
from tfvae.training import run_pictures
from tfvae.training.forecast import Forecast
from tfvae.training.latent_watch import LatentWatch
from tfvae.training.notes import Speedometer
from tfvae.training.painter import DrawPictures, Painter

BAR = "{desc} {remaining} left {rate_fmt}"  # in 80 columns: there is no room for a bar


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
        examples: str = "images",
        latent_watch: LatentWatch | None = None,
    ) -> None:
        self.latent_watch = latent_watch
        self.run_dir, self.config, self.examples = run_dir, config, examples
        self.epoch_steps = steps // config.epoch_count
        self.forecast = Forecast(config, step, steps, examples)
        self.next_epoch = 0  # at whose end a line is due: the first that this process comes to
        self.new_validation: tuple[int, float] | None = None  # of which no line has told: its epoch and its ELBO
        self.validated = 0  # examples of the validation that is going on
        self.last_elbo = self.best_elbo = -math.inf  # of this process's validations
        self.begin(step)
        folder = run_dir / "tensorboard"
        self.writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation")}
        draw_history = functools.partial(run_pictures.draw, run_dir, OBJECTIVES[config.objective].has_prior)
        self.painter = Painter(
            run_dir / "figures", self.writers["train"], make_vae, draw_pictures, is_stopping, draw_history
        )
        self.bar = tqdm.tqdm(
            total=steps * config.batch_size,
            initial=step * config.batch_size,
            unit="",
            unit_scale=True,
            disable=not (verbosity.shows_progress() and has_terminal()),
            dynamic_ncols=True,
            bar_format=BAR,
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

    def _histogram(self, name: str, values: np.ndarray, step: int) -> None:
        summary = histogram_pb(name, values)
        with self.writers["validation"].as_default():
            tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)

    def begin(self, step: int) -> None:
        """The first steps after `step` come now: what was before is not counted as their time."""
        self.forecast.begin(step)
        self.speed = Speedometer(step, self.config.batch_size)
        self.silence = Silence()

    def advance(self, count: int, step: int, elbo: float, kl: float) -> None:
        """Moves the progress bar by `count` steps, the last of them number `step`; the epoch's means so far.

        Within an epoch it prints a line where 30 seconds have passed without one.
        """
        epoch = math.ceil(step / self.epoch_steps)
        self.bar.set_description_str(f"epoch {epoch}/{self.config.epochs} {self._figures(elbo, kl)}", refresh=False)
        self.bar.update(count * self.config.batch_size)
        forecast = self.forecast.read(step)
        if forecast:
            self._write(forecast)
        within = step % self.epoch_steps
        if within and self.silence.is_long():
            self._print_line(f"{self._epoch(epoch)}, step {within:,} of {self.epoch_steps:,}", step, elbo)

    def _figures(self, elbo: float, kl: float) -> str:
        """The ELBO, its terms log p(x|z) - KL, and the validation's, in few columns."""
        text = f"ELBO {_brief(elbo)} ({_brief(elbo + kl)}-{_brief(kl)})"
        if math.isfinite(self.last_elbo):
            text += f" val {_brief(self.last_elbo)}"
        if self.best_elbo > self.last_elbo:
            text += f" best {_brief(self.best_elbo)}"
        return text

    def advance_validation(self, count: int, total: int, step: int) -> None:
        """Counts examples of a validation of `total`; prints a line where 30 seconds have passed without one."""
        self.validated += count
        if self.silence.is_long():
            epoch = self._epoch(step // self.epoch_steps)
            self._write(f"{epoch}: validation, {self.validated:,} of {total:,} {self.examples}")
            self.silence.begin()

    def validation(self, figures: dict[str, Any], step: int) -> None:
        """Writes the figures of a validation."""
        names = ("elbo", "log_likelihood", "kl", "active_units", "rmse", "sigma", "bits_per_dimension")
        self.scalars("validation", {name: figures[name] for name in names if name in figures}, step)
        epoch = step // self.epoch_steps
        if self.latent_watch and self.latent_watch.is_due(epoch):
            self._histogram("latents/kl", self.latent_watch.measure(epoch, step), step)
        self.new_validation = (epoch, figures["elbo"])
        self.last_elbo = figures["elbo"]
        self.best_elbo = max(self.best_elbo, self.last_elbo)
        self.validated = 0
        self.forecast.after_validation(step)

    def end_epoch(self, step: int, elbo: float, is_last: bool) -> None:
        """Prints a line on the epoch that ends at `step`, if one is due.

        That is so of the first epoch's end that this process comes to, of the last, and where 30 seconds have passed
        without a line; besides, so that a short run has some, each time that twice as many epochs are done, at a
        validation.
        """
        epoch = step // self.epoch_steps
        is_twice_as_far = epoch >= self.next_epoch and epoch % self.config.epochs_a_validation == 0
        if is_twice_as_far or is_last or self.next_epoch == 0 or self.silence.is_long():
            self._print_line(self._epoch(epoch), step, elbo)
            self.next_epoch = 2 * epoch

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch:,}/{self.config.epoch_count:,}"

    def _print_line(self, place: str, step: int, elbo: float) -> None:
        """Prints how the training does, `place` being where it is."""
        # what a plain autoencoder is trained by is no ELBO
        name = "ELBO" if OBJECTIVES[self.config.objective].has_prior else "log p(x|z)"
        text = f"{place}: train {name} {elbo:.2f}"
        if self.new_validation:
            epoch, validation_elbo = self.new_validation
            of_epoch = "" if step == epoch * self.epoch_steps else f" of {self._epoch(epoch)}"
            one_z = f"one z {'an' if self.examples == 'images' else 'a'} {self.examples.removesuffix('s')}"
            text += f", validation ELBO{of_epoch} {validation_elbo:.2f} ({one_z})"
        if self.bar.disable:  # which has them too
            text += self._speed_and_time(step)
        self._write(text)
        self.new_validation = None
        self.silence.begin()

    def _speed_and_time(self, step: int) -> str:
        text = f", {self.speed.read(step):,.0f} {self.examples}/s"
        remains = self.forecast.remaining_seconds(step)
        return f"{text}, {duration(remains)} left" if remains else text

    def _write(self, line: str) -> None:
        """Prints a line above the bar."""
        verbosity.log(line)

    def pictures(self, vae: VAE, step: int, is_last: bool = False) -> None:
        """Begins to draw the pictures on fixed inputs, so that steps compare, of `vae` as it is after `step`.

        Raises:
            OSError: those before can't be written.
        """
        self.painter.paint(vae, step, is_last)
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


def _brief(nats: float) -> str:
    return f"{nats:.1f}" if abs(nats) < 1000 else f"{nats:.0f}"


def write_warnings(run_dir: Path, warnings: list[str], step: int) -> None:
    """Writes what is wrong with a run to its TensorBoard, as text; nothing if nothing is."""
    if not warnings:
        return
    writer = tf.summary.create_file_writer(str(run_dir / "tensorboard" / "train"))
    with writer.as_default():
        tf.summary.text("warnings", "\n".join(f"- {warning}" for warning in warnings), step=step)
    writer.close()
