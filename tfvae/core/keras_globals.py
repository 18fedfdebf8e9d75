"""Keras's global settings are the user's, and no part of a model: its numbers depend on its own settings alone.

Layers are given their data format and dtype where they are made. What Keras's optimizers, metrics and data adapters
take from `keras.config.floatx()` has no argument of its own, so it is done within `float32_by_default`.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

DATA_FORMAT = "channels_last"  # of every layer that sees images


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Keras's `floatx` is float32 within it, and the user's again after it. It is a decorator too."""
    floatx = keras.config.floatx()
    keras.config.set_floatx("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)


class Float32Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of Keras's that computes in float32: the optimizer calls it when a step is traced or run."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        with float32_by_default():
            return self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule}
