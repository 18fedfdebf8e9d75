"""How well a VAE explains each image, and which images are anomalous by that.

Nothing here waits for TensorFlow until it is called.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfvae.config.capabilities import SCORES
from tfvae.config.fields import choice
from tfvae.errors import InputError

if TYPE_CHECKING:
    from tfvae.analysis.anomalies import Anomalies


class Scores(NamedTuple):
    """How well a VAE explains each image, in nats; [N] each, or None where a model or its data have no such figure."""

    elbo: np.ndarray | None  # log_likelihood - kl (Kingma & Welling 2014, eq. 3)
    log_likelihood: np.ndarray | None  # mean over the samples of log p(x|z)
    kl: np.ndarray | None
    log_px: np.ndarray | None  # log p(x), by importance sampling (Burda et al. 2016, eq. 8)
    log_px_monte_carlo_error: np.ndarray | None  # its standard error over draws of other samples; of one sample None
    squared_error: np.ndarray  # of the reconstruction at the mean of q(z|x): mean over pixels, x in [0, 1]
    complexity: np.ndarray | None  # L(x), of the image's shortest lossless code
    complexity_score: np.ndarray | None  # -log p(x) - L(x): larger is more anomalous (Serra et al. 2020)

    def anomalies(
        self, usual: "Scores", by: str | None = None, quantile: float = 0.99, is_anomalous: Any = None
    ) -> "Anomalies":
        """The examples that score beyond the `quantile` of the `usual` ones, as those of the validation part.

        Args:
            by: `complexity_score`, `log_px`, `elbo` or `squared_error`; None is the first of them that there is.
            is_anomalous: True or False, or 1 or 0, for each example: with it comes the AUROC.

        Raises:
            InputError: `usual`, `by`, `quantile` or `is_anomalous` can't be used.
        """
        from tfvae.analysis import anomalies

        if not isinstance(usual, Scores):
            raise InputError(f"usual: must be what Run.score returns of usual images, and is a {type(usual).__name__}")

        names = [name for name in SCORES if getattr(self, name) is not None and getattr(usual, name) is not None]
        by = choice(*names).argument("by", names[0] if by is None else by)
        score = anomalies.anomaly_score(getattr(self, by), by)
        usual_score = anomalies.anomaly_score(getattr(usual, by), by)
        return anomalies.find(score, usual_score, by, quantile, is_anomalous)
