"""Real tables by the command: probabilistic PCA's figure in the table's own units, and runs that stop and go on."""

import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.datasets import load_breast_cancer, load_wine

import tfvae
from tfvae.config.flagfile import read_config
from tfvae.data import dataset as data

TABLES = {"cancer": load_breast_cancer(), "wine": load_wine()}
LINEAR = ["--hidden_units=", "--posterior=full", "--sigma=optimal", "--learning_rate=0.02", "--lr_schedule=cosine"]


def write_table(folder, name, ending, missing=0.0):
    table = TABLES[name]
    values = table.data.copy()
    values[np.random.default_rng(0).random(values.shape) < missing] = np.nan
    frame = pd.DataFrame(values, columns=table.feature_names)
    frame["kind"] = table.target_names[table.target]
    path = folder / f"{name}{ending}"
    if ending == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    return path


def command(folder, run, *flags):
    directories = [f"--run_dir={folder / run}", f"--export_dir={folder / 'models'}"]
    return [sys.executable, "-m", "tfvae.train", *flags, *directories]


def train(folder, run, *flags):
    """Trains by the command; the results."""
    subprocess.run(command(folder, run, *flags), check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / run / "results.json").read_text())


def log_density_of_probabilistic_pca(train_rows, test_rows, latents):
    """Of test rows in their own units; fitted to the training rows less their mean over their deviation (eq. 7, 8)."""
    mean, stddev = train_rows.mean(axis=0), train_rows.std(axis=0)
    covariance = np.cov(((train_rows - mean) / stddev).T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    left = values[:-latents].mean()
    directions = vectors[:, -latents:]
    fitted = directions @ np.diag(values[-latents:] - left) @ directions.T + left * np.eye(len(covariance))
    scaled = (test_rows - mean) / stddev
    return scipy.stats.multivariate_normal.logpdf(scaled, np.zeros(len(mean)), fitted) - np.log(stddev).sum()


@pytest.mark.parametrize(
    ("name", "ending", "rows"),
    [
        pytest.param("cancer", ".csv", 455, marks=pytest.mark.nightly),
        pytest.param("wine", ".parquet", 142, marks=pytest.mark.slow),
    ],
)
def test_a_linear_model_s_figures_are_those_of_probabilistic_pca_in_the_table_s_units(tmp_path, name, ending, rows):
    path = write_table(tmp_path, name, ending)
    flags = [f"--dataset={path}", "--label_column=kind", f"--batch_size={rows}", "--epochs=2000", "--eval_samples=2000"]
    results = train(tmp_path, "run", *flags, *LINEAR)
    dataset = data.load(read_config(tmp_path / "run"))
    assert len(dataset.train.images) == rows  # a step is of all of them
    parts = [part.array[:, 0, 0].astype(np.float64) for part in (dataset.train, dataset.test)]
    exact = log_density_of_probabilistic_pca(*parts, latents=2).mean()
    print(name, "log p(x) of the test rows", results["test"]["log_px"], "probabilistic PCA", exact)
    assert abs(results["test"]["log_px"] - exact) < 0.05
    assert results["of"]["units"] == "nats per row"


@pytest.mark.nightly
@pytest.mark.parametrize("source", ["table with missing values", "folder of images"])
def test_a_run_that_stops_goes_on_to_the_same_bits_and_two_replicas_agree(tmp_path, source):
    if source == "folder of images":
        path = write_images(tmp_path / "photos")
        flags = [f"--dataset={path}", "--image_size=8,10", "--filters=2,3", "--hidden_units=4", "--batch_size=8"]
        flags += ["--epochs=60"]
    else:
        path = write_table(tmp_path, "wine", ".csv", missing=0.1)
        flags = [f"--dataset={path}", "--label_column=kind", "--missing=allow", "--batch_size=16", "--epochs=300"]
    flags += ["--eval_samples=20", "--validation_examples=10"]
    unbroken = train(tmp_path, "unbroken", *flags)
    stopped = subprocess.Popen(command(tmp_path, "stopped", *flags), stdout=subprocess.PIPE, text=True)
    for line in stopped.stdout:
        if line.startswith("epoch "):
            stopped.send_signal(signal.SIGTERM)
            break
    stopped.communicate()
    assert stopped.returncode in (143, 0)
    again = train(tmp_path, "stopped", *flags)
    assert again["test"] == unbroken["test"] and again["fingerprint"] == unbroken["fingerprint"]
    replicas = train(tmp_path, "replicas", *flags, "--logical_cpus=2", "--epochs=4")
    one = train(tmp_path, "one", *flags, "--epochs=4")
    for figure in ("elbo", "log_px", "kl"):
        assert replicas["test"][figure] == pytest.approx(one["test"][figure], rel=1e-4, abs=1e-4)
    run = tfvae.load(tmp_path / "stopped")
    assert run.evaluate()["test"] == pytest.approx(again["test"], rel=1e-6)
    accuracy = run.explore("features")["rows"]["posterior means"]["5-NN"]
    assert 0 <= accuracy <= 1


def write_images(folder):
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 256, (16 + i % 3, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}{('.png', '.jpg')[i % 2]}")
    return folder
