"""scikit-learn's handwritten digits: 1,797 images of 8x8, which need no network."""

import numpy as np

from tfvae.data.splits import Split


def load(with_labels: bool = True) -> dict[str, Split]:
    """All digits as `train`: float32 in [0, 1], of 17 levels."""
    from sklearn.datasets import load_digits  # takes a second, which other data sets need not wait for

    digits = load_digits()
    return {"train": Split((digits.images / 16).astype(np.float32), digits.target if with_labels else None)}
