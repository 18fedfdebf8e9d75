"""The benchmark of the label: its classifier, who judges samples, its table, its picture."""

import numpy as np
import pytest
from test_benchmarks import load

from tfvae import Config, data
from tfvae.core.making import make_vae


@pytest.fixture
def benchmark(monkeypatch):
    made = load("conditional")
    monkeypatch.setattr(made, "SAMPLES", 7)
    return made


class NearestMean:
    """In the place of the classifier: a class is the nearer the nearer its mean."""

    def __init__(self, means):
        self.means = means

    def predict(self, images, **_):
        return -np.square(images.reshape(-1, 1, 64) - self.means).sum(axis=-1)


@pytest.mark.nightly
def test_samples_are_judged_by_the_class_that_they_were_drawn_of(benchmark):
    """Of a decoder without hidden layers that draws each class as its mean, but threes as eights."""
    dataset = data.load(Config(dataset="digits", condition="label"))
    config = Config(condition="label", hidden_units=(), latent_dim=1)
    vae = make_vae(config, dataset.image_shape, classes=dataset.classes)
    kernel, bias = vae.decoder.output_layer.kernel, vae.decoder.output_layer.bias
    train = dataset.train
    means = np.stack([train.array[train.y == y].mean(axis=0).ravel() / 255 for y in range(10)])
    logits = np.log(means.clip(1e-4, 1 - 1e-4) / (1 - means.clip(1e-4, 1 - 1e-4)))
    logits[3] = logits[8]
    kernel.assign(np.concatenate([np.zeros((1, 64)), logits]))
    bias.assign(np.zeros(64))
    judged = benchmark.judge(vae, dataset, NearestMean(means))
    np.testing.assert_array_equal(judged.of_classes, np.arange(10) != 3)
    assert judged.of_real > 0.8
    assert benchmark.picture(vae, 10).ndim == 3
    test = {"elbo": -2.0, "log_px": -1.5, "log_px_standard_error": 0.25, "log_px_monte_carlo_error": 0.01, "kl": 1.0}
    results = {
        name: {"test": {**test, "squared_error": 0.1}, "of": {"samples": 20, **of}}
        for name, of in {"a": {}, "b": {"condition": "label"}}.items()
    }
    table = benchmark.table(dataset, results, judged)
    assert "| a | -2.00 | log p(x) -1.50 ± 0.25 (Monte Carlo 0.010), S = 20 | 1.00 | 0.1000 |" in table
    assert "| b | -2.00 | log p(x\\|y) -1.50" in table and "**90.00%** are of their class: 0 100.0%" in table
