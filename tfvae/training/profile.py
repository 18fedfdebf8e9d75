"""`--profile_steps=A,B`: what the processor does in the steps after the first A up to step B, for TensorBoard."""

import importlib.util
from pathlib import Path

import tensorflow as tf

from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.runtime import verbosity
from tfvae.training.state import steps_per_epoch

_PLUGINS = ("tensorboard_plugin_profile", "xprof")  # either shows the PROFILE tab


class StepProfile:
    """Traces the steps first .. last-1 (counted from 0) of a run, to `<run>/tensorboard/train/plugins/profile`."""

    def __init__(self, first: int, last: int, run_dir: Path) -> None:
        self.first, self.last = first, last
        self.folder = run_dir / "tensorboard" / "train"
        self.is_tracing = False

    def at_most(self, count: int, step: int) -> int:
        """`count` steps after `step`, or fewer, so that the trace begins and ends with chunks."""
        for edge in (self.first, self.last):
            if step < edge:
                return min(count, edge - step)
        return count

    def at(self, step: int) -> None:
        """Begins or ends the trace, where `step` steps are done."""
        if step == self.first and not self.is_tracing:
            tf.profiler.experimental.start(str(self.folder))
            self.is_tracing = True
        elif step >= self.last and self.is_tracing:
            self.close()
            verbosity.log(f"profile of steps {self.first:,} to {self.last:,}: {self.folder}{_how_to_look()}")

    def close(self) -> None:
        """Ends the trace, where the training ends within it."""
        if self.is_tracing:
            self.is_tracing = False
            tf.profiler.experimental.stop()


def _how_to_look() -> str:
    if any(importlib.util.find_spec(name) for name in _PLUGINS):
        return ", in TensorBoard's PROFILE tab"
    return "; TensorBoard's PROFILE tab shows it after: pip install tensorboard-plugin-profile"


def require_steps(profile_steps: tuple[int, int], config: Config, examples: int) -> None:
    """Refuses steps that a run on so many examples has not; raises InputError."""
    first, last = profile_steps
    total = config.epoch_count * steps_per_epoch(config, examples)
    if last > total:
        raise InputError(f"--profile_steps={first},{last}: must be steps of the run, which has {total:,}")
