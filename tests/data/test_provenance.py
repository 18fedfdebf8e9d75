"""What a figure is a figure of, against what it says."""

import numpy as np
import pytest

from tfvae.config import Config
from tfvae.data.provenance import describe_pixels, likelihood_advice, provenance

BINARY = np.uint8([[0, 255], [255, 0], [0, 0]]).reshape(3, 2, 1, 1)
GREY = np.uint8([[0, 255], [255, 1], [0, 0]]).reshape(3, 2, 1, 1)


def colours(channels):
    return np.random.default_rng(0).integers(0, 256, (4, 3, 2, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("options", "images", "words"),
    [
        ({}, BINARY, "binary pixels as they come"),
        ({}, np.float32([0, 1]).reshape(2, 1, 1, 1), "binary pixels as they come"),
        ({}, GREY, "grey values"),
        ({}, np.uint8([0, 1]).reshape(2, 1, 1, 1), "grey values"),  # 1 of 255
        ({}, np.float32([0, 0.5]).reshape(2, 1, 1, 1), "grey values"),
        ({}, colours(3), "colour values"),
        ({}, colours(4), "colour values"),  # one of them is how opaque it is
        ({}, colours(2), "values"),
        ({}, colours(5), "values"),
        ({}, colours(3) // 128 * np.uint8(255), "binary pixels as they come"),
        ({"binarize": "threshold"}, BINARY, "pixels 1 above 0.5"),
        ({"binarize": "stochastic"}, BINARY, "pixels drawn with their grey value as the probability"),
        ({"binarize": "stochastic"}, GREY, "pixels drawn with their grey value as the probability"),
        ({"binarize": "stochastic"}, colours(3), "pixels drawn with their colour value as the probability"),
        ({"binarize": "threshold"}, colours(3), "pixels 1 above 0.5"),
        ({"dequantize": True, "likelihood": "gaussian"}, GREY, "8-bit pixels with uniform noise"),
        ({"likelihood": "logistic_mixture"}, colours(3), "colour values of 256 levels"),
    ],
)
def test_pixels_are_named(options, images, words):
    assert describe_pixels(Config(**options).as_usual(), images) == words


ADVICE = (
    "advice: of colour values --likelihood=bernoulli is a cross-entropy and no density; "
    "--likelihood=gaussian --sigma=learned gives log densities, discretized_logistic probabilities of 8-bit pixels "
    "(docs/models.md)"
)


@pytest.mark.parametrize(
    ("options", "images", "advice"),
    [
        ({}, colours(3), ADVICE),
        ({}, colours(4) / np.float32(255), ADVICE),
        ({}, GREY, None),
        ({}, colours(2), None),
        ({}, colours(3) // 128 * np.uint8(255), None),  # 0 or 1, which a Bernoulli is of
        ({"binarize": "stochastic"}, colours(3), None),
        ({"binarize": "threshold"}, colours(3), None),
        ({"likelihood": "gaussian"}, colours(3), None),
    ],
)
def test_a_bernoulli_likelihood_of_colours_is_advised_against(options, images, advice):
    assert likelihood_advice(Config(**options).as_usual(), images) == advice


def test_provenance_is_of_the_settings_and_the_images():
    config = Config(
        dataset="digits", posterior="full", prior="mixture", objective="iwae", num_samples=3, seed=7
    ).as_usual()
    assert provenance(config, GREY, samples=200) == {
        "dataset": "digits",
        "split": "test",
        "images": 3,
        "examples": "images",
        "pixels": "grey values",
        "likelihood": "bernoulli",
        "posterior": "full",
        "prior": "mixture",
        "objective": "iwae",
        "kl": "sampled",
        "samples": 200,
        "seed": 7,
        "units": "nats per image",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"likelihood": "bernoulli", "sigma": 0.25}, "bernoulli"),
        ({"likelihood": "gaussian", "sigma": 0.25}, "gaussian, sigma 0.25"),
        ({"likelihood": "gaussian", "sigma": "per_pixel"}, "gaussian, sigma per_pixel"),
    ],
)
def test_sigma_is_named_for_a_likelihood_that_has_one(options, words):
    assert provenance(Config(**options).as_usual(), GREY, 1)["likelihood"] == words


@pytest.mark.parametrize(
    ("options", "once"),
    [
        ({}, False),
        ({"binarize": "threshold"}, False),
        ({"binarize": "stochastic"}, True),
        ({"dequantize": True, "likelihood": "gaussian"}, True),
    ],
)
def test_test_images_that_are_drawn_are_drawn_once(options, once):
    assert provenance(Config(**options).as_usual(), GREY, 1)["pixels"].endswith(" (once, by a fixed seed)") == once


@pytest.mark.parametrize(("kl", "word"), [("auto", "closed"), ("analytic", "closed"), ("monte_carlo", "sampled")])
def test_the_kl_is_named(kl, word):
    assert provenance(Config(kl=kl).as_usual(), GREY, 1)["kl"] == word
