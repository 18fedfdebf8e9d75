"""The latent explorer: one HTML page that decodes in the reader's browser, without a server or a network."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.training import monitor as monitoring
from tfvae.config import Config
from tfvae.config.config import is_file_name
from tfvae.data.dataset import Dataset
from tfvae.core.models import VAE, Decoder

_TEMPLATE = Path(__file__).with_suffix(".html")
_SHOWN, _SHOWN_BYTES = 500, 2_000_000  # test images on the page, and what they may add to it; 50 in any case


def _base64(array: np.ndarray) -> str:
    """Its elements, little-endian; `uint8` as they are, all else as float32: float16 would cost 2e-4 of agreement."""
    return base64.b64encode(np.asarray(array, np.uint8 if array.dtype == np.uint8 else "<f4").tobytes()).decode()


def _layers(decoder: Decoder) -> list[dict[str, Any]]:
    """The decoder's layers, outputs last in every kernel, without what computes a deviation that is a function of z."""
    layers = [*decoder.hidden, *decoder.pixels]
    channels, rows = decoder.image_shape[-1], []
    for layer in layers:
        kernel, bias = layer.get_weights()
        if kernel.ndim == 4:
            kernel = kernel.swapaxes(2, 3)
        if layer is layers[-1] and decoder.likelihood == "gaussian" and decoder.sigma == "of_z":
            halves = (w.reshape(*w.shape[:-1], -1, 2 * channels)[..., :channels] for w in (kernel, bias))
            kernel, bias = (half.reshape(*half.shape[:-2], -1) for half in halves)
        row = {"shape": kernel.shape, "kernel": _base64(kernel), "bias": _base64(bias)}
        row["activation"] = keras.activations.serialize(layer.activation)
        rows.append({**row, "stride": layer.strides[0]} if kernel.ndim == 4 else row)
    return rows


def _prior(vae: VAE, autoencoder: bool, means: np.ndarray) -> dict[str, Any]:
    """p(z) as a mixture of normals; an autoencoder has none, so that of its codes for the test images."""
    if autoencoder:
        mean, deviation, weights = means.mean(axis=0), means.std(axis=0) + 1e-6, np.ones(1)
    else:
        prior = vae.prior
        mean, deviation = prior.mean.numpy(), np.exp(prior.log_variance.numpy() / 2)
        weights = tf.nn.softmax(prior.logits).numpy() if hasattr(prior, "logits") else np.ones(1)
    return {"weights": weights.tolist(), "mean": _base64(mean), "deviation": _base64(deviation)}


def page(vae: VAE, config: Config, dataset: Dataset, title: str) -> str:
    """The whole page, weights and up to 500 test images inside: about 4/3 * (4 bytes a weight + 1 a pixel).

    Its content security policy allows its own script and style, by their hashes, and nothing from anywhere else.
    `title` says what was trained, and for how many steps. Paths stay out of the page.
    """
    decoder, total = vae.decoder, len(dataset.test.images)
    count = min(total, _SHOWN, max(50, _SHOWN_BYTES // int(np.prod(dataset.image_shape))))
    test = dataset.test.rows(np.linspace(0, total - 1, count).astype(int))
    x = tf.image.convert_image_dtype(test.images, tf.float32)
    means = vae.encode(x).mean.numpy()
    name = Path(config.dataset).name if is_file_name(config.dataset) else config.dataset
    facts = {**monitoring.provenance(config, test.images, 0), "dataset": name, "images": total}
    told = ("dataset", "pixels", "likelihood", "prior", "posterior", "objective", "images")
    model = {
        "likelihood": config.likelihood, "image": dataset.image_shape, "latents": config.latent_dim,
        "small": decoder.small[:2], "layers": _layers(decoder),
        "prior": _prior(vae, config.objective == "autoencoder", means),
        "images": _base64(np.uint8(np.rint(np.clip(x, 0, 1) * 255))), "means": _base64(means),
        "labels": None if test.labels is None else [str(label) for label in test.labels],
        "facts": {key: facts[key] for key in told},
        "settings": {**config.settings(), "dataset": name},
    }  # fmt: skip
    template = _TEMPLATE.read_text("utf-8")
    inline = (re.search(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[1] for tag in ("script", "style"))
    script, style = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline)
    parts = {
        "policy": f"default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        "title": html.escape(title),
        "model": json.dumps(model).replace("<", "\\u003c"),  # no name of a class ends the element
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
