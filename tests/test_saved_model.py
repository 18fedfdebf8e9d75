"""The exported decoder, loaded as others load it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfvae import saved_model
from tfvae.config import Config
from tfvae.models import make_vae

OPTIONS = {
    "mlp": {},
    "conv": {"network": "conv", "filters": (4, 8)},
    "gaussian": {"likelihood": "gaussian"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_signature_decodes_any_number_of_z(options, tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3, **options), (6, 5, 2))
    path = saved_model.export_decoder(vae, tmp_path / "run")
    assert path == tmp_path / "run" / "1"
    loaded = tf.saved_model.load(str(path))
    decode = loaded.signatures["serving_default"]
    inputs = decode.structured_input_signature[1]
    assert list(inputs) == ["z"] and inputs["z"].shape.as_list() == [None, 3] and inputs["z"].dtype == tf.float32
    assert decode.structured_outputs["image"].shape.as_list() == [None, 6, 5, 2]
    for n in (1, 7, 0):
        z = np.random.default_rng(n).normal(size=(n, 3)).astype("f") * 3
        image = decode(z=tf.constant(z))["image"].numpy()
        expected = np.clip(vae.decode(z).mean, 0, 1)
        np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_z_that_is_not_finite_is_an_error(bad, tmp_path):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    loaded = tf.saved_model.load(str(saved_model.export_decoder(vae, tmp_path)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="z must be finite"):
        loaded.signatures["serving_default"](z=tf.constant([[0.0, bad]]))


def test_versions_count_up_past_gaps_and_foreign_names(tmp_path):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    (tmp_path / "7").mkdir()
    (tmp_path / "notes").mkdir()
    assert [saved_model.export_decoder(vae, tmp_path).name for _ in range(2)] == ["8", "9"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["7", "8", "9", "notes"]


def test_a_failed_export_leaves_nothing_and_an_abandoned_one_is_removed(tmp_path, monkeypatch):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    abandoned = tmp_path / ".123.tmp"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    monkeypatch.setattr(saved_model, "move_into_place", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        saved_model.export_decoder(vae, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_loads_where_keras_and_tfvae_can_t_be_imported(tmp_path):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    path = saved_model.export_decoder(vae, tmp_path)
    program = f"""
import sys
import tensorflow as tf  # imports keras by itself: forget that, and refuse to do so again
for name in [n for n in sys.modules if n.split(".")[0] in ("keras", "tfvae")]:
    del sys.modules[name]
sys.modules["keras"] = sys.modules["tfvae"] = None
loaded = tf.saved_model.load({str(path)!r})
print(loaded.signatures["serving_default"](z=tf.zeros([1, 2]))["image"].numpy().ravel().tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(eval(done.stdout), vae.decode(tf.zeros([1, 2])).mean.numpy().ravel(), atol=1e-6)
