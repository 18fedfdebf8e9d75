"""What a name of a network tells, before anything is imported."""

import pytest

from tfvae.config import Config
from tfvae.config.capabilities import NETWORKS, OWN_NETWORK
from tfvae.config.config import FIELDS
from tfvae.config.network_name import is_own, network_row
from tfvae.config.rules import check_kind, has_filters
from tfvae.config.run_name import run_name
from tfvae.errors import InputError


@pytest.mark.parametrize("name", ["nets:networks", "my_package.inner.nets:make_it", "layers", "mädchen:netz"])
def test_a_function_or_layers_are_a_network_of_the_users_own(name):
    assert Config(network=name).network == FIELDS["network"].metadata["kind"].parse(name) == name
    assert is_own(name) and network_row(name) is OWN_NETWORK and not has_filters(name)
    check_kind(Config(network=name), "vectors")
    with pytest.raises(InputError, match="^dtype='bfloat16': must be 'float32' with network="):
        Config(network=name, dtype="bfloat16")


@pytest.mark.parametrize(
    "name", ["nets", "nets:", ":networks", "nets.py:networks()", "a b:c", "1a:b", "a..b:c", "a:b:c"]
)
def test_what_is_no_name_of_a_function_is_refused(name):
    with pytest.raises(InputError, match="must be None or one of 'mlp', 'conv'"):
        Config(network=name)


def test_the_nearest_name_is_told():
    with pytest.raises(InputError, match=": did you mean 'conv'[?]$"):
        Config(network="covn")


def test_a_run_is_named_by_the_module_and_the_function():
    name = run_name(Config(dataset="digits", network="my_nets.deep:wide_one"))
    assert name.startswith("digits-my_nets.deep-wide_one-2-")
    assert not any(is_own(built_in) for built_in in NETWORKS)
