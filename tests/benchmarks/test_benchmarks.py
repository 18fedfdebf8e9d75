"""The theory's two demonstrations: the bound that touches, and the estimators' variances; the page on speed."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bound_touches_where_q_is_the_exact_posterior_and_lies_above_elsewhere():
    figure = load("bound_over_theta")
    for at in (0.5, 1.5):
        q = figure.posterior(at)
        np.testing.assert_allclose(figure.minus_elbo(at, q), figure.minus_log_px(at), rtol=1e-5)
        assert all(figure.minus_elbo(t, q) > figure.minus_log_px(t) + 1e-3 for t in (at - 0.3, at + 0.3))


def test_the_page_on_speed_shows_the_seconds_that_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    speed = load("speed")
    measured = json.loads((speed.DOCS / "speed.json").read_text())
    assert speed.table(measured) in (speed.DOCS / "performance.md").read_text()


@pytest.mark.nightly
def test_on_mnist_the_score_function_s_variance_is_at_least_ten_times_the_reparameterized_one_s():
    if not (Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory with mnist")
    found = load("gradient_variance").compare("mnist")
    ours = np.array(found["reparameterized"])
    assert (np.array(found["score function"]) > 10 * ours).all()
    assert (np.array(found["score function, leave-one-out"])[1:] > 10 * ours[1:]).all()
    np.testing.assert_allclose(ours[0] / ours[3], 8, rtol=0.3)  # m samples divide it by m
