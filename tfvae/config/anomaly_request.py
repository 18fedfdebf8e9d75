"""What `tfvae.apply --what=scores` is asked of anomalies: checked by the standard library alone."""

import dataclasses

from tfvae.config.capabilities import SCORES
from tfvae.config.config import Config
from tfvae.config.fields import to_text
from tfvae.config.rules import score_refusals
from tfvae.errors import InputError


@dataclasses.dataclass(frozen=True)
class AnomalyRequest:
    """Which examples are anomalous, and which are known to be.

    With a `threshold_quantile`, those that score beyond that quantile of the run's `threshold_split`. `threshold_by` is
    one of `SCORES`; None is the first that the run has. Those with one of `anomalous_labels`, which are separated by
    commas, are known to be anomalous.
    """

    threshold_quantile: float | None = None
    threshold_split: str = "validation"
    threshold_by: str | None = None
    anomalous_labels: str | None = None

    @property
    def is_made(self) -> bool:
        """Whether anomalies are asked for."""
        return self != AnomalyRequest()

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of anomalous examples."""
        return () if self.anomalous_labels is None else tuple(self.anomalous_labels.split(","))

    def check(self, config: Config, what: str) -> None:
        """Refuses what the settings alone say that the run can't have; raises InputError."""
        if not self.is_made:
            return
        if what != "scores":
            first = next(f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default)
            value = to_text(getattr(self, first.name))
            raise InputError(f"--{first.name}={value}: must not be set with --what={what}: it is of --what=scores")
        if self.threshold_quantile is None and self.anomalous_labels is None:
            raise InputError(
                "--threshold_quantile: must be given, or --anomalous_labels, for anything to be found by "
                "--threshold_by and --threshold_split"
            )
        # whether the examples are vectors, or zeros and ones, is not known yet
        self.score(config, is_of_vectors=False, white=1)

    def score(self, config: Config, is_of_vectors: bool, white: int) -> str:
        """The score that anomalies are found by: `threshold_by`, or the first that the run has.

        Raises:
            InputError: the run has no such score.
        """
        if self.threshold_by is None:
            return next(name for name in SCORES if not any(score_refusals(config, name, is_of_vectors, white)))
        for reason in score_refusals(config, self.threshold_by, is_of_vectors, white):
            raise InputError(f"--threshold_by={self.threshold_by}: {reason}")
        return self.threshold_by
