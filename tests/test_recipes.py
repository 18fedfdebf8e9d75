"""The recipes on real data end where their sources do: test -ELBO in nats an image."""

import os
from pathlib import Path

import pytest

from tfvae import config
from tfvae.train import train

FLAGS = Path(__file__).parent.parent / "flags"
BANDS = {  # published: 105.57 (pytorch/examples), about 104 (google/flax); 2-D: 154.2-154.6 by an independent code
    "mnist_2d": (153, 156),
    "mnist_pytorch_example": (104.8, 106.4),
    "static_mnist_flax_example": (101.5, 104.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BANDS)
def test_recipe(recipe, tmp_path):
    if not (Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory with mnist")
    given = config.parse([f"--flagfile={FLAGS / recipe}.flags"], "test")
    results = train(config.Config(**given, run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "saved_models")))
    low, high = BANDS[recipe]
    assert low <= -results["test"]["elbo"] <= high
    assert results["of"]["images"] == 10_000
