"""`Config`: its defaults, what a config made in Python is refused for, and the names of runs."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from settings import FREE, LINKED, OTHER

from tfvae.config import Config
from tfvae.config.config import FIELDS
from tfvae.config.flagfile import to_flagfile
from tfvae.config.run_name import run_name
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
    assert {name: getattr(Config().as_usual(), name) for name in DEFAULTS} == DEFAULTS


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
        ("hidden_units", 512),
        ("hidden_units", (512.0,)),
        ("filters", ()),
        ("beta", float("nan")),
        ("beta", "1"),
        ("dataset", None),
        ("dataset", "a\nb"),
        ("run_dir", Path("a\nb")),
        ("lr_schedule", None),
        ("lr_schedule", 3),
        ("export_dir", None),
    ],
)
def test_a_config_made_in_python_is_checked(name, value):
    with pytest.raises(InputError, match=f"^{name}=.*: must be "):
        Config(**{name: value})


ARRAY = np.zeros((60_000, 28))
SHOWN = [  # one of each kind: the value, and the message
    ("latent_dim", 0, "latent_dim=0: must be a whole number from 1 to 65536"),
    ("latent_dim", True, "latent_dim=True: must be a whole number from 1 to 65536"),
    ("latent_dim", np.True_, f"latent_dim={np.True_!r}: must be a whole number from 1 to 65536"),
    ("latent_dim", np.float64(2), f"latent_dim={np.float64(2)!r}: must be a whole number from 1 to 65536"),
    ("epochs", 0, "epochs=0: must be None or a whole number from 1 to 2147483647"),
    ("epochs", "auto", "epochs='auto': must be None or a whole number from 1 to 2147483647"),
    ("memory_gb", -1, "memory_gb=-1: must be None or a finite number not below 0"),
    ("beta", "1", "beta='1': must be a finite number not below 0"),
    ("beta", ARRAY, "beta=<ndarray of shape (60000, 28) and type float64>: must be a finite number not below 0"),
    ("learning_rate", np.float32(0), f"learning_rate={np.float32(0)!r}: must be a finite number above 0"),
    ("scale", "rnn", "scale='rnn': must be None or one of 'none', 'unit', 'standardize'"),
    (
        "scale",
        ARRAY,
        "scale=<ndarray of shape (60000, 28) and type float64>: must be None or one of 'none', 'unit', 'standardize'",
    ),
    ("activation", "x", "activation='x': must be one of 'relu', 'tanh', 'elu', 'gelu', 'softplus', 'silu'"),
    (
        "image_size",
        (64, 0),
        "image_size=(64, 0): must be None or a number of pixels from 1 to 4096, or (height, width)",
    ),
    ("channels", 2, "channels=2: must be None or one of 1, 3"),
    ("run_dir", "", "run_dir='': must be None or a directory"),
    ("export_dir", 3, "export_dir=3: must be a directory"),
    ("export_name", "a/b", "export_name='a/b': must be None or a name without / that doesn't begin with a dot"),
    ("export_name", "..", "export_name='..': must be None or a name without / that doesn't begin with a dot"),
    ("export_name", "", "export_name='': must be None or a name without / that doesn't begin with a dot"),
    ("data_dir", ARRAY, "data_dir=<ndarray of shape (60000, 28) and type float64>: must be None or a directory"),
    ("dequantize", 1, "dequantize=1: must be True or False"),
    ("dequantize", ARRAY > 0, "dequantize=<ndarray of shape (60000, 28) and type bool>: must be True or False"),
    ("hidden_units", (512, 0), "hidden_units=(512, 0): must be a tuple of whole numbers from 1 to 1048575, or ()"),
    ("hidden_units", [512, 2.0], "hidden_units=[512, 2.0]: must be a tuple of whole numbers from 1 to 1048575, or ()"),
    ("hidden_units", (True,), "hidden_units=(True,): must be a tuple of whole numbers from 1 to 1048575, or ()"),
    (
        "hidden_units",
        ARRAY,
        "hidden_units=<ndarray of shape (60000, 28) and type float64>: must be a tuple of whole numbers from 1 to "
        "1048575, or ()",
    ),
    ("filters", [], "filters=[]: must be None or a tuple of one or more whole numbers from 1 to 1048575"),
    ("sigma", "x", "sigma='x': must be None or 'learned', 'optimal', 'per_pixel', 'of_z' or a number from 1e-6 to 1e6"),
    (
        "sigma",
        ARRAY,
        "sigma=<ndarray of shape (60000, 28) and type float64>: must be None or 'learned', 'optimal', 'per_pixel', "
        "'of_z' or a number from 1e-6 to 1e6",
    ),
    (
        "lr_schedule",
        "linear",
        "lr_schedule='linear': must be 'constant', 'cosine', or 'EPOCH:FACTOR,...' with growing epochs",
    ),
    (
        "lr_schedule",
        ARRAY,
        "lr_schedule=<ndarray of shape (60000, 28) and type float64>: must be 'constant', 'cosine', or "
        "'EPOCH:FACTOR,...' with growing epochs",
    ),
    (
        "dataset",
        ARRAY,
        "dataset=<ndarray of shape (60000, 28) and type float64>: must be 'auto', 'digits', the name of a TFDS data "
        "set, a folder of images, or a .npy, .npz, .csv or .parquet file; tfvae.fit(config, images) takes arrays",
    ),
]


@pytest.mark.parametrize(("name", "value", "message"), SHOWN, ids=[message.split(":")[0] for *_, message in SHOWN])
def test_a_bad_value_is_shown_as_python_s_argument(name, value, message):
    with pytest.raises(InputError) as caught:
        Config(**{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_units", [ARRAY[:2]]),
        ("hidden_units", ARRAY[:2].tolist() * 1000),
        ("hidden_units", [[[[[0] * 100] * 100] * 100] * 100] * 100),  # 10^10 numbers, were they printed
        ("hidden_units", [7] * 99 + [0]),
        ("beta", 10**400),
        ("sigma", 10**400),
        ("dataset", "a\n" * 1000),
    ],
    ids=["array in a list", "rows", "deep", "many", "large number", "large sigma", "long text"],
)
def test_a_long_value_is_cut(name, value):
    with pytest.raises(InputError) as caught:
        Config(**{name: value})
    shown, _, allowed = str(caught.value).removeprefix(f"{name}=").rpartition(": must be ")
    assert 10 < len(shown) <= 60 and "..." in shown and "\n" not in str(caught.value)
    assert allowed == FIELDS[name].metadata["kind"].words_in_python()


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("hidden_units", [300, 100], (300, 100)),
        ("hidden_units", [], ()),
        ("hidden_units", (np.int64(300), np.uint8(100)), (300, 100)),
        ("filters", [np.int32(8)], (8,)),
        ("dataset", Path("images.npy"), "images.npy"),
        ("data_dir", Path("sets"), "sets"),
        ("run_dir", Path("runs") / "a", "runs/a"),
        ("export_dir", Path("~/exports"), os.path.expanduser("~/exports")),
        ("latent_dim", np.int64(3), 3),
        ("epochs", np.uint8(3), 3),
        ("beta", np.float32(0.5), 0.5),
        ("beta", np.int64(2), 2.0),
        ("memory_gb", np.float64(0.5), 0.5),
        ("sigma", np.float64(0.25), 0.25),
        ("sigma", np.int16(2), 2.0),
        ("sigma", np.str_("learned"), "learned"),
        ("network", np.str_("conv"), "conv"),
        ("lr_schedule", np.str_("cosine"), "cosine"),
    ],
)
def test_lists_paths_and_numpy_s_values_stand_for_plain_ones(name, value, plain):
    config = Config(**{name: value})
    of_plain = Config(**{name: plain})
    assert type(getattr(config, name)) is type(plain)
    assert config == of_plain and hash(config) == hash(of_plain) and repr(config) == repr(of_plain)
    assert run_name(config) == run_name(of_plain) and to_flagfile(config) == to_flagfile(of_plain)
    assert dataclasses.replace(Config(), **{name: value}) == of_plain
    if isinstance(plain, tuple):
        assert all(type(item) is int for item in getattr(config, name))


def test_numpy_s_truth_stands_for_python_s():
    assert Config(dequantize=np.False_).dequantize is False
    assert Config(dequantize=np.True_, likelihood="gaussian").dequantize is True


@pytest.mark.parametrize("name", OTHER)
def test_name_differs_for_other_settings_alone(name):
    same = run_name(Config(**{name: OTHER[name][1]})) == run_name(Config())
    assert same == (name in FREE)
    assert (name in Config().settings()) == (name not in FREE)


def test_name_is_one_for_one_config_and_fits_a_path():
    assert run_name(Config(latent_dim=7)) == run_name(Config(latent_dim=7))
    assert run_name(Config(beta=2)) == run_name(Config(beta=2.0))
    name = run_name(Config(dataset="/my data/faces (old).npz", latent_dim=7))
    assert name.startswith("faces_old_-512-7-") or name.startswith("faces_old-512-7-"), name
    assert not set(name) & set("/ ()")


def test_name_of_a_file_is_not_that_of_a_data_set():
    assert run_name(Config(dataset="/a/digits.npy")) != run_name(Config(dataset="digits"))
    assert run_name(Config(dataset="/a/x.npy")) != run_name(Config(dataset="/b/x.npy"))
    assert run_name(Config(network="conv", latent_dim=3)).startswith("auto-conv-3-")
