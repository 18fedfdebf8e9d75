"""`Config`: its defaults, what a config made in Python is refused for, and the names of runs."""

import dataclasses
from pathlib import Path

import pytest
from settings import FREE, LINKED, OTHER

from tfvae.config import Config
from tfvae.errors import InputError

DEFAULTS = {
    "dataset": "auto",
    "data_dir": None,
    "binarize": "none",
    "validation_examples": None,
    "network": "mlp",
    "hidden_units": (512,),
    "activation": "relu",
    "dtype": "float32",
    "latent_dim": 2,
    "likelihood": "bernoulli",
    "beta": 1.0,
    "num_samples": 1,
    "batch_size": 128,
    "epochs": None,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
    "clip_norm": 0.0,
    "eval_samples": 200,
    "strategy": "auto",
    "logical_cpus": 1,
    "memory_gb": None,
    "export_dir": "saved_models",
    "run_dir": None,
}


def test_defaults_are_the_documented_ones():
    assert {name: getattr(Config(), name) for name in DEFAULTS} == DEFAULTS


def test_a_config_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().latent_dim = 3


def test_the_table_of_other_values_has_every_field():
    assert set(OTHER) | LINKED == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", "2"),
        ("latent_dim", 2.0),
        ("latent_dim", True),
        ("latent_dim", None),
        ("hidden_units", [512]),
        ("hidden_units", 512),
        ("hidden_units", (512.0,)),
        ("filters", ()),
        ("beta", float("nan")),
        ("beta", "1"),
        ("network", None),
        ("dataset", None),
        ("dataset", "a\nb"),
        ("run_dir", Path("x")),
        ("lr_schedule", None),
        ("lr_schedule", 3),
        ("export_dir", None),
    ],
)
def test_a_config_made_in_python_is_checked(name, value):
    with pytest.raises(InputError, match=f"^--{name}=(?s:.*): must be "):
        Config(**{name: value})


@pytest.mark.parametrize("name", OTHER)
def test_name_differs_for_other_settings_alone(name):
    same = Config(**{name: OTHER[name][1]}).name() == Config().name()
    assert same == (name in FREE)
    assert (name in Config().settings()) == (name not in FREE)


def test_name_is_one_for_one_config_and_fits_a_path():
    assert Config(latent_dim=7).name() == Config(latent_dim=7).name()
    assert Config(beta=2).name() == Config(beta=2.0).name()
    name = Config(dataset="/my data/faces (old).npz", latent_dim=7).name()
    assert name.startswith("faces_old_-512-7-") or name.startswith("faces_old-512-7-"), name
    assert not set(name) & set("/ ()")


def test_name_of_a_file_is_not_that_of_a_data_set():
    assert Config(dataset="/a/digits.npy").name() != Config(dataset="digits").name()
    assert Config(dataset="/a/x.npy").name() != Config(dataset="/b/x.npy").name()
    assert Config(network="conv", latent_dim=3).name().startswith("auto-conv-3-")
