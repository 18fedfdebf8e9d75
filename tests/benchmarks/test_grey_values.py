"""The benchmark of grey values: what it reads of a run's own likelihood is what the run's evaluation found."""

import numpy as np
import pytest
import scipy.integrate
from test_benchmarks import load

from tfvae import data


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    made = load("grey_values")
    monkeypatch.setattr(made, "RUNS", tmp_path)
    monkeypatch.setattr(made, "SETTINGS", {"latent_dim": 2, "hidden_units": (16,), "eval_samples": 10})
    return made


@pytest.mark.nightly
@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_a_run_read_as_its_own_likelihood_has_the_figures_of_its_evaluation(benchmark, likelihood):
    config = benchmark.train("digits", 10, likelihood)
    rows = {row.read: row for row in benchmark.readings(config, data.load(config).test.array)}
    test = benchmark.tfvae.load(config.directory).results["test"]
    own = rows.pop(likelihood)
    assert own.log_px == pytest.approx(test["log_px"], rel=1e-6)
    assert own.squared_error == pytest.approx(test["squared_error"], rel=1e-6)
    [other] = rows.values()
    assert other.kl == pytest.approx(own.kl, rel=1e-6)  # of the encoder alone
    assert other.log_px != pytest.approx(own.log_px, abs=1)
    assert f"| `{likelihood}` | `{likelihood}` | {own.log_px:.2f}" in benchmark.table([own, other])


def test_logits_read_as_a_continuous_bernoulli_are_a_density_and_as_a_bernoulli_none(benchmark):
    config = benchmark.tfvae.Config(likelihood="bernoulli", latent_dim=2, hidden_units=(3,))
    vae = benchmark.make_vae(config, (1, 1, 1), 255)
    read = {name: benchmark.read_as(vae, config, name) for name in benchmark.LIKELIHOODS}
    x = np.linspace(0, 1, 2001, dtype=np.float32)
    integrals = {}
    for name, other in read.items():
        density = other.decode(np.full([1, 2], 3, np.float32))
        integrals[name] = scipy.integrate.trapezoid(np.exp(density.log_prob(x.reshape(-1, 1, 1, 1)).numpy()), x)
    assert integrals["continuous_bernoulli"] == pytest.approx(1, abs=1e-5)
    assert integrals["bernoulli"] < 0.9
