"""A run's figures as text: what they are of, and only those that mean something."""

import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.training.report import meaningful_figures, next_commands, table

SUMMARY = {
    "elbo": -70.5,
    "elbo_standard_error": 1.25,
    "log_likelihood": -64.0,
    "kl": 6.5,
    "log_px": -69.0,
    "squared_error": 0.04,
    "log_px_standard_error": None,
    "log_px_monte_carlo_error": 0.01,
    "active_units": 2,
}
OF = {
    "dataset": "digits",
    "split": "test",
    "images": 1_797,
    "pixels": "grey values",
    "likelihood": "bernoulli",
    "posterior": "full",
    "prior": "mixture",
    "kl": "sampled",
    "samples": 5_000,
    "seed": 3,
    "units": "nats per image",
}


def test_a_vae_s_figures_are_all_of_them():
    assert meaningful_figures(Config(), SUMMARY, (8, 8, 1)) == SUMMARY


def test_an_autoencoder_has_no_density():
    config = Config(objective="autoencoder", num_samples=1)
    figures = meaningful_figures(config, SUMMARY, (8, 8, 1))
    assert {name for name, value in figures.items() if value is not None} == {"squared_error", "active_units"}
    assert figures.keys() == SUMMARY.keys()


def test_dequantized_pixels_have_bits():
    """A model that knows nothing, uniform over [0, 1], needs 8 bits for each of 256 levels."""
    config = Config(likelihood="gaussian", dequantize=True)
    assert meaningful_figures(config, {**SUMMARY, "log_px": 0.0}, (8, 8, 3))["bits_per_dimension"] == 8
    nats = 192 * np.log(2)  # one bit less for each of 8 * 8 * 3 values
    figures = meaningful_figures(config, {**SUMMARY, "log_px": nats}, (8, 8, 3))
    np.testing.assert_allclose(figures["bits_per_dimension"], 7)
    assert {**SUMMARY, "log_px": nats}.items() <= figures.items()
    [line] = [line for line in table({"of": OF, "test": figures}).splitlines() if "bits" in line]
    assert line.split() == "bits per dim 7.0000 minus log2 p(x) of the 256 levels, a channel of a pixel".split()


def test_levels_have_bits():
    """A model that knows nothing gives each of 256 levels the same probability: 8 bits."""
    config = Config(likelihood="discretized_logistic")
    figures = meaningful_figures(config, {**SUMMARY, "log_px": -192 * np.log(256)}, (8, 8, 3))
    np.testing.assert_allclose(figures["bits_per_dimension"], 8)


def test_the_table_says_what_each_figure_is_of_and_leaves_out_what_is_not_there():
    lines = table({"of": OF, "test": SUMMARY}).splitlines()
    assert lines[0] == ("digits, 1,797 test images, grey values, bernoulli likelihood, seed 3, nats per image:")
    assert lines[1:] == [
        "  ELBO              -70.50      mean over 5,000 samples of z",
        "    over images       1.25      its standard error as a mean over these images",
        "    log p(x|z)      -64.00      log-likelihood: minus the reconstruction error",
        "    KL                6.50      KL(q(z|x) || p(z)), sampled; full q, mixture p",
        "  log p(x)          -69.00      by 5,000 importance samples",
        "    Monte-Carlo       0.0100    its standard error over other draws of z",
        "  squared error       0.0400    of the reconstruction at the mean of q(z|x), a pixel",
        "  active units        2         latents whose posterior mean varies by more than 0.01",
    ]


def test_a_monte_carlo_error_of_hardly_more_than_one_sample_is_called_too_small():
    lines = table({"of": {**OF, "images": 30}, "test": {**SUMMARY, "log_px_monte_carlo_error": 0.1783}}).splitlines()
    assert "    Monte-Carlo       0.1783    too small an error: fewer than 2 effective samples of z" in lines


def test_the_next_commands_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    lines = next_commands(Path("runs/a run"), Path("saved models/a run/1")).splitlines()
    assert lines[0] == "next:"
    words = [shlex.split(line) for line in lines[1:]]
    assert words[0] == [sys.executable, "-m", "tensorboard.main", "--logdir=runs/a run/tensorboard"]
    assert words[1] == [sys.executable, "-m", "tfvae.evaluate", "--run_dir=runs/a run"]
    base = tmp_path / "saved models" / "a run"
    assert words[2] == [
        *("docker", "run", "-p", "8501:8501", "-v", f"{base}:/models/a run"),
        *("-e", "MODEL_NAME=a run", "tensorflow/serving"),
    ]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    last = next_commands(Path("runs/a run"), Path("saved models/a run/1")).splitlines()[-1]
    assert shlex.split(last) == [sys.executable, "-m", "tfvae.serve", str(base)]


@pytest.mark.parametrize(("below", "expected"), [(True, "venv/bin/python"), (False, "/opt/venv/bin/python")])
def test_the_interpreter_is_named_as_short_as_it_can_be(below, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    executable = tmp_path / "venv/bin/python" if below else "/opt/venv/bin/python"
    monkeypatch.setattr(sys, "executable", str(executable))
    assert f"  {expected} -m tfvae.evaluate --run_dir=run" in next_commands(Path("run"), Path("out/run/1"))


def test_what_is_wrong_with_a_run_stands_below_its_figures():
    lines = table({"of": OF, "test": SUMMARY, "warnings": ["no active unit", "overfitting"]}).splitlines()
    assert lines[-2:] == ["warning: no active unit", "warning: overfitting"]
    assert lines[:-2] == table({"of": OF, "test": SUMMARY, "warnings": []}).splitlines()
    assert lines[:-2] == table({"of": OF, "test": SUMMARY}).splitlines()  # of an older run
