"""What is wrong with a run is told in a line each, and a good run is told nothing: made-up figures, and real runs."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trainers import make_trainer

from tfvae.config import Config
from tfvae.data import dataset as data
from tfvae.training import history
from tfvae.training.health import warnings

TEST = {"elbo": -70.0, "log_likelihood": -64.0, "kl": 6.0, "active_units": 2}
GAUSSIAN = {"likelihood": "gaussian", "sigma": "learned"}


def make_history(validation, train=None, error=1.0, interval=1):
    """That of epochs of 10 steps with these ELBOs; a validation every `interval` of them."""
    epochs = range(1, len(validation) * interval + 1)
    at = [epoch // interval - 1 if epoch % interval == 0 else None for epoch in epochs]
    train = train or [-100.0 + i for i in range(len(validation))]
    return {
        "epoch": list(epochs),
        "step": [10 * epoch for epoch in epochs],
        "elbo": [-999.0 if i is None else train[i] for i in at],
        "val_elbo": [None if i is None else validation[i] for i in at],
        "val_elbo_standard_error": [None if i is None else error for i in at],
    }


GOOD = make_history([-90, -80, -75, -72, -71, -70.5])
FALL = [-90, -80, -75, -76, -84, -86, -88]  # means over three: -77 at best, and -86 at last
FALLING = make_history(FALL)


def told(figures=None, history=GOOD, step=10**6, images=180, examples="images", **settings):
    results = {"test": {**TEST, **(figures or {})}, "of": {"images": images, "examples": examples}}
    return warnings(Config(**settings), results, history, step)


def test_a_good_run_is_told_nothing():
    assert told() == []
    assert told({"sigma": 0.05}, **GAUSSIAN) == []
    assert told({"active_units": 1, "kl": 100.0}) == []
    assert told(history={}) == told(history=make_history([])) == []


# No active unit.


def test_no_active_unit_is_told_with_the_ways_out():
    assert told({"active_units": 0, "kl": 0.012}) == [
        "no active unit: the posterior has collapsed (KL 0.01 nats), and z says nothing of x; what usually helps: "
        "longer training (--epochs), --kl_warmup_epochs, --free_bits or a smaller --beta"
    ]


@pytest.mark.parametrize(
    ("settings", "ways"),
    [
        ({"beta": 4.0}, "a smaller --beta, longer training (--epochs), --kl_warmup_epochs or --free_bits"),
        ({"beta": 0.0}, "longer training (--epochs)"),
        ({"kl_warmup_epochs": 5.0}, "longer training (--epochs), --free_bits or a smaller --beta"),
        ({"free_bits": 0.5}, "longer training (--epochs), --kl_warmup_epochs or a smaller --beta"),
        ({"posterior": "full"}, "longer training (--epochs), --kl_warmup_epochs or a smaller --beta"),
        ({"objective": "iwae", "num_samples": 5}, "longer training (--epochs)"),
    ],
)
def test_the_ways_out_go_with_the_run_s_settings(settings, ways):
    [line] = told({"active_units": 0, "kl": 0.01}, **settings)
    assert line.endswith(f"; what usually helps: {ways}")


def test_a_single_test_image_tells_nothing_of_units():
    assert told({"active_units": 0}, images=1) == []
    assert len(told({"active_units": 0}, images=2)) == 1


def test_an_autoencoder_is_told_nothing():
    nothing = {"elbo": None, "kl": None, "sigma": None, "active_units": 0}
    assert told(nothing, FALLING, objective="autoencoder") == []


# The KL of a unit.


def test_a_kl_of_more_than_100_nats_an_active_unit_is_told():
    [line] = told({"active_units": 2, "kl": 201.0}, **GAUSSIAN)
    assert line == (
        "KL 201.0 nats, 100.5 for each active unit: more than 100 are codes where p(z) draws none, so that samples "
        "look like no data; what usually helps: more latents (--latent_dim), a smaller --learning_rate, a larger "
        "--beta or a larger --sigma_floor"
    )
    assert told({"active_units": 2, "kl": 200.0}) == []
    assert told({"active_units": 2, "kl": 1e4}, beta=0.0) == []  # it costs nothing there
    [of_iwae] = told({"active_units": 2, "kl": 1e4}, objective="iwae")
    assert "--beta" not in of_iwae and "--sigma_floor" not in of_iwae


# The floor of sigma.


def test_a_learned_sigma_at_its_floor_is_told():
    [line] = told({"sigma": 0.0109}, **GAUSSIAN)
    assert line == (
        "sigma 0.0109 is at its floor (--sigma_floor=0.01): the log densities are as high as the floor lets them be, "
        "and say little of the model; what usually helps: a smaller --sigma_floor (where values are as exact as "
        "that), --dequantize (of 8-bit pixels) or a number as --sigma"
    )
    assert told({"sigma": 0.0111}, **GAUSSIAN) == []
    assert told({"sigma": 0.25}, **GAUSSIAN, sigma_floor=0.24)
    assert told({"sigma": 0.01}, likelihood="gaussian", sigma=0.01) == []  # it is no learned one
    [of_rows] = told({"sigma": 0.01}, examples="rows", **GAUSSIAN)
    assert "leaving out columns that are constant or follow from others" in of_rows and "pixels" not in of_rows
    [of_dequantized] = told({"sigma": 0.01}, dequantize=True, **GAUSSIAN)
    assert "--dequantize" not in of_dequantized


# Overfitting.


def test_a_fall_of_the_validation_elbo_while_training_s_rose_is_told_with_the_best_epoch():
    [line] = told(history=FALLING)
    assert line == (
        "overfitting: the validation ELBO was best at epoch 3 (-75.00 nats) and is -88.00 at epoch 7, while the train "
        "ELBO rose from -98.00 to -94.00; what usually helps: --keep_best, fewer --epochs, a smaller network "
        "(--hidden_units, --latent_dim) or more training data"
    )
    every_fourth = make_history(FALL, interval=4)
    [line] = told(history=every_fourth, network="conv")
    assert "best at epoch 12 " in line and "at epoch 28," in line and "--filters" in line


@pytest.mark.parametrize(
    "history",
    [
        make_history(FALL, error=3.0),  # 9 nats are three of its errors
        make_history([*FALL[:-2], -80, -75.5]),
        make_history(FALL, train=[-99.0, -98.0, -97.0, -98.0, -99.0, -100.0, -101.0]),
        make_history([-75, -90, -91, -92, -93]),
    ],
    ids=["noise", "recovered", "training fell too", "few validations"],
)
def test_what_may_be_noise_is_not_told(history):
    assert told(history=history) == []


@pytest.mark.parametrize("validations", [6, 20, 200])
def test_noise_of_the_standard_error_s_own_size_is_told_of_in_no_run_of_200(validations):
    """A model that has converged on its validation images, and still rises on those of training."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert told(history=make_history((-70 + rng.normal(size=validations)).tolist(), error=1.0)) == []


