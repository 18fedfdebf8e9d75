"""A conditional run from Python: what its methods do with labels, and what they refuse; the tasks of `explore`."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import tensorflow as tf  # noqa: E402
from untrained import make_run  # noqa: E402

import tfvae  # noqa: E402
from tfvae import Config, InputError  # noqa: E402
from tfvae.analysis import latents  # noqa: E402
from tfvae.analysis.conditional import Conditioner  # noqa: E402
from tfvae.config import capabilities  # noqa: E402
from tfvae.data import dataset as datasets  # noqa: E402
from tfvae.data import memory  # noqa: E402

SLOW = pytest.mark.nightly  # what TensorFlow takes seconds to trace

NAMES = np.array(["zero", "one", "two"])
IS_FEW = load_digits().target < 3
DIGITS = (load_digits().images[IS_FEW] * 15).astype(np.uint8)[:300]
LABELS = NAMES[load_digits().target[IS_FEW][:300]]  # in order: one, two, zero
PLACES = np.searchsorted(np.sort(NAMES), LABELS)
SETTINGS = {"network": "conv", "filters": (4,), "hidden_units": (16,), "eval_samples": 5}


def quietly(function, *args, **options):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An untrained run of arrays, which are handed in again where they are needed."""
    folder = tmp_path_factory.mktemp("conditional") / "run"
    make_run(folder, "arrays", memory.load(DIGITS, None, None, LABELS, 1e9), condition="label", **SETTINGS)
    return tfvae.load(folder)


def test_each_method_takes_labels_by_name_and_gives_them_to_the_model(run):
    assert run.vae.classes == ("one", "two", "zero")
    x, y = (DIGITS[:20, ..., None] / 255).astype("f"), PLACES[:20].astype(np.int32)
    q = run.vae.given(y).encode(x)
    np.testing.assert_allclose(run.encode(DIGITS[:20], LABELS[:20]).mean, q.mean, atol=1e-5)
    means = run.vae.given(y).decode(q.mean).mean
    np.testing.assert_allclose(run.reconstruct(DIGITS[:20], list(LABELS[:20])), means, atol=1e-5)
    scores, wrong = (run.score(DIGITS[:20], 2, labels=labels).log_px for labels in (LABELS[:20], "two"))
    np.testing.assert_array_equal((scores == wrong), y == 1)
    np.testing.assert_array_equal(wrong, run.score(DIGITS[:20], 2, ["two"] * 20).log_px)


def test_samples_are_of_their_label_at_the_same_z(run):
    one, two = run.sample(50, 3, "one"), run.sample(50, 3, "two")
    z = latents.sample_latents(run.vae, 50, 3)
    np.testing.assert_allclose(one, run.vae.given(0).decode(z).mean, atol=1e-5)
    np.testing.assert_array_equal(run.sample(2, 3, ["two", "one"])[0], two[0])


@SLOW
def test_an_evaluation_is_of_the_runs_own_labels_and_says_so(run):
    evaluated = quietly(run.evaluate, DIGITS, labels=LABELS)
    assert evaluated["of"]["condition"] == "label"
    test = datasets.load(run.config, memory.load(DIGITS, None, None, LABELS, 1e9)).test
    scores = run.score(test.array, labels=test.shown_labels)
    assert evaluated["test"]["log_px"] == pytest.approx(scores.log_px.mean(), rel=1e-5)
    with pytest.raises(InputError, match="are others, or in another order, or have other labels"):
        run.evaluate(DIGITS, labels=LABELS[::-1])
    with pytest.raises(InputError, match="condition=label: must be none .*: its train part has no labels: hand in"):
        run.evaluate(DIGITS)


@pytest.mark.parametrize(
    "task", [pytest.param(name, marks=SLOW if name in ("samples", "imputation") else ()) for name in capabilities.TASKS]
)
def test_a_task_takes_the_labels_or_is_refused(run, task):
    if not capabilities.TASKS[task].takes_condition:
        with pytest.raises(InputError, match=f"^task={task}: must not be of a conditional run, whose labels it does"):
            run.explore(task, DIGITS, labels=LABELS)
        return
    results = quietly(run.explore, task, DIGITS, labels=LABELS)
    assert results["picture"].is_file()
    if task == "samples":
        assert "of each class y, the same z from the prior: one, two, zero" in results["of"]["what"]
        drawn = np.load(results["picture"].with_suffix(".npy"))
        assert drawn.shape == (30, 8, 8, 1)
        np.testing.assert_allclose(drawn[10:20], run.sample(10, run.config.seed, "two"), atol=1e-6)
    assert json.loads(results["picture"].with_suffix(".json").read_text())["of"] == results["of"]


@SLOW
def test_missing_pixels_are_filled_in_given_the_label(run):
    """Labels of all images are one label, where it is given as the only one that the model has."""
    x = (DIGITS[:6, ..., None] / 255).astype("f")
    observed = np.ones_like(x)
    observed[:, 4:] = 0
    y = np.array([0, 1, 1, 2, 0, 1], np.int32)
    known = Conditioner(run.vae, 40, 0).condition(x, observed, draws=1, y=y)
    for place in range(3):
        alone = Conditioner(run.vae.given(tf.constant(place)), 40, 0).condition(x, observed, draws=1)
        of_place = known.of_images(y == place)
        np.testing.assert_allclose(of_place.mean, alone.mean[y == place], atol=1e-5)
        np.testing.assert_allclose(of_place.log_observed, alone.log_observed[y == place], rtol=1e-4)
    is_observed = observed[..., 0] > 0
    imputed = quietly(run.impute, DIGITS[:6], is_observed, samples=40, labels=LABELS[:6])
    np.testing.assert_allclose(imputed.mean[is_observed], x[is_observed], atol=1e-6)


REFUSED = {
    "encode": (lambda run: run.encode(DIGITS), r"labels: must be given: the run is conditional .* of one, two, zero$"),
    "score": (lambda run: run.score(DIGITS), "labels: must be given: the run is conditional"),
    "impute": (lambda run: run.impute(DIGITS), "labels: must be given: the run is conditional"),
    "sample": (lambda run: run.sample(3), "label: must be given: the run is conditional"),
    "a number": (
        lambda run: run.sample(3, label=2),
        "label: must be of the model's 3 classes, one, two, zero, and one is",
    ),
    "another": (lambda run: run.reconstruct(DIGITS[:2], ["one", "six"]), "labels: must be of .* and one is six"),
    "too few": (
        lambda run: run.encode(DIGITS[:3], ["one"]),
        "labels: must be a whole number or a word for each of the 3",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_missing_and_other_labels_are_refused_in_a_line(run, call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(run)
    assert "\n" not in str(caught.value)


def test_without_labels_no_conditional_run_begins(tmp_path):
    config = Config(condition="label", run_dir=tmp_path / "run", **SETTINGS)
    with pytest.raises(InputError, match="its train part has no labels"):
        tfvae.fit(config, DIGITS)
    with pytest.raises(InputError, match="^labels='none': must be 'auto' with condition='label'"):
        dataclasses.replace(config, labels="none")
    assert not (tmp_path / "run").exists()
