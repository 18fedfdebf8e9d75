"""The exported decoder, loaded as others load it."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfvae.serving import saved_model, session, verify
from tfvae.config import Config
from tfvae.errors import RunError
from tfvae.core.models import make_vae

OPTIONS = {
    "mlp": {},
    "conv": {"network": "conv", "filters": (4, 8)},
    "gaussian": {"likelihood": "gaussian", "sigma": "of_z", "posterior": "full", "prior": "mixture"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_signatures_answer_as_the_model_for_any_number_of_rows(options, tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3, **options), (6, 5, 2))
    path = saved_model.export(vae, tmp_path / "run")
    assert path == tmp_path / "run" / "1"
    decoder, encoder = (tf.saved_model.load(str(tmp_path / name / "1")) for name in ("run", "run-encoder"))
    assert set(decoder.signatures) == {"serving_default", "decode", "sample"}
    assert set(encoder.signatures) == {"serving_default", "encode"}
    for name in ("serving_default", "decode"):
        inputs = decoder.signatures[name].structured_input_signature[1]
        assert list(inputs) == ["z"] and inputs["z"].shape.as_list() == [None, 3] and inputs["z"].dtype == tf.float32
        assert list(decoder.signatures[name].structured_outputs) == ["image"]
    assert decoder.signatures["decode"].structured_outputs["image"].shape.as_list() == [None, 6, 5, 2]
    for n in (1, 7, 0):
        z = np.random.default_rng(n).normal(size=(n, 3)).astype("f") * 3
        image = decoder.signatures["decode"](z=tf.constant(z))["image"].numpy()
        np.testing.assert_allclose(image, np.clip(vae.decode(z).mean, 0, 1), atol=1e-6)
        x = np.random.default_rng(n).uniform(size=(max(n, 1), 6, 5, 2)).astype("f")  # the fused convolution wants one
        told, q = encoder.signatures["encode"](x=tf.constant(x)), vae.encode(x)
        np.testing.assert_allclose(told["mean"], q.mean, atol=1e-6)
        np.testing.assert_allclose(told["log_variance"], q.log_variance, atol=1e-6)  # a new full one is diagonal
        drawn = decoder.signatures["sample"](seed=tf.range(n))
        np.testing.assert_allclose(drawn["image"], np.clip(vae.decode(drawn["z"]).mean, 0, 1), atol=1e-6)


def test_a_full_posterior_s_log_variance_is_that_of_each_latent_by_itself(tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3, posterior="full"), (4, 4, 1))
    for head in vae.encoder.heads[1:]:
        head.kernel.assign(np.random.default_rng(0).normal(size=head.kernel.shape))
    path = saved_model.export_encoder(vae, tmp_path / "e")
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype("f")
    told = tf.saved_model.load(str(path)).signatures["encode"](x=tf.constant(x))["log_variance"].numpy()
    c = vae.encode(x).cholesky().numpy().astype(np.float64)
    expected = np.log(np.diagonal(c @ np.swapaxes(c, 1, 2), axis1=1, axis2=2))
    np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prior", ["standard", "mixture"])
def test_a_sample_depends_on_its_own_seed_alone_and_is_drawn_from_the_prior(prior, tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=2, prior=prior, prior_components=3), (4, 4, 1))
    sample = tf.saved_model.load(str(saved_model.export_decoder(vae, tmp_path / "d"))).signatures["sample"]
    z = sample(seed=tf.range(4_000))["z"].numpy()
    np.testing.assert_array_equal(sample(seed=tf.constant([17, 3, 17]))["z"], z[[17, 3, 17]])
    assert len(np.unique(z, axis=0)) == 4_000
    if prior == "standard":
        assert all(scipy.stats.kstest(column, "norm").pvalue > 1e-3 for column in z.T)
    else:
        np.testing.assert_allclose(z.mean(axis=0), vae.prior_mean.numpy().mean(axis=0), atol=0.15)


def test_a_z_of_another_shape_is_an_error_where_no_python_looks_at_it(tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=2), (4, 4, 1))
    served = session.Session(saved_model.export_decoder(vae, tmp_path / "d"))
    assert served.call("decode", {"z": np.zeros((3, 2))})["image"].shape == (3, 4, 4, 1)
    for shape in (2,), (1, 3), (1, 1, 2):
        with pytest.raises(OSError, match="shape"):
            served.call("decode", {"z": np.zeros(shape)})


def test_verify_finds_a_model_that_answers_otherwise(tmp_path):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    path = saved_model.export_decoder(vae, tmp_path / "run")
    told = verify.check(path)
    assert all(f"{name}(" in told for name in ("decode", "sample", "serving_default"))
    assert "9 warm-up requests answered" in told
    expected = dict(np.load(path / "assets.extra" / "expected.npz"))
    expected["sample/out/z"][0, 1] += 2e-6
    np.savez(path / "assets.extra" / "expected.npz", **expected)
    with pytest.raises(RunError, match="sample differs from the model"):
        verify.check(path)


def test_verify_compares_with_the_largest_answer_where_that_is_above_one(tmp_path):
    spec = [tf.TensorSpec([None], tf.float32, name="x")]
    double = tf.function(
        lambda x: {"y": 2 * tf.debugging.check_numerics(x, "x")}, input_signature=spec, autograph=False
    )
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"f": double})
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "tf_serving_warmup_requests").touch()

    def check(largest, off_by):
        x = np.array([0.1, largest / 2], np.float32)
        y = 2 * x + np.array([off_by, 0], np.float32)
        np.savez(tmp_path / "assets.extra" / "expected.npz", **{"f/in/x": x, "f/out/y": y})
        return verify.verify(tmp_path)

    assert "f(x): y within" in check(largest=0.5, off_by=8e-7)
    assert "f(x): y within" in check(largest=20, off_by=1.6e-5)
    for largest, off_by in (0.5, 1.4e-6), (20, 2.4e-5):
        with pytest.raises(ValueError, match="f differs from the model"):
            check(largest, off_by)


def test_verify_refuses_xla_and_a_signature_that_takes_nan(tmp_path):
    for number, (jit, why) in enumerate([(True, "it needs _XlaMustCompile"), (False, "f takes NaN")]):
        path = tmp_path / str(number)
        spec = [tf.TensorSpec([None], tf.float32, name="x")]
        inner = tf.function(lambda x: 2 * x, jit_compile=jit)
        outer = tf.function(lambda x: {"y": inner(x)}, input_signature=spec, autograph=False)  # noqa: B023
        tf.saved_model.save(tf.Module(), str(path), signatures={"f": outer})
        (path / "assets.extra").mkdir()
        x = np.ones(2, np.float32)
        np.savez(path / "assets.extra" / "expected.npz", **{"f/in/x": x, "f/out/y": 2 * x})
        with pytest.raises(RunError, match=why):
            verify.check(path)


def test_an_export_that_does_not_answer_as_the_model_is_not_there(tmp_path, monkeypatch):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    saved_model.export_decoder(vae, tmp_path)
    save = np.savez
    monkeypatch.setattr(np, "savez", lambda path, **values: save(path, **{k: v + 1 for k, v in values.items()}))
    with pytest.raises(RunError, match="differs from the model"):
        saved_model.export_decoder(vae, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_nothing_of_this_machine_is_inside(tmp_path):
    config = Config(hidden_units=(8,), dataset=str(tmp_path / "images.npy"))
    vae = make_vae(config, (4, 4, 1))
    about = saved_model.about(config, 7, {"of": {"dataset": config.dataset}, "test": {"elbo": -1.0}})
    path = saved_model.export(vae, tmp_path / "run", about)
    assert json.loads((path / "assets.extra" / "tfvae.json").read_text())["settings"]["dataset"] == "images.npy"
    places = [str(tmp_path), str(Path(saved_model.__file__).parent), str(Path.home()), tf.__file__, "/site-packages"]
    files = [p for version in tmp_path.glob("run*/1") for p in version.rglob("*") if p.is_file()]
    assert len(files) == 2 * 7
    for file in files:
        assert not [place for place in places if place.encode() in file.read_bytes()], file


def test_onnx_answers_as_the_model(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    vae = make_vae(Config(latent_dim=3, network="conv", filters=(4, 8)), (6, 5, 2))
    saved_model.export_onnx(vae, tmp_path / "decoder.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["decoder.onnx"]
    z = np.random.default_rng(0).normal(size=(7, 3)).astype("f")
    [image] = onnxruntime.InferenceSession(str(tmp_path / "decoder.onnx")).run(["image"], {"z": z})
    np.testing.assert_allclose(image, vae.decode(z).mean, atol=1e-5)


@pytest.mark.slow
def test_a_loop_that_polls_never_sees_half_a_version(tmp_path):
    vae = make_vae(Config(hidden_units=(8,)), (4, 4, 1))
    whole = sorted(str(p.relative_to(version)) for version in [saved_model.export_decoder(vae, tmp_path)]
                   for p in version.rglob("*"))  # fmt: skip
    seen, faults, done = set(), [], threading.Event()

    def poll():
        while not done.is_set():
            for version in (p for p in tmp_path.iterdir() if p.name.isdigit()):
                if version.name in seen:
                    continue
                seen.add(version.name)
                found = sorted(str(p.relative_to(version)) for p in version.rglob("*"))
                if found != whole or not all(p.stat().st_size for p in version.rglob("*") if p.is_file()):
                    faults.append((version.name, found))

    thread = threading.Thread(target=poll)
    thread.start()
    for _ in range(99):
        saved_model.export_decoder(vae, tmp_path)
    time.sleep(0.5)
    done.set()
    thread.join()
    assert not faults and len(seen) == 100


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


@pytest.mark.slow
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
