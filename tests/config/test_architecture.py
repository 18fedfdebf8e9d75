"""Which settings weights are made for."""

import dataclasses

import pytest
from settings import LINKED, OTHER

from tfvae.config import Config
from tfvae.config.architecture import other_setting

MLP = Config(likelihood="gaussian", sigma="learned", prior="mixture").as_usual()
CONV = dataclasses.replace(MLP, network="conv")
RESNET = dataclasses.replace(MLP, network="resnet")
OF_ENCODER = {"network", "activation", "latent_dim", "condition", "hidden_units", "posterior", "missing"}
OF_DECODER = {"network", "activation", "latent_dim", "condition", "hidden_units", "likelihood", "sigma"}
OF_ALL = OF_ENCODER | OF_DECODER | {"prior", "prior_components"}


def with_other(config, name):
    """`config` with another value of a setting."""
    value = OTHER[name][1]
    if getattr(config, name) == value:  # back to the default
        value = getattr(Config().as_usual(), name)
    return dataclasses.replace(config, **{name: value})


def names_that_matter(config, part):
    """The settings of which another value is named as the one that does not fit."""
    matter = set()
    for name in set(OTHER) - LINKED - {"free_bits"}:  # which a mixture refuses
        found = other_setting(with_other(config, name), config, part)
        assert found in (None, name)
        if found:
            matter.add(name)
    return matter


@pytest.mark.parametrize(
    ("config", "part", "names"),
    [
        (MLP, "all", OF_ALL),
        (MLP, "encoder", OF_ENCODER),
        (MLP, "decoder", OF_DECODER),
        (CONV, "all", OF_ALL | {"filters"}),
        (CONV, "encoder", OF_ENCODER | {"filters"}),
        (CONV, "decoder", OF_DECODER - {"hidden_units"} | {"filters"}),
        (RESNET, "encoder", OF_ENCODER | {"filters", "residual_blocks"}),
        (RESNET, "decoder", OF_DECODER - {"hidden_units"} | {"filters", "residual_blocks"}),
    ],
)
def test_the_settings_that_weights_are_made_for(config, part, names):
    assert other_setting(config, config, part) is None
    assert names_that_matter(config, part) == names


def test_deviations_that_are_numbers_are_one_to_weights():
    gaussian = Config(likelihood="gaussian", sigma=0.1).as_usual()
    assert other_setting(dataclasses.replace(gaussian, sigma=0.3), gaussian, "all") is None
    assert other_setting(dataclasses.replace(gaussian, sigma="of_z"), gaussian, "decoder") == "sigma"
    bernoulli = Config(likelihood="bernoulli", sigma=0.1).as_usual()
    assert other_setting(dataclasses.replace(bernoulli, sigma=0.3), bernoulli, "all") is None


def test_components_are_of_a_mixture_alone():
    standard = Config(prior="standard").as_usual()
    assert other_setting(dataclasses.replace(standard, prior_components=3), standard, "all") is None


def test_what_is_left_to_the_data_is_not_compared():
    assert other_setting(Config(prior="mixture"), MLP, "all") is None
    assert other_setting(Config(), CONV, "encoder") is None
    assert other_setting(Config(network="mlp"), CONV, "encoder") == "network"
