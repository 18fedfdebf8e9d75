"""An exported VAE, as tests hand it around."""

from pathlib import Path
from typing import Any, NamedTuple


class Exported(NamedTuple):
    vae: Any
    decoder: Path  # its version's directory
    encoder: Path
