"""Pages of random VAEs, for the tests of the explorer in node and in Chromium."""

import html.parser
import json

import numpy as np

from tfvae.analysis import explorer
from tfvae.config import Config
from tfvae.config.capabilities import ACTIVATIONS, LIKELIHOODS
from tfvae.core.making import make_vae
from tfvae.data.splits import Dataset, Split

SHAPE = (7, 5, 3)  # odd: a convolutional decoder computes 8 x 8 and cuts
DECODERS = {
    **{name: {"activation": name} for name in ACTIVATIONS},
    "linear": {"hidden_units": ()},
    "one latent": {"latent_dim": 1},
    "many latents": {"latent_dim": 50, "hidden_units": (16, 8)},
    "conv": {"network": "conv", "filters": (4, 6)},
    "resnet": {"network": "resnet", "filters": (4, 8)},
    "deep resnet, one latent": {"network": "resnet", "filters": (4, 8, 16), "residual_blocks": 1, "latent_dim": 1},
    "deep conv": {"network": "conv", "filters": (2, 3, 4), "activation": "gelu"},
    **{name: {"likelihood": name} for name in LIKELIHOODS if name != "bernoulli"},
    "conv, mixture": {"likelihood": "logistic_mixture", "likelihood_components": 3, "network": "conv", "filters": (4,)},
    "learned sigma": {"likelihood": "gaussian", "sigma": "learned"},
    "sigma of z": {"likelihood": "gaussian", "sigma": "of_z"},
    "conv, sigma of z": {"likelihood": "gaussian", "sigma": "of_z", "network": "conv", "filters": (4,)},
}
VOID = ("meta", "link", "input")  # elements without an end tag


def random_vae(shape=SHAPE, classes=(), **options):
    """A VAE whose every weight, biases too, is away from 0, so that each counts; `classes` make it conditional."""
    config = Config(**{"hidden_units": (16,), "condition": "label" if classes else "none", **options})
    vae = make_vae(config, shape, classes=classes)
    rng = np.random.default_rng(0)
    for variable in vae.trainable_variables:
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) == 2 else 9
        variable.assign(rng.normal(size=variable.shape, scale=fan_in**-0.5))
    return vae


def page_of(vae, labels=("a", "b"), size=12, title="a title", **options):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (size, *vae.decoder.image_shape), dtype=np.uint8)
    split = Split(images, np.resize(np.array(labels), size) if labels else None)
    if vae.classes:
        places = np.arange(size, dtype=np.int32) % len(vae.classes)
        split = split._replace(labels=np.array(vae.classes)[places], y=places)
    config = Config(**{"dataset": "digits", "latent_dim": vae.decoder.latent_dim, **options}).as_usual()
    return explorer.page(vae, config, Dataset(split, split.rows(slice(0)), split), title)


class Parsed(html.parser.HTMLParser):
    """The elements of a page: it fails where their tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.text = [], [], {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style", "title"):
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def model_of(page):
    return json.loads(Parsed(page).text["script"][0])
