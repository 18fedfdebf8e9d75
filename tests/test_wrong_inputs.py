"""What the public methods refuse: one line, which names the argument and what is allowed, and nothing written."""

import contextlib
import io
import os

import numpy as np
import pytest

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402

import tfvae  # noqa: E402
from tfvae import Config, InputError  # noqa: E402
from tfvae.serving import verify  # noqa: E402

IMAGES = np.random.default_rng(0).integers(0, 256, (100, 4, 5), dtype=np.uint8)
SETTINGS = {"network": "conv", "filters": (2,), "epochs": 1, "hidden_units": (4,), "batch_size": 20, "eval_samples": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = Config(**SETTINGS, run_dir=str(folder / "run"), export_dir=str(folder / "export"))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(verify, "check", lambda folder: None)
        return tfvae.fit(config, IMAGES)


def fit(*args, **options):
    return tfvae.fit(Config(**SETTINGS, run_dir="run"), *args, **options)


WRONG = {
    "a shape": (lambda run: run.encode(IMAGES[:, :3]), r"x: must be images \[N, 4, 5, 1\], and has the shape"),
    "one image": (lambda run: run.encode(IMAGES[0]), r"x: .* is a single one: take x\[None\]"),
    "colour": (lambda run: run.score(np.zeros((2, 4, 5, 3))), r"x: .* and has the shape \[2, 4, 5, 3\]"),
    "floats above 1": (lambda run: run.encode(IMAGES * 1.5), r"x: must be fractions in \[0, 1\], or whole numbers"),
    "negative": (lambda run: run.reconstruct(IMAGES.astype(int) - 1), "x: must be whole numbers from 0 to 255"),
    "NaN": (lambda run: run.score(np.full((1, 4, 5), np.nan)), "x: must be fractions .* no finite float64"),
    "text": (lambda run: run.encode("digits"), r"x: must be images .* the shape \[\]"),
    "nothing": (lambda run: run.encode(IMAGES[:0]), r"x: .* the shape \[0, 4, 5\]"),
    "None": (lambda run: run.encode(None), "x: must be an array, and is a NoneType"),
    "uneven lists": (lambda run: run.encode([[1], [2, 3]]), "x: must be an array, and is a list"),
    "no sample": (lambda run: run.score(IMAGES, samples=0), "samples=0: must be a whole number from 1"),
    "half a sample": (lambda run: run.score(IMAGES, samples=2.5), "samples=2.5: must be a whole number"),
    "no n": (lambda run: run.sample(0), "n=0: must be a whole number from 1"),
    "a seed": (lambda run: run.sample(1, seed=-1), "seed=-1: must be a whole number from 0"),
    "a task": (lambda run: run.explore("smile"), "task='smile': must be one of samples, "),
    "labels": (lambda run: run.explore("features"), "labels"),
    "an application": (
        lambda run: run.apply("latent", "z.csv"),
        "what='latent': must be one of .* did you mean 'latents'",
    ),
    "an option": (
        lambda run: run.apply("scores", "s.csv", treshold_quantile=0.9),
        "treshold_quantile: must not be given: did you mean threshold_quantile",
    ),
    "no option": (lambda run: run.apply("scores", "s.csv", epochs=3), "epochs: must not be given: apply takes what, "),
    "an output": (lambda run: run.apply("latents", "z.txt"), "output=z.txt: must end in .npz, .png, .csv"),
    "an application's arrays": (lambda run: run.apply("latents", "z.npz"), "dataset=arrays"),
    "other arrays": (lambda run: run.evaluate(IMAGES[1:]), "must be the images that"),
    "test alone": (lambda run: run.evaluate(test=IMAGES), "test: must not be given without images"),
    "no directory": (lambda run: tfvae.load("nowhere"), "run_dir=nowhere: must be the directory of a run"),
    "a data set and images": (
        lambda run: tfvae.fit(Config(dataset="digits"), IMAGES),
        "images: must not be given beside .*dataset=digits",
    ),
    "labels alone": (lambda run: fit(labels=[1, 2]), "labels: must not be given without images"),
    "too few": (lambda run: fit(IMAGES[:5]), "at least 10 images"),
    "a large batch": (lambda run: fit(IMAGES[:20]), "batch_size=20: must be at most"),
    "endless": (lambda run: fit(tf.data.Dataset.from_tensor_slices(IMAGES).repeat()), "images: must be a finite"),
    "a NaN": (lambda run: fit(np.where(IMAGES == 7, np.nan, 0.5)), r"images: must be .* at \[\d+, \d, \d\], is nan"),
    "channels first": (lambda run: fit(np.zeros((20, 3, 9, 8))), r"images: .*, channels first: take its transpose\("),
    "nowhere to export": (
        lambda run: tfvae.fit(Config(**SETTINGS, run_dir="run", export_dir="/proc/nope"), IMAGES),
        "export_dir=/proc/nope: must be a directory that can be written, and /proc can't",
    ),
    "strings": (lambda run: fit(np.full((20, 4, 5), "a")), "images: must be images .* <U1"),
    "short labels": (
        lambda run: fit(IMAGES, labels=[1]),
        "labels: must be a whole number or a word for each of the 100 examples",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_one_line_and_nothing_written(run, tmp_path, monkeypatch, capsys, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as info:
        call(run)
    assert "\n" not in str(info.value)
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().out.count("\n") <= 1  # what data are taken
