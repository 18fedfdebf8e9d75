"""Exported models of vectors, and of images in a range of their own, take and give what their user has."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.columns import Columns
from tfvae.core.making import make_vae
from tfvae.serving import saved_model

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


def test_images_go_in_and_come_out_in_their_own_range(tmp_path):
    vae = make_vae(Config(**OPTIONS), (3, 2, 1), value_range=(-1.0, 1.0))
    (decoder, encoder), _ = exported(tmp_path, vae)
    image = decoder.signatures["decode"](z=Z)["image"]
    np.testing.assert_allclose(image, 2 * np.clip(vae.decode(Z).mean, 0, 1) - 1, atol=1e-6)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 2, 1)).astype(np.float32)
    np.testing.assert_allclose(encoder.signatures["encode"](x=x)["mean"], vae.encode((x + 1) / 2).mean, atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be numbers from -1 to 1, and has numbers from"):
        encoder.signatures["encode"](x=2 * x)
