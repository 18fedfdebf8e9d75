"""Sums that come out the same each time: without this, what XLA does not compile repeats only to within rounding.

TensorFlow's graph optimizer joins additions that follow each other into one operation, AddN. That adds into whichever
input's memory is free by then, so with three inputs or more the order of the additions depends on its threads.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_OPTION = "arithmetic_optimization"  # the part of the optimizer that joins them


@contextlib.contextmanager
def sums_in_order() -> Iterator[None]:
    """Within it, compiled functions add in the order in which they are written. It is a decorator too."""
    options = tf.config.optimizer.get_experimental_options()
    before = options.get(_OPTION, True)
    tf.config.optimizer.set_experimental_options({_OPTION: False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTION: before})
