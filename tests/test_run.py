"""The whole path of a user: train, look at what it leaves, evaluate, export, by the commands' own entrances."""

import contextlib
import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import weakref
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

import tfvae  # noqa: E402
from tfvae import data, evaluate, export, run, train  # noqa: E402
from tfvae.config import Config  # noqa: E402
from tfvae.config.flagfile import read_config  # noqa: E402
from tfvae.config.run_name import run_name  # noqa: E402
from tfvae.data import sources  # noqa: E402
from tfvae.data.splits import Dataset, Split  # noqa: E402
from tfvae.run import train_on  # noqa: E402
from tfvae.serving import verify  # noqa: E402
from tfvae.training import checkpoints, report  # noqa: E402
from tfvae.training.state import create_state  # noqa: E402
from tfvae.training.step import TrainProgram  # noqa: E402

FLAGS = ["--dataset=digits", "--epochs=3", "--hidden_units=32", "--binarize=threshold", "--run_dir=runs/small"]
ROOT = Path(__file__).parents[1]


def without_checking(patch):
    """The two processes that check each export would take a minute; `test_the_command_for_real` has them."""
    patch.setattr(verify, "check", lambda folder: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("whole")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        without_checking(patch)
        patch.chdir(folder)
        given = {"dataset": "digits", "epochs": 3, "hidden_units": (32,), "binarize": "threshold"}
        train.main({**given, "run_dir": "runs/small"})
    return folder, printed.getvalue()


def test_it_prints_what_it_took_and_found_and_what_to_type_next(trained):
    lines = trained[1].splitlines()
    assert lines[0] == "data: digits; 1,437 train, 180 validation, 180 test images of 8x8x1"
    assert "starts from step 0 of 33 steps; pixels 1 above 0.5, bernoulli likelihood, seed 0" in lines[1]
    assert any(line.startswith("epoch 3/3: train ELBO -") and "validation ELBO -" in line for line in lines)
    assert any("-m tensorboard.main --logdir=runs/small/tensorboard" in line for line in lines)
    assert any(line.endswith("-m tfvae.evaluate --run_dir=runs/small") for line in lines)
    assert lines[-1].endswith("tensorflow/serving")


def test_results_say_what_they_are_of_and_can_be_recomputed(trained):
    folder, _ = trained
    results = json.loads((folder / "runs/small/results.json").read_text())
    assert results["of"] | {"seed": 0} == results["of"]
    assert {results["of"][k] for k in ("dataset", "split", "pixels", "likelihood", "units")} == {
        "digits", "test", "pixels 1 above 0.5", "bernoulli", "nats per image",
    }  # fmt: skip
    assert results["of"]["samples"] == 200 and results["of"]["images"] == 180
    assert results["train"]["images_per_second"] > 0
    config = read_config(folder / "runs/small")
    state = create_state(config, (8, 8, 1), 1437)
    program = TrainProgram(state, config, data.load(config).train.images)
    program.run(0, 22)
    [third_epoch], _ = program.run(22, 11)
    np.testing.assert_allclose(results["train"]["elbo"], third_epoch.terms["elbo"], rtol=1e-5)
    vae, config, step, _ = tfvae.load(folder / "runs/small")
    assert step == 33 and config.hidden_units == (32,)
    # the ELBO once more, by other means: NumPy's noise, Keras's cross-entropy
    x = data.load(config).test.images / np.float32(255)
    q = vae.encode(x)
    z = q.mean + np.exp(q.log_variance / 2) * np.random.default_rng(0).normal(size=(500, *q.mean.shape)).astype("f")
    logits = vae.decode(z).logits
    likelihood = (
        -tf.nn.sigmoid_cross_entropy_with_logits(np.broadcast_to(x, logits.shape), logits).numpy().sum((2, 3, 4))
    )
    kl = 0.5 * np.sum(q.mean**2 + np.exp(q.log_variance) - 1 - q.log_variance, axis=-1)
    elbo = (likelihood.mean(0) - kl).mean()
    error = 5 * (likelihood.std(0) / np.sqrt(200)).mean() / np.sqrt(180)
    np.testing.assert_allclose(results["test"]["elbo"], elbo, atol=2 * error)
    np.testing.assert_allclose(results["test"]["kl"], kl.mean(), rtol=1e-5)
    assert results["test"]["elbo"] < results["test"]["log_px"]


def test_tensorboard_finds_scalars_images_and_the_config(trained):
    folder, _ = trained
    parts = {}
    for part in ("train", "validation"):
        parts[part] = EventAccumulator(str(folder / "runs/small/tensorboard" / part), size_guidance={"tensors": 0})
        parts[part].Reload()
    tags = {part: set(events.Tags()["tensors"]) for part, events in parts.items()}
    terms = {"elbo", "log_likelihood", "kl"}
    assert tags["validation"] == terms | {"active_units", "bits_per_dimension", "latents/kl"}
    of_weights = {"reconstructions", "samples", "manifold", "latent_scatter", "aggregate_posterior"}
    pictures = of_weights | {"rate_distortion", "kl_per_latent"}
    scalars = terms | {"learning_rate", "images_per_second", "compiled_images_per_second"}
    scalars |= {"speed/step_milliseconds", "optimizer/gradient_norm", "optimizer/update_ratio"}
    assert tags["train"] == scalars | {"config"} | pictures
    steps = [event.step for event in parts["validation"].Tensors("elbo")]
    assert steps == [11, 22, 33]
    drawn = [event.step for event in parts["train"].Tensors("manifold")]
    assert drawn[0] == 0 and drawn[-1] == 33 and set(drawn) <= {0, 11, 22, 33}  # the others where there was time
    assert [event.step for event in parts["train"].Tensors("rate_distortion")] == [33]
    bits = parts["validation"].Tensors("bits_per_dimension")[-1].tensor_proto
    elbo = parts["validation"].Tensors("elbo")[-1].tensor_proto
    np.testing.assert_allclose(tf.make_ndarray(bits), -tf.make_ndarray(elbo) / (64 * np.log(2)), rtol=1e-6)
    rate = parts["train"].Tensors("learning_rate")[-1].tensor_proto
    np.testing.assert_allclose(tf.make_ndarray(rate), 1e-3)


def test_pictures_are_png_files(trained):
    folder, _ = trained
    shapes = {p.stem: matplotlib.image.imread(p).shape[:2] for p in (folder / "runs/small/figures").glob("*.png")}
    assert shapes == {
        "reconstructions": (4 * 88 + 3, 10 * 43 + 3),
        "samples": (411, 411),
        "manifold": (821, 821),
        "latent_scatter": (600, 660),
        "aggregate_posterior": (480, 900),
        "rate_distortion": (480, 660),
        "kl_per_latent": (480, 660),
    }


@pytest.mark.slow
def test_evaluate_agrees_with_the_run_and_takes_other_samples(trained, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.chdir(folder)
    evaluate.main({"run_dir": "runs/small"})
    ours = json.loads(Path("runs/small/evaluation.json").read_text())
    assert ours["test"] == json.loads(Path("runs/small/results.json").read_text())["test"]
    evaluate.main({"run_dir": "runs/small", "eval_samples": 3})
    few = json.loads(Path("runs/small/evaluation.json").read_text())
    assert few["of"]["samples"] == 3 and few["test"]["log_px"] < ours["test"]["log_px"]
    assert "by 3 importance samples" in capsys.readouterr().out
    assert not Path("runs/small/evaluation").exists()


def test_export_gives_the_next_version_of_the_same_decoder(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    without_checking(monkeypatch)
    export.main({"run_dir": "runs/small"})
    assert sorted(p.name for p in Path("saved_models/small").iterdir()) == ["1", "2", "run.json"]
    loaded = [tf.saved_model.load(f"saved_models/small/{v}") for v in (1, 2)]
    z = tf.random.stateless_normal([4, 2], [1, 2])
    first, second = (m.signatures["serving_default"](z=z)["image"] for m in loaded)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, tfvae.load("runs/small").vae.decode(z).mean, atol=1e-6)


@pytest.mark.parametrize(("profile_steps", "is_traced"), [((2, 4), False), ((3, 4), True)])
def test_a_run_that_was_stopped_goes_on_by_the_same_command_also_where_it_traces(
    tmp_path, monkeypatch, capsys, profile_steps, is_traced
):
    config = Config(dataset="digits", epochs=1, run_dir=str(tmp_path / "run"))
    traced = []
    monkeypatch.setattr(checkpoints, "read_notes", lambda folder: {"step": 3})
    monkeypatch.setattr(run, "_train_in", lambda *arguments: traced.append(arguments[-1]) or {})
    monkeypatch.setattr(report, "table", lambda results: "")
    train_on(config, None, profile_steps=profile_steps)
    assert traced == [profile_steps if is_traced else None]
    assert ("no profile of steps 2 to 4: 3 are done" in capsys.readouterr().out) != is_traced


def test_config_flags_repeats_the_run(trained):
    folder, _ = trained
    expected = Config(
        dataset="digits", epochs=3, hidden_units=(32,), binarize="threshold", validation_examples=180,
        validate_every=1, run_dir=str(folder / "runs/small"),
    )  # fmt: skip
    assert read_config(folder / "runs/small") == expected.as_usual()


def test_a_run_directory_is_named_by_the_settings():
    nothing = Split(np.zeros((1, 1, 1, 1), np.uint8), None)
    dataset = Dataset(nothing, nothing, nothing)
    config = Config(dataset="digits", epochs=4)
    assert run._with_run_dir(config, dataset, None).run_dir == f"runs/{run_name(config)}"
    given = dataclasses.replace(config, run_dir="mine/")
    assert run._with_run_dir(given, dataset, None).run_dir == "mine"


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_images_are_freed_when_the_splits_have_been_made_of_them(name, tmp_path, monkeypatch):
    """The splits of a set without a test part are copies: what was read must not stay beside them."""
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 5), dtype=np.uint8)
    labels = np.arange(60)
    if name == "x.npy":
        np.save(tmp_path / name, images)
    else:
        np.savez(tmp_path / name, images=images, labels=labels)
    read = []

    def noted(config, arrays=None):
        parts = read_early(config, arrays)
        read.append(weakref.ref(parts.splits["train"].images.base))
        return parts

    read_early = sources.read_early
    monkeypatch.setattr(sources, "read_early", noted)
    start = run._start(Config(dataset=str(tmp_path / name), batch_size=16), None, lambda: None)
    assert [len(split.images) for split in start.dataset] == [48, 6, 6]
    assert len(read) == 1 and read[0]() is None


