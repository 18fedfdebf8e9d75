"""What takes less time where it is not the subject: runs, programs without XLA, a job that all compare with."""

from pathlib import Path

import numpy as np
import pytest
from jobs import Job

import tfvae.run
from tfvae.analysis import pictures
from tfvae.core import fast


def export_answers(config, fingerprint, vae, step, results):
    """In the place of `tfvae.run.export_models`: writes the decoder's answers to the next version's directory."""
    base = Path(config.export_dir) / Path(config.run_dir).name
    version = base / str(len(list(base.glob("*"))) + 1)
    version.mkdir(parents=True)
    z = np.linspace(-1, 1, 3 * config.latent_dim, dtype=np.float32).reshape(3, -1)
    np.save(version / "answers.npy", vae.decode(z).mean)
    return version


@pytest.fixture(scope="module")
def cheap_runs():
    """Whole runs that export little, draw no pictures and do not wait for XLA."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfvae.run, "export_models", export_answers)
        patch.setattr(pictures, "draw_pictures", lambda vae, dataset, config: iter(()))
        patch.setattr(fast, "use_xla", lambda convolutional: False)
        yield


@pytest.fixture(scope="session")
def unbroken_job(tmp_path_factory):
    """Two workers that nothing stops."""
    with Job(tmp_path_factory.mktemp("unbroken_job")) as job:
        assert job.wait() == [0, 0], job.output(0) + job.output(1)
        return job
