"""The anomalies among the examples of `tfvae.apply --what=scores`: a limit, what lies beyond, AUROC.

Shapes: values of a score and labels [N].
"""

import math
from typing import Any

import numpy as np

from tfvae.analysis import anomalies
from tfvae.config.anomaly_request import AnomalyRequest
from tfvae.config.capabilities import SCORES
from tfvae.data.examples import Examples, ExamplesPart
from tfvae.errors import InputError, listed, printable

_NAMED = 10  # of the examples beyond the limit


class AnomalySearch:
    """Finds the examples whose score `by` lies beyond the limit. `reference` has the usual ones, where there is one.

    Raises:
        InputError: the examples have no such labels, or the reference too few examples for the quantile.
    """

    def __init__(self, by: str, request: AnomalyRequest, reference: ExamplesPart | None, examples: Examples) -> None:
        self.by, self.request, self.reference = by, request, reference
        self.quantile = request.threshold_quantile
        self.limit = math.nan  # until it is found
        if reference is not None and self.quantile is not None:
            anomalies.check_quantile("--threshold_quantile", self.quantile, len(reference))
        self.parts = examples.parts
        self.is_anomalous = self._known(examples) if request.labels else None

    def _known(self, examples: Examples) -> np.ndarray:
        """Which examples have one of the anomalous labels, bool [N]."""
        flag = f"--anomalous_labels={self.request.anomalous_labels}"
        labels = []
        for part in examples.parts:
            if part.labels is None:
                raise InputError(f"{flag}: must not be set: {examples.source} has no labels (see --label_column)")
            labels.append(part.labels.astype(str))
        all_labels = np.concatenate(labels)
        known = np.unique(all_labels).tolist()
        is_anomalous = np.isin(all_labels, self.request.labels)
        if not set(self.request.labels) <= set(known) or is_anomalous.all():
            raise InputError(
                f"{flag}: must be some of the labels of {examples.source}, and not all; it has {listed(known)}"
            )
        return is_anomalous

    def find_limit(self, usual: np.ndarray) -> None:
        """Takes the quantile of the usual examples' values as the limit."""
        if self.quantile is not None:
            self.limit = anomalies.threshold(anomalies.anomaly_score(usual, self.by), self.quantile)

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """Which values lie beyond the limit, bool [N]."""
        return anomalies.is_beyond(anomalies.anomaly_score(values, self.by), self.limit)

    def results(self, values: np.ndarray) -> dict[str, Any]:
        """What is told of all examples, whose values these are."""
        results: dict[str, Any] = {
            "by": self.by,
            "larger_is_anomalous": SCORES[self.by].larger_is_anomalous,
        }
        if self.reference is not None:
            beyond = self.beyond(values)
            results |= {
                "quantile": self.quantile,
                "of": {"split": self.reference.name, "examples": len(self.reference)},
                "limit": self.limit if SCORES[self.by].larger_is_anomalous else -self.limit,
                "examples": len(values),
                "beyond": int(beyond.sum()),
                "first": self.first_names(values),
            }
        if self.is_anomalous is not None:
            auroc = anomalies.auroc(anomalies.anomaly_score(values, self.by), self.is_anomalous)
            results["auroc"] = {
                "value": auroc.value,
                "standard_error": auroc.standard_error,
                "labels": list(self.request.labels),
                "anomalous": int(self.is_anomalous.sum()),
                "usual": int((~self.is_anomalous).sum()),
            }
        return results

    def first_names(self, values: np.ndarray) -> list[str]:
        """The files or rows of those farthest beyond the limit, with their part's name where there are several."""
        score = np.nan_to_num(anomalies.anomaly_score(values, self.by).astype(np.float64), nan=np.inf)
        farthest = np.argsort(-score, kind="stable")
        firsts = np.cumsum([0, *(len(part) for part in self.parts)])
        names: list[str] = []
        for row in farthest[self.beyond(values)[farthest]][:_NAMED]:
            place = int(np.searchsorted(firsts, row, side="right")) - 1
            part = self.parts[place]
            name = printable(str(part.names[row - firsts[place]]))  # a file's name may have a line break
            names.append(f"{part.name} {name}" if len(self.parts) > 1 else name)
        return names


def describe(results: dict[str, Any]) -> list[str]:
    """What `AnomalySearch.results` says, in lines."""
    by = results["by"]
    lines = []
    if "limit" in results:
        side = "above" if results["larger_is_anomalous"] else "below"
        of, beyond = results["of"], results["beyond"]
        examples = results["examples"]
        limit = f"{side} {results['limit']:.4f}"
        line = (
            f"anomalies: {beyond:,} of {examples:,} ({beyond / examples:.2%}) have a {by} {limit}, "
            f"as {1 - results['quantile']:.2%} of the run's {of['examples']:,} {of['split']} examples have"
        )
        if results["first"]:
            line += f"; the farthest first: {', '.join(results['first'])}"
            line += ", ..." if beyond > len(results["first"]) else ""
        lines.append(line)
    if "auroc" in results:
        auroc = results["auroc"]
        error = "" if auroc["standard_error"] is None else f" +- {auroc['standard_error']:.4f}"
        lines.append(
            f"AUROC by {by}: {auroc['value']:.4f}{error} (standard error over examples), of {auroc['anomalous']:,} "
            f"labelled {' or '.join(auroc['labels'])} and {auroc['usual']:,} others"
        )
    return lines
