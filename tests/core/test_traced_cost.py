"""What a layer costs by its graph is what the formulas of `cost.py` say of the layers that these know."""

import keras
import own_layers
import pytest
from keras import layers

from tfvae.config import Config
from tfvae.core import cost, own_network
from tfvae.core.making import make_networks
from tfvae.core.traced_cost import trace

SHAPE = (8, 8, 2)


def test_products_are_those_of_the_layers_by_hand():
    x = keras.Input(SHAPE)
    maps = layers.DepthwiseConv2D(3, padding="same")(layers.Conv2D(4, 3, strides=2, padding="same")(x))
    maps = layers.Conv2DTranspose(3, 3, strides=2, padding="same")(maps)
    tokens = layers.Reshape((64, 3))(maps)
    tokens = layers.MultiHeadAttention(2, 5)(tokens, tokens)
    model = keras.Model(x, layers.Dense(7)(layers.Flatten()(tokens)))
    convolutions = 16 * 9 * 2 * 4 + 16 * 9 * 4 + 16 * 9 * 4 * 3
    attention = 4 * 64 * 3 * 10 + 2 * 2 * 64 * 64 * 5  # to query, key, value and back; scores and their sums
    assert trace(model, (None, *SHAPE)).multiply_adds == convolutions + attention + 192 * 7


@pytest.mark.parametrize(
    "settings",
    [{"hidden_units": (7, 5)}, pytest.param({"network": "conv", "filters": (4, 6)}, marks=pytest.mark.nightly)],
)
def test_a_built_in_network_costs_the_same_as_a_network_of_the_users_own(settings):
    config = Config(latent_dim=3, **settings)
    encoder, decoder = make_networks(config, SHAPE)
    pair = (keras.Sequential(list(encoder.trunk)), keras.Sequential(list(decoder.trunk)))
    trunks = own_network.as_trunks("layers", pair)
    own = make_networks(Config(latent_dim=3, network="layers"), SHAPE, trunks=trunks)
    for of, ours, built_in in zip((cost.of_encoder, cost.of_decoder), own, (encoder, decoder)):
        here, there = of(ours), of(built_in)
        assert (here.weights, here.multiply_adds) == (there.weights, there.multiply_adds)
        assert 0 < here.outputs < 4 * there.outputs  # sums and activations are counted too
        assert not ours.trunk[0].built


def test_what_keeps_a_state_is_found():
    assert trace(layers.Rescaling(2.0), (None, 3)).random_operation is None
    assert trace(own_layers.Unregistered(), (None, 3)).variables == ()
    noisy = trace(own_layers.Noisy(), (None, 3))
    assert len(noisy.variables) == 1  # of Keras's global generator
