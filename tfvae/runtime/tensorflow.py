"""TensorFlow's start, quietly, and with the programs that an earlier process has compiled."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

from tfvae.runtime.keras_settings import require_tensorflow_backend


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up lines, which no log level hides; TF_CPP_MIN_LOG_LEVEL=0 shows them.

    What it compiles is kept for the next process (`compile_cache.keep`), where errors of its log are hidden too: it
    logs one for each kept program that it reads, since it tries a text format first.

    Raises:
        InputError: Keras is told to take another backend; TensorFlow or Keras is too old.
    """
    from tfvae.runtime.versions import require_versions  # here, for it takes a moment that --help need not wait

    require_versions()
    require_tensorflow_backend()
    log_level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if log_level == "3" and "tensorflow" not in sys.modules:  # which reads the level when it is imported
        from tfvae.runtime import compile_cache  # here, as above

        compile_cache.keep()
    with _no_garbage_collection(), contextlib.ExitStack() as stack:
        if log_level != "0":
            stack.enter_context(_stderr_hidden())
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """An import makes a million objects that stay: to look through them again and again takes most of a second."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _stderr_hidden() -> Iterator[None]:
    """What is written on this process's standard error, also by C++, is lost."""
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
