"""TensorFlow's start, quietly, and with the programs that an earlier process has compiled."""

import os
import sys


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up lines, which no log level hides; TF_CPP_MIN_LOG_LEVEL=0 shows them.

    What it compiles is kept for the next process (`compile_cache.keep`), where errors of its log are hidden too: it
    logs one for each kept program that it reads, since it tries a text format first.
    """
    log_level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if log_level == "3" and "tensorflow" not in sys.modules:  # which reads the level when it is imported
        from tfvae.runtime import compile_cache  # here, for it takes a moment that --help need not wait

        compile_cache.keep()
    if log_level == "0":
        import tensorflow  # noqa: F401

        return
    sys.stderr.flush()
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)
