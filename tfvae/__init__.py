"""Variational autoencoders in TensorFlow 2 and Keras 3.

`tfvae.train.train(tfvae.Config(dataset="digits", run_dir="runs/mine"))` trains one; `tfvae.load("runs/mine").vae` is
the trained Keras model, from x [B, H, W, C] in [0, 1] to its reconstruction.
"""

from typing import Any

from tfvae.config import Config as Config
from tfvae.config import InputError as InputError
from tfvae.config import RunError as RunError
from tfvae.config import import_tensorflow

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`tfvae.load`, without making `import tfvae` wait for TensorFlow."""
    if name == "load":
        import_tensorflow()
        from tfvae.checkpoints import load_run

        return load_run
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")
