"""Exported models of vectors, and of images in a range of their own, take and give what their user has."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.errors import RunError
from tfvae.serving import onnx, saved_model, verify

COLUMNS = Columns(("a", "b"), (100.0, -3.0), (20.0, 0.5))
X = np.array([[90.0, -3.5], [130.0, -2.0]], np.float32)
Z = np.array([[0.1, -0.4], [1.0, 2.0]], np.float32)
OPTIONS = {"latent_dim": 2, "hidden_units": (4,), "likelihood": "gaussian"}


def exported(folder, vae):
    """The decoder's and the encoder's signatures, and the decoder's version."""
    version = saved_model.export(vae, folder / "m", {"step": 0})
    encoder = folder / "m-encoder" / version.name
    loaded = tf.saved_model.load(str(version)), tf.saved_model.load(str(encoder))
    return loaded, version  # the caller holds the models, of which signatures are a part


@pytest.mark.parametrize("missing", [False, True])
def test_vectors_go_in_and_come_out_in_their_own_units(tmp_path, missing):
    columns = COLUMNS._replace(missing=missing)
    vae = make_vae(Config(**OPTIONS), (1, 1, 2), columns=columns)
    (decoder, encoder), version = exported(tmp_path, vae)
    decoded = decoder.signatures["decode"](z=Z)
    assert set(decoded) == {"x"} and decoded["x"].shape == (2, 2)
    # by hand: the network's output, times the scale, plus the offset
    hidden = np.maximum(Z @ vae.decoder.trunk[0].kernel.numpy() + vae.decoder.trunk[0].bias.numpy(), 0)
    u = hidden @ vae.decoder.output_layer.kernel.numpy() + vae.decoder.output_layer.bias.numpy()
    np.testing.assert_allclose(decoded["x"], u * COLUMNS.scale + COLUMNS.offset, rtol=1e-5)
    assert set(decoder.signatures["sample"](seed=tf.constant([1]))) == {"x", "z"}
    encode = encoder.signatures["encode"]
    np.testing.assert_allclose(encode(x=X)["mean"], vae.encode(X).mean, atol=1e-6)
    with_hole = np.array([[np.nan, -3.5]], np.float32)
    if missing:
        np.testing.assert_allclose(encode(x=with_hole)["mean"], vae.encode(with_hole).mean, atol=1e-6)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="x must be finite"):
            encode(x=with_hole)
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be finite"):
        encode(x=np.array([[np.inf, -3.5]], np.float32))
    description = json.loads((version / "assets.extra" / "tfvae.json").read_text())
    assert description["columns"] == columns.to_json()


# as breast cancer has them: what is little of an area is all that smoothness varies
UNLIKE = Columns(("area", "smoothness"), (880.0, 0.096), (570.0, 0.014))


def with_another_scale(x):
    """Rows [N, 2] of UNLIKE as they would be if the scale of smoothness were 1 % larger."""
    return UNLIKE.offset + (np.asarray(x) - UNLIKE.offset) * [1, 1.01]


def test_another_scale_of_a_small_column_is_found(tmp_path):
    vae = make_vae(Config(**OPTIONS), (1, 1, 2), columns=UNLIKE)
    version = saved_model.export(vae, tmp_path / "m", {"step": 0})
    path = version / "assets.extra" / "expected.npz"
    expected = dict(np.load(path))
    assert "decode(z): x within" in verify.verify(version)
    np.savez(path, **{key: array for key, array in expected.items() if "/scale/" not in key})
    assert "decode(z): x within" in verify.verify(version)  # older exports have none
    for signature in ("decode", "sample", "serving_default"):
        key = f"{signature}/out/x"
        np.savez(path, **{**expected, key: with_another_scale(expected[key]).astype(np.float32)})
        with pytest.raises(ValueError, match=f"^{signature} differs from the model"):
            verify.verify(version)


def test_onnx_answers_in_the_units_of_the_columns(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    vae = make_vae(Config(**OPTIONS), (1, 1, 2), columns=UNLIKE)
    onnx.export_onnx(vae, tmp_path / "decoder.onnx")
    [x] = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx")).run(["x"], {"z": Z})
    np.testing.assert_allclose(x, vae.decode(Z).mean[:, 0, 0], rtol=1e-5)
    real = onnx.decoded

    def with_another_scale_outside_the_graph(vae, z):
        x = real(vae, z)["x"]
        return {"x": tf.constant(with_another_scale(x), tf.float32) if tf.executing_eagerly() else x}

    monkeypatch.setattr(onnx, "decoded", with_another_scale_outside_the_graph)
    with pytest.raises(RunError, match="onnxruntime differs from the model by .*; nothing is written"):
        onnx.export_onnx(vae, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


def test_images_go_in_and_come_out_in_their_own_range(tmp_path):
    vae = make_vae(Config(**OPTIONS), (3, 2, 1), value_range=(-1.0, 1.0))
    (decoder, encoder), _ = exported(tmp_path, vae)
    image = decoder.signatures["decode"](z=Z)["image"]
    np.testing.assert_allclose(image, 2 * np.clip(vae.decode(Z).mean, 0, 1) - 1, atol=1e-6)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 2, 1)).astype(np.float32)
    np.testing.assert_allclose(encoder.signatures["encode"](x=x)["mean"], vae.encode((x + 1) / 2).mean, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be numbers from -1 to 1, and has numbers from"):
        encoder.signatures["encode"](x=2 * x)
