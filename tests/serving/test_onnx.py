"""The decoder as ONNX."""

import sys

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.errors import InputError, RunError
from tfvae.serving import onnx


def test_onnx_answers_as_the_model(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    vae = make_vae(Config(latent_dim=3, network="conv", filters=(4, 8)), (6, 5, 2))
    onnx.export_onnx(vae, tmp_path / "decoder.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["decoder.onnx"]
    z = np.random.default_rng(0).normal(size=(7, 3)).astype("f")
    [image] = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx")).run(["image"], {"z": z})
    np.testing.assert_allclose(image, vae.decode(z).mean, atol=1e-5)


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_written(tmp_path, exported, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    real, calls = onnx.decoded, []

    def two_images(vae, z):  # the first is the graph's, the second the model's
        calls.append(z)
        return {"image": real(vae, z)["image"] + (2e-5 if len(calls) > 1 else 0)}

    monkeypatch.setattr(onnx, "decoded", two_images)
    with pytest.raises(RunError, match="onnxruntime differs from the model by 2e-05; nothing is written"):
        onnx.export_onnx(exported.vae, tmp_path / "decoder.onnx")
    assert len(calls) == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["onnxruntime", "tf2onnx"])
def test_a_missing_package_is_named(package, tmp_path, exported, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"must have .*{package}.*: pip install 'tfvae\\[onnx\\]'"):
        onnx.export_onnx(exported.vae, tmp_path / "decoder.onnx")
