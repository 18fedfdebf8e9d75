"""What is served of a trained model: functions of tensors, whose graphs check what a server feeds them.

Each signature of a conditional model takes `label` too, int32 [N], places among the model's classes.

Shapes: N rows, L latents, images H W C.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core import noise
from tfvae.core.columns import Columns
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.errors import listed

LABEL = tf.TensorSpec([None], tf.int32, name="label")


class Signature(NamedTuple):
    """A function that is served: of a tensor and, of a conditional model, the labels of its rows, to {name: tensor}.

    `columns` are those of an input of vectors, `x_columns` those of an output `x`; `classes` is their number.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    input: tf.TensorSpec
    columns: Columns | None = None
    value_range: tuple[float, float] | None = None
    x_columns: Columns | None = None
    classes: int = 0

    @property
    def inputs(self) -> list[tf.TensorSpec]:
        """All that it takes, in the order of the function's arguments."""
        return [self.input, LABEL] if self.classes else [self.input]

    def examples(self, rows: int) -> dict[str, np.ndarray]:
        """Inputs of so many rows by their names, always the same."""
        examples = {self.input.name: self._example(rows)}
        if self.classes:
            examples[LABEL.name] = example_labels(rows, self.classes)
        return examples

    def _example(self, rows: int) -> np.ndarray:
        """An input of so many rows; of vectors such as the training part has."""
        example = example_input(self.input, rows)
        if self.value_range:
            low, high = self.value_range
            return (low + (high - low) * example).astype(np.float32)
        if self.columns is None:
            return example
        example = np.array(self.columns.offset) + np.array(self.columns.scale) * example
        if self.takes_nan:
            example[0, 0] = np.nan
        return example.astype(np.float32)

    @property
    def takes_nan(self) -> bool:
        """Whether NaN in the input stands for a missing value."""
        return self.columns is not None and self.columns.missing


def decoded(vae: VAE, z: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """The mean of p(x|z) for z [N, L]: `image` [N, H, W, C], clipped to [0, 1], or of vectors `x` [N, D].

    `label` int32 [N] are places in the classes of a conditional model.
    """
    mean = vae.given(label).decode(z).mean
    if vae.decoder.columns:
        return {"x": vae.decoder.in_user_units(mean)}
    return {"image": vae.decoder.in_user_units(tf.clip_by_value(mean, 0.0, 1.0))}


def example_input(spec: tf.TensorSpec, rows: int) -> np.ndarray:
    """An input of so many rows, always the same: seeds that count up, or numbers in [0, 1)."""
    if spec.dtype == tf.int32:
        return np.arange(rows, dtype=np.int32)
    return np.random.default_rng(rows).uniform(0, 1, (rows, *spec.shape[1:])).astype(np.float32)


def example_labels(rows: int, classes: int) -> np.ndarray:
    """Labels of so many rows: the classes in turn."""
    return np.arange(rows, dtype=np.int32) % classes


class DecoderFunctions:
    """What is served of a decoder and the prior."""

    def __init__(self, vae: VAE) -> None:
        self.vae, self.latent_dim = vae, vae.encoder.latent_dim

    def decode(self, z: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        z = tf.ensure_shape(z, [None, self.latent_dim])  # servers feed what they get: the graph must check it
        z = tf.debugging.check_numerics(z, "z must be finite")
        return decoded(self.vae, z, _checked_labels(label, z, self.vae.classes))

    def sample(self, seed: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        seed = tf.ensure_shape(seed, [None])
        label = _checked_labels(label, seed, self.vae.classes)
        z = tf.map_fn(self._draw, seed, fn_output_signature=tf.TensorSpec([self.latent_dim], tf.float32))
        return {**decoded(self.vae, z, label), "z": z}

    def _draw(self, seed: tf.Tensor) -> tf.Tensor:
        """z [L] from the prior: without XLA, which servers need not have, and without a state."""
        seeds = noise.seed_for(seed, Stream.PRIOR)
        epsilon = tf.random.stateless_normal([self.latent_dim], seeds, alg="philox")
        return self.vae.sample_prior(epsilon, noise.uniform((), noise.fold_in(seeds, 1)))


class EncoderFunctions:
    """What is served of an encoder."""

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    def encode(self, x: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        encoder = self.vae.encoder
        if encoder.columns:
            x = tf.reshape(_checked_vectors(x, encoder.columns), [-1, *encoder.image_shape])
        else:
            low, high = encoder.value_range or (0.0, 1.0)
            x = _checked_images(x, encoder.image_shape, low, high)
            if encoder.value_range:
                x = (x - low) / (high - low)
        posterior = self.vae.given(_checked_labels(label, x, self.vae.classes)).encode(x)
        return {"mean": posterior.mean, "log_variance": posterior.marginal_log_variance()}


def _checked_images(x: tf.Tensor, image_shape: tuple[int, ...], low: float, high: float) -> tf.Tensor:
    """`x`, in a graph that fails with InvalidArgumentError where it is not [N, H, W, C] of numbers in [low, high].

    Servers feed what they get: whole numbers from 0 to 255 would give latents, and wrong ones.
    """
    x = tf.ensure_shape(x, [None, *image_shape])
    x = tf.debugging.check_numerics(x, "x must be finite")
    lowest = tf.strings.as_string(tf.reduce_min(x), shortest=True)
    highest = tf.strings.as_string(tf.reduce_max(x), shortest=True)
    expected = "fractions in [0, 1]" if (low, high) == (0, 1) else f"numbers from {low:g} to {high:g}"
    message = tf.strings.join([f"x must be {expected}, and has numbers from ", lowest, " to ", highest])
    is_within = tf.reduce_all((x >= low) & (x <= high))
    with tf.control_dependencies([tf.debugging.Assert(is_within, [message])]):
        return tf.identity(x)


def _checked_vectors(x: tf.Tensor, columns: Columns) -> tf.Tensor:
    """`x`, in a graph that fails with InvalidArgumentError where it is not [N, D] of finite numbers.

    NaN may stand for a missing value, where the columns say so.
    """
    x = tf.ensure_shape(x, [None, len(columns.names)])
    numbers = tf.where(tf.math.is_nan(x), tf.zeros_like(x), x) if columns.missing else x
    with tf.control_dependencies([tf.debugging.check_numerics(numbers, "x must be finite")]):
        return tf.identity(x)


def _checked_labels(label: tf.Tensor | None, rows: tf.Tensor, classes: tuple[str, ...]) -> tf.Tensor | None:
    """`label`, in a graph that fails with InvalidArgumentError where it is not a class for each of `rows` [N, ...].

    A one-hot label of no class would be all zeros, and its picture plausible. None of a model without classes.
    """
    if label is None:
        return None
    label = tf.ensure_shape(label, [None])
    lowest, highest = tf.strings.as_string(tf.reduce_min(label)), tf.strings.as_string(tf.reduce_max(label))
    last, names = len(classes) - 1, listed(classes)
    expected = f"label must be from 0 to {last}, the places of the classes {names}, and has numbers from "
    in_words = tf.strings.join([expected, lowest, " to ", highest])
    is_class = tf.reduce_all((label >= 0) & (label < len(classes)))
    is_for_each = tf.equal(tf.shape(label)[0], tf.shape(rows)[0])
    checks = [
        tf.debugging.Assert(is_class, [in_words]),
        tf.debugging.Assert(is_for_each, ["label must be one for each row"]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(label)
