"""What `tfvae.apply` computes of examples, chunk by chunk: latents, reconstructions, samples, imputation.

Each is a small class, a `Quantity`. Scores, the fourth, are evaluation's: `training/scoring.py`. To add one, write a
class, make it in `applied.py`, and add its row to `config/capabilities.py`.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfvae.analysis import imputation, latents
from tfvae.analysis.blocks import rows_together
from tfvae.analysis.imputation import Imputer
from tfvae.core import noise
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.data.incomplete import IncompleteExamples
from tfvae.data.new_images import NewImages
from tfvae.data.provenance import examples


class Quantity(Protocol):
    """What is computed of examples; of an example it is the same in whatever chunk it is computed."""

    description: str
    chunk_rows: int  # examples that are computed together, of which one part's are never mixed with another's

    def columns(self, images: Any, first: int, last: int, y: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Arrays with a row for each of the examples first .. last-1 of a part, `images`.

        y [N] are the labels of the whole part that a conditional run is given: places among its classes.
        """
        ...

    def summary(self, column: Callable[[str], np.ndarray]) -> dict[str, float]:
        """Means over a part, and `<name>_standard_error`; `column(name)` is one of `columns`, of the whole part."""
        ...

    def advice(self, column: Callable[[str], np.ndarray]) -> str | None:
        """A line on a part, where there is something to be done; `column` as for `summary`."""
        ...


class _WithoutMeans:
    """A quantity whose means tell nothing."""

    def summary(self, column: Callable[[str], np.ndarray]) -> dict[str, float]:
        return {}

    def advice(self, column: Callable[[str], np.ndarray]) -> str | None:
        return None


class Encoding(_WithoutMeans):
    """Means and log-variances of q(z|x)."""

    description = "the mean and the log-variance of each latent of q(z|x)"

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self.chunk_rows = rows_together(vae)

    def columns(
        self, images: np.ndarray | NewImages, first: int, last: int, y: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """`mean` and `log_variance`: float32 [B, L] both."""
        return latents.encode(self.vae, images[np.arange(first, last)], _rows_of(y, first, last))._asdict()


class Reconstruction(_WithoutMeans):
    """Means of p(x|z) at the means of q(z|x), as pictures or in the user's units."""

    description = "the means of p(x|z) at the means of q(z|x)"

    def __init__(self, vae: VAE, as_pictures: bool) -> None:
        self.vae, self.as_pictures = vae, as_pictures
        self.chunk_rows = rows_together(vae)

    def columns(
        self, images: np.ndarray | NewImages, first: int, last: int, y: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """`images` [B, H, W, C], or `x` [B, D] of vectors: float32."""
        means = latents.reconstructions(self.vae, images[np.arange(first, last)], _rows_of(y, first, last))
        return _as_column(self.vae, means, self.as_pictures)


class Sampling(_WithoutMeans):
    """Samples: means of p(x|z) for z from the prior, or x drawn from p(x|z) for these z.

    y [`count`] are the places of their classes in a conditional run.
    """

    def __init__(
        self, vae: VAE, count: int, seed: int, draws_x: bool, as_pictures: bool, y: np.ndarray | None = None
    ) -> None:
        self.vae, self.seed, self.draws_x, self.as_pictures, self.y = vae, seed, draws_x, as_pictures, y
        self.chunk_rows = rows_together(vae)
        self.z = latents.sample_latents(vae, count, seed)  # the same as `Run.sample` draws
        self.description = "x ~ p(x|z), z ~ p(z)" if draws_x else "the means of p(x|z), z ~ p(z)"

    def columns(self, images: None, first: int, last: int, y: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """`images` [B, H, W, C], or `x` [B, D] of vectors: float32. There is nothing that they are of.

        Of a conditional run `label` [B] are the names of their classes.
        """
        places = _rows_of(self.y, first, last)
        label = {} if places is None else {"label": np.array(self.vae.classes)[places]}
        return label | _as_column(self.vae, self._x(first, last, places), self.as_pictures)

    def _x(self, first: int, last: int, places: np.ndarray | None) -> np.ndarray:
        z = self.z[first:last]
        if not self.draws_x:
            return latents.decode(self.vae, z, places)
        p = self.vae.given(places).decode(tf.constant(z))
        shape = (len(z), *self.vae.decoder.image_shape)
        seed = noise.seed_for(self.seed, Stream.LIKELIHOOD, first)
        return p.sample(p.noise(shape, seed)).numpy()


class Imputation(_WithoutMeans):
    """Missing values filled in with their means given the observed ones, and M = `draws` times with draws of them."""

    def __init__(self, vae: VAE, samples: int, seed: int, draws: int, as_pictures: bool) -> None:
        self.vae, self.samples, self.as_pictures = vae, samples, as_pictures
        self.imputer = Imputer(vae, samples, seed, draws)
        tile = self.imputer.conditioner.tile
        self.chunk_rows = max(1, rows_together(vae) // tile) * tile
        self.description = f"missing values filled in with E[x_missing | x_observed], by {samples:,} samples of z"
        if draws:
            self.description += f"; {draws:,} draw{'s' if draws > 1 else ''} of them"

    def columns(
        self, images: IncompleteExamples, first: int, last: int, y: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """`images` or `x`, as a `Reconstruction` has them, and `draw_0`, `draw_1` and so on, likewise.

        `missing` [B] is how many values of an example are; `effective_samples` and `log_observed` [B] are those of
        `imputation.Imputed`.
        """
        rows = np.arange(first, last)
        x, is_observed = images.x(rows), images.is_observed(rows)
        known = self.imputer.condition(x, is_observed, first, _rows_of(y, first, last))
        columns = _as_column(self.vae, np.where(is_observed, x, known.mean), self.as_pictures)
        for i, drawn in enumerate(known.draws):
            [filled] = _as_column(self.vae, np.where(is_observed, x, drawn), self.as_pictures).values()
            columns[f"draw_{i}"] = filled
        return {
            **columns,
            "missing": np.count_nonzero(~is_observed, axis=(1, 2, 3)),
            "effective_samples": known.effective_samples,
            "log_observed": known.log_observed,
        }

    def advice(self, column: Callable[[str], np.ndarray]) -> str | None:
        """A line where few samples are behind what is filled in, or nothing is."""
        of_incomplete = column("effective_samples")[column("missing") > 0]
        if not len(of_incomplete):
            return f"no value of these {examples(self.vae.decoder.columns)} is missing, so nothing is filled in"
        return imputation.advice(of_incomplete, self.samples, self.vae.decoder.columns, "--eval_samples")


def _rows_of(y: np.ndarray | None, first: int, last: int) -> np.ndarray | None:
    return None if y is None else y[first:last]


def _as_column(vae: VAE, x: np.ndarray, as_pictures: bool) -> dict[str, np.ndarray]:
    """x [B, H, W, C] as a column: pictures as they are, else in the user's units."""
    if as_pictures:
        return {"images": x}
    name = "x" if vae.decoder.columns else "images"
    return {name: vae.decoder.in_user_units(x)}
