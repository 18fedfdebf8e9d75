"""The loop on the host: chunks of compiled steps, and between them what the host has to do.

A chunk is about a second of work, for so long a signal may have to wait. It ends at the end of an epoch, where it
reaches one, and no later than the epoch after which the host has something to do.
"""

import contextlib
import functools
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.flagfile import FILE_NAME, to_flagfile
from tfvae.core.making import make_vae
from tfvae.core.own_network import Trunks
from tfvae.data.dataset import changed
from tfvae.data.provenance import examples
from tfvae.data.splits import Dataset
from tfvae.errors import RunError
from tfvae.runtime import files
from tfvae.runtime.signals import signals_held
from tfvae.training import checkpoints, evaluation, history, network_file, report
from tfvae.training.best import Selection
from tfvae.training.block_plan import first_steps, next_steps, plan_blocks
from tfvae.training.ending import Ending, Export
from tfvae.training.initial import InitialWeights
from tfvae.training.latent_watch import LatentWatch
from tfvae.training.monitor import Monitor
from tfvae.training.notes import Notes, Speedometer
from tfvae.training.painter import DrawPictures, pictured_epochs
from tfvae.training.profile import StepProfile
from tfvae.training.state import create_state, steps_per_epoch
from tfvae.training.step import EpochMeans, TrainProgram, mean_of_parts
from tfvae.training.strategy import Placement
from tfvae.training.variance import VariancePass, start_stddev

_CHUNK_SECONDS = 1.0


class _Stopped(Exception):
    """A signal has come in the middle of a validation."""


