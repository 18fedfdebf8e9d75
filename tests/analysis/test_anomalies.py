"""Limits and AUROC against brute force, scikit-learn and what they are of two normal distributions."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from tfvae.analysis import anomalies
from tfvae.config.capabilities import SCORES
from tfvae.errors import InputError
from tfvae.scores import Scores

IS_ANOMALOUS = np.arange(60) % 3 == 0
TIED = np.random.default_rng(0).integers(8, size=60) + IS_ANOMALOUS  # few values, so many ties


def test_the_auroc_is_the_share_of_pairs_in_order():
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0 for high in TIED[IS_ANOMALOUS] for low in TIED[~IS_ANOMALOUS]
    ]
    found = anomalies.auroc(TIED, IS_ANOMALOUS)
    np.testing.assert_allclose(found.value, np.mean(pairs), rtol=1e-12)
    np.testing.assert_allclose(found.value, sklearn.metrics.roc_auc_score(IS_ANOMALOUS, TIED), rtol=1e-12)
    assert anomalies.auroc(TIED, IS_ANOMALOUS.astype(np.uint8)) == found
    np.testing.assert_allclose(anomalies.auroc(-TIED, IS_ANOMALOUS).value, 1 - found.value, rtol=1e-12)


def test_its_standard_error_is_its_spread_over_other_draws():
    generator = np.random.default_rng(1)
    kinds = np.repeat([False, True], [80, 40])
    found = [anomalies.auroc(generator.normal(size=120) + 1.2 * kinds, kinds) for _ in range(3_000)]
    values, errors = np.array(found).T
    np.testing.assert_allclose(values.mean(), scipy.stats.norm.cdf(1.2 / 2**0.5), atol=0.003)
    np.testing.assert_allclose(np.mean(errors**2) ** 0.5, values.std(), rtol=0.05)


def test_a_single_example_of_a_kind_has_no_standard_error():
    assert anomalies.auroc(np.array([1.0, 2.0, 3.0]), [0, 0, 1]) == (1.0, None)


def test_the_limit_is_the_quantile_and_what_is_no_number_lies_beyond():
    reference = np.random.default_rng(2).permutation(np.arange(201.0))
    score = np.array([0, 190, 190.1, np.inf, np.nan])
    found = anomalies.find(score, reference, "log_px", 0.95)
    assert found.limit == pytest.approx(190) and found.beyond.tolist() == [False, False, True, True, True]
    assert found.auroc is None and found.by == "log_px"
    beyond = anomalies.find(reference, reference, "log_px", 0.95).beyond
    assert beyond.sum() == 10  # 5 % of 201


def scores_of(**figures):
    return Scores(**{**dict.fromkeys(Scores._fields), **figures})


def test_every_score_is_turned_so_that_larger_is_more_anomalous():
    better, worse = np.linspace(5, 6, 100), np.linspace(1, 2, 100)
    for by in SCORES:
        falls = by in ("elbo", "log_px")  # of worse images
        usual, anomalous = (better, worse) if falls else (worse, better)
        figures = scores_of(**{by: np.concatenate([usual, anomalous])})
        found = figures.anomalies(scores_of(**{by: usual}), quantile=0.95, is_anomalous=np.repeat([0, 1], 100))
        assert found.by == by and found.auroc.value == 1
        assert found.beyond[100:].all() and found.beyond[:100].sum() == 5


def test_the_first_score_that_both_have_is_the_default():
    figures = np.arange(100.0)
    both = scores_of(complexity_score=figures, log_px=figures, squared_error=figures)
    assert both.anomalies(both).by == "complexity_score"
    assert both.anomalies(both._replace(complexity_score=None)).by == "log_px"
    assert both._replace(complexity_score=None, log_px=None).anomalies(both).by == "squared_error"


FIGURES = scores_of(log_px=np.arange(50.0))
WRONG = {
    "another score": ({"by": "kl"}, "by='kl': must be one of 'log_px'"),
    "a score that there is not": ({"by": "elbo"}, "by='elbo': must be one of 'log_px'"),
    "no quantile": ({"quantile": 1.5}, "quantile=1.5: must be a number from 0 to 1"),
    "too few for the quantile": ({}, "quantile=0.99: must be at most 0.98 for one of the 50 usual examples"),
    "short": ({"quantile": 0.9, "is_anomalous": [0, 1]}, r"is_anomalous: must be .* each of the 50 .* shape \[2\]"),
    "other numbers": ({"quantile": 0.9, "is_anomalous": np.arange(50)}, "is_anomalous: must be True or False"),
    "one kind": ({"quantile": 0.9, "is_anomalous": np.ones(50)}, "is_anomalous: .* type float64"),
    "all usual": ({"quantile": 0.9, "is_anomalous": np.zeros(50, int)}, "some of each, and all are False"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        FIGURES.anomalies(FIGURES, **options)


def test_usual_scores_are_scores():
    with pytest.raises(InputError, match="usual: must be what Run.score returns of usual images, and is a ndarray"):
        FIGURES.anomalies(np.arange(50.0))


def test_as_many_as_the_quantile_needs_are_enough():
    assert anomalies.threshold(np.arange(100.0), 0.99) == pytest.approx(98.01)
