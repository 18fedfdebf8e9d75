"""Python's front door on arrays: `tfvae.fit`, `tfvae.load`, and what a `Run` does."""

import base64
import contextlib
import dataclasses
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from sklearn.datasets import load_digits

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

import tfvae  # noqa: E402
from tfvae import Config, InputError, evaluate, explore, export, train  # noqa: E402
from tfvae.config.flagfile import read_config  # noqa: E402
from tfvae.data import dataset as data  # noqa: E402
from tfvae.data import memory  # noqa: E402
from tfvae.data.complexity import complexity  # noqa: E402
from tfvae.run import _with_run_dir  # noqa: E402
from tfvae.serving import verify  # noqa: E402

DIGITS = (load_digits().images * 15).astype(np.uint8)[:600]  # grey, 8-bit
LABELS = load_digits().target[:600]
SETTINGS = {  # of convolutions, for which nobody waits until XLA has compiled them
    "network": "conv", "filters": (2,), "hidden_units": (16,), "epochs": 3, "eval_samples": 7, "batch_size": 64,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def without_checking():
    """The two processes that check each export would take a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "check", lambda folder: None)
        yield


def quietly(function, *args, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args, **options)


def fit(folder, images=DIGITS, **settings):
    labels = settings.pop("labels", None)
    config = Config(**{**SETTINGS, "run_dir": folder / "run", "export_dir": str(folder / "export"), **settings})
    return quietly(tfvae.fit, config, images, labels=labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("digits"), labels=LABELS)


@pytest.fixture
def run_dir(run, tmp_path):
    """A copy of the run's directory, for commands that record in it where its images are."""
    return str(shutil.copytree(run.config.run_dir, tmp_path / "run"))


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """A run on images of 0 and 1."""
    return fit(tmp_path_factory.mktemp("binary"), (DIGITS > 120).astype(np.uint8), epochs=1)


def test_a_run_says_what_it_is(run):
    assert (run.config.dataset, run.config.epochs, run.step) == ("arrays", 3, 3 * 7)
    assert run.results["of"]["images"] == 60 and run.results["test"]["elbo"] < run.results["test"]["log_px"]
    assert run.results == json.loads((Path(run.config.run_dir) / "results.json").read_text())
    assert run.history["epoch"] == [1, 2, 3] and run.history["step"] == [7, 14, 21]
    assert run.history["elbo"][-1] == run.results["train"]["elbo"]
    np.testing.assert_allclose(
        np.subtract(run.history["val_log_likelihood"], run.history["val_kl"]), run.history["val_elbo"], rtol=1e-6
    )
    assert str(run.config.run_dir) in repr(run) and "step 21" in repr(run)


def test_jupyter_shows_its_figures_and_its_pictures(run):
    page = run._repr_html_()
    names = ["manifold", "samples", "reconstructions", "latent_scatter"]
    assert {*names} <= {*run.figures}
    shown = re.findall(r'alt="(\w+)" src="data:image/png;base64,([^"]+)"', page)
    assert [(name, base64.b64decode(content)) for name, content in shown] == [
        (name, run.figures[name].read_bytes()) for name in names
    ]
    assert repr(run).replace("<", "&lt;").replace(">", "&gt;") in page
    assert re.search(f"ELBO +{run.results['test']['elbo']:.2f} ", page)


def test_it_tells_no_commands_of_a_shell(tmp_path, capsys):
    config = Config(**{**SETTINGS, "epochs": 1}, run_dir=tmp_path / "run", export_dir=str(tmp_path / "export"))
    tfvae.fit(config, DIGITS)
    assert "log p(x)" in capsys.readouterr().out
    tfvae.fit(config, DIGITS)
    printed = capsys.readouterr().out
    assert "is finished" in printed and "next:" not in printed


def test_it_unpacks_as_load_always_did(run):
    vae, config, step, fingerprint = tfvae.load(run.config.run_dir)
    assert (step, fingerprint, config.latent_dim) == (21, run.fingerprint, 2)
    assert run[2] == 21 and run[:2] == (run.vae, run.config)
    for ours, theirs in zip(vae.variables, run.vae.variables):
        np.testing.assert_array_equal(ours, theirs)


def test_encode_is_the_encoder_on_x_over_255(run):
    latents = run.encode(DIGITS)
    assert latents.mean.shape == latents.log_variance.shape == (600, 2)
    q = run.vae.encoder(tf.constant(DIGITS[..., None] / 255, tf.float32))
    np.testing.assert_allclose(latents.mean, q.mean, atol=1e-5)
    np.testing.assert_allclose(latents.log_variance, q.log_variance, atol=1e-5)


def test_reconstruct_is_the_decoder_at_the_mean(run):
    images = run.reconstruct(DIGITS[:5])
    logits = run.vae.decode(run.encode(DIGITS[:5]).mean).logits.numpy()
    np.testing.assert_allclose(images, scipy.special.expit(logits), atol=1e-6)


def test_samples_depend_on_the_seed_alone(run):
    first = run.sample(9, seed=4)
    assert first.shape == (9, 8, 8, 1) and 0 <= first.min() and first.max() <= 1
    np.testing.assert_array_equal(run.sample(9, seed=4), first)
    assert np.abs(run.sample(9, seed=5) - first).max() > 0.01


def test_scores_of_the_test_images_are_those_of_evaluate(run):
    test = data.load(run.config, memory.load(DIGITS, None, None, None, 1e9)).test.images
    scores = run.score(test)
    means = {
        name: np.mean(getattr(scores, name), dtype=np.float64)
        for name in ("log_likelihood", "kl", "log_px", "squared_error")
    }
    means["elbo"] = means["log_likelihood"] - means["kl"]
    for name, mean in means.items():
        assert mean == run.results["test"][name], name
    np.testing.assert_allclose(np.mean(scores.elbo), means["elbo"], rtol=1e-12)  # the same, rounded in another order
    error = np.sum(scores.log_px_monte_carlo_error.astype(np.float64) ** 2) ** 0.5 / len(test)
    np.testing.assert_allclose(error, run.results["test"]["log_px_monte_carlo_error"], rtol=1e-6)


def test_missing_pixels_are_filled_in(run, capsys):
    x = DIGITS[:20, ..., None] / 255
    observed = np.random.default_rng(0).random(x.shape) < 0.5
    observed[0] = True
    filled = run.impute(np.where(observed, x, np.nan), draws=2, samples=5)
    assert "of 19 images with missing values 19 have fewer than 10" in capsys.readouterr().out
    assert (filled.mean.shape, filled.draws.shape) == ((20, 8, 8, 1), (2, 20, 8, 8, 1))
    for array in (filled.mean, *filled.draws):
        np.testing.assert_allclose(array[observed], x[observed], rtol=1e-6)
    assert 0 < filled.mean[~observed].min() and set(np.unique(filled.draws[:, ~observed])) == {0, 1}
    by_mask = run.impute(DIGITS[:20], observed[..., 0], draws=2, samples=5)
    for ours, expected in zip(by_mask, filled):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_an_imputation_that_is_not_possible_is_refused_in_one_line(run, monkeypatch):
    for words, options in {
        "draws=-1: must be a whole number from 0 to 2147483647": {"draws": -1},
        "samples=0: must be a whole number from 1 to 2147483647": {"samples": 0},
        "observed: must have the shape of x, [2, 8, 8], and has [8, 8]": {"observed": np.ones((8, 8))},
    }.items():
        with pytest.raises(InputError) as caught:
            run.impute(DIGITS[:2], **options)
        assert str(caught.value) == words
    monkeypatch.setattr(run, "config", dataclasses.replace(run.config, objective="autoencoder"))
    with pytest.raises(InputError, match="^impute: must not be of a plain autoencoder, which has no p") as caught:
        run.impute(DIGITS[:2])


def test_scores_are_the_elbo_and_log_px_by_other_means(run):
    """NumPy's noise, densities written out, and 400 samples."""
    x = DIGITS[:6, ..., None] / 255
    scores = run.score(DIGITS[:6], samples=400)
    mean, log_variance = np.asarray(run.encode(DIGITS[:6]), np.float64)
    epsilon = np.random.default_rng(0).normal(size=(400, 6, 2))
    z = mean + np.exp(log_variance / 2) * epsilon
    logits = run.vae.decode(tf.constant(z, tf.float32)).logits.numpy().astype(np.float64)
    log_likelihood = np.sum(logits * x - np.logaddexp(0, logits), axis=(2, 3, 4))
    log_ratio = np.sum(-(z**2) + epsilon**2 + log_variance, axis=-1) / 2  # log p(z) - log q(z|x)
    kl = np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=-1) / 2
    np.testing.assert_allclose(scores.kl, kl, rtol=1e-4)
    error = log_likelihood.std(axis=0) / 400**0.5
    assert (np.abs(scores.elbo - (log_likelihood.mean(axis=0) - kl)) < 6 * error).all()
    log_px = scipy.special.logsumexp(log_likelihood + log_ratio, axis=0) - np.log(400)
    assert (np.abs(scores.log_px - log_px) < 6 * scores.log_px_monte_carlo_error + 1e-4).all()


