"""The networks: a trunk from x to features, and one from z to features. Heads and likelihoods are not their business.

A trunk is a tuple of Keras layers, applied one after the other. To add a network, write both functions here, put them
into NETWORKS, and its name into `config/capabilities.py`.

Shapes: x [B, H, W, C], z [B, L]; features [B, F] of the encoder, [B, F] or images [B, h, w, F] of the decoder.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tfvae.core.keras_globals import DATA_FORMAT
from tfvae.core.residual import ResidualBlock

Trunk = tuple[keras.layers.Layer, ...]


class Architecture(NamedTuple):
    """The sizes of a network."""

    image_shape: tuple[int, int, int]
    hidden_units: tuple[int, ...]
    filters: tuple[int, ...]
    activation: str
    residual_blocks: int


# A layer's name -> its name, initial weights and dtype, for Keras. Layers without weights are given their dtype, and
# those of images DATA_FORMAT: what a layer is not given, it takes from the user's global settings of Keras.
LayerOptions = Callable[[str], dict[str, Any]]


def mlp_encoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """Dense layers of `hidden_units`."""
    return (_flatten(), *_dense_layers(sizes.hidden_units, sizes.activation, options))


def mlp_decoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """Dense layers of `hidden_units` from the last to the first."""
    return _dense_layers(sizes.hidden_units[::-1], sizes.activation, options)


def conv_encoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """3x3 convolutions of `filters`, stride 2 each, then dense layers of `hidden_units`."""
    common = {"strides": 2, "padding": "same", "activation": sizes.activation, "data_format": DATA_FORMAT}
    convolutions = tuple(
        keras.layers.Conv2D(filters, 3, **common, **options(f"convolution_{i}"))
        for i, filters in enumerate(sizes.filters)
    )
    return (*convolutions, _flatten(), *_dense_layers(sizes.hidden_units, sizes.activation, options))


def conv_decoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """A dense layer to the smallest image, then 3x3 transposed convolutions of `filters` from the last to the first.

    Their stride is 2 each. The smallest image is rounded up, so the features may be larger than the image.
    """
    common = {"strides": 2, "padding": "same", "activation": sizes.activation, "data_format": DATA_FORMAT}
    convolutions = tuple(
        keras.layers.Conv2DTranspose(filters, 3, **common, **options(f"convolution_{i}"))
        for i, filters in enumerate(sizes.filters[::-1])
    )
    return (*_smallest_image(sizes, sizes.activation, options), *convolutions)


def resnet_encoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """Stages, each a 3x3 convolution of stride 2 and `residual_blocks`; SiLU; then dense layers of `hidden_units`.

    The first convolution is the stem as well: another before it, with nothing between, would be one with it. Norms are
    within the blocks alone: one behind the last would take an image's brightness and contrast out of its features.
    """
    common = {"strides": 2, "padding": "same", "data_format": DATA_FORMAT}
    layers: list[keras.layers.Layer] = []
    for i, filters in enumerate(sizes.filters):
        layers.append(keras.layers.Conv2D(filters, 3, **common, **options(f"convolution_{i}")))
        layers += _blocks(i, filters, sizes, options)
    silu = keras.layers.Activation("silu", name="silu", dtype=options("silu")["dtype"])
    return (*layers, silu, _flatten(), *_dense_layers(sizes.hidden_units, sizes.activation, options))


def resnet_decoder(sizes: Architecture, options: LayerOptions) -> Trunk:
    """`resnet_encoder` mirrored: stages of `residual_blocks` and a 4x4 transposed convolution of stride 2; then SiLU.

    Kernels of 3x3 overlap unevenly at this stride, which leaves a checkerboard in images (Odena et al. 2016). The
    smallest image is rounded up, as in `conv_decoder`. The dense layer before it is linear: blocks begin with a norm.
    """
    common = {"strides": 2, "padding": "same", "data_format": DATA_FORMAT}
    layers: list[keras.layers.Layer] = []
    narrower = (sizes.filters[0], *sizes.filters[:-1])  # what each stage hands on to the one with larger images
    for i in reversed(range(len(sizes.filters))):
        layers += _blocks(i, sizes.filters[i], sizes, options)
        activation = "linear" if i else "silu"
        layers.append(
            keras.layers.Conv2DTranspose(narrower[i], 4, activation=activation, **common, **options(f"convolution_{i}"))
        )
    return (*_smallest_image(sizes, "linear", options), *layers)


def _blocks(stage: int, filters: int, sizes: Architecture, options: LayerOptions) -> Trunk:
    return tuple(ResidualBlock(filters, **options(f"block_{stage}_{i}")) for i in range(sizes.residual_blocks))


def _smallest_image(sizes: Architecture, activation: str, options: LayerOptions) -> Trunk:
    """A dense layer to the image that a decoder of `filters` starts from; its sides are rounded up."""
    height, width, _ = sizes.image_shape
    scale = 2 ** len(sizes.filters)
    smallest = (math.ceil(height / scale), math.ceil(width / scale), sizes.filters[-1])
    [dense] = _dense_layers((math.prod(smallest),), activation, options)
    return dense, keras.layers.Reshape(smallest, dtype=options("reshape")["dtype"])


def _flatten() -> keras.layers.Flatten:
    return keras.layers.Flatten(data_format=DATA_FORMAT, dtype="float32")


def _dense_layers(units: tuple[int, ...], activation: str, options: LayerOptions) -> Trunk:
    return tuple(keras.layers.Dense(size, activation, **options(f"hidden_{i}")) for i, size in enumerate(units))


class Network(NamedTuple):
    """The two trunks of a network."""

    encoder: Callable[[Architecture, LayerOptions], Trunk]
    decoder: Callable[[Architecture, LayerOptions], Trunk]


NETWORKS = {
    "mlp": Network(mlp_encoder, mlp_decoder),
    "conv": Network(conv_encoder, conv_decoder),
    "resnet": Network(resnet_encoder, resnet_decoder),
}
