"""What the tests of this wing share: a small run on the digits."""

import pytest

from tfvae import Config
from tfvae.run import train


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """A run that has learned the digits well enough to fill in their missing pixels better than their means do."""
    folder = tmp_path_factory.mktemp("analysis")
    config = Config(
        dataset="digits",
        latent_dim=8,
        hidden_units=(128,),
        epochs=60,
        eval_samples=20,
        run_dir=str(folder / "run"),
        export_dir=str(folder / "exported"),
    )
    train(config)
    return folder / "run"
