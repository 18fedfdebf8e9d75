"""What Python code may call: `import tfvae`, and the functions that the documentation names."""

import inspect

import pytest

import tfvae
import tfvae.evaluate
import tfvae.export
import tfvae.run
import tfvae.train
from tfvae import data, front_door
from tfvae.config import config
from tfvae.errors import InputError, RunError


def test_the_package_has_its_names():
    assert tfvae.Config is config.Config
    assert (tfvae.InputError, tfvae.RunError) == (InputError, RunError)
    assert tfvae.load is front_door.load
    assert tfvae.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="'tfvae' has no attribute 'lod'"):
        tfvae.lod  # noqa: B018


def test_the_commands_have_the_functions_that_they_call():
    assert tfvae.train.train is tfvae.run.train
    assert tfvae.evaluate.evaluate is tfvae.run.evaluate
    assert tfvae.export.export is tfvae.run.export


def test_each_takes_a_config_first():
    for function in (tfvae.run.train, tfvae.run.evaluate, tfvae.run.explore, tfvae.run.export, data.load):
        first, *others = inspect.signature(function).parameters.values()
        assert first.name == "config" and first.annotation is tfvae.Config
        assert all(parameter.default is not parameter.empty for parameter in others)


def test_data_load_gives_the_images():
    images = data.load(tfvae.Config(dataset="digits")).test.images
    assert images.shape == (180, 8, 8, 1)