def test_one_sample_has_no_monte_carlo_error(run):
    assert run.score(DIGITS[:3], samples=1).log_px_monte_carlo_error is None


def test_the_complexity_score_is_less_log_px_and_the_complexity_where_log_px_is_a_code(run, binary):
    scores = binary.score(DIGITS[:9] > 120, samples=5)
    np.testing.assert_allclose(scores.complexity_score, -scores.log_px - scores.complexity, rtol=1e-12)
    np.testing.assert_allclose(scores.complexity, complexity((DIGITS[:9, ..., None] > 120) * np.uint8(255)))
    grey = run.score(DIGITS[:9], samples=5)
    assert grey.complexity.shape == (9,) and grey.complexity_score is None


def test_anomalies_lie_beyond_the_run_s_own_validation_images(run):
    usual = run.score_validation()
    validation = data.load(run.config, memory.load(DIGITS, None, None, None, 1e9)).validation.images
    for figures, others in zip(usual, run.score(validation)):
        np.testing.assert_array_equal(figures, others)
    noise = np.random.default_rng(0).integers(256, size=(20, 8, 8), dtype=np.uint8)
    images = np.concatenate([DIGITS[:80], noise])
    found = run.score(images).anomalies(usual, quantile=0.95, is_anomalous=np.repeat([0, 1], [80, 20]))
    assert found.by == "log_px" and found.beyond[80:].all() and found.beyond[:80].sum() < 15
    assert found.auroc.value > 0.95


