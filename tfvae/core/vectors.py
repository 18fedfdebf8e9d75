"""Vectors: rows of a table, of which each column has a name, a unit of its own, and perhaps missing values.

The package keeps a vector of D values as an image [1, 1, D], in its user's units, missing values as NaN. The encoder
scales what it sees, u = (x - offset) / scale, and the decoder's density is one of x again, so that every figure is of
the values as they came, and exported models take and give them.

Shapes: x [B, 1, 1, D], the user's x [B, D]; densities [...], in nats.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.core import fast
from tfvae.core.columns import Columns
from tfvae.core.inputs import as_array
from tfvae.core.protocols import Density, HasVariance
from tfvae.errors import InputError


def features_shape(image_shape: tuple[int, int, int], columns: Columns | None) -> tuple[int, int, int]:
    """Of what the encoder's first layer sees of x: [H, W, C], or [1, 1, 2 D] where values may be missing."""
    return (1, 1, 2 * len(columns.names)) if columns and columns.missing else image_shape


def as_features(columns: Columns, x: tf.Tensor) -> tf.Tensor:
    """What the encoder's first layer sees of x: u [B, 1, 1, D], or [B, 1, 1, 2 D] where values may be missing."""
    u = (
        (x - tf.constant(columns.offset, tf.float32)) / tf.constant(columns.scale, tf.float32)
        if columns.are_scaled
        else x
    )
    if not columns.missing:
        return u
    is_observed = ~tf.math.is_nan(x)
    return tf.concat([tf.where(is_observed, u, 0.0), tf.cast(is_observed, tf.float32)], axis=-1)


def in_their_units(columns: Columns, density: Density) -> Density:
    """The density of x that a density of u stands for, of the observed values alone where some may be missing."""
    if columns.are_scaled:
        density = Rescaled(density, tf.constant(columns.offset, tf.float32), tf.constant(columns.scale, tf.float32))
    return OfObserved(density) if columns.missing else density


class Rescaled(NamedTuple):
    """The density of x = offset + scale u for a density of u; offset and scale [D]."""

    density: Any  # a Density: a NamedTuple knows no protocol for its fields in tf.function
    offset: tf.Tensor
    scale: tf.Tensor

    def _scaled(self, x: tf.Tensor) -> tf.Tensor:
        return (x - self.offset) / self.scale

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z]: [..., 1, 1, D]."""
        return self.offset + self.scale * self.density.mean

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p(x|z): that of u less the logarithm of the scales, the Jacobian."""
        return self.density.log_prob(self._scaled(x)) - tf.reduce_sum(tf.math.log(self.scale))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of each value by itself: [..., 1, 1, D]."""
        return self.density.element_log_prob(self._scaled(x)) - tf.math.log(self.scale)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """`mean` - x over the scale: columns of any units have errors of one kind."""
        return self.density.residual(self._scaled(x))

    @property
    def variance(self) -> tf.Tensor:
        """Of each value of x: [..., 1, 1, D]."""
        return tf.square(self.scale) * cast(HasVariance, self.density).variance

    @property
    def mean_variance(self) -> tf.Tensor:
        """Of u: [...]."""
        return cast(HasVariance, self.density).mean_variance

    def noise(self, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """What `sample` needs for x of this shape."""
        return self.density.noise(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x drawn from p(x|z)."""
        return self.offset + self.scale * self.density.sample(noise)

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> Density:
        """The density of the same family, independent of z, of values x with these moments."""
        offset, scale = self.offset.numpy(), self.scale.numpy()
        return self._replace(density=self.density.fitted_to((mean - offset) / scale, variance / scale**2, examples))


