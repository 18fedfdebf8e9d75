"""What the tests of serving share: one small exported VAE, and the models of the contract."""

import os

import pytest
from exports import Exported

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Not to be written to; the prior is a mixture of 3 normals."""
    from tfvae.config import Config
    from tfvae.core.making import make_vae
    from tfvae.serving import saved_model, verify

    config = Config(hidden_units=(8,), latent_dim=3, prior="mixture", prior_components=3)
    vae = make_vae(config, (6, 5, 2))
    directory = tmp_path_factory.mktemp("exported") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "check", verify.verify)
        decoder = saved_model.export(vae, directory, saved_model.describe(config, 7, {}))
    return Exported(vae, decoder, directory.with_name("run-encoder") / "1")


@pytest.fixture
def verified_here(monkeypatch):
    """Exports are verified in this process: the same checks, without a process for each."""
    from tfvae.serving import verify

    class Checker:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def check(self, *folders):
            return "\n".join(verify.verify(folder) for folder in folders)

    monkeypatch.setattr(verify, "Checker", Checker)


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The contract's models: vae/7, and vae-encoder/7 beside it. Not to be written to."""
    import serving_contract

    base = tmp_path_factory.mktemp("models") / "vae"
    serving_contract.write(base)
    return base
