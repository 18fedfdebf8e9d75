"""What a pass through a network costs, told by the layers' shapes, before anything is computed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import keras

from tfvae.core.models import Decoder, Encoder
from tfvae.core.vae import VAE

_ARRAYS = 8  # of an image's size that a density takes for each z: its mean, differences, squares, ...
_FLOAT_BYTES = 4


class Cost(NamedTuple):
    """Of one image's, or one z's, pass through some layers."""

    outputs: int  # numbers that the layers put out, all together
    multiply_adds: int


def of_encoder(encoder: Encoder) -> Cost:
    """Of the way from x to the features of q(z|x)."""
    return of_layers(encoder.trunk, encoder.input_shape)


def of_decoder(decoder: Decoder) -> Cost:
    """Of the way from z to the numbers that make p(x|z)."""
    return of_layers((*decoder.trunk, decoder.output_layer), decoder.input_shape)


def of_layers(layers: Iterable[keras.layers.Layer], shape: tuple[int | None, ...]) -> Cost:
    """Of layers that are built, one after the other, for inputs of this shape [B, ...]."""
    outputs = multiply_adds = 0
    for layer in layers:
        next_shape = layer.compute_output_shape(shape)
        outputs += _numbers(next_shape[1:])
        multiply_adds += _multiply_adds(layer, shape, next_shape)
        shape = next_shape
    return Cost(outputs, multiply_adds)


def _multiply_adds(layer: keras.layers.Layer, shape: tuple[int | None, ...], next_shape: tuple[int | None, ...]) -> int:
    """Of a layer with a kernel, which is applied at each place of the smaller of its two images."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return 0
    places = min(_numbers(shape[1:-1]), _numbers(next_shape[1:-1]))  # 1 of a dense layer
    return math.prod(kernel.shape) * places


def _numbers(shape: tuple[int | None, ...]) -> int:
    """Of an array of this shape; an axis of unknown length counts as 1."""
    return math.prod(length or 1 for length in shape)


def rows_within(vae: VAE, memory: float) -> int:
    """How many images, or z's, can go through the encoder, or the decoder, together in so many bytes; 1 at least."""
    outputs = max(of_encoder(vae.encoder).outputs, of_decoder(vae.decoder).outputs)
    values = outputs + _ARRAYS * math.prod(vae.encoder.image_shape)
    return max(1, int(memory // (_FLOAT_BYTES * values)))
