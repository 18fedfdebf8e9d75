"""The scores of each example, for `Run.score` and `tfvae.apply --what=scores`."""

from collections.abc import Callable

import numpy as np

from tfvae.config import Config
from tfvae.config.capabilities import OBJECTIVES
from tfvae.config.rules import score_refusals
from tfvae.core.vae import VAE
from tfvae.data.complexity import complexity
from tfvae.data.new_images import NewImages
from tfvae.data.provenance import examples
from tfvae.training.block_plan import BlockPlan, plan_blocks
from tfvae.training.evaluation import Evaluator, PerImage, has_few_effective_samples, standard_error

_CHUNK_ROWS = 1_024  # at most
_CHUNK_SAMPLES = 50_000  # of z, about: some seconds of work, which a kill loses


class Scoring:
    """The scores of examples by S = `config.eval_samples` samples: those whose means `tfvae.evaluate` prints."""

    def __init__(self, vae: VAE, config: Config) -> None:
        self.vae, self.config, self.samples = vae, config, config.eval_samples
        self.plan = plan_blocks(vae, config.eval_memory_gb)
        self.evaluator = Evaluator(vae, config.latent_dim, config.seed, config.closed_kl, plan=self.plan)
        self.chunk_rows = _chunk_rows(self.plan, self.samples)
        self.description = f"scores by {self.samples:,} samples of z"

    def columns(
        self, images: np.ndarray | NewImages, first: int, last: int, y: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The columns of `scores`, [B] each, of the images first .. last-1; `first` is a multiple of `chunk_rows`.

        y are those of all images.
        """
        size = self.plan.block_size(len(images))
        blocks = range(first // size, -(-last // size))
        of_images = self.evaluator.evaluate(images, self.samples, blocks=blocks, y=y)
        own = images[np.arange(first, last)]
        return scores(of_images, own, self.vae, self.config, self.samples)

    def of_all(
        self, images: np.ndarray | NewImages, samples: int, y: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The columns of `scores`, [N] each, of all images, by so many samples; y are those of `data.classes`."""
        of_images = self.evaluator.evaluate(images, samples, y=y)
        return scores(of_images, images, self.vae, self.config, samples)

    def summary(self, column: Callable[[str], np.ndarray]) -> dict[str, float]:
        """Means over a part, and their standard errors; `column(name)` is a column of `columns` of the whole part."""
        figures: dict[str, float] = {}
        for name in names_of_scores(self.vae, self.config):
            figures |= _mean_and_error(name, column(name))
        if "kl" in figures:
            figures["elbo"] = figures["log_likelihood"] - figures["kl"]  # as `PerImage.summary`, to the last digit
        if "log_px" in figures and self.samples > 1:
            errors = column("log_px_monte_carlo_error")
            figures["log_px_monte_carlo_error"] = float(np.sum(np.square(errors)) ** 0.5 / len(errors))
        return figures

    def advice(self, column: Callable[[str], np.ndarray]) -> str | None:
        """A line where log p(x) of most examples has hardly more than one sample behind it."""
        if "log_px" not in names_of_scores(self.vae, self.config) or self.samples == 1:
            return None
        errors = column("log_px_monte_carlo_error")
        few = np.count_nonzero(has_few_effective_samples(np.square(errors)))
        if few <= len(errors) / 2:
            return None
        return (
            f"advice: of {len(errors):,} {examples(self.vae.decoder.columns)} {few:,} have fewer than 2 effective "
            f"samples of {self.samples:,} behind their log_px, whose error is then larger than "
            "log_px_monte_carlo_error says: more --eval_samples make it smaller"
        )


def _mean_and_error(name: str, values: np.ndarray) -> dict[str, float]:
    figures = {name: float(np.mean(values, dtype=np.float64))}
    error = standard_error(values)
    return figures if error is None else {**figures, f"{name}_standard_error": error}


def _chunk_rows(plan: BlockPlan, samples: int) -> int:
    """A multiple of the plan's block."""
    rows = min(_CHUNK_ROWS, max(_CHUNK_SAMPLES // samples, 1))
    return max(rows // plan.images, 1) * plan.images


def names_of_scores(vae: VAE, config: Config) -> list[str]:
    """The scores that a run's examples have, but for the error of log p(x), which more than one sample have."""
    if not OBJECTIVES[config.objective].has_prior:
        return ["squared_error"]
    names = ["elbo", "log_likelihood", "kl", "log_px", "squared_error"]
    if vae.decoder.columns is not None:
        return names
    names.append("complexity")
    if not any(score_refusals(config, "complexity_score", is_of_vectors=False, white=vae.encoder.white)):
        names.append("complexity_score")
    return names


def scores(
    of_images: PerImage, images: np.ndarray | NewImages, vae: VAE, config: Config, samples: int
) -> dict[str, np.ndarray]:
    """How well the model explains each image, [N] each, in nats: those of `tfvae.Scores` that there are.

    `of_images` is the evaluation of `images`.
    """
    columns = of_images._asdict() | {"elbo": of_images.log_likelihood - of_images.kl}
    names = names_of_scores(vae, config)
    if "complexity" in names:
        columns["complexity"] = complexity(images)
    if "complexity_score" in names:
        columns["complexity_score"] = -columns["log_px"] - columns["complexity"]
    if "log_px" in names and samples > 1:
        columns["log_px_monte_carlo_error"] = np.sqrt(of_images.log_px_variance)
        names.insert(names.index("log_px") + 1, "log_px_monte_carlo_error")
    return {name: columns[name] for name in names}