def test_a_loaded_run_of_arrays_needs_them_for_its_validation_scores(run):
    loaded = tfvae.load(run.config.run_dir)
    with pytest.raises(InputError, match="images: must be given: the run was made of arrays"):
        loaded.score_validation()
    usual = loaded.score_validation(DIGITS)
    np.testing.assert_array_equal(usual.log_px, run.score_validation().log_px)


def test_evaluate_repeats_the_results(run):
    assert quietly(run.evaluate)["test"] == run.results["test"]


def test_a_loaded_run_of_arrays_asks_for_them(run, tmp_path):
    loaded = tfvae.load(Path(run.config.run_dir))
    with pytest.raises(InputError, match="^images: must be given: the run was made of arrays"):
        loaded.evaluate()
    with pytest.raises(InputError, match="must be the images that .* was made with"):
        loaded.evaluate(DIGITS[::-1])
    assert quietly(loaded.evaluate, DIGITS)["test"] == run.results["test"]


def test_commands_ask_for_a_file_of_the_same_images(run, run_dir, tmp_path, capsys):
    with pytest.raises(InputError, match="dataset=arrays: must be given: the run was made of arrays"):
        evaluate.main({"run_dir": run_dir})
    np.save(tmp_path / "same.npy", DIGITS)
    evaluate.main({"run_dir": run_dir, "dataset": str(tmp_path / "same.npy")})
    assert json.loads((Path(run_dir) / "evaluation.json").read_text())["test"] == run.results["test"]
    np.save(tmp_path / "other.npy", DIGITS[::-1])
    with pytest.raises(InputError, match="must be the images that .* was made with, and these are others"):
        evaluate.main({"run_dir": run_dir, "dataset": str(tmp_path / "other.npy")})
    assert read_config(run_dir).dataset == str(tmp_path / "same.npy")


