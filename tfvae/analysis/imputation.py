"""Images, or vectors, with missing values, completed by a trained VAE in their user's units.

Shapes: N images [N, H, W, C], or vectors [N, D]; x [N, H, W, C], of vectors [N, 1, 1, D].
"""

from typing import NamedTuple

import numpy as np

from tfvae.analysis import latents
from tfvae.analysis.conditional import Conditional, Conditioner
from tfvae.core.columns import Columns
from tfvae.core.vae import VAE
from tfvae.data.incomplete import IncompleteImages
from tfvae.data.provenance import examples

_DRAWS_OF_GUESS = 100
_FEW_EFFECTIVE_SAMPLES = 10


class Imputed(NamedTuple):
    """N images, or vectors, with their missing values filled in; what was observed is as it was."""

    mean: np.ndarray  # by E[x_missing | x_observed], [N, H, W, C] or [N, D]
    draws: np.ndarray  # M times by a draw from p(x_missing | x_observed), [M, N, H, W, C] or [M, N, D]
    effective_samples: np.ndarray  # (sum w)^2 / sum w^2 of the weights behind each, [N]
    log_observed: np.ndarray  # log p(x_observed) in nats, [N]

    @classmethod
    def joined(cls, blocks: "list[Imputed]") -> "Imputed":
        """The rows of all blocks, one after the other."""
        return cls(
            np.concatenate([block.mean for block in blocks]),
            np.concatenate([block.draws for block in blocks], axis=1),
            np.concatenate([block.effective_samples for block in blocks]),
            np.concatenate([block.log_observed for block in blocks]),
        )


class Imputer:
    """Fills in missing values by S = `samples` importance samples of z for each image, and M = `draws` times by draws.

    Noise is a function of `seed` and an image's place, so that parts of a set are filled in as the whole set is.
    """

    def __init__(self, vae: VAE, samples: int, seed: int, draws: int = 0) -> None:
        self.vae, self.draws = vae, draws
        self.settings = (samples, seed, draws)
        self.conditioner = Conditioner(vae, samples, seed)
        self.guess = first_guess(vae, seed)

    def impute(self, images: IncompleteImages, y: np.ndarray | None = None) -> Imputed:
        """All of the images, a tile at a time; y [N] are the labels of a conditional VAE."""
        tile, blocks = self.conditioner.tile, []
        for first in range(0, len(images), tile):
            blocks.append(self.impute_rows(images, np.arange(first, min(first + tile, len(images))), y))
        return Imputed.joined(blocks)

    def impute_rows(self, images: IncompleteImages, rows: np.ndarray, y: np.ndarray | None = None) -> Imputed:
        """These of the images, numbers [R] that follow each other."""
        labels = None if y is None else y[rows]
        known = self.condition(images.x(rows), images.is_observed[rows], int(rows[0]), labels)
        return Imputed(
            images.filled(rows, self._in_user_units(known.mean)),
            images.filled(rows, self._in_user_units(known.draws)),
            known.effective_samples,
            known.log_observed,
        )

    def condition(self, x: np.ndarray, is_observed: np.ndarray, place: int, y: np.ndarray | None = None) -> Conditional:
        """What is known of x [N, H, W, C] given its observed values, in the model's units; x begins at `place`."""
        guessed = np.where(is_observed, x, self.guess)
        return self.conditioner.condition(guessed, is_observed.astype(np.float32), place, self.draws, y=y)

    def _in_user_units(self, x: np.ndarray) -> np.ndarray:
        """In the shape of x: those of vectors are [..., 1, 1, D]."""
        return self.vae.decoder.in_user_units(x).reshape(x.shape)


def first_guess(vae: VAE, seed: int) -> np.ndarray:
    """What stands in the place of missing values before z is proposed: [H, W, C].

    NaN, where the encoder was trained to see what is missing. Else the model's own mean, over draws from its prior by
    `seed`: the training set may not be at hand. The weights correct any guess; a bad one costs effective samples. That
    of a conditional VAE is of all classes alike.
    """
    columns = vae.encoder.columns
    if columns is not None and columns.missing:
        return np.full(vae.encoder.image_shape, np.nan, np.float32)
    y = np.arange(_DRAWS_OF_GUESS, dtype=np.int32) % len(vae.classes) if vae.classes else None
    return latents.samples(vae, _DRAWS_OF_GUESS, seed, y).mean(axis=0)


def print_advice(imputed: Imputed, images: IncompleteImages, samples: int, columns: Columns | None) -> None:
    """Prints the line of `advice`, where there is one."""
    line = advice(imputed.effective_samples[images.is_incomplete], samples, columns, "samples")
    if line:
        print(line, flush=True)


def advice(effective_samples: np.ndarray, samples: int, columns: Columns | None, setting: str) -> str | None:
    """A line where few of the samples are behind some of the images that lack values, which `effective_samples` are of.

    `columns` are those of vectors; `setting` is what makes the samples more.
    """
    few = np.count_nonzero(effective_samples < _FEW_EFFECTIVE_SAMPLES)
    if not few:
        return None
    return (
        f"advice: of {len(effective_samples):,} {examples(columns)} with missing values {few:,} have fewer than "
        f"{_FEW_EFFECTIVE_SAMPLES} effective samples of {samples:,} (the fewest {effective_samples.min():.1f}), and "
        f"what is filled in there is rough: more {setting} make it better"
    )
