"""What Keras's `fit` and `evaluate` hand to a VAE: images alone, and the means that they log."""

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfvae.core import noise, objectives
from tfvae.core.inputs import InputRule, to_unit
from tfvae.core.vectors import VectorRule
from tfvae.errors import InputError


class Means:
    """The means of the loss, of the ELBO and of its terms over the images of an epoch or of an evaluation.

    Keras resets its metrics at the start of each. An object of our own holds them, since Keras takes none into a model
    that is built.
    """

    def __init__(self) -> None:
        self.metrics = [keras.metrics.Mean(name, dtype="float32") for name in ("loss", *objectives.Elbo._fields)]

    @property
    def images(self) -> tf.Tensor:
        """How many there have been."""
        return self.metrics[0].count

    def update(self, losses: tf.Tensor, terms: objectives.Elbo) -> dict[str, tf.Tensor]:
        """The means with those of more images, [B] each, by name."""
        for mean, values in zip(self.metrics, (losses, *terms)):
            mean.update_state(values)
        return {mean.name: mean.result() for mean in self.metrics}


def as_input(rule: InputRule | VectorRule, images: Any, name: str) -> np.ndarray | tf.Tensor | tf.data.Dataset:
    """Images as Keras's data adapters take them: uint8 stays uint8, and each batch is converted by itself.

    The values of a tf.data.Dataset are known only when it is read: `refused_batches` raises what is wrong with them.

    Raises:
        InputError: they don't follow the rule, or are not images alone in batches.
    """
    if not isinstance(images, tf.data.Dataset):
        return rule.stored(rule.checked(images, name))
    if isinstance(rule, VectorRule):
        raise InputError(f"{name}: must be an array of vectors [N, D]: a tf.data.Dataset is for images")
    spec = images.element_spec
    expected = f"{name}: must be a tf.data.Dataset of batches of images [B, H, W, C]"
    if not isinstance(spec, tf.TensorSpec):
        raise InputError(f"{expected} alone, and has {spec}: map it to the images")
    if spec.shape.rank != 4 or not spec.shape[1:].is_compatible_with(rule.image_shape):
        raise InputError(f"{expected} {list(rule.image_shape)}, and has elements of the shape {spec.shape}")
    return images.map(functools.partial(_stored_batch, rule, name), num_parallel_calls=tf.data.AUTOTUNE)


def _stored_batch(rule: InputRule, name: str, batch: tf.Tensor) -> tf.Tensor:
    """A batch of a tf.data.Dataset as the package stores it; its reader gets InvalidArgumentError for a wrong value.

    Floats are fractions here, never whole numbers: what a batch holds does not tell what the others do.
    """
    if batch.dtype != tf.bool:
        highest = 1 if batch.dtype.is_floating else min(rule.white, batch.dtype.max)  # int8 has no 255
        line = tf.strings.format(
            f"{name}: must be fractions in [0, 1], or whole numbers from 0 to {rule.white} of an integer type, and has "
            f"a batch of {batch.dtype.name} from {{}} to {{}}",
            (tf.reduce_min(batch), tf.reduce_max(batch)),
        )
        tf.debugging.Assert(tf.reduce_all((batch >= 0) & (batch <= highest)), [line])  # NaN is not
    return rule.stored(batch)


@contextlib.contextmanager
def refused_batches() -> Iterator[None]:
    """Raises InputError, in a line, where `_stored_batch` has refused one while Keras read the images."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        refusal = re.search(r"assertion failed: \[(\w+: must be fractions in .* from \S+ to [^\s\]]+)\]", str(error))
        if refusal is None:
            raise
        raise InputError(refusal[1]) from None


def images_of(data: Any) -> tf.Tensor:
    """x in [0, 1] of what Keras hands to a step: a tensor, or a tuple of one."""
    x = data[0] if isinstance(data, tuple | list) else data
    return to_unit(x)


def uniform_like(x: tf.Tensor, shape: tuple[int | None, ...], seed: tf.Tensor) -> tf.Tensor:
    """Uniform noise of the shape that x has when the step runs: `shape` may lack the batch's size."""
    return noise.step_uniform(tf.shape(x), seed)


def only_images(validation_data: Any) -> Any:
    """The images of Keras's `(x,)`, which others write as x; raises InputError where there are targets."""
    if not isinstance(validation_data, tuple):
        return validation_data
    if len(validation_data) != 1:
        raise InputError("validation_data: must be images, or (images,): a VAE has no targets")
    return validation_data[0]


def refuse_targets(arguments: dict[str, Any]) -> None:
    """Refuses Keras's arguments that have no meaning for a VAE; raises InputError."""
    for name in ("y", "sample_weight", "class_weight"):
        if arguments.get(name) is not None:
            raise InputError(f"{name}: must not be given: a VAE explains x alone: vae.fit(x)")


def refuse_strategy() -> None:
    """Refuses to train over replicas, of which Keras would give each the same noise; raises InputError."""
    if tf.distribute.has_strategy() or keras.distribution.distribution() is not None:
        raise InputError(
            "strategy: must be none here: tfvae.fit(tfvae.Config(strategy='mirrored'), x) trains on several devices"
        )
