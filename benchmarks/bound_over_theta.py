"""Draws the bound over theta for several q to docs/bound_over_theta.png: python benchmarks/bound_over_theta.py

The model is z ~ N(0, 1), x | z ~ N(theta z, s^2) and one x, so that -log p(x) and p(z|x) are known. Each q is the
exact posterior at one theta: its bound, -ELBO, lies above -log p(x) and touches it there.
"""

from pathlib import Path

from tfvae.runtime.tensorflow import import_tensorflow

import_tensorflow()

import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
import tensorflow as tf  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tfvae.core import objectives  # noqa: E402
from tfvae.core.distributions import DiagonalNormal, standard_normal  # noqa: E402
from tfvae.core.likelihoods import Gaussian  # noqa: E402

X, DEVIATION = 1.5, 0.6
# Gauss-Hermite nodes in place of random draws: the mean over them is the expectation, exactly, of a quadratic
NODES = np.polynomial.hermite_e.hermegauss(5)[0].astype(np.float32)
WEIGHTS = (np.polynomial.hermite_e.hermegauss(5)[1] / np.sqrt(2 * np.pi)).astype(np.float32)


class Model:
    """p(x|z) = N(theta z, DEVIATION^2) and a q that does not depend on x."""

    prior = standard_normal(1)

    def __init__(self, theta: float, q: DiagonalNormal) -> None:
        self.theta, self.q = theta, q

    def encode(self, x: tf.Tensor) -> DiagonalNormal:
        return self.q

    def sampling(
        self, q: DiagonalNormal, epsilon: tf.Tensor, with_log_prob: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        return q.sample_and_log_prob(epsilon) if with_log_prob else q.sample(epsilon)

    def decode(self, z: tf.Tensor) -> Gaussian:
        return Gaussian(self.theta * z[..., None, None], tf.constant(2 * np.log(DEVIATION), tf.float32))


def posterior(theta: float) -> DiagonalNormal:
    """p(z|x) at theta."""
    variance = 1 / (1 + theta**2 / DEVIATION**2)
    mean = variance * theta * X / DEVIATION**2
    return DiagonalNormal(tf.constant([[mean]], tf.float32), tf.constant([[np.log(variance)]], tf.float32))


def minus_log_px(theta: np.ndarray) -> np.ndarray:
    """-log p(x), exactly: nats."""
    return -scipy.stats.norm(0, np.sqrt(theta**2 + DEVIATION**2)).logpdf(X)


def minus_elbo(theta: float, q: DiagonalNormal) -> float:
    """-ELBO at theta with q, from objectives.elbo's own terms: nats."""
    x = tf.fill([1, 1, 1, 1], X)
    terms = [objectives.elbo(Model(theta, q), x, tf.constant([[[node]]])) for node in NODES]
    return float(terms[0].kl[0] - sum(w * t.log_likelihood[0] for w, t in zip(WEIGHTS, terms)))


def main() -> None:
    thetas = np.linspace(0.05, 3, 60)
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="θ", ylabel="nats", ylim=(1.2, 5), title="−ELBO(θ) for several q, and −log p(x)")
    for i, at in enumerate((0.5, 1.0, 1.5, 2.2)):
        q = posterior(at)
        axes.plot(thetas, [minus_elbo(t, q) for t in thetas], f"C{i}", label=f"q = p(z|x) at θ = {at}")
        axes.plot(at, minus_elbo(at, q), f"C{i}o")
    axes.plot(thetas, minus_log_px(thetas), "k", linewidth=2, label="−log p(x)")
    axes.legend()
    figure.savefig(Path(__file__).parents[1] / "docs" / "bound_over_theta.png")


if __name__ == "__main__":
    main()
