"""Variational autoencoders in TensorFlow 2 and Keras 3.

`tfvae.train.train(tfvae.Config(dataset="digits", run_dir="runs/mine"))` trains one; `tfvae.load("runs/mine").vae` is
the trained Keras model, from x [B, H, W, C] in [0, 1] to its reconstruction.
"""

from typing import Any

from tfvae.config import Config as Config
from tfvae.errors import InputError as InputError
from tfvae.errors import RunError as RunError

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`tfvae.load`, without making `import tfvae` read more than the settings."""
    if name in ("fit", "load", "Run"):
        from tfvae import front_door

        return getattr(front_door, name)
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")
