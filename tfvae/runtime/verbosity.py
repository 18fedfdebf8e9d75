"""How much a process says. Results, errors and warnings are printed always; how far the work is, by this logger.

In Python `logging.getLogger("tfvae").setLevel("WARNING")` is what `--verbosity=quiet` is on the command line.
"""

import logging
import os
import sys
from types import MappingProxyType

import absl.logging

LEVELS = MappingProxyType({"quiet": logging.WARNING, "normal": logging.INFO, "debug": logging.DEBUG})


class _StandardOutput(logging.Handler):
    """Prints each message as it is, above a progress bar if there is one, to the standard output of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        import tqdm  # here, for it takes a moment that --help need not wait

        tqdm.tqdm.write(record.getMessage())
        sys.stdout.flush()


def _make_logger() -> logging.Logger:
    logger = logging.getLogger("tfvae")
    if not logger.handlers:
        logger.addHandler(_StandardOutput())
        logger.propagate = False  # a handler of the program around us would print each line once more
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    return logger


_LOGGER = _make_logger()


def choose(level: str) -> None:
    """Sets how much this process says; `debug` shows TensorFlow's own log too, if it is not imported yet."""
    _LOGGER.setLevel(LEVELS[level])
    if level == "debug":
        absl.logging.set_verbosity(absl.logging.DEBUG)
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    else:
        absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS's warnings


def chosen() -> str:
    """The name of the level that was chosen last: a process that this one starts is given it."""
    return next(name for name, level in LEVELS.items() if level == _LOGGER.level)


def shows_progress() -> bool:
    """Whether it is said how far the work is."""
    return _LOGGER.isEnabledFor(logging.INFO)


def log(line: str) -> None:
    """Says how far the work is, or what comes next."""
    _LOGGER.info("%s", line)