class OfObserved(NamedTuple):
    """The density of the values of x that are there: NaN are those that are missing."""

    density: Any

    @property
    def mean(self) -> tf.Tensor:
        """E[x|z], of missing values too: [..., 1, 1, D]."""
        return self.density.mean

    def log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of the observed values."""
        return fast.sum_over_values(self.element_log_prob(x))

    def element_log_prob(self, x: tf.Tensor) -> tf.Tensor:
        """log p of each observed value by itself, and 0 of a missing one: [..., 1, 1, D]."""
        is_observed = ~tf.math.is_nan(x)
        # a number in the place of NaN: the gradient of `where` multiplies the branch that is not taken by 0
        return tf.where(is_observed, self.density.element_log_prob(tf.where(is_observed, x, 0.0)), 0.0)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """That of observed values, and 0 of missing ones."""
        return tf.where(tf.math.is_nan(x), 0.0, self.density.residual(x))

    def observed_share(self, x: tf.Tensor) -> tf.Tensor:
        """The share of values that are there: [...]."""
        return tf.reduce_mean(tf.cast(~tf.math.is_nan(x), tf.float32), axis=(-3, -2, -1))

    @property
    def variance(self) -> tf.Tensor:
        """Of each value, missing ones too: [..., 1, 1, D]."""
        return cast(HasVariance, self.density).variance

    @property
    def mean_variance(self) -> tf.Tensor:
        """Of all values: [...]."""
        return cast(HasVariance, self.density).mean_variance

    def noise(self, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
        """What `sample` needs for x of this shape."""
        return self.density.noise(shape, seed)

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """x drawn from p(x|z), missing values too."""
        return self.density.sample(noise)

    def fitted_to(self, mean: np.ndarray, variance: np.ndarray, examples: int) -> Density:
        """The density of the same family, independent of z, of values with these moments."""
        return OfObserved(self.density.fitted_to(mean, variance, examples))


class VectorRule(NamedTuple):
    """What training found its vectors to be: later ones [N, D] have as many columns, in the same units."""

    columns: Columns

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[1, 1, D]."""
        return (1, 1, len(self.columns.names))

    def checked(self, vectors: Any, name: str = "x") -> np.ndarray | tf.Tensor:
        """`vectors` as an array (or the tensor that they are) of N > 0 vectors that the rule allows.

        Raises:
            InputError: another shape or type, an infinity, or NaN where nothing may be missing.
        """
        if not tf.is_tensor(vectors):
            self.check_names(vectors, name)
            vectors = as_array(vectors, name)
        count = len(self.columns.names)
        shape = tuple(vectors.shape)
        expected = f"{name}: must be vectors [N, {count}]"
        if shape == (count,):
            raise InputError(f"{expected}, and is a single one: take {name}[None]")
        if shape[1:] not in ((count,), self.image_shape) or shape[0] == 0:
            raise InputError(f"{expected}, and has the shape {list(shape)}")
        values = np.asarray(vectors)
        if values.dtype.kind not in "biuf":
            raise InputError(f"{expected} of numbers, and has the type {values.dtype}")
        self._check_finite(expected, values.reshape(-1, count))
        return vectors

    def check_names(self, vectors: Any, name: str = "x") -> None:
        """Refuses a DataFrame whose columns are named unlike the run's, or lie in another order; raises InputError.

        An array is taken by position. So is a DataFrame where its columns, or the run's, are counted and have no names.
        """
        own = self.columns.names
        found = tuple(getattr(vectors, "columns", ()))
        are_named = bool(found) and all(isinstance(each, str) for each in found)
        if not are_named or found == own or own == tuple(map(str, range(len(own)))):
            return
        i = next((i for i, pair in enumerate(zip(found, own)) if pair[0] != pair[1]), min(len(found), len(own)))
        here = f"is {found[i]}" if i < len(found) else "is not there"
        there = own[i] if i < len(own) else "none"
        raise InputError(
            f"{name}: must have the columns that the run was trained on, in their order, and column {i} (from 0) "
            f"{here} and not {there}: take {name}[list(run.vae.encoder.columns.names)]"
        )

    def _check_finite(self, expected: str, values: np.ndarray) -> None:
        is_wrong = np.isinf(values) if self.columns.missing else ~np.isfinite(values)
        if not is_wrong.any():
            return
        row, column = np.argwhere(is_wrong)[0]
        allowed = "finite numbers, or NaN where one is missing" if self.columns.missing else "finite numbers"
        raise InputError(
            f"{expected} of {allowed}, and has {values[row, column]!s} in row {row}, {self.columns.names[column]}"
        )

    def stored(self, vectors: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """Checked vectors as the package keeps them: float32 [N, 1, 1, D]."""
        shape = (-1, *self.image_shape)
        if tf.is_tensor(vectors):
            return tf.cast(tf.reshape(vectors, shape), tf.float32)
        return vectors.reshape(shape).astype(np.float32, copy=False)

    def to_unit(self, vectors: Any, name: str = "x") -> np.ndarray | tf.Tensor:
        """x float32 [N, 1, 1, D], in its own units; of a tensor a tensor, whose gradient reaches it.

        Raises:
            InputError: `checked` raises it.
        """
        return self.stored(self.checked(vectors, name))
