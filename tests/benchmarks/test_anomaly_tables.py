"""The benchmark of anomalies: its figures by hand, and the page's tables by the file of what was measured."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from tfvae.scores import Scores


@pytest.fixture
def anomalies(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    return importlib.import_module("benchmarks.anomalies")


def scores_of(log_px, complexity, has_code=True):
    log_px, complexity = np.array(log_px, float), np.array(complexity, float)
    score = -log_px - complexity
    return Scores(log_px, None, None, log_px, None, -log_px, complexity, score if has_code else None)


def test_figures_are_of_usual_and_anomalous_images_by_each_score(anomalies):
    usual, flat = scores_of([1, 2, 3, 4], [50, 60, 70, 80]), scores_of([9, 5, 0.5], [1, 2, 3])
    found = anomalies.figures(usual, flat)
    assert found["auroc"] == {
        "elbo": pytest.approx(1 / 3),  # the last of the flat ones is below all usual ones, the others above
        "log_px": pytest.approx(1 / 3),
        "squared_error": pytest.approx(1 / 3),
        "complexity_score": 1,
    }
    assert found["is_code"] and found["log_px"] == [2.5, 5] and found["complexity"] == [65, 2]


def test_a_cell_is_a_mean_over_seeds_in_brackets_where_there_is_no_such_score(anomalies):
    of_seeds = [{"auroc": {"complexity_score": value}, "is_code": True} for value in (0.5, 0.6, 0.7)]
    assert anomalies.auroc_cell(of_seeds, "complexity_score") == "0.600 ± 0.058"  # 0.1 / sqrt(3)
    for of_seed in of_seeds:
        of_seed["is_code"] = False
    assert anomalies.auroc_cell(of_seeds, "complexity_score") == "(0.600 ± 0.058)"


def test_flat_images_are_one_of_each_level(anomalies):
    images = anomalies.flat_images((4, 5, 3))
    assert images.shape == (256, 4, 5, 3) and images.dtype == np.uint8
    assert (images == np.arange(256)[:, None, None, None]).all()


def test_the_page_shows_what_was_measured_and_that_flat_images_do_not_fool_the_score(anomalies):
    measured = json.loads(anomalies.FILE.read_text())
    page = (anomalies.page.DOCS / "anomalies.md").read_text()
    assert f"<!-- aurocs -->\n{anomalies.auroc_table(measured)}\n<!-- end -->" in page
    assert f"<!-- medians -->\n{anomalies.median_table(measured)}\n<!-- end -->" in page
    for of_seed in measured["flat grey crops"]["gaussian"]:
        assert of_seed["auroc"]["complexity_score"] > 0.99 > 0.5 > of_seed["auroc"]["log_px"]
        usual, flat = of_seed["log_px"]
        assert flat > usual  # the trap
