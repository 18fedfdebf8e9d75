"""The best weights of a run, and when to stop: both go by the ELBO of the validation images, whatever --beta is.

Which validations count is a matter of settings alone, so a run that stopped and went on, or had more epochs added,
finds the same best as one that ran through.
"""

import contextlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.vae import VAE
from tfvae.runtime.files import numbered_directories
from tfvae.training import checkpoints
from tfvae.training.notes import Notes


class Selection:
    """What --keep_best and --patience make of a run's validations.

    The best weights wait in memory for the next checkpoint, whose notes know of them: what is on disk fits together.
    """

    def __init__(self, run_dir: Path, config: Config, vae: VAE, epoch_steps: int) -> None:
        self.run_dir, self.config, self.vae, self.epoch_steps = run_dir, config, vae, epoch_steps
        self.folder = run_dir / checkpoints.BEST_FOLDER
        self.unsaved: dict[str, np.ndarray] = {}  # the best weights by name, where they are not on disk yet
        self.unsaved_notes: Notes | None = None

    def after_validation(self, notes: Notes, elbo: float) -> Notes:
        """The notes after a validation at the end of an epoch, which came to this ELBO (mean, in nats)."""
        epoch = notes.step // self.epoch_steps
        if not self.config.selects or epoch % self.config.epochs_a_validation:
            return notes
        is_better = notes.best_elbo is None or elbo > notes.best_elbo
        if is_better and not math.isnan(elbo):  # which no later ELBO would be above
            notes = notes._replace(best_step=notes.step, best_elbo=elbo)
            self._copy(notes)
        best_epoch = (notes.best_step or 0) // self.epoch_steps
        # while the KL's weight rises, the ELBO falls at first: that is no reason to stop
        waits_since = max(best_epoch, self.config.kl_warmup_epochs)
        patience = self.config.patience
        return notes._replace(stopped_early=patience is not None and epoch - waits_since >= patience)

    def _copy(self, notes: Notes) -> None:
        if self.config.keep_best:
            self.unsaved = {variable.path: variable.value.numpy() for variable in self.vae.variables}
            self.unsaved_notes = notes

    def save(self) -> None:
        """Writes the best weights, if they are new; the checkpoint that knows of them is to follow."""
        if self.unsaved_notes is None:
            return
        variables = {name: tf.Variable(value) for name, value in self.unsaved.items()}
        checkpoints.write(self.folder, variables, self.unsaved_notes.step, self.unsaved_notes._asdict())
        self.unsaved, self.unsaved_notes = {}, None

    def remove_old(self) -> None:
        """Removes the best weights that no checkpoint knows of any more."""
        known = {self._best_step_of(step) for step in checkpoints.steps(self.run_dir)}
        for step in set(numbered_directories(self.folder)) - known:
            shutil.rmtree(self.folder / str(step))

    def _best_step_of(self, step: int) -> int | None:
        """Which best weights a checkpoint knows of."""
        with contextlib.suppress(OSError, ValueError):  # it is damaged
            content = json.loads((self.run_dir / "checkpoints" / str(step) / "variables.json").read_text())
            return content["notes"].get("best_step")
        return None

    def take_best(self, variables: checkpoints.Variables) -> Notes:
        """Puts the best weights into the VAE's variables; returns the notes of their step."""
        own = {name: variable for name, variable in variables.items() if name.startswith("vae/")}
        saved = checkpoints.restore_first(checkpoints.best_folders(self.run_dir), lambda _: own, prefix="vae/")
        return Notes(**{**saved, "image_shape": tuple(saved["image_shape"])})

    def describe(self, best: Notes) -> str:
        """What is said where these weights are taken."""
        return (
            f"takes the weights of epoch {best.step // self.epoch_steps:,} (step {best.step:,}), whose validation ELBO "
            f"is the best: {best.best_elbo:.2f} nats (one z for each example)"
        )
