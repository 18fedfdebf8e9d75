"""The exported decoder and encoder, loaded as others load them."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from exports import Exported

from tfvae.config import Config
from tfvae.core.making import make_vae
from tfvae.errors import RunError
from tfvae.runtime.files import numbered_directories
from tfvae.serving import saved_model, session, verify

pytestmark = pytest.mark.usefixtures("verified_here")


def export_encoder(vae, directory):
    return saved_model.export_models([saved_model.encoder_model(vae, directory)])[0]


OPTIONS = {
    "conv": {"network": "conv", "filters": (4, 8)},
    "resnet": {"network": "resnet", "filters": (4,), "residual_blocks": 1},
    "gaussian": {"likelihood": "gaussian", "sigma": "of_z", "posterior": "full", "prior": "mixture"},
}


@pytest.fixture(scope="module")
def small():
    """A VAE that is exported in a second."""
    return make_vae(Config(hidden_units=(8,)), (4, 4, 1))


@pytest.fixture(params=["mlp", "conv", "gaussian", pytest.param("resnet", marks=pytest.mark.nightly)])
def models(request, exported, tmp_path):
    """A VAE of 3 latents for images [6, 5, 2], and its decoder and encoder as exported."""
    if request.param == "mlp":
        return exported
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3, **OPTIONS[request.param]), (6, 5, 2))
    path = saved_model.export(vae, tmp_path / "run")
    assert path == tmp_path / "run" / "1"
    return Exported(vae, path, tmp_path / "run-encoder" / "1")


def test_the_signatures_answer_as_the_model_for_any_number_of_rows(models):
    vae = models.vae
    decoder, encoder = (tf.saved_model.load(str(path)) for path in (models.decoder, models.encoder))
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
        encoded, q = encoder.signatures["encode"](x=tf.constant(x)), vae.encode(x)
        np.testing.assert_allclose(encoded["mean"], q.mean, atol=1e-6)
        np.testing.assert_allclose(encoded["log_variance"], q.log_variance, atol=1e-6)  # a new full one is diagonal
        drawn = decoder.signatures["sample"](seed=tf.range(n))
        np.testing.assert_allclose(drawn["image"], np.clip(vae.decode(drawn["z"]).mean, 0, 1), atol=1e-6)


def test_bfloat16_products_may_be_rounded_otherwise_in_a_graph_and_float32_ones_may_not(tmp_path):
    vae = make_vae(Config(hidden_units=(512,), dtype="bfloat16"), (8, 8, 1))
    folder = saved_model.export(vae, tmp_path / "run").parent.with_name("run-encoder") / "1"
    path = folder / "assets.extra" / "expected.npz"
    expected = dict(np.load(path))
    assert expected["tolerance"] == 1 / 64
    np.savez(path, **{**expected, "encode/out/mean": expected["encode/out/mean"] + 0.1})
    with pytest.raises(ValueError, match="encode differs from the model"):
        verify.verify(folder)
    np.savez(path, **{**expected, "tolerance": 1e-6, "encode/out/mean": expected["encode/out/mean"] + 1e-3})
    with pytest.raises(ValueError, match="encode differs from the model"):
        verify.verify(folder)


def test_a_full_posterior_s_log_variance_is_that_of_each_latent_by_itself(tmp_path):
    vae = make_vae(Config(hidden_units=(8,), latent_dim=3, posterior="full"), (4, 4, 1))
    kernels = [v for v in vae.encoder.variables if v.path.startswith("vae/encoder/head/") and "kernel" in v.path]
    others = [kernel for kernel in kernels if "mean" not in kernel.path]
    assert len(others) == 2
    for kernel in others:
        kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    path = export_encoder(vae, tmp_path / "e")
    x = np.random.default_rng(0).uniform(size=(2, 4, 4, 1)).astype("f")
    exported = tf.saved_model.load(str(path)).signatures["encode"](x=tf.constant(x))["log_variance"].numpy()
    c = vae.encode(x).cholesky().numpy().astype(np.float64)
    assert np.abs(np.tril(c, -1)).max() > 0.1  # it is not diagonal
    expected = np.log(np.diagonal(c @ np.swapaxes(c, 1, 2), axis1=1, axis2=2))
    np.testing.assert_allclose(exported, expected, rtol=1e-5, atol=1e-5)


def assert_each_row_depends_on_its_own_seed_alone(decoder):
    """Returns z [4000, L] of as many seeds."""
    sample = tf.saved_model.load(str(decoder)).signatures["sample"]
    z = sample(seed=tf.range(4_000))["z"].numpy()
    np.testing.assert_array_equal(sample(seed=tf.constant([17, 3, 17]))["z"], z[[17, 3, 17]])
    assert len(np.unique(z, axis=0)) == 4_000
    return z


def test_a_sample_depends_on_its_own_seed_alone_and_is_drawn_from_the_standard_prior(tmp_path, small):
    z = assert_each_row_depends_on_its_own_seed_alone(
        saved_model.export_models([saved_model.decoder_model(small, tmp_path / "d")])[0]
    )
    assert all(scipy.stats.kstest(column, "norm").pvalue > 1e-3 for column in z.T)


def test_a_sample_depends_on_its_own_seed_alone_and_is_drawn_from_the_mixture(exported):
    z = assert_each_row_depends_on_its_own_seed_alone(exported.decoder)
    [means] = [v.numpy() for v in exported.vae.variables if v.path.endswith("prior_mean")]
    np.testing.assert_allclose(z.mean(axis=0), means.mean(axis=0), atol=0.15)


def test_a_z_of_another_shape_is_an_error_where_no_python_looks_at_it(exported):
    served = session.Session(exported.decoder)
    assert served.call("decode", {"z": np.zeros((3, 3))})["image"].shape == (3, 6, 5, 2)
    for shape in (3,), (1, 4), (1, 1, 3):
        with pytest.raises(OSError, match="shape"):
            served.call("decode", {"z": np.zeros(shape)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_z_or_an_x_that_is_not_finite_is_an_error(bad, exported):
    decoder, encoder = (tf.saved_model.load(str(path)) for path in (exported.decoder, exported.encoder))
    with pytest.raises(tf.errors.InvalidArgumentError, match="z must be finite"):
        decoder.signatures["serving_default"](z=tf.constant([[0.0, bad, 0.0]]))
    x = np.zeros((1, 6, 5, 2), np.float32)
    x[0, 1, 2, 1] = bad
    with pytest.raises(tf.errors.InvalidArgumentError, match="x must be finite"):
        encoder.signatures["serving_default"](x=tf.constant(x))


def test_nothing_of_this_machine_is_inside(tmp_path, small):
    weights_of = {"init_from": tmp_path / "a", "init_checksum": "0123abcd"}
    config = Config(hidden_units=(8,), dataset=str(tmp_path / "images.npy"), **weights_of)
    of = {"dataset": config.dataset, "initial_weights": f"the weights of {config.init_from}"}
    results = {"of": of, "test": {"elbo": -1.0}, "train": {"epochs": 3}}
    path = saved_model.export(small, tmp_path / "run", saved_model.describe(config, 7, results))
    description = json.loads((path / "assets.extra" / "tfvae.json").read_text())
    assert description["settings"]["dataset"] == description["of"]["dataset"] == "images.npy"
    assert description["settings"]["init_checksum"] == "0123abcd"
    assert (description["step"], description["test"]) == (7, {"elbo": -1.0}) and "train" not in description
    places = [str(tmp_path), str(Path(saved_model.__file__).parent), str(Path.home()), tf.__file__, "/site-packages"]
    files = [p for version in tmp_path.glob("run*/1") for p in version.rglob("*") if p.is_file()]
    assert len(files) == 2 * 7
    for file in files:
        assert not [place for place in places if place.encode() in file.read_bytes()], file


@pytest.mark.slow
def test_versions_count_up_past_gaps_and_foreign_names(tmp_path, small):
    foreign = ["notes", "²", "٣", "012"]
    for name in ("7", *foreign):
        (tmp_path / name).mkdir()
    (tmp_path / "8").write_text("a file has that name")
    assert [export_encoder(small, tmp_path).name for _ in range(2)] == ["9", "10"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["7", "8", "9", "10", *foreign])


def test_a_number_that_another_export_takes_meanwhile_is_left_to_it(tmp_path, small, monkeypatch):
    real = saved_model.move_into_place

    def after_another(aside, version):
        if version.name == "1":
            version.mkdir()
            (version / "saved_model.pb").write_bytes(b"another's")
        real(aside, version)

    monkeypatch.setattr(saved_model, "move_into_place", after_another)
    assert export_encoder(small, tmp_path).name == "2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == b"another's"


def numbers(base):
    """The versions of the decoder and of the encoder."""
    return [sorted(numbered_directories(base.with_name(name))) for name in (base.name, f"{base.name}-encoder")]


def test_an_encoder_and_a_decoder_that_belong_together_have_one_number(tmp_path, small):
    base = tmp_path / "run"
    saved_model.export(small, base)
    shutil.rmtree(base / "1")
    assert numbers(base) == [[], [1]]  # as a kill between the two leaves it
    assert saved_model.export(small, base).name == "2"
    assert numbers(base) == [[2], [1, 2]]


def test_a_pair_of_which_one_number_is_taken_meanwhile_has_the_next(tmp_path, small, monkeypatch):
    base = tmp_path / "run"
    real = saved_model.move_into_place

    def after_another(aside, version):
        if version == base / "1":
            version.mkdir()
            (version / "saved_model.pb").touch()
        real(aside, version)

    monkeypatch.setattr(saved_model, "move_into_place", after_another)
    assert saved_model.export(small, base).name == "2"
    assert numbers(base) == [[1, 2], [2]]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_of_a_pair_there_are_both_or_none(error, tmp_path, small, monkeypatch):
    real = saved_model.move_into_place

    def fail_at_the_decoder(aside, version):
        if version.parent.name == "run":
            raise error
        real(aside, version)

    monkeypatch.setattr(saved_model, "move_into_place", fail_at_the_decoder)
    with pytest.raises(type(error)):
        saved_model.export(small, tmp_path / "run")
    assert numbers(tmp_path / "run") == [[], []] and not list(tmp_path.glob("*/.*"))


def test_a_failed_export_leaves_nothing_and_an_abandoned_one_is_removed(tmp_path, small, monkeypatch):
    abandoned, recent = tmp_path / ".123.tmp", tmp_path / ".456.tmp"
    for folder in (abandoned, recent):
        folder.mkdir()
    os.utime(abandoned, (0, 0))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "move_into_place", fail)
    with pytest.raises(OSError, match="disk full"):
        export_encoder(small, tmp_path)
    assert list(tmp_path.iterdir()) == [recent]


def test_an_export_that_is_not_verified_is_not_there(tmp_path, small, monkeypatch):
    export_encoder(small, tmp_path)
    save = np.savez

    def spoil_the_answers(path, **values):
        save(path, **{key: value + 1 if "/out/" in key else value for key, value in values.items()})

    monkeypatch.setattr(np, "savez", spoil_the_answers)
    with pytest.raises(ValueError, match="differs from the model"):
        export_encoder(small, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


@pytest.mark.slow
def test_two_models_are_verified_together_in_another_process_before_one_is_there(tmp_path, small, monkeypatch):
    monkeypatch.undo()  # `verified_here`
    texts, check = [], verify.Checker.check
    monkeypatch.setattr(verify.Checker, "check", lambda self, *folders: texts.append(check(self, *folders)))
    saved_model.export(small, tmp_path / "run")
    signatures = [line.partition("(")[0] for line in texts[0].splitlines()]
    assert [name for name in signatures if "warm-up" not in name] == [
        *("encode", "serving_default"),
        *("decode", "sample", "serving_default"),
    ]
    assert (tmp_path / "run" / "1" / "saved_model.pb").exists() and (tmp_path / "run-encoder" / "1").exists()
    monkeypatch.undo()
    save = np.savez

    def spoil_the_decoder(path, **values):
        save(path, **{key: value + 1 if key == "decode/out/image" else value for key, value in values.items()})

    monkeypatch.setattr(np, "savez", spoil_the_decoder)
    with pytest.raises(RunError, match=r"other/\..*tmp: is not served as the model answers: decode differs"):
        saved_model.export(small, tmp_path / "other")
    assert not list((tmp_path / "other-encoder").iterdir()) and not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize(
    ("saved_by", "versions"),
    [
        pytest.param("a copy", 25, marks=pytest.mark.slow),
        pytest.param("a copy", 100, marks=pytest.mark.nightly),
        pytest.param("TensorFlow", 100, marks=pytest.mark.nightly),
    ],
)
def test_a_loop_that_polls_never_sees_half_a_version(saved_by, versions, tmp_path, small, monkeypatch):
    first = export_encoder(small, tmp_path)
    if saved_by == "a copy":  # TensorFlow's own takes a second or more

        def copy_first(folder, *_):
            shutil.copytree(first, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("assets.extra"))

        monkeypatch.setattr(saved_model, "_save", copy_first)
    whole = sorted(str(p.relative_to(first)) for p in first.rglob("*"))
    seen, faults, done = set(), [], threading.Event()

    def look():
        for version in (p for p in numbered_directories(tmp_path).values() if p.name not in seen):
            seen.add(version.name)
            files = sorted(str(p.relative_to(version)) for p in version.rglob("*"))
            if files != whole or not all(p.stat().st_size for p in version.rglob("*") if p.is_file()):
                faults.append((version.name, files))

    def poll():
        while not done.is_set():
            look()

    thread = threading.Thread(target=poll)
    thread.start()
    for _ in range(versions - 1):
        export_encoder(small, tmp_path)
    done.set()
    thread.join()
    look()
    assert not faults and len(seen) == versions


@pytest.mark.slow
def test_it_loads_where_keras_and_tfvae_can_t_be_imported(tmp_path, exported):
    program = """
import json
import sys
import tensorflow as tf  # imports keras by itself: forget that, and refuse to do so again
for name in [n for n in sys.modules if n.split(".")[0] in ("keras", "tfvae")]:
    del sys.modules[name]
sys.modules["keras"] = sys.modules["tfvae"] = None
loaded = tf.saved_model.load(sys.argv[1])
print(json.dumps(loaded.signatures["serving_default"](z=tf.zeros([1, 3]))["image"].numpy().ravel().tolist()))
"""
    command = [sys.executable, "-c", program, str(exported.decoder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = exported.vae.decode(tf.zeros([1, 3])).mean.numpy().ravel()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)


def test_tensorflow_names_no_folder_that_is_moved_away(small, tmp_path, caplog):
    """It logs where it writes, which a notebook shows."""
    with caplog.at_level("INFO", logger="tensorflow"):
        before = tf.get_logger().level
        export_encoder(small, tmp_path)
        assert tf.get_logger().level == before
    assert "Assets" not in caplog.text
