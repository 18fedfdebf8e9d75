"""The benchmark of colour images: its crops have no pixel in common, its table is that of the file, cifar10 is told."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from tfvae.errors import InputError


@pytest.fixture
def colour(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    return importlib.import_module("benchmarks.colour")


def test_training_and_test_crops_have_no_pixel_in_common(colour, monkeypatch):
    """Of photographs in which each pixel has a colour of its own."""
    places = np.arange(2 * 130 * 200)
    colours = np.stack([places % 256, places // 256, places * 0], axis=-1).astype(np.uint8)
    images = type("Photographs", (), {"images": list(colours.reshape(2, 130, 200, 3))})
    monkeypatch.setattr(colour.photographs, "load_sample_images", images)
    made = colour.photographs.make_crops(60, 30)
    assert made.train.shape == (60, 32, 32, 3) and made.test.shape == (30, 32, 32, 3)
    train, test = ({tuple(pixel) for pixel in part.reshape(-1, 3)} for part in (made.train, made.test))
    assert not train & test
    assert (made.train_pixels, made.test_pixels) == (len(train), len(test))


def test_figures_are_bits_a_value_and_seconds_of_training(colour):
    test = {"bits_per_dimension": 5.0, "log_px_standard_error": 3072 * np.log(2), "squared_error": 0.01, "kl": 40.0}
    results = {"test": test, "train": {"epochs": 3, "images_per_second": 50.0}}
    found = colour.figures_of(results, 100, 7)
    assert found["bits_standard_error"] == pytest.approx(1) and found["rmse"] == pytest.approx(0.1)
    assert found["seconds"] == 6 and found["weights"] == 7


def test_the_page_shows_what_was_measured(colour):
    measured = json.loads(colour.FILE.read_text())
    assert f"<!-- colour -->\n{colour.table(measured)}\n<!-- end -->" in (colour.page.DOCS / "results.md").read_text()
    every_model = len(colour.NETWORKS) * len(colour.LIKELIHOODS) - len(colour.LEFT_OUT)
    assert len(measured[f"photographs, {colour.EPOCHS} epochs"]["models"]) == every_model


def test_a_likelihood_s_name_chooses_its_models(colour):
    chosen = [(network, settings["likelihood"]) for network, _, settings in colour.models_of(("categorical",))]
    assert chosen == [("conv", "categorical"), ("resnet", "categorical")]
    with pytest.raises(InputError, match="^poisson: must be one of gaussian, discretized_logistic, logistic_mixture"):
        colour.main({"likelihoods": ("poisson",)})


def test_without_cifar10_it_says_so_and_trains_nothing(colour, tmp_path, capsys):
    colour.main({"dataset": "cifar10", "data_dir": str(tmp_path)})
    assert capsys.readouterr().out == "cifar10: left out: it is in neither --data_dir nor TFDS_DATA_DIR\n"