def test_a_run_whose_file_has_moved_records_the_new_place(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("moved.npy", DIGITS)
    np.save("other.npy", DIGITS[::-1])
    train.main({"run_dir": run_dir, "dataset": "moved.npy"})  # it is finished: the results are read
    assert "is finished: 3 epochs" in capsys.readouterr().out
    assert read_config(run_dir).dataset == str(tmp_path / "moved.npy")
    Path("moved.npy").rename("again.npy")
    for command, flags in ((train, {}), (evaluate, {}), (explore, {"task": "traversal"}), (export, {"explorer": True})):
        with pytest.raises(InputError, match="moved.npy: must be the images of .*, and there is no such file"):
            command.main({"run_dir": run_dir, **flags})
    explore.main({"run_dir": run_dir, "task": "samples"})  # needs no images
    export.main({"run_dir": run_dir, "export_dir": "out"})
    assert Path(run_dir, "explore/samples.npy").is_file() and len(list(Path("out").glob("run/1"))) == 1
    for command in (explore, export):  # a place is checked also where the images are not needed
        with pytest.raises(InputError, match="must be the images that .* was made with, and these are others"):
            command.main({"run_dir": run_dir, "dataset": "other.npy"})
    explore.main({"run_dir": run_dir, "task": "traversal", "dataset": "again.npy", "seed": 9})
    assert read_config(run_dir).dataset == str(tmp_path / "again.npy") and read_config(run_dir).seed == 0
    export.main({"run_dir": run_dir, "export_dir": "out", "explorer": True})


def test_a_loaded_run_draws_samples_without_its_arrays(run):
    assert quietly(tfvae.load(run.config.run_dir).explore, "samples", images=None)["of"]["dataset"]


def test_a_task_takes_the_labels(run):
    rows = quietly(run.explore, "features")["rows"]
    assert len(rows) == 2


def test_export_gives_the_next_version(run):
    exported = quietly(run.export)
    assert exported.name == "2" and (exported / "saved_model.pb").is_file()


def test_the_same_arrays_again_are_a_finished_run(run, capsys):
    again = tfvae.fit(run.config, DIGITS.tolist(), labels=LABELS)
    assert again.results == run.results and "is finished" in capsys.readouterr().out
    with pytest.raises(InputError, match="was made with other settings|must be the images"):
        tfvae.fit(run.config, DIGITS[1:])


@pytest.mark.parametrize(("channels", "lines"), [(1, 0), (3, 1)])
def test_colours_under_a_bernoulli_likelihood_get_a_line_of_advice(channels, lines, tmp_path, monkeypatch, capsys):
    class Training(Exception):
        """It would begin."""

    def train_in(*_):
        raise Training

    monkeypatch.setattr(tfvae.run, "_train_in", train_in)
    config = Config(**SETTINGS, run_dir=str(tmp_path / "run"), export_dir=str(tmp_path / "export"))
    with pytest.raises(Training):
        tfvae.fit(config, np.repeat(DIGITS[..., None], channels, axis=-1))
    assert capsys.readouterr().out.count("advice: of colour values --likelihood=bernoulli is") == lines


def test_other_arrays_have_another_directory():
    config = Config(dataset="arrays")
    names = set()
    for images in (DIGITS, DIGITS[::-1]):
        dataset = data.load(config, memory.load(images, None, None, None, 1e9))
        names.add(_with_run_dir(config, dataset, None).run_dir)
    assert len(names) == 2 and all(name.startswith("runs/arrays-512-2-") for name in names)


@pytest.mark.slow
def test_without_images_it_trains_on_what_the_config_names(tmp_path):
    config = Config(dataset="digits", epochs=1, hidden_units=(4,), eval_samples=1, run_dir=str(tmp_path / "run"))
    config = Config(**{**vars(config), "export_dir": str(tmp_path / "export")})
    run = quietly(tfvae.fit, config)
    assert run.results["of"]["dataset"] == "digits"
    assert quietly(run.evaluate)["test"] == run.results["test"]


def test_a_binary_run_takes_ones_as_white_whatever_a_block_has(binary):
    ones = np.ones((3, 8, 8), np.uint8)
    np.testing.assert_array_equal(binary.encode(ones).mean, binary.encode(ones.astype(np.float32)).mean)
    loaded = tfvae.load(binary.config.run_dir)
    np.testing.assert_array_equal(loaded.encode(ones).mean, binary.encode(ones).mean)
    with pytest.raises(InputError, match="x: must be whole numbers from 0 to 1, as the training images"):
        loaded.encode(ones * 255)


def test_a_grey_run_takes_ones_as_nearly_black(run):
    ones = np.ones((3, 8, 8), np.uint8)
    np.testing.assert_array_equal(run.encode(ones).mean, run.encode(ones.astype(np.float32) / np.float32(255)).mean)