class Trainer:
    """One run: it is restored, trained chunk by chunk, evaluated and exported; the chief alone writes."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        run_dir: Path,
        placement: Placement,
        draw_pictures: DrawPictures,
        export: Export,
        initial: InitialWeights | None = None,
        profile_steps: tuple[int, int] | None = None,
        trunks: Trunks | None = None,
    ) -> None:
        self.config, self.dataset, self.run_dir, self.placement = config, dataset, run_dir, placement
        self.draw_pictures, self.export, self.trunks = draw_pictures, export, trunks
        images = len(dataset.train.images)
        start = start_stddev(config, dataset, run_dir, initial)
        with placement.strategy.scope():
            facts = (dataset.white, start, *dataset.of_model, trunks)
            self.state = create_state(config, dataset.image_shape, images, *facts)
            if initial is not None:
                initial.assign(self.state.vae)
        self.epoch_steps = steps_per_epoch(config, images)
        self.total_steps = config.epoch_count * self.epoch_steps
        self.notes = Notes.of(dataset, start, initial)
        self.program = TrainProgram(self.state, config, dataset.train.images, placement, dataset.train.y)
        plan = plan_blocks(self.state.vae, config.eval_memory_gb)
        self.evaluator = evaluation.Evaluator(
            self.state.vae, config.latent_dim, config.seed, config.closed_kl, placement, plan
        )
        self.selection = Selection(run_dir, config, self.state.vae, self.epoch_steps)
        self.pictured_epochs = pictured_epochs(config.epoch_count, config.epochs_a_validation)
        self.chunk = first_steps(config, self.state.vae)
        self.saved_step: int | None = None
        self.saved_at = time.monotonic()
        self.monitor: Monitor | None = None  # the chief's, while steps are made
        self.history: history.History | None = None  # the chief's too
        self.profile = StepProfile(*profile_steps, run_dir) if profile_steps and placement.chief else None
        self.signals: list[int] = []  # that have come to this process
        self.stopped = False  # by a signal to any worker
        self.start_clock()

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self.notes.step

    @property
    def is_trained(self) -> bool:
        """Whether all steps are made, or --patience has ended the training."""
        return self.step == self.total_steps or self.notes.stopped_early

    def train(self) -> dict[str, Any]:
        """Trains from where the run is to its end; returns what `results.json` holds.

        Raises:
            InputError: the images, or another worker's, are not those of the run.
            RunError: a loss was not finite, or a signal came; the message says what is safe.
        """
        self.restore()
        self.announce()
        self.start_clock()
        with signals_held() as self.signals, contextlib.ExitStack() as stack:
            if self.placement.chief:
                network_file.write_once(self.run_dir, self.config, self.trunks)
                files.write_atomically(self.run_dir / FILE_NAME, to_flagfile(self.config))
                self.monitor = stack.enter_context(self.make_monitor())
                self.history = history.History(self.run_dir, self.step)
                if self.profile:
                    stack.callback(self.profile.close)
            if self.notes.end_is_due:
                self.notes = self.notes._replace(end_is_due=False)
                self.end_epochs([self.notes])
            if not self.is_trained:
                self.program.run(self.step, 0)  # compiles
            if self.monitor and (self.step == 0 or self._is_pictured()):
                self.monitor.pictures(self.state.vae, self.step)  # a process that was stopped here may have left none
            if self.monitor:
                self.monitor.begin(self.step)
            while not self.is_trained and not self._hear_signals():
                self.run_chunk()
            if self.owes_final_variance():
                self.set_final_variance()
            if self.step != self.saved_step:
                self.save()
        self.read_clock()  # the last pictures are there
        self._leave_after_a_signal()
        return self.finish()

    def start_clock(self) -> None:
        """Begins to count this process's seconds of training."""
        self.clock_began = time.perf_counter() - self.notes.clock_seconds
        self.speed_of_chunks = Speedometer(self.step, self.config.batch_size)

    def read_clock(self) -> None:
        """Notes how long the training has taken up to now."""
        self.notes = self.notes._replace(clock_seconds=time.perf_counter() - self.clock_began)

    def make_monitor(self) -> Monitor:
        """What shows this run."""
        facts = (self.dataset.image_shape, self.dataset.white, self.notes.start_stddev, *self.dataset.of_model)
        drawing = (functools.partial(make_vae, self.config, *facts, self.trunks), self.draw_pictures, self.is_stopping)
        word = examples(self.dataset.columns)
        return Monitor(self.run_dir, self.config, self.step, self.total_steps, *drawing, word, self._latent_watch())

    def _latent_watch(self) -> LatentWatch | None:
        """What follows each latent's KL, where there are a KL and validation images."""
        split = self.dataset.validation
        if not (len(split.images) and OBJECTIVES[self.config.objective].has_prior):
            return None
        block_size = self.evaluator.plan.block_size(len(split.images))
        return LatentWatch(self.run_dir, self.config, self.state.vae, split, block_size, self.step)

    def is_stopping(self) -> bool:
        """Whether the training stops before its end: a signal has come to this worker, or to another."""
        return bool(self.signals) or self.stopped

    def _is_pictured(self) -> bool:
        """Whether pictures are drawn of the VAE as it is now."""
        epoch, within = divmod(self.step, self.epoch_steps)
        return within == 0 and (epoch in self.pictured_epochs or self.notes.stopped_early)

    def restore(self) -> None:
        """Takes up the newest checkpoint, where there is one."""
        if checkpoints.steps(self.run_dir):
            saved = checkpoints.restore(self.run_dir, lambda _: self.state.variables())
            if saved["fingerprint"] != self.notes.fingerprint:
                raise changed(self.config, self.run_dir, self.notes.fingerprint, saved["fingerprint"])
            self.notes = self.notes.taken_up(saved)
        self.saved_step = self.step or None
        # of the free flags, this one alone says when workers meet
        flags = {**self.config.settings(), "validate_every": self.config.epochs_a_validation}
        facts = {"step": self.step, "images": self.notes.fingerprint, "flags": flags, "network": self.trunks}
        self.placement.agree(self.run_dir, facts)

    def announce(self) -> None:
        """Says from where the run starts, and what its figures will be of."""
        steps = f"{self.total_steps:,} steps{self.placement.describe()}"
        for line in report.announcement(self.config, self.dataset, self.notes, steps):
            self.placement.log(f"{self.run_dir}: {line}")

    def _hear_signals(self) -> bool:
        """Whether a signal has come to any worker; all take the chief's chunk, by its clock and its trace."""
        own_signal = self.signals[0] if self.signals else 0
        if self.profile:
            self.chunk = self.profile.at_most(self.chunk, self.step)
        of_workers = self.placement.all_gather(np.array([self.chunk, own_signal]))
        self.chunk = int(of_workers[0, 0])
        self.stopped = bool(of_workers[:, 1].any())
        return self.stopped

    def run_chunk(self) -> None:
        """Makes some steps, and writes what they came to.

        Raises:
            RunError: a loss or gradient was not finite.
        """
        count = self._next_count()
        if self.profile:
            self.profile.at(self.step)
        start = time.perf_counter()
        means_of_epochs, bad_step = self.program.run(self.step, count)
        seconds = time.perf_counter() - start
        notes = self._notes_after(means_of_epochs)
        ends = [after for after in notes if after.step % self.epoch_steps == 0]
        if bad_step is not None:
            self._write_rows([after for after in ends if after.step <= bad_step])
            raise RunError(
                f"step {bad_step:,}: the loss is not finite, and the same command would end there again: take a "
                f"smaller --learning_rate and another --run_dir; {checkpoints.newest(self.run_dir)}"
            )
        self.chunk = max(1, round(count / seconds * _CHUNK_SECONDS))
        self.notes = notes[-1]._replace(seconds=self.notes.seconds + seconds)
        if self.profile:
            self.profile.at(self.step)
        self.read_clock()
        if self.monitor:
            scalars = mean_of_parts(means_of_epochs) | self._scalars(count, seconds)
            self.monitor.scalars("train", scalars, self.step)
            self.monitor.advance(count, self.step, self.notes.elbo, self.notes.kl)
        if self.step % self.epoch_steps == 0:
            self.end_epochs(ends)

    def _scalars(self, count: int, seconds: float) -> dict[str, float]:
        """What TensorBoard shows of a chunk of so many steps, beside the ELBO and its terms."""
        scalars = {
            "images_per_second": self.speed_of_chunks.read(self.step),
            "compiled_images_per_second": count * self.config.batch_size / seconds,
            "speed/step_milliseconds": 1e3 * seconds / count,
            "learning_rate": float(tf.convert_to_tensor(self.state.optimizer.learning_rate)),
        }
        norms = self.program.last_norms
        if norms:
            scalars["optimizer/gradient_norm"] = norms.gradient
            scalars["optimizer/update_ratio"] = norms.update_ratio
        sigma = self.state.vae.decoder.learned_stddev()
        if sigma is not None:
            scalars["sigma"] = sigma
        return scalars

    def _notes_after(self, means_of_epochs: list[EpochMeans]) -> list[Notes]:
        """The notes after each part of a chunk, of which every one but the last goes to the end of its epoch."""
        notes = [self.notes]
        for means in means_of_epochs:
            notes.append(notes[-1].after(means, self.epoch_steps))
        return notes[1:]

    def _next_count(self) -> int:
        """Steps of the next chunk."""
        return next_steps(self.config, self.step, self.epoch_steps, self.chunk)

    def end_epochs(self, ends: list[Notes]) -> None:
        """Writes what some epochs came to; after the last it validates, prints, draws and saves, where it is time."""
        epoch = self.step // self.epoch_steps
        is_due = epoch % self.config.epochs_a_validation == 0 or self.step == self.total_steps
        self._write_rows(ends[:-1])
        validation = None
        split = self.dataset.validation
        if len(split.images) and is_due:
            try:
                per_image = self.evaluator.evaluate(split.array, 1, self._stop_at_signals, y=split.y)
            except _Stopped:  # the next start comes back to this end of an epoch
                self.notes = self.notes._replace(end_is_due=True)
                self.save()
                return
            validation = report.with_bits(self.config, per_image.summary(), self.dataset)
            self.notes = self.selection.after_validation(self.notes, validation["elbo"])
        self._write_rows(ends[-1:], validation)
        if self.monitor and validation:
            self.monitor.validation(validation, self.step)
        if self.monitor:
            self.monitor.end_epoch(self.step, self.notes.elbo, self.is_trained)
        is_time = time.monotonic() - self.saved_at >= self.config.checkpoint_every
        if is_time or (self.is_trained and not self.owes_final_variance()):
            self.save()
        if self.monitor and self._is_pictured():  # after the checkpoint, for it may wait for the round before, or fail
            self.monitor.pictures(self.state.vae, self.step, is_last=self.is_trained)

    def _stop_at_signals(self, images: int) -> None:
        """Ends a validation between two blocks, of which the last had so many images."""
        if self.monitor:
            self.monitor.advance_validation(images, len(self.dataset.validation.images), self.step)
        if self._hear_signals():
            raise _Stopped

    def _write_rows(self, ends: list[Notes], validation: dict[str, Any] | None = None) -> None:
        """Adds these epochs to the history; `validation` is of the last."""
        if not self.history:
            return
        for notes in ends:
            of_last = validation if notes is ends[-1] else None
            self.history.append(notes.step // self.epoch_steps, notes.step, notes.terms(), of_last)

    def owes_final_variance(self) -> bool:
        """Whether the training has ended, and --sigma=optimal is still that of the last batch."""
        sets_variance = self.state.vae.decoder.family.sets_variance
        return sets_variance and self.is_trained and not self.notes.variance_is_final

    def set_final_variance(self) -> None:
        """Sets --sigma=optimal to that of all training images, unless a signal comes: then the next start does."""
        variance_pass = VariancePass(self.config, self.state.vae, self.dataset.train, self.placement)
        mean_squared_error = variance_pass.mean_squared_error(self._hear_signals)
        if mean_squared_error is None:
            return
        self.state.vae.decoder.set_variance(tf.constant(mean_squared_error, tf.float32))
        self.notes = self.notes._replace(variance_is_final=True)
        self.saved_step = None  # what is saved of this step, if it is, has another variance
        sigma = self.state.vae.decoder.learned_stddev()
        self.placement.log(f"sigma {sigma:.4f}: the root mean squared error of all training images, at sampled z")

    def save(self) -> None:
        """Writes a checkpoint, if this is the chief."""
        self.read_clock()
        if self.placement.chief:
            self.selection.save()  # first, for the checkpoint's notes know of it
            checkpoints.save(self.run_dir, self.state.variables(), self.step, self.notes._asdict())
            self.selection.remove_old()
            self.saved_at, self.saved_step = time.monotonic(), self.step

    def _leave_after_a_signal(self) -> None:
        """Ends the process by the signal that has come to any worker; all wait here for the checkpoint."""
        own_signal = self.signals[0] if self.signals else 0
        number = int(self.placement.all_gather(np.array([own_signal])).max())
        if not number:
            return
        self.placement.say(f"stopped at step {self.step:,}; {checkpoints.safe_on_disk(self.run_dir)}")
        signal.raise_signal(number)  # to the handler that was there before: the command's leaves with 130 or 143
        raise RunError(f"stopped by signal {number} at step {self.step:,}")

    def finish(self) -> dict[str, Any]:
        """Evaluates the test images, exports, and writes `results.json`, which it returns."""
        taken = self.notes
        if self.config.keep_best and self.notes.best_step is not None:
            taken = self.selection.take_best(self.state.variables())
            self.placement.say(self.selection.describe(taken))
        ending = Ending(self.config, self.dataset, self.run_dir, self.placement, self.evaluator, self.export)
        return ending.finish(self.state.vae, self.notes, taken)
