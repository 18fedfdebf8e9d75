"""Which of its backends Keras takes: our models are TensorFlow's, and any other ends in tracebacks far from the cause.

The settings that do work with TensorFlow, `floatx` and `image_data_format`, are left as they are: see
`core/keras_globals.py`.
"""

import json
import os
import sys
from pathlib import Path

from tfvae.errors import InputError

_BACKEND = "tensorflow"


def require_tensorflow_backend() -> None:
    """Refuses another backend, before Keras is imported where it isn't yet; raises InputError."""
    if "keras" in sys.modules:
        backend = sys.modules["keras"].config.backend()
        if backend != _BACKEND:
            raise InputError(f"KERAS_BACKEND: must be tensorflow, and Keras has been imported with {backend}")
        return
    backend = os.environ.get("KERAS_BACKEND", "")
    if backend and backend != _BACKEND:
        raise InputError(f"KERAS_BACKEND={backend}: must be tensorflow, or not set: the models are TensorFlow's")
    path = _settings_file()
    backend = _recorded(path)
    if not os.environ.get("KERAS_BACKEND") and backend != _BACKEND:
        raise InputError(
            f"{path}: its backend must be tensorflow, and is {backend}: change it there, or set "
            "KERAS_BACKEND=tensorflow, which goes before it"
        )


def _settings_file() -> Path:
    """Keras's `keras.json`, where Keras looks for it."""
    home = os.path.expanduser("~")
    if not os.access(home, os.W_OK):
        home = "/tmp"
    return Path(os.environ.get("KERAS_HOME", os.path.join(home, ".keras"))).expanduser() / "keras.json"


def _recorded(path: Path) -> str:
    """The backend that the file names. One that can't be read is Keras's business: it takes its defaults."""
    try:
        return str(json.loads(path.read_text()).get("backend", _BACKEND))
    except (OSError, ValueError, AttributeError):
        return _BACKEND
