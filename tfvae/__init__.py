"""Variational autoencoders in TensorFlow 2 and Keras 3.

import tfvae
from tfvae.train import train

results = train(tfvae.Config(dataset="digits", latent_dim=2, run_dir="runs/mine"))
vae, config, step = tfvae.load("runs/mine")
reconstruction = vae(x)
"""

from typing import Any

from tfvae.config import Config as Config
from tfvae.config import InputError as InputError
from tfvae.config import RunError as RunError

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`tfvae.load`, without making `import tfvae` wait for TensorFlow."""
    if name == "load":
        from tfvae.checkpoints import load_run

        return load_run
    raise AttributeError(f"module 'tfvae' has no attribute {name!r}")
