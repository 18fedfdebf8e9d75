"""A cheap export, for runs of which the exported model is not what a test looks at."""

from pathlib import Path

import numpy as np
import pytest

import tfvae.run


def export_answers(config, vae, step, results):
    """In the place of `tfvae.run._export`: writes the decoder's answers to the next version's directory."""
    base = Path(config.export_dir) / Path(config.run_dir).name
    version = base / str(len(list(base.glob("*"))) + 1)
    version.mkdir(parents=True)
    z = np.linspace(-1, 1, 3 * config.latent_dim, dtype=np.float32).reshape(3, -1)
    np.save(version / "answers.npy", vae.decode(z).mean)
    return version


@pytest.fixture(scope="module")
def cheap_export():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfvae.run, "_export", export_answers)
        yield
