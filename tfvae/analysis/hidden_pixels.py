"""Pixels that are there and are hidden from the model: how well they are filled in, and how likely the true ones are.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1].
"""

from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.analysis.conditional import Conditioner, log_prob_where
from tfvae.core.given import at_labels
from tfvae.core.inputs import to_unit
from tfvae.core.protocols import OfSingleValues, Vae


class Filled(NamedTuple):
    """Images with their hidden pixels filled in, and the log-likelihood of what was hidden, [N] in nats."""

    images: np.ndarray
    log_prob: np.ndarray
    effective_samples: np.ndarray | None = None  # of z behind each image, [N]

    def row(self, images: np.ndarray, observed: np.ndarray) -> dict[str, float]:
        """RMSE over all hidden pixels, and the mean over images of log p with its standard error."""
        hidden = np.broadcast_to(observed, images.shape) == 0
        squares = np.square(self.images - to_unit(images))[hidden]
        row = {
            "RMSE": np.mean(squares, dtype=np.float64) ** 0.5,
            "log p(missing | observed)": self.log_prob.mean(),
            "standard error": np.std(self.log_prob, dtype=np.float64) / len(images) ** 0.5,
        }
        if self.effective_samples is not None:
            row["effective samples"] = np.mean(self.effective_samples, dtype=np.float64)
        return {key: float(value) for key, value in row.items()}


def by_vae(
    conditioner: Conditioner,
    images: np.ndarray,
    observed: np.ndarray,
    train_images: np.ndarray,
    y: np.ndarray | None = None,
) -> Filled:
    """Fills in E[x_hidden | x_observed] where `observed`, which broadcasts to the images, is 0.

    log p(x_hidden | x_observed) is the estimate of log p(x) less that of log p(x_observed). Few effective samples
    flatter it: the second is then underestimated more. The training images' means are the first guess. y [N] are the
    labels of a conditional VAE.
    """
    guess = by_means(conditioner.vae, images, observed, train_images, y).images
    observed = np.broadcast_to(observed, images.shape)
    # each image twice: given its observed pixels, and given all of them
    x = np.concatenate([guess, to_unit(images)])
    masks = np.concatenate([observed, np.ones_like(observed)]).astype(np.float32)
    labels = None if y is None else np.concatenate([y, y])
    known = conditioner.condition(x, masks, tile=min(len(x), conditioner.tile), y=labels)  # as in every release
    log_p_observed, log_p_all = np.split(known.log_observed, 2)
    size = len(images)
    filled = np.where(observed, guess, known.mean[:size])
    return Filled(filled, log_p_all - log_p_observed, known.effective_samples[:size])


def by_means(
    vae: Vae, images: np.ndarray, observed: np.ndarray, train_images: np.ndarray, y: np.ndarray | None = None
) -> Filled:
    """Fills in the training images' means; log p is that of independent pixels of these means (and variances)."""
    x, train_x = to_unit(images), to_unit(train_images)
    mean = np.asarray(np.mean(train_x, axis=0, dtype=np.float64))
    variance = np.asarray(np.var(train_x, axis=0, dtype=np.float64))
    model = at_labels(vae, None if y is None else tf.constant(y[:1]))
    density = cast(OfSingleValues, model.decode(model.encode(tf.constant(x[:1])).mean))  # any of the family
    pixels = density.fitted_to(mean, variance, len(train_x))
    hidden = tf.constant(np.broadcast_to(observed, x.shape) == 0, tf.float32)
    filled = np.where(observed, x, mean.astype(np.float32))
    return Filled(filled, log_prob_where(pixels, x, hidden).numpy())
