"""Labels that a conditional VAE is given: `Given` is q(z|x, y) and p(x|z, y) at some labels, in the place of a VAE.

Objectives and evaluation take it as they take any VAE, and what was log p(x) is log p(x|y) (Sohn et al. 2015, eq. 4,
with p(z) that does not depend on y: the paper learns p(z|x) of another x).

Shapes: y int32 [B], each a place in the `classes` of encoder and decoder; z [..., B, L]; x [B, H, W, C].
"""

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
import tensorflow as tf

from tfvae.core.inputs import as_array
from tfvae.core.protocols import Density, Posterior, Prior, Vae
from tfvae.errors import InputError, listed

if TYPE_CHECKING:
    from tfvae.core.vae import VAE


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """What `protocols.Vae` asks of a model, of `vae` at the labels y: [B], or one for all examples, []."""

    vae: "VAE"
    y: Any

    @property
    def convolutional(self) -> bool:
        """Whether it has convolutions."""
        return self.vae.convolutional

    @property
    def prior(self) -> Prior:
        """p(z), which does not depend on y."""
        return self.vae.prior

    def encode(self, x: tf.Tensor) -> Posterior:
        """q(z|x, y) over [B, L]."""
        return self.vae.encoder(x, self.y)

    def sampling(
        self, posterior: Posterior, epsilon: tf.Tensor, with_log_prob: bool = False
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """z ~ q(z|x, y), and log q(z|x, y) if it is asked for."""
        return self.vae.sampling(posterior, epsilon, with_log_prob=with_log_prob)

    def decode(self, z: tf.Tensor) -> Density:
        """p(x|z, y) over [..., H, W, C]."""
        return self.vae.decoder(z, self.y)

    def sample_prior(self, epsilon: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
        """z ~ p(z), as `VAE.sample_prior`."""
        return self.vae.sample_prior(epsilon, uniform)


def at_labels(vae: Vae, y: Any) -> Vae:
    """A VAE at the labels y; where there are none, itself, which may be any model with these methods."""
    return vae if y is None else Given(cast("VAE", vae), y)


def require_condition(classes: tuple[str, ...], y: Any) -> None:
    """Refuses labels of a model that has no classes, and none of one that has some; raises InputError."""
    if classes and y is None:
        raise InputError(
            f"y: must be given: the model is conditional, of {_of_classes(classes)}: vae.given(y).encode(x), .decode(z)"
        )
    if not classes and y is not None:
        raise InputError("y: must not be given: the model is not conditional: train it with --condition=label")


def as_places(classes: tuple[str, ...], y: Any, examples: tuple[int, ...]) -> tf.Tensor:
    """Labels y from outside as int32 of the shape `examples`, or one that broadcasts to it.

    Raises:
        InputError: they are no whole numbers from 0 to the number of classes less 1, or not one for each example.
    """
    places = as_array(y, "y")
    is_whole = places.dtype.kind in "iu"
    if not is_whole or places.size == 0 or places.min() < 0 or places.max() >= len(classes):
        found = f"some from {places.min()} to {places.max()}" if is_whole and places.size else f"{places.dtype}"
        raise InputError(
            f"y: must be whole numbers from 0 to {len(classes) - 1}, the places of {_of_classes(classes)}, and has "
            f"{found}"
        )
    fits = places.ndim <= len(examples) and places.shape == examples[len(examples) - places.ndim :]
    if not fits:
        raise InputError(
            f"y: must be a label for each example, {list(examples)}, or one for all, and has the shape "
            f"{list(places.shape)}"
        )
    return tf.constant(places.astype(np.int32))


def _of_classes(classes: tuple[str, ...]) -> str:
    return f"the {len(classes):,} classes {listed(classes)}"


def one_hot(y: tf.Tensor, classes: int, leading: tf.Tensor) -> tf.Tensor:
    """A 1 at each label's place and else 0, float32 [*leading, classes]; `leading` is a shape that y broadcasts to."""
    return tf.broadcast_to(tf.one_hot(y, classes), tf.concat([leading, [classes]], axis=0))


def label_channels(classes: int, is_of_vectors: bool) -> int:
    """What `Label` puts beside x: a picture, or of a vector the one-hot label; nothing where there are no classes."""
    return classes if is_of_vectors else min(classes, 1)


class Label(keras.layers.Layer):
    """Puts the label beside x as channels more, so that any trunk takes it: [B, H, W, C], y [B] -> [B, H, W, C + more].

    An image gets one more: a picture of `pixels` = H W values that is learned for each class, made by a dense layer
    with `options`. A vector [B, 1, 1, D], whose `pixels` are None, gets the one-hot label, one for each class.
    """

    def __init__(self, classes: int, pixels: int | None, options: dict[str, Any]) -> None:
        super().__init__(name="label", dtype="float32")
        self.classes = classes
        self.picture = None if pixels is None else keras.layers.Dense(pixels, use_bias=False, **options)

    def build(self, input_shape: Any = None) -> None:
        if self.picture:
            self.picture.build((None, self.classes))
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[B, H, W, C + more]."""
        *places, channels = input_shape
        return (*places, (channels or 0) + label_channels(self.classes, self.picture is None))

    def call(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        channels = one_hot(y, self.classes, tf.shape(x)[:1])  # [B, classes]
        if self.picture:
            channels = tf.cast(self.picture(channels), tf.float32)
        height, width = x.shape[1:3]
        channels = tf.reshape(channels, [-1, height, width, channels.shape[-1] // (height * width)])
        return tf.concat([x, channels], axis=-1)
