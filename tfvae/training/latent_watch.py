"""The KL of each latent through a training: a row for each validation in `<run>/kl_per_latent.csv`.

Shapes: N images, L latents.
"""

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfvae.config import Config
from tfvae.core.distributions import DiagonalNormal, NormalMixture
from tfvae.core.inputs import to_unit
from tfvae.core.vae import VAE
from tfvae.data.splits import Split
from tfvae.runtime import files

FILE_NAME = "kl_per_latent.csv"
MOST_LATENTS = 512  # that are followed, the first ones
_MOST_IMAGES = 512
_MOST_ROWS = 200


def normal_with_moments(mixture: NormalMixture) -> DiagonalNormal:
    """The diagonal normal with a mixture's mean and variances: of a single component it is that."""
    weights = tf.nn.softmax(mixture.logits)[:, None]
    mean = tf.reduce_sum(weights * mixture.mean, axis=0)
    variances = tf.exp(mixture.log_variance) + tf.square(mixture.mean - mean)
    return DiagonalNormal(mean, tf.math.log(tf.reduce_sum(weights * variances, axis=0)))


class LatentWatch:
    """Computes each latent's KL on some fixed validation images, and keeps the rows up to `step`, where the run is.

    It is the KL of q(z_l|x) by itself to p(z_l), in nats, as a mean over the images: of normals with these
    distributions' means and variances, so it is exact where both are normal, as by default.
    """

    def __init__(self, run_dir: Path, config: Config, vae: VAE, split: Split, block_size: int, step: int) -> None:
        self.vae = vae
        count = len(split.images)
        places = np.linspace(0, count - 1, min(count, _MOST_IMAGES)).astype(int)
        chosen = split.rows(places)
        self.images, self.y, self.block_size = chosen.array, chosen.y, min(block_size, len(places))
        self.interval = rows_interval(config)
        self.epochs = config.epoch_count
        self.path = run_dir / FILE_NAME
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(["epoch", "step", *(f"kl_{latent}" for latent in range(min(config.latent_dim, MOST_LATENTS)))])
        writer.writerows(row for row in _rows(self.path) if int(row[1]) <= step)
        files.write_atomically(self.path, content.getvalue())
        self._compiled_block = tf.function(self._block, autograph=False)

    def is_due(self, epoch: int) -> bool:
        """Whether the validation after this epoch has a row: of more than 200 validations not all have."""
        return epoch % self.interval == 0 or epoch == self.epochs

    def measure(self, epoch: int, step: int) -> np.ndarray:
        """Each latent's KL as the weights are now: [L]; it is written as the row of this epoch."""
        size = self.block_size
        total = np.zeros(1)
        for first in range(0, len(self.images), size):
            rows = np.arange(first, first + size)
            filled_up = np.minimum(rows, len(self.images) - 1)  # to one shape, for which it is compiled once
            y = None if self.y is None else tf.constant(self.y[filled_up])
            kl = self._compiled_block(tf.constant(self.images[filled_up]), y).numpy()[rows < len(self.images)]
            total = total + kl.sum(axis=0, dtype=np.float64)
        means = total[:MOST_LATENTS] / len(self.images)
        with open(self.path, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([epoch, step, *(f"{value:.6g}" for value in means)])
        return means

    def _block(self, images: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """[B, L], in the graph."""
        q = self.vae.given(y).encode(to_unit(images))
        marginals = DiagonalNormal(q.mean, q.marginal_log_variance())
        return marginals.kl_per_latent(normal_with_moments(cast(NormalMixture, self.vae.prior.as_mixture())))


def rows_interval(config: Config) -> int:
    """The epochs from one row to the next: every validation, or so many that there are at most 200 rows."""
    validations = math.ceil(config.epoch_count / config.epochs_a_validation)
    return config.epochs_a_validation * math.ceil(validations / _MOST_ROWS)


def _rows(path: Path) -> list[list[str]]:
    """The whole rows below the header; a killed process may have left a part of one."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return list(csv.reader(line for line in lines[1:] if line.endswith("\n")))


class KlHistory(NamedTuple):
    """What `kl_per_latent.csv` has: of T validations, in nats."""

    epochs: np.ndarray  # int64 [T]
    kl: np.ndarray  # [T, L]


def read(run_dir: Path, step: int) -> KlHistory | None:
    """The rows up to a step; None where there are none."""
    rows = [row for row in _rows(run_dir / FILE_NAME) if int(row[1]) <= step]
    if not rows:
        return None
    return KlHistory(np.array([int(row[0]) for row in rows]), np.array([row[2:] for row in rows], np.float64))
