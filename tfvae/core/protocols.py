"""What posteriors, priors, likelihoods and VAEs have in common, for the type checker and for who writes a new one.

Shapes: x [B, H, W, C]; z and epsilon [..., L]; densities [...], in nats.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.distributions import NormalMixture


class LearnedVariable(NamedTuple):
    """What a family of priors or of likelihoods learns beside the networks' weights."""

    name: str
    shape: tuple[int, ...]
    initializer: keras.initializers.Initializer
    trainable: bool = True  # else each step sets it: `LikelihoodFamily.sets_variance`


class Posterior(Protocol):
    """q(z|x), over z [B, L]: a NamedTuple of tensors with these leading axes.

    Where `config/capabilities.py` says so it also has what `ClosedKl` and `AnyDensity` have.
    """

    @property
    def mean(self) -> tf.Tensor:
        """E[z|x]."""
        ...

    @staticmethod
    def head_sizes(latent_dim: int) -> dict[str, int]:
        """The encoder's outputs that it is made of: how many of each name; `mean` is one of them."""
        ...

    @classmethod
    def from_head(cls, *outputs: tf.Tensor) -> "Posterior":
        """Made of these outputs, [B, size] each, in the order of `head_sizes`."""
        ...

    def sample(self, epsilon: tf.Tensor | None = None, *, seed: int | None = None) -> tf.Tensor:
        """z, a function of standard normal epsilon; without it, of `seed`."""
        ...

    def sample_and_log_prob(self, epsilon: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`sample`, and log q(z|x) of it."""
        ...

    def marginal_log_variance(self) -> tf.Tensor:
        """The log-variance of each latent by itself."""
        ...


class ClosedKl(Protocol):
    """A posterior whose KL to the prior is closed."""

    def kl(self, other: "Prior") -> tf.Tensor:
        """KL(q(z|x) || p(z)): [B]."""
        ...

    def kl_per_latent(self, other: "Prior") -> tf.Tensor:
        """Of each latent by itself, where that is a sum: [B, L]."""
        ...


class AnyDensity(Protocol):
    """A posterior that knows the density of any z, not of its own samples alone."""

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log q(z|x)."""
        ...


class Prior(Protocol):
    """p(z)."""

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log p(z)."""
        ...

    def sample(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z, a function of standard normal epsilon and of uniform [...] on [0, 1)."""
        ...

    def quantiles(self, probabilities: np.ndarray, seed: int) -> np.ndarray:
        """Of each latent by itself, at these probabilities [Q]: [Q, L]; drawn by `seed` where they are not closed."""
        ...

    def as_mixture(self) -> NormalMixture:
        """The same density as a mixture of diagonal normals."""
        ...


class PriorFamily(Protocol):
    """What is learned of p(z), and how p(z) is made of it."""

    @property
    def latent_dim(self) -> int:
        """L."""
        ...

    @property
    def components(self) -> int:
        """Of a mixture."""
        ...

    def variables(self, seed: int) -> list[LearnedVariable]:
        """What is learned; `seed` is that of initial values."""
        ...

    @property
    def from_variables(self) -> Callable[..., Prior]:
        """p(z), made of what `variables` lists, in its order."""
        ...


class LikelihoodFamily(Protocol):
    """The settings of a likelihood, and how p(x|z) is made of the decoder's outputs."""

    @property
    def mean_function(self) -> str:
        """The name of what turns a pixel's outputs into its mean, on the page of the latent explorer."""
        ...

    @property
    def sets_variance(self) -> bool:
        """Whether a step sets the log-variance to its maximum (`--sigma=optimal`), and no gradient does."""
        ...

    def parameters_per_pixel(self, channels: int) -> int:
        """Outputs of the decoder for each pixel, of C values of x."""
        ...

    def variables(self, image_shape: tuple[int, int, int]) -> list[LearnedVariable]:
        """What is learned beside the decoder's outputs."""
        ...

    @property
    def from_parameters(self) -> Callable[..., "Density"]:
        """p(x|z) of outputs [..., H, W, parameters_per_pixel(C)] and of what `variables` lists, in its order."""
        ...


class Density(Protocol):
    """p(x|z), over x [..., H, W, C]: what a likelihood makes of the decoder's outputs."""

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z]: [..., H, W, C]."""
        ...

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p(x|z)."""
        ...

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x, in the units in which the network works: [..., H, W, C]."""
        ...

    def noise(self, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """What `sample` needs for x of this shape: a function of `seed`, int32 [2]."""
        ...

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x drawn from p(x|z)."""
        ...


class OfSingleValues(Density, Protocol):
    """A density of independent values, which missing values ask for: `element_log_prob` in the capabilities."""

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of each value of x by itself: [..., H, W, C]."""
        ...

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> "OfSingleValues":
        """The density of the same family, independent of z, of values with these moments over `examples` examples."""
        ...


class HasVariance(Protocol):
    """A density whose values have a variance beside the mean: those of `has_sigma` in the capabilities."""

    @property
    def variance(self) -> tf.Tensor:
        """Of each value: [..., H, W, C]."""
        ...

    @property
    def mean_variance(self) -> tf.Tensor:
        """The mean over an image's values: [...]."""
        ...


class Vae(Protocol):
    """What an objective and an evaluation ask of a model."""

    @property
    def convolutional(self) -> bool:
        """Whether it has convolutions, which XLA compiles badly on CPU."""
        ...

    @property
    def prior(self) -> Prior:
        """p(z)."""
        ...

    def encode(self, x: tf.Tensor) -> Posterior:
        """q(z|x)."""
        ...

    def sampling(
        self, posterior: Posterior, epsilon: tf.Tensor, with_log_prob: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """z ~ q(z|x), and log q(z|x) if it is asked for."""
        ...

    def decode(self, z: tf.Tensor) -> Density:
        """p(x|z)."""
        ...
