"""Keras's global settings are the user's, and no part of a model: its numbers depend on its own settings alone.

Layers are given their data format and dtype where they are made. What Keras's optimizers, metrics and data adapters
take from `keras.config.floatx()` has no argument of its own, so it is done within `float32_by_default`.
"""

import collections
import contextlib
import random
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state  # the counters of names are in no public place

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


@contextlib.contextmanager
def as_in_new_process(seed: int) -> Iterator[None]:
    """Within it layers are made as in a new process with Keras's own settings, their weights a function of `seed`.

    Initializers without a seed draw one by Python's `random`, whose state is the user's again after it, as are the
    counters of names and the settings.
    """
    state, data_format = random.getstate(), keras.config.image_data_format()
    # the counters of names (dense_3), and the policy, which follows floatx where there is none
    new: dict[str, Any] = {"object_name_uids": collections.defaultdict(int), "dtype_policy": None}
    before = {name: global_state.get_global_attribute(name) for name in new}
    try:
        random.seed(seed)
        keras.config.set_image_data_format(DATA_FORMAT)
        for name, value in new.items():
            global_state.set_global_attribute(name, value)
        with float32_by_default():
            yield
    finally:
        random.setstate(state)
        keras.config.set_image_data_format(data_format)
        for name, value in before.items():
            global_state.set_global_attribute(name, value)


class Float32Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of Keras's that computes in float32: the optimizer calls it when a step is traced or run."""

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        with float32_by_default():
            return self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule}