@pytest.mark.slow
def test_the_command_for_real(trained, tmp_path):
    """In a process of its own, its export checked: the same lines, but for the speed, and the same figures."""
    command = [sys.executable, "-m", "tfvae.train", *FLAGS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    folder, printed = trained
    ours, theirs = ([without_speed(line) for line in text.splitlines()] for text in (done.stdout, printed))
    assert ours[:-1] == theirs[:-1]
    assert ours[-1] == theirs[-1].replace(str(folder), str(tmp_path))
    results = [json.loads((where / "runs/small/results.json").read_text()) for where in (tmp_path, folder)]
    assert results[0]["test"] == results[1]["test"] and results[0]["of"] == results[1]["of"]
    assert sorted(p.name for p in (tmp_path / "saved_models").iterdir()) == ["small", "small-encoder"]


def without_speed(line):
    return re.sub(r", [\d,]+ images/s(, .* left)?$", "", line)


GRID = {
    "gaussian of z, dequantized, full posterior, mixture prior, free of closed KL": {
        "likelihood": "gaussian", "sigma": "of_z", "dequantize": True, "posterior": "full", "prior": "mixture",
        "num_samples": 2, "kl_warmup_epochs": 1.0,
    },
    "importance-weighted, Laplace posterior": {"objective": "dreg", "num_samples": 3, "posterior": "laplace"},
    "autoencoder": {"objective": "autoencoder", "likelihood": "gaussian"},
}  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.nightly if place else pytest.mark.slow)
        for place, (name, options) in enumerate(GRID.items())
    ],
)
def test_the_grid_goes_the_whole_way(options, tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 5, 1), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    config = Config(
        dataset=str(tmp_path / "images.npy"), hidden_units=(8,), batch_size=16, epochs=2, eval_samples=7,
        run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "saved_models"), **options,
    )  # fmt: skip
    results = train.train(config)
    of, test = results["of"], results["test"]
    assert {of[k] for k in ("objective", "posterior", "prior")} == {
        config.objective, config.posterior, config.prior,
    }  # fmt: skip
    if config.objective == "autoencoder":
        assert test["elbo"] is None and test["log_px"] is None and 0 < test["squared_error"] < 1
    else:
        assert test["elbo"] < test["log_px"] and test["log_px_monte_carlo_error"] > 0
        assert of["kl"] == "sampled"
    if config.dequantize:
        per_pixel = -test["log_px"] / 30 / np.log(2)
        np.testing.assert_allclose(test["bits_per_dimension"], per_pixel + 8)
    evaluate.main({"run_dir": str(tmp_path / "run")})
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["test"] == test
    assert "squared error" in capsys.readouterr().out
