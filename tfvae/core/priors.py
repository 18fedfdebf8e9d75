"""The families of p(z): what the VAE learns of them, and how z is drawn.

A family, `protocols.PriorFamily`, says what is learned and makes the distribution of it: one with the methods of
`protocols.Prior`. To add one, write its class here, put it into PRIORS, and add its row to
`config/capabilities.py`.

Shapes: z and epsilon [..., L]; densities [...], in nats.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfvae.core.distributions import DiagonalNormal, NormalMixture, bounded_log_variance, standard_normal
from tfvae.core.protocols import LearnedVariable, PriorFamily


class StandardPrior(NamedTuple):
    """N(0, I)."""

    latent_dim: int
    components: int

    def variables(self, seed: int) -> list[LearnedVariable]:
        """None."""
        return []

    def from_variables(self) -> DiagonalNormal:
        """The distribution."""
        return standard_normal(self.latent_dim)


class NormalPrior(NamedTuple):
    """A diagonal normal that is learned; it starts as N(0, I)."""

    latent_dim: int
    components: int

    def variables(self, seed: int) -> list[LearnedVariable]:
        """Mean and log-variance."""
        zeros = keras.initializers.Zeros()
        shape = (1, self.latent_dim)  # as a mixture of one has: checkpoints have it
        return [LearnedVariable("prior_mean", shape, zeros), LearnedVariable("prior_log_variance", shape, zeros)]

    def from_variables(self, mean: tf.Tensor, raw_log_variance: tf.Tensor) -> DiagonalNormal:
        """The distribution."""
        return DiagonalNormal(mean[0], bounded_log_variance(raw_log_variance[0]))


class MixturePrior(NamedTuple):
    """A mixture of diagonal normals that is learned; the means start as draws from N(0, I), a single one at 0."""

    latent_dim: int
    components: int

    def variables(self, seed: int) -> list[LearnedVariable]:
        """Means, log-variances and the logits of the weights."""
        zeros = keras.initializers.Zeros()
        stddev = 1.0 if self.components > 1 else 0.0
        shape = (self.components, self.latent_dim)
        return [
            LearnedVariable("prior_mean", shape, keras.initializers.RandomNormal(0.0, stddev, seed=seed)),
            LearnedVariable("prior_log_variance", shape, zeros),
            LearnedVariable("prior_logits", (self.components,), zeros),
        ]

    def from_variables(self, mean: tf.Tensor, raw_log_variance: tf.Tensor, logits: tf.Tensor) -> NormalMixture:
        """The distribution."""
        return NormalMixture(logits, mean, bounded_log_variance(raw_log_variance))


PRIORS: dict[str, Callable[[int, int], PriorFamily]] = {
    "standard": StandardPrior,
    "normal": NormalPrior,
    "mixture": MixturePrior,
}
