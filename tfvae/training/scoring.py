"""The scores of each example, for `Run.score` and `tfvae.apply --what=scores`."""

from collections.abc import Callable

import numpy as np

from tfvae.config import Config
from tfvae.core.vae import VAE
from tfvae.data.new_images import NewImages
from tfvae.training.block_plan import BlockPlan, plan_blocks
from tfvae.training.evaluation import Evaluator, PerImage, standard_error

_CHUNK_ROWS = 1_024  # at most
_CHUNK_SAMPLES = 50_000  # of z, about: some seconds of work, which a kill loses


class Scoring:
    """The scores of examples by S = `config.eval_samples` samples: those whose means `tfvae.evaluate` prints."""

    def __init__(self, vae: VAE, config: Config) -> None:
        self.config, self.samples = config, config.eval_samples
        self.plan = plan_blocks(vae, config.eval_memory_gb)
        self.evaluator = Evaluator(vae, config.latent_dim, config.seed, config.closed_kl, plan=self.plan)
        self.chunk_rows = _chunk_rows(self.plan, self.samples)
        self.description = f"scores by {self.samples:,} samples of z"

    def columns(self, images: np.ndarray | NewImages, first: int, last: int) -> dict[str, np.ndarray]:
        """The columns of `scores`, [B] each, of the images first .. last-1; `first` is a multiple of `chunk_rows`."""
        size = self.plan.block_size(len(images))
        blocks = range(first // size, -(-last // size))
        return scores(self.evaluator.evaluate(images, self.samples, blocks=blocks), self.config, self.samples)

    def summary(self, column: Callable[[str], np.ndarray]) -> dict[str, float]:
        """Means over a part, and their standard errors; `column(name)` is a column of `columns` of the whole part."""
        if self.config.objective == "autoencoder":
            return _mean_and_error("squared_error", column("squared_error"))
        figures: dict[str, float] = {}
        for name in ("elbo", "log_likelihood", "kl", "log_px", "squared_error"):
            figures |= _mean_and_error(name, column(name))
        figures["elbo"] = figures["log_likelihood"] - figures["kl"]  # as `PerImage.summary` has it, to the last digit
        if self.samples > 1:
            errors = column("log_px_monte_carlo_error")
            figures["log_px_monte_carlo_error"] = float(np.sum(np.square(errors)) ** 0.5 / len(errors))
        return figures


def _mean_and_error(name: str, values: np.ndarray) -> dict[str, float]:
    figures = {name: float(np.mean(values, dtype=np.float64))}
    error = standard_error(values)
    return figures if error is None else {**figures, f"{name}_standard_error": error}


def _chunk_rows(plan: BlockPlan, samples: int) -> int:
    """A multiple of the plan's block."""
    rows = min(_CHUNK_ROWS, max(_CHUNK_SAMPLES // samples, 1))
    return max(rows // plan.images, 1) * plan.images


def scores(of_images: PerImage, config: Config, samples: int) -> dict[str, np.ndarray]:
    """How well the model explains each image, [N] each, in nats: those of `front_door.Scores` that there are.

    A plain autoencoder has no density, and one sample tells nothing of an error.
    """
    if config.objective == "autoencoder":
        return {"squared_error": of_images.squared_error}
    columns = {
        "elbo": of_images.log_likelihood - of_images.kl,
        "log_likelihood": of_images.log_likelihood,
        "kl": of_images.kl,
        "log_px": of_images.log_px,
    }
    if samples > 1:
        columns["log_px_monte_carlo_error"] = np.sqrt(of_images.log_px_variance)
    return {**columns, "squared_error": of_images.squared_error}
