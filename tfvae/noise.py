"""Randomness as a pure function of (seed, stream, step).

Nothing here has a state: a resumed run, or one on another number of replicas, draws the same numbers. Two stateless
draws that share a seed are dependent, so each use has a stream of its own. Integer draws agree inside and outside
XLA; float draws don't, so a float draw is always jitted, or made of integers.

Shapes: a seed is int32 [2].
"""

import enum
from collections.abc import Callable

import tensorflow as tf

_ALGORITHM = "philox"  # the only one that gives the same integers in eager mode, tf.function and XLA on CPU


class Stream(enum.IntEnum):
    """The independent uses of randomness."""

    SHUFFLE = 1
    POSTERIOR = 2
    BINARIZE = 3
    EVALUATION = 4
    PRIOR = 5


def seed_for(seed: int | tf.Tensor, stream: Stream, step: int | tf.Tensor = 0) -> tf.Tensor:
    """The seed, int32 [2], of one draw."""
    return fold_in(fold_in(tf.stack([tf.cast(seed, tf.int32), 0]), int(stream)), step)


def fold_in(seed: tf.Tensor, data: int | tf.Tensor) -> tf.Tensor:
    """A seed, int32 [2], made of another and a number: for draws that are counted in two ways."""
    return tf.random.fold_in(seed, tf.cast(data, tf.int32), alg=_ALGORITHM)


@tf.function(jit_compile=True)
def normal(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Standard normal float32 of this shape; jitted, so that it is the same wherever it is called."""
    return tf.random.stateless_normal(shape, seed, alg=_ALGORITHM)


def integers(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Uniform over all uint32."""
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg=_ALGORITHM)


def uniform(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Uniform on [0, 1) in steps of 2^-24, each an exact float32, made of integers."""
    bits = tf.bitwise.right_shift(integers(shape, seed), tf.constant(8, tf.uint32))
    return tf.cast(tf.bitcast(bits, tf.int32), tf.float32) / 2.0**24


def bernoulli(probabilities: tf.Tensor, seed: tf.Tensor, draw: Callable[..., tf.Tensor] = uniform) -> tf.Tensor:
    """0 or 1 with these probabilities: float32, the same shape. 0 and 1 themselves are kept exactly.

    `draw(shape, seed)` makes the uniform numbers: a replica's are rows of a larger draw.
    """
    return tf.cast(draw(tuple(probabilities.shape), seed) < probabilities, tf.float32)


def dequantize(images: tf.Tensor, seed: tf.Tensor, draw: Callable[..., tf.Tensor] = uniform) -> tf.Tensor:
    """(level + u) / 256 for images of 256 levels k / 255, u uniform on [0, 1) (Theis et al. 2016, section 3.1)."""
    return (tf.round(images * 255.0) + draw(tuple(images.shape), seed)) / 256.0


def permutation(size: int, seed: tf.Tensor) -> tf.Tensor:
    """A uniformly drawn order of 0 .. size-1: int32 [size]."""
    bits = tf.bitcast(integers((size,), seed), tf.int32)
    return tf.argsort(bits, stable=True)
