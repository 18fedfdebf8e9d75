"""Which examples are anomalous: a limit from the scores of usual ones, and the AUROC where it is known which are.

Shapes: scores [N], of which larger is more anomalous (`anomaly_score`).
"""

from typing import Any, NamedTuple

import numpy as np

from tfvae.config.capabilities import SCORES
from tfvae.config.fields import number_from
from tfvae.errors import InputError


class Auroc(NamedTuple):
    """The probability that an anomalous example has a larger score than a usual one; a tie counts one half."""

    value: float
    standard_error: float | None  # over other draws of both (DeLong et al. 1988); None of a single example


class Anomalies(NamedTuple):
    """Which of N examples lie beyond the limit, by one of the scores in `capabilities.SCORES`."""

    by: str
    score: np.ndarray  # [N], larger is more anomalous: of elbo and log_px minus the value
    limit: float  # the quantile of the reference's scores
    beyond: np.ndarray  # [N], bool
    auroc: Auroc | None  # None without `is_anomalous`


def anomaly_score(values: np.ndarray, by: str) -> np.ndarray:
    """Values of the score `by`, by their sign turned so that larger is more anomalous."""
    return values if SCORES[by].larger_is_anomalous else -values


def find(
    score: np.ndarray, reference: np.ndarray, by: str, quantile: float = 0.99, is_anomalous: Any = None
) -> Anomalies:
    """The examples whose `score` lies beyond the quantile of the `reference`'s; both as `anomaly_score` turns them.

    Raises:
        InputError: `quantile` or `is_anomalous` can't be used.
    """
    limit = threshold(reference, quantile)
    auroc_of = None if is_anomalous is None else auroc(score, is_anomalous)
    return Anomalies(by, score, limit, is_beyond(score, limit), auroc_of)


def is_beyond(score: np.ndarray, limit: float) -> np.ndarray:
    """Which scores lie beyond the limit, bool [N]; one that is no number does."""
    return ~(score <= limit)


def threshold(reference: np.ndarray, quantile: float) -> float:
    """The limit that a share 1 - `quantile` of usual examples, as the `reference` [R], lies beyond.

    Raises:
        InputError: `quantile` is none, or so near to 1 that less than one example of the reference is beyond it.
    """
    quantile = number_from(0, 1).argument("quantile", quantile)
    check_quantile("quantile", quantile, len(reference))
    return float(np.quantile(reference, quantile))


def check_quantile(name: str, quantile: float, examples: int) -> None:
    """Refuses a quantile, called `name`, that leaves less than one of so many examples; raises InputError."""
    if examples * (1 - quantile) < 1 - 1e-9:  # the rounding of 1 - 0.99
        decimals = max(3, len(str(examples)))  # rounded down: what is named is taken
        most = 10**decimals * (examples - 1) // max(1, examples) / 10**decimals
        raise InputError(
            f"{name}={quantile:g}: must be at most {max(0, most):g} for one of the {examples:,} usual examples to lie "
            "beyond"
        )


def auroc(score: np.ndarray, is_anomalous: Any) -> Auroc:
    """The area under the ROC curve of `score` for `is_anomalous` [N], of True and False or 1 and 0.

    Its standard error is that of DeLong, DeLong & Clarke-Pearson 1988: of the shares of the other kind that each
    example lies above or below.

    Raises:
        InputError: `is_anomalous` is none, or all examples are of one kind.
    """
    is_anomalous = _checked_kinds(is_anomalous, len(score))
    usual, anomalous = np.sort(score[~is_anomalous]), np.sort(score[is_anomalous])
    usual_below = _shares_below(usual, anomalous)
    anomalous_above = 1 - _shares_below(anomalous, usual)
    standard_error = None
    if min(len(usual), len(anomalous)) > 1:
        variance = np.var(usual_below, ddof=1) / len(anomalous) + np.var(anomalous_above, ddof=1) / len(usual)
        standard_error = float(variance**0.5)
    return Auroc(float(np.mean(usual_below)), standard_error)


def _shares_below(sorted_scores: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The share of `sorted_scores` that are less than each of `limits`, ties by one half."""
    less = np.searchsorted(sorted_scores, limits, side="left")
    less_or_equal = np.searchsorted(sorted_scores, limits, side="right")
    return (less + less_or_equal) / 2 / len(sorted_scores)


def _checked_kinds(is_anomalous: Any, count: int) -> np.ndarray:
    kinds = np.asarray(is_anomalous)
    expected = f"is_anomalous: must be True or False (or 1 or 0) for each of the {count:,} examples"
    if kinds.shape != (count,):
        raise InputError(f"{expected}, and has the shape {list(kinds.shape)}")
    if kinds.dtype.kind not in "biu" or not np.isin(kinds, (0, 1)).all():
        raise InputError(f"{expected}, and has others, of the type {kinds.dtype}")
    kinds = kinds.astype(bool)
    if kinds.all() or not kinds.any():
        raise InputError(f"{expected}, some of each, and all are {bool(kinds[0])}")
    return kinds
