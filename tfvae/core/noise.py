"""Randomness as a pure function of (seed, stream, step).

Nothing here has a state: a resumed run, or one on another number of replicas, draws the same numbers. Two stateless
draws that share a seed are dependent, so each use has a stream of its own. Integer draws agree inside and outside
XLA; float draws don't, so a float draw is always jitted, or made of integers (but for the exported `sample`, whose
draws need not agree with any other).

Shapes: a seed is int32 [2].
"""

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae.core import fast
from tfvae.errors import InputError

_ALGORITHM = "philox"  # the only one that gives the same integers in eager mode, tf.function and XLA on CPU
_XLA_ALGORITHM = "threefry"  # in XLA alone, where it is ten times as fast on CPU


class Stream(enum.IntEnum):
    """The independent uses of randomness."""

    SHUFFLE = 1
    POSTERIOR = 2
    BINARIZE = 3
    EVALUATION = 4
    PRIOR = 5
    VALIDATION = 6  # in Keras's `evaluate`
    VARIANCE = 7  # of the final pass of --sigma=optimal
    LIKELIHOOD = 8  # x drawn from p(x|z)
    AGGREGATE = 9  # in the picture of the aggregate posterior
    DROPOUT = 10  # in networks of the user's own


def seed_for(seed: int | tf.Tensor, stream: Stream, step: int | tf.Tensor = 0) -> tf.Tensor:
    """The seed, int32 [2], of one draw."""
    return fold_in(fold_in(tf.stack([tf.cast(seed, tf.int32), 0]), int(stream)), step)


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A seed, int32 [2], made of another and a number: for draws that are counted in two ways."""
    return tf.random.fold_in(seed, tf.cast(data, tf.int32), alg=_ALGORITHM)


def normal(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Standard normal float32 of this shape; jitted, so that it is the same wherever it is called."""
    return _jitted(_normal, shape, seed)


def step_uniform(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """The distribution of `uniform` by other numbers, which XLA alone can draw, and ten times as fast."""
    return _jitted(_step_uniform, shape, seed)


def _jitted(draw: Any, shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """What a jitted function draws, also where TensorFlow is told to run all functions eagerly, to debug."""
    if tf.config.functions_run_eagerly():
        draw = draw.get_concrete_function(shape, seed)  # which is run as it was compiled
    return draw(shape, seed)


@tf.function(jit_compile=True, autograph=False)
def _normal(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Standard normal: a quantile of integer bits.

    One bit of an integer is the sign, the others are a probability in (0, 1/2], whose quantile is the size. Such
    probabilities are exact near 0, so the tail reaches 6.2 stddevs; `fast.upper_normal_quantile` gives the error.
    """
    bits = tf.bitcast(integers(shape, seed, _XLA_ALGORITHM), tf.int32)
    p = (tf.cast(bits & 0x7FFFFFFF, tf.float32) + 0.5) / 2.0**32
    z = fast.upper_normal_quantile(p)
    return tf.where(bits < 0, -z, z)


def normal_like(mean: tf.Tensor, epsilon: tf.Tensor | None, seed: int | None) -> tf.Tensor:
    """`epsilon` where it is given, or else a standard normal draw of the shape of `mean`, a function of `seed`.

    Raises:
        InputError: neither is given.
    """
    if epsilon is not None:
        return epsilon
    if seed is None:
        raise InputError("seed: must be given where epsilon is not: q.sample(seed=0)")
    return normal(tuple(mean.shape), seed_for(seed, Stream.POSTERIOR))


@tf.function(jit_compile=True, autograph=False)
def _step_uniform(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    return uniform(shape, seed, _XLA_ALGORITHM)


def integers(shape: tuple[int, ...], seed: tf.Tensor, algorithm: str = _ALGORITHM) -> tf.Tensor:
    """Uniform over all uint32."""
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg=algorithm)


def uniform(shape: tuple[int, ...], seed: tf.Tensor, algorithm: str = _ALGORITHM) -> tf.Tensor:
    """Uniform on [0, 1) in steps of 2^-24, each an exact float32, made of integers."""
    bits = tf.bitwise.right_shift(integers(shape, seed, algorithm), tf.constant(8, tf.uint32))
    return tf.cast(tf.bitcast(bits, tf.int32), tf.float32) / 2.0**24


def bernoulli(probabilities: tf.Tensor, seed: tf.Tensor, draw: Callable[..., tf.Tensor] = uniform) -> tf.Tensor:
    """0 or 1 with these probabilities: float32, the same shape. 0 and 1 themselves are kept exactly.

    `draw(shape, seed)` makes the uniform numbers: a replica's are rows of a larger draw.
    """
    return tf.cast(draw(tuple(probabilities.shape), seed) < probabilities, tf.float32)


def dequantize(images: tf.Tensor, seed: tf.Tensor, draw: Callable[..., tf.Tensor] = uniform) -> tf.Tensor:
    """(level + u) / 256 for images of 256 levels k / 255, u uniform on [0, 1) (Theis et al. 2016, section 3.1)."""
    return (tf.round(images * 255.0) + draw(tuple(images.shape), seed)) / 256.0


def drawn_pixels(
    x: tf.Tensor, binarize: str, has_noise: bool, seed: tf.Tensor, draw: Callable[..., tf.Tensor]
) -> tf.Tensor:
    """x as a step sees it: drawn anew with `binarize="stochastic"`, or dequantized if it `has_noise`."""
    if binarize == "stochastic":
        x = bernoulli(x, seed, draw)
    if has_noise:
        x = dequantize(x, seed, draw)
    return x


def permutation(size: int, seed: tf.Tensor) -> np.ndarray:
    """A uniformly drawn order of 0 .. size-1: int32 [size]."""
    return _order_of(integers((size,), seed).numpy())


def permutations(size: int, seed: int, stream: Stream, first: int, count: int) -> np.ndarray:
    """The `permutation`s of the steps first .. first+count-1 of a stream: int32 [count, size], by one call."""
    seed_tensor = tf.cast(seed, tf.int32)  # a number would be traced anew for each value
    keys = _integers_of_steps(size, seed_tensor, stream, tf.constant(first), tf.constant(count)).numpy()
    return np.stack([_order_of(of_step) for of_step in keys])


def _order_of(keys: np.ndarray) -> np.ndarray:
    """The places of uint32 keys [N] in their order: int32 [N]."""
    # signed, as in every release: the order of the keys is part of the numbers
    return np.argsort(keys.view(np.int32), kind="stable").astype(np.int32)


@tf.function(autograph=False)
def _integers_of_steps(size: int, seed: tf.Tensor, stream: Stream, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """`integers` of several steps' seeds: uint32 [count, size]."""

    def of_step(step: tf.Tensor) -> tf.Tensor:
        return integers((size,), seed_for(seed, stream, step))

    return tf.map_fn(of_step, first + tf.range(count), fn_output_signature=tf.uint32)
