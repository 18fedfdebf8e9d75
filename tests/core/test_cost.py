"""What a network costs beside the model that is built: its weights are counted by Keras, its products by hand."""

import keras
import pytest

from tfvae.config import Config
from tfvae.config.left_to_data import default_filters
from tfvae.core import cost
from tfvae.core.making import make_networks, make_vae

SETTINGS = {
    "mlp": {"hidden_units": (7, 5)},
    "linear": {"hidden_units": ()},
    "conv": {"network": "conv", "filters": (4, 6), "hidden_units": (5,)},
    "resnet": {"network": "resnet", "filters": (4, 8), "hidden_units": (5,), "residual_blocks": 1},
    "sigma of z, full": {"network": "conv", "likelihood": "gaussian", "sigma": "of_z", "posterior": "full"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("shape", [(9, 7, 3), (20, 16, 1)])
def test_the_weights_are_as_many_as_those_of_the_built_networks(settings, shape):
    config = Config(latent_dim=3, **settings)
    encoder, decoder = make_networks(config, shape)
    assert not encoder.weights and not decoder.weights
    vae = make_vae(config, shape)
    assert cost.of_encoder(encoder).weights == vae.encoder.count_params()
    assert cost.of_decoder(decoder).weights == vae.decoder.count_params()
    assert cost.of_decoder(vae.decoder) == cost.of_decoder(decoder)  # built or not


def test_outputs_and_products_of_convolutions_are_those_of_the_layers_by_hand():
    config = Config(network="conv", filters=(4, 6), hidden_units=(5,), latent_dim=2)
    encoder, decoder = make_networks(config, (8, 8, 1))
    maps = 4 * 4 * 4 + 2 * 2 * 6
    assert cost.of_encoder(encoder).outputs == maps + 24 + 5 + 4  # the maps, flat, hidden, mean and log-variance
    products = 16 * 9 * 1 * 4 + 4 * 9 * 4 * 6 + 24 * 5 + 5 * 4
    assert cost.of_encoder(encoder).multiply_adds == products
    maps = 4 * 4 * 6 + 8 * 8 * 4
    assert cost.of_decoder(decoder).outputs == 24 + 24 + maps + 64  # hidden, its image, the maps, the pixels
    products = 2 * 24 + 4 * 9 * 6 * 6 + 16 * 9 * 6 * 4 + 64 * 9 * 4 * 1
    assert cost.of_decoder(decoder).multiply_adds == products


def test_outputs_and_products_of_a_resnet_are_those_of_the_layers_by_hand():
    config = Config(network="resnet", filters=(4,), residual_blocks=2, hidden_units=(5,), latent_dim=2)
    encoder, decoder = make_networks(config, (8, 8, 1))
    image, block = 4 * 4 * 4, 2 * 16 * 9 * 4 * 4
    # a convolution; a block's two norms, two convolutions and their sum; silu; flat, hidden, mean and log-variance
    assert cost.of_encoder(encoder).outputs == image + 2 * 5 * image + image + 64 + 5 + 4
    assert cost.of_encoder(encoder).multiply_adds == 16 * 9 * 4 + 2 * block + 64 * 5 + 5 * 4
    large = 8 * 8 * 4
    assert cost.of_decoder(decoder).outputs == 64 + 64 + 2 * 5 * image + large + 64
    assert cost.of_decoder(decoder).multiply_adds == 2 * 64 + 2 * block + 16 * 16 * 4 * 4 + 64 * 9 * 4


class Twice(keras.layers.Layer):
    """A layer that is made of two others."""

    def __init__(self):
        super().__init__(dtype="float32")
        self.trunk = (keras.layers.Conv2D(4, 3, padding="same"), keras.layers.Conv2D(2, 1))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)


def test_a_layer_that_is_made_of_others_costs_what_they_do():
    config = Config(network="conv", filters=(4,), hidden_units=(5,), latent_dim=2)
    encoder, _ = make_networks(config, (8, 8, 1))
    before = cost.of_encoder(encoder)
    convolution, *rest = encoder.trunk
    encoder.trunk = (Twice(), convolution, *rest)
    after = cost.of_encoder(encoder)
    of_first = 1 * 4 * 9  # the kernel of the next convolution has two channels now, of one
    assert after.weights - before.weights == (9 * 4 + 4) + (4 * 2 + 2) + of_first
    assert after.outputs - before.outputs == 8 * 8 * 4 + 2 * (8 * 8 * 2)
    assert after.multiply_adds - before.multiply_adds == 64 * (9 * 4 + 4 * 2) + 16 * of_first


@pytest.mark.parametrize(
    ("shape", "filters"),
    [
        ((8, 8, 1), (32, 64)),
        ((28, 28, 1), (32, 64)),
        ((32, 32, 3), (32, 64)),
        ((33, 20, 3), (32, 64, 128)),
        ((400, 400, 3), (32, 64, 128, 256, 256, 256)),
        ((512, 512, 3), (32, 64, 128, 256, 256, 256)),
    ],
)
def test_convolutions_halve_an_image_until_it_is_8_by_8(shape, filters):
    assert default_filters(shape) == filters


def test_large_images_have_no_layer_of_hundreds_of_millions_of_weights():
    vae_of_28 = make_networks(Config(network="conv"), (28, 28, 1))
    of_512 = make_networks(Config(network="conv", latent_dim=16), (512, 512, 3))
    assert [n.filters for n in vae_of_28] == [(32, 64)] * 2
    assert cost.of_encoder(of_512[0]).weights + cost.of_decoder(of_512[1]).weights < 13_000_000
