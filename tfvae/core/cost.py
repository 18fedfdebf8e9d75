"""What a network costs, told by its layers' shapes, whether they are built or not, before anything is computed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import keras

from tfvae.core.models import Decoder, Encoder
from tfvae.core.own_trunk import OwnTrunk
from tfvae.core.posteriors import POSTERIORS
from tfvae.core.residual import GroupNorm
from tfvae.core.traced_cost import trace
from tfvae.core.vae import VAE

_ARRAYS = 8  # of an image's size that a density takes for each z: its mean, differences, squares, ...
_FLOAT_BYTES = 4

Shape = tuple[int | None, ...]


class Cost(NamedTuple):
    """Of some layers; for one image, or one z, that passes through them, where it says so."""

    weights: int
    outputs: int  # numbers that the layers put out for one image, all together
    multiply_adds: int  # for one image


def of_encoder(encoder: Encoder) -> Cost:
    """Of the way from x to q(z|x)."""
    # the plan of an evaluation, hence its last digits, depend on the numbers of built-in networks
    shape = encoder.features_shape if encoder.own_trunk or encoder.classes else encoder.input_shape
    cost, features = _of_layers(encoder.trunk, shape)
    if encoder.label and encoder.label.picture:
        picture, _ = _of_layers((encoder.label.picture,), (None, len(encoder.classes)))
        cost = _plus(cost, picture)
    size = sum(POSTERIORS[encoder.posterior].head_sizes(encoder.latent_dim).values())
    return _plus_dense(cost, _numbers(features[1:]), size)


def of_decoder(decoder: Decoder) -> Cost:
    """Of the way from z to the numbers that make p(x|z)."""
    cost, features = _of_layers(decoder.trunk, decoder.features_shape)
    last, _ = _of_layers((decoder.new_output_layer(features),), features)
    return _plus(cost, last)


def rows_within(vae: VAE, memory: float) -> int:
    """How many images, or z's, can go through the encoder, or the decoder, together in so many bytes; 1 at least."""
    outputs = max(of_encoder(vae.encoder).outputs, of_decoder(vae.decoder).outputs)
    values = outputs + _ARRAYS * math.prod(vae.encoder.image_shape)
    return max(1, int(memory // (_FLOAT_BYTES * values)))


def _plus(cost: Cost, other: Cost) -> Cost:
    return Cost(*(a + b for a, b in zip(cost, other)))


def _of_own(trunk: OwnTrunk, shape: Shape) -> Cost:
    """Of a trunk that the user has made; one that is not built is built for this alone."""
    built = trunk.built_copy(shape)
    traced = trace(built, shape)
    return Cost(built.count_params(), traced.outputs, traced.multiply_adds)


def _plus_dense(cost: Cost, inputs: int, outputs: int) -> Cost:
    """With a dense layer more."""
    return Cost(cost.weights + (inputs + 1) * outputs, cost.outputs + outputs, cost.multiply_adds + inputs * outputs)


def _of_layers(layers: Iterable[keras.layers.Layer], shape: Shape) -> tuple[Cost, Shape]:
    """Of layers one after the other, for inputs of this shape [B, ...]; and the shape of what comes out."""
    cost = Cost(0, 0, 0)
    for layer in layers:
        next_shape = layer.compute_output_shape(shape)
        if isinstance(layer, OwnTrunk):
            cost, shape = _plus(cost, _of_own(layer, shape)), next_shape
            continue
        inner, _ = _of_layers(getattr(layer, "trunk", ()), shape)  # of a layer that is made of others
        kernel, biases = _kernel_and_biases(layer, shape)
        # a kernel of a convolution is applied at each place of the smaller of its two images
        places = min(_numbers(shape[1:-1]), _numbers(next_shape[1:-1]))
        cost = Cost(
            cost.weights + inner.weights + kernel + biases,
            cost.outputs + inner.outputs + _numbers(next_shape[1:]),
            cost.multiply_adds + inner.multiply_adds + kernel * places,
        )
        shape = next_shape
    return cost, shape


def _kernel_and_biases(layer: keras.layers.Layer, shape: Shape) -> tuple[int, int]:
    """The numbers of a layer's weights, for inputs of this shape."""
    channels = shape[-1] or 1
    if isinstance(layer, keras.layers.Dense):
        return channels * layer.units, layer.units if layer.use_bias else 0
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
        return math.prod(layer.kernel_size) * channels * layer.filters, layer.filters
    if isinstance(layer, GroupNorm):
        return 0, 2 * channels
    return 0, 0  # it has none: Flatten, Reshape


def _numbers(shape: Shape) -> int:
    """Of an array of this shape; an axis of unknown length counts as 1."""
    return math.prod(length or 1 for length in shape)
