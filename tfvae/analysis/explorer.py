"""The latent explorer: one HTML page that decodes in the reader's browser, without a server or a network.

A network of the user's own is one that the page can't compute: it asks `tfvae.serve`, of which it is then a page.
"""

import base64
import hashlib
import html
import json
import math
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.analysis.latents import posterior_means
from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.data_names import is_file_name
from tfvae.core.inputs import to_unit
from tfvae.core.models import Decoder
from tfvae.core.residual import EPSILON, GroupNorm, ResidualBlock, group_count
from tfvae.core.vae import VAE
from tfvae.data.pixels import shown_channels
from tfvae.data.provenance import provenance
from tfvae.data.splits import Dataset, Split

_TEMPLATE = Path(__file__).with_suffix(".html")
_MOST_IMAGES, _FEWEST_IMAGES = 500, 50  # test images on the page
_MOST_IMAGE_BYTES = 2_000_000  # that they add to it, unless they are the fewest
_FACTS = ("dataset", "pixels", "likelihood", "prior", "posterior", "objective", "images")  # that the page's head shows


def page(vae: VAE, config: Config, dataset: Dataset, title: str) -> str:
    """The whole page, weights and up to 500 test images inside: about 4/3 * (4 bytes a weight + 1 a pixel).

    Its content security policy allows its own script and style, by their hashes, and nothing from anywhere else, but
    for the server that it comes from where that must decode. `title` says what was trained, and for how many steps.
    Paths stay out of the page. Of a conditional run the reader chooses the class that is decoded.
    """
    template = _TEMPLATE.read_text("utf-8")
    script, style = _hash_of_element(template, "script"), _hash_of_element(template, "style")
    parts = {
        "policy": f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'" + ("; connect-src 'self'" if vae.decoder.own_trunk else ""),
        "title": html.escape(title),
        "model": json.dumps(_model(vae, config, dataset)).replace("<", "\\u003c"),  # no class name ends the element
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _hash_of_element(template: str, tag: str) -> str:
    """The SHA-256 of the text of the first `<tag>` without attributes, as a content security policy has it."""
    text = re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[0]
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _model(vae: VAE, config: Config, dataset: Dataset) -> dict[str, Any]:
    """What the page's script reads: the decoder, the prior, test images and what all of it is of."""
    decoder, test = vae.decoder, _shown_images(dataset)
    x = to_unit(test.array)
    means = posterior_means(vae, test.array, test.y)
    name = Path(config.dataset).name if is_file_name(config.dataset) else config.dataset
    facts = {**provenance(config, test.array, 0), "dataset": name, "images": len(dataset.test.images)}
    return {
        "mean": decoder.family.mean_function,
        "image": dataset.image_shape,
        "shown": shown_channels(dataset.image_shape[-1])[1],
        "latents": config.latent_dim,
        "small": _size_of_first_features(decoder),
        "layers": None if decoder.own_trunk else _layers(decoder),  # None: a server decodes
        "range": decoder.value_range or (0, 1),  # of the server's images
        "prior": _prior(vae, config, means),
        "images": _base64(np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)),
        "means": _base64(means),
        "labels": None if test.labels is None else test.shown_labels,
        "classes": vae.classes,
        "y": None if test.y is None else test.y.tolist(),
        "facts": {key: facts[key] for key in _FACTS},
        "settings": {**config.settings(), "dataset": name},
    }


def _shown_images(dataset: Dataset) -> Split:
    """Test images from all over, as many as the page has room for."""
    total = len(dataset.test.images)
    room = max(_FEWEST_IMAGES, _MOST_IMAGE_BYTES // math.prod(dataset.image_shape))
    count = min(total, _MOST_IMAGES, room)
    return dataset.test.rows(np.linspace(0, total - 1, count).astype(int))


def _size_of_first_features(decoder: Decoder) -> tuple[int, ...]:
    """[h, w] of the image that transposed convolutions start from; else the number of outputs, which is not read."""
    for layer in decoder.trunk:
        if isinstance(layer, keras.layers.Reshape):
            return layer.target_shape[:2]
    height, width, channels = decoder.image_shape
    return (height * width * decoder.family.parameters_per_pixel(channels),)


def _layers(decoder: Decoder) -> list[dict[str, Any]]:
    """The decoder's layers with weights, as far as the mean depends on them; outputs are last in every kernel."""
    rows = [_row(layer, *_weights(layer)) for layer in decoder.trunk if layer.weights]
    kernel, bias = _weights(decoder.output_layer)
    return [*rows, _row(decoder.output_layer, _of_mean(kernel, decoder), _of_mean(bias, decoder))]


def _weights(layer: keras.layers.Layer) -> tuple[np.ndarray, ...]:
    """The kernel and the bias, or a norm's gamma and beta; of a block nothing, for its layers have rows of their own.

    A convolution becomes the transposed one that is the same, with its kernel turned round: the page has that alone.
    """
    if isinstance(layer, ResidualBlock):
        return ()
    kernel, bias = layer.get_weights()
    if isinstance(layer, keras.layers.Conv2DTranspose):
        kernel = kernel.swapaxes(2, 3)  # its outputs come first
    elif isinstance(layer, keras.layers.Conv2D):
        kernel = kernel[::-1, ::-1]
    return kernel, bias


def _row(layer: keras.layers.Layer, *weights: np.ndarray) -> dict[str, Any]:
    """What the page's script reads of a layer with these weights."""
    if isinstance(layer, ResidualBlock):
        return {"trunk": [_row(inner, *_weights(inner)) for inner in layer.trunk]}
    kernel, bias = weights
    row = {
        "shape": kernel.shape,
        "kernel": _base64(kernel),
        "bias": _base64(bias),
        "activation": keras.activations.serialize(layer.activation),
    }
    if kernel.ndim == 4:
        row["stride"] = layer.strides[0]
    if isinstance(layer, GroupNorm):
        row |= {"groups": group_count(len(kernel)), "epsilon": EPSILON}
    return row


def _of_mean(weights: np.ndarray, decoder: Decoder) -> np.ndarray:
    """The part of the last layer's weights that makes the mean: all, or of each pixel's outputs the first C."""
    if decoder.family.mean_function != "first":
        return weights
    channels = decoder.image_shape[-1]
    outputs = weights.reshape(*weights.shape[:-1], -1, decoder.family.parameters_per_pixel(channels))
    return outputs[..., :channels].reshape(*weights.shape[:-1], -1)


def _prior(vae: VAE, config: Config, means: np.ndarray) -> dict[str, Any]:
    """p(z) as a mixture of normals; an autoencoder has none, so that of its codes for the test images."""
    if OBJECTIVES[config.objective].draws_z:
        mixture = vae.prior.as_mixture()
        mean, stddev = mixture.mean.numpy(), np.exp(mixture.log_variance.numpy() / 2)
        weights = tf.nn.softmax(mixture.logits).numpy()
    else:
        mean, stddev = means.mean(axis=0), means.std(axis=0) + 1e-6
        weights = np.ones(1)
    return {"weights": weights.tolist(), "mean": _base64(mean), "deviation": _base64(stddev)}


def _base64(array: np.ndarray) -> str:
    """Its elements, little-endian; `uint8` as they are, all else as float32: float16 would cost 2e-4 of agreement."""
    dtype = np.uint8 if array.dtype == np.uint8 else "<f4"
    return base64.b64encode(np.asarray(array, dtype).tobytes()).decode()