def test_epochs_after_the_weights_that_were_evaluated_do_not_count():
    assert told(history=FALLING, step=70) and told(history=FALLING, step=50) == []
    assert told(history=FALLING, step=30) == []  # the best ones, those of --keep_best
    [line] = told(history=FALLING, keep_best=True)  # whose last ones were evaluated
    assert "--keep_best" not in line


def test_a_history_without_standard_errors_tells_nothing():
    assert told(history={**FALLING, "val_elbo_standard_error": [None] * 7}) == []


# Real runs, on scikit-learn's digits.


def run_of(folder, train_images=1437, **settings):
    """The results of a run, and the run's directory."""
    digits = data.load(Config(dataset="digits"))
    train = digits.train._replace(images=digits.train.array[:train_images], labels=None)
    digits = dataclasses.replace(digits, train=train)
    usual = {"network": "mlp", "hidden_units": (64,), "latent_dim": 2, "batch_size": 100, "learning_rate": 3e-3}
    made = make_trainer(folder, digits, **{**usual, **settings})
    made.draw_pictures = lambda vae: iter(())
    return made.train(), made.run_dir


def text_of(run_dir):
    events = EventAccumulator(str(run_dir / "tensorboard" / "train"), size_guidance={"tensors": 0})
    events.Reload()
    if "warnings" not in events.Tags()["tensors"]:
        return None
    [event] = events.Tensors("warnings")
    return event.step, tf.make_ndarray(event.tensor_proto).item().decode()


@pytest.mark.usefixtures("without_xla")
@pytest.mark.parametrize(
    ("settings", "beginning"),
    [
        ({"epochs": 6, "beta": 20.0}, "no active unit: the posterior has collapsed (KL 0.0"),
        ({"epochs": 12, "sigma_floor": 0.3, **GAUSSIAN}, "sigma 0.3"),
        (
            {
                "epochs": 150,
                "validate_every": 5,
                "train_images": 100,
                "hidden_units": (256, 256),
                "latent_dim": 20,
                **GAUSSIAN,
            },
            "overfitting: the validation ELBO was best at epoch ",
        ),
        ({"epochs": 12}, None),
    ],
    ids=["collapsed", "at the floor", "overfitted", "good"],
)
def test_a_real_run_is_told_what_is_wrong_and_a_good_one_nothing(tmp_path, settings, beginning):
    results, run_dir = run_of(tmp_path, **settings)
    if beginning is None:
        assert results["warnings"] == [] and text_of(run_dir) is None
        return
    [line] = results["warnings"]
    assert line.startswith(beginning)
    step, text = text_of(run_dir)
    assert (step, text) == (results["train"]["steps"], f"- {line}")
    assert len(history.read(run_dir)["val_elbo_standard_error"]) == settings["epochs"]
