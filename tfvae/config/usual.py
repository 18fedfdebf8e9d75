"""What `auto` is for digits, sets of TFDS and arrays of images: these settings are not in a run's name."""

from typing import Any

USUAL: dict[str, Any] = {
    "network": "mlp",
    "filters": (32, 64),  # of images up to 32x32
    "likelihood": "bernoulli",
    "sigma": 0.1,
    "scale": "none",
}
