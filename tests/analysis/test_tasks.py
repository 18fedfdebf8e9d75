"""The tasks of `tfvae.explore`: what they write and print on a small run, and what they refuse."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfvae import Config, data, trained
from tfvae.analysis import tasks
from tfvae.config import capabilities
from tfvae.core.making import make_vae
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError
from tfvae.explore import main


def test_each_task_of_the_command_is_there():
    assert list(tasks.TASKS) == list(capabilities.TASKS)


@pytest.mark.parametrize("task", ["samples", "interpolation", "traversal", "imputation", "features"])
def test_each_task_writes_its_picture_and_says_what_its_numbers_are_of(run_dir, capsys, task):
    main({"run_dir": str(run_dir), "task": task, "seed": 7})
    said, folder = capsys.readouterr().out, run_dir / "explore"
    of = "digits" if task == "samples" else "digits, 180 test images, grey values"  # samples need no images
    assert f"/{task}.png: {of}, seed 7: " in said
    assert (folder / f"{task}.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((folder / f"{task}.json").read_text())
    assert written["of"]["seed"] == 7
    for name, row in written["rows"].items():
        assert name in said and all(f"{value:.4f}" in said for value in row.values())
    if task == "samples":
        assert np.load(folder / "samples.npy").shape == (100, 8, 8, 1)
    if task == "imputation":
        for half in ("lower half", "random half"):
            vae, means = (written["rows"][f"{half}: {way}"] for way in ("VAE", "means"))
            assert vae["RMSE"] < means["RMSE"]
            assert vae["log p(missing | observed)"] > means["log p(missing | observed)"] + 1


@pytest.fixture(scope="module")
def digits():
    return data.load(Config(dataset="digits"))


@pytest.fixture
def config(tmp_path):
    return Config(dataset="digits", latent_dim=2, hidden_units=(4,), eval_samples=2, run_dir=str(tmp_path))


@pytest.mark.parametrize("task", ["features", "fine_tuning"])
def test_a_data_set_without_labels_is_refused_in_one_line(task, config, digits, tmp_path):
    bare = Dataset(*(Split(split.images, None) for split in digits))
    with pytest.raises(InputError, match=f"^task={task}: must be of a data set that has labels") as caught:
        tasks.explore(config, make_vae(config, digits.image_shape), 1, bare, task)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("table, name, field", [
    ("LIKELIHOODS", "bernoulli", "element_log_prob"), ("POSTERIORS", "diagonal", "log_prob_of_any_z"),
])  # fmt: skip
def test_imputation_is_refused_where_the_model_lacks_a_density(table, name, field, config, digits, monkeypatch):
    row = getattr(capabilities, table)[name]
    monkeypatch.setitem(getattr(capabilities, table), name, row._replace(**{field: False}))
    with pytest.raises(InputError, match=f"^task=imputation: must not be of a {name} ") as caught:
        trained.explore(config, "imputation")
    assert "\n" not in str(caught.value)


def test_a_classifier_sees_training_pixels_as_binary_as_the_vae_did(config, digits, monkeypatch):
    seen = []

    def features(vae, train, test):
        seen.append(train)
        return {"a row": {"a column": 0.5}}

    monkeypatch.setattr(tasks.features, "features", features)
    vae = make_vae(config, digits.image_shape)
    for binarize in ("none", "stochastic"):
        tasks.explore(dataclasses.replace(config, binarize=binarize), vae, 1, digits, "features")
    grey, binary = (train.images for train in seen)
    np.testing.assert_array_equal(grey, digits.train.images)
    assert set(np.unique(binary)) == {0, 1}
    errors = np.sqrt((grey * (1 - grey)).mean(axis=0) / len(grey))
    assert (np.abs((binary - grey).mean(axis=0)) <= 5 * errors).all()


@pytest.mark.slow
def test_the_command(run_dir):
    command = [sys.executable, "-m", "tfvae.explore", f"--run_dir={run_dir}", "--task=fine_tuning"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert "100 labels" in done.stdout and "from scratch" in done.stdout
    assert (run_dir / "explore/fine_tuning.png").is_file()
