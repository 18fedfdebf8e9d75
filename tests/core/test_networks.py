"""The trunks: their layers, sizes and names, and the shapes of features that they make."""

import keras
import numpy as np
import pytest

from tfvae.core.networks import NETWORKS, Architecture


def options(name):
    return {"name": name, "kernel_initializer": keras.initializers.GlorotUniform(0), "dtype": None}


def features(trunk, x):
    for layer in trunk:
        x = layer(x)
    return x


def sizes_of(image_shape=(9, 7, 3), hidden_units=(16, 8), filters=(4, 6), activation="tanh", residual_blocks=1):
    return Architecture(image_shape, hidden_units, filters, activation, residual_blocks)


def test_mlp_trunks_are_dense_layers_and_the_decoder_mirrors_them():
    encoder = NETWORKS["mlp"].encoder(sizes_of(), options)
    assert features(encoder, np.ones((5, 9, 7, 3), "f")).shape == (5, 8)
    assert [layer.units for layer in encoder[1:]] == [16, 8]
    decoder = NETWORKS["mlp"].decoder(sizes_of(), options)
    assert features(decoder, np.ones((5, 2), "f")).shape == (5, 16)
    assert [layer.units for layer in decoder] == [8, 16]
    for trunk in (encoder[1:], decoder):
        assert [layer.name for layer in trunk] == ["hidden_0", "hidden_1"]
        assert {layer.activation.__name__ for layer in trunk} == {"tanh"}


def test_the_mlp_trunk_is_what_numpy_computes():
    trunk = NETWORKS["mlp"].encoder(sizes_of(), options)
    x = np.random.default_rng(0).normal(size=(5, 9, 7, 3)).astype("f")
    result = features(trunk, x)
    expected = x.reshape(5, -1).astype(np.float64)
    for layer in trunk[1:]:
        expected = np.tanh(expected @ layer.kernel.numpy() + layer.bias.numpy())
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_without_hidden_layers_the_features_are_the_inputs():
    sizes = sizes_of(hidden_units=())
    x = np.random.default_rng(0).normal(size=(5, 9, 7, 3)).astype("f")
    np.testing.assert_array_equal(features(NETWORKS["mlp"].encoder(sizes, options), x), x.reshape(5, -1))
    assert NETWORKS["mlp"].decoder(sizes, options) == ()


def test_conv_trunks_halve_and_double_the_image():
    encoder = NETWORKS["conv"].encoder(sizes_of(), options)
    assert features(encoder[:2], np.ones((5, 9, 7, 3), "f")).shape == (5, 3, 2, 6)
    assert features(encoder, np.ones((5, 9, 7, 3), "f")).shape == (5, 8)
    assert [layer.name for layer in encoder if layer.weights] == [
        *("convolution_0", "convolution_1"),
        *("hidden_0", "hidden_1"),
    ]
    decoder = NETWORKS["conv"].decoder(sizes_of(), options)
    assert features(decoder[:2], np.ones((5, 2), "f")).shape == (5, 3, 2, 6)
    assert features(decoder, np.ones((5, 2), "f")).shape == (5, 12, 8, 4)  # rounded up from 9 x 7
    assert [layer.filters for layer in decoder[2:]] == [6, 4]
    assert [layer.name for layer in decoder if layer.weights] == ["hidden_0", "convolution_0", "convolution_1"]
    convolutions = [*encoder[:2], *decoder[2:]]
    assert {(c.kernel_size, c.strides, c.padding, c.activation.__name__) for c in convolutions} == {
        ((3, 3), (2, 2), "same", "tanh")
    }


def test_resnet_trunks_are_stages_of_a_halving_and_blocks_and_the_decoder_mirrors_them():
    encoder = NETWORKS["resnet"].encoder(sizes_of(residual_blocks=2), options)
    names = ["convolution_0", "block_0_0", "block_0_1", "convolution_1", "block_1_0", "block_1_1", "silu"]
    assert [layer.name for layer in encoder][:7] == names
    assert features(encoder[:7], np.ones((5, 9, 7, 3), "f")).shape == (5, 3, 2, 6)
    assert features(encoder, np.ones((5, 9, 7, 3), "f")).shape == (5, 8)
    decoder = NETWORKS["resnet"].decoder(sizes_of(residual_blocks=2), options)
    names = ["block_1_0", "block_1_1", "convolution_1", "block_0_0", "block_0_1", "convolution_0"]
    assert [layer.name for layer in decoder[2:]] == names
    assert features(decoder[:2], np.ones((5, 2), "f")).shape == (5, 3, 2, 6)
    assert features(decoder, np.ones((5, 2), "f")).shape == (5, 12, 8, 4)  # rounded up from 9 x 7
    assert [layer.filters for layer in decoder[2:]] == [6, 6, 4, 4, 4, 4]
    convolutions = [layer for layer in (*encoder, *decoder) if layer.name.startswith("convolution")]
    assert [c.kernel_size for c in convolutions] == [(3, 3), (3, 3), (4, 4), (4, 4)]
    assert {(c.strides, c.padding) for c in convolutions} == {((2, 2), "same")}
    assert [c.activation.__name__ for c in convolutions] == ["linear", "linear", "linear", "silu"]
    assert decoder[0].activation.__name__ == "linear" and encoder[-1].activation.__name__ == "tanh"
    assert encoder[6].activation.__name__ == "silu"


def flat(trunk):
    """The layers, those within others in the place of these, unless the one that has them is given their weights."""
    within = [hasattr(layer, "trunk") and not hasattr(layer, "kernel_initializer") for layer in trunk]
    return [inner for layer, opened in zip(trunk, within) for inner in (flat(layer.trunk) if opened else [layer])]


@pytest.mark.parametrize("network", NETWORKS)
def test_layers_are_made_with_the_options_of_their_names(network):
    """Each name is used once: layers of one name would have the same initial weights."""
    for trunk in NETWORKS[network]:
        requested = []

        def recording(name, requested=requested):
            requested.append(name)
            return {"name": name, "kernel_initializer": keras.initializers.Constant(len(requested)), "dtype": "float32"}

        layers = [layer for layer in flat(trunk(sizes_of(), recording)) if hasattr(layer, "kernel_initializer")]
        weighted = [name for name in requested if name not in ("reshape", "silu")]
        assert sorted(layer.name for layer in layers) == sorted(weighted) and len(set(requested)) == len(requested)
        for layer in layers:
            assert layer.kernel_initializer.value == requested.index(layer.name) + 1
