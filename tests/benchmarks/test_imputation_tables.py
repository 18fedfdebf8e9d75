"""What the page on missing entries is made of: regressions' densities, and scores."""

import numpy as np
import pytest
import scipy.stats
from test_benchmarks import load

benchmark = load("imputation")


@pytest.fixture(scope="module")
def problem():
    return benchmark.make_problem("wine", 0)


def test_a_tenth_is_hidden_of_rows_that_training_never_sees_in_its_units(problem):
    assert problem.train.shape == (143, 13) and problem.test.shape == (5 * 35, 13)
    np.testing.assert_allclose(np.nanmean(problem.train, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(problem.train, axis=0), 1, rtol=1e-12)
    assert abs(problem.is_hidden.mean() - 0.1) < 0.03 and abs(np.isnan(problem.train).mean() - 0.1) < 0.03
    masks = problem.is_hidden.reshape(5, 35, 13)
    assert (masks[0] != masks[1]).any() and not problem.is_hidden.all(axis=1).any()


def test_of_a_normal_table_the_regressions_are_the_exact_conditional():
    rng = np.random.default_rng(0)
    covariance = np.array([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]])
    train, test = (rng.multivariate_normal(np.zeros(3), covariance, size=size) for size in (20_000, 200))
    is_hidden = np.zeros(test.shape, bool)
    is_hidden[:, 1] = True
    answer = benchmark.by_regressions(benchmark.Problem("normal", 0, train, test, is_hidden))
    others = np.ix_([0, 2], [0, 2])
    gain = covariance[1, [0, 2]] @ np.linalg.inv(covariance[others])
    exact = scipy.stats.norm(test[:, [0, 2]] @ gain, (1 - gain @ covariance[[0, 2], 1]) ** 0.5)
    np.testing.assert_allclose(answer.mean, exact.mean(), atol=0.03)
    np.testing.assert_allclose(answer.log_density, exact.logpdf(test[:, 1]), atol=0.1)


def test_scores_by_hand(problem):
    by_means = benchmark.by_column_means(problem)
    scores = benchmark.score(problem, by_means)
    truth = problem.test[problem.is_hidden]
    assert scores["rmse"] == pytest.approx((truth**2).mean() ** 0.5)
    assert scores["log density"] == pytest.approx(-0.5 * np.log(2 * np.pi) - (truth**2).mean() / 2)
    inside = (by_means.draws.min(axis=0) <= truth) & (truth <= by_means.draws.max(axis=0))
    assert 0.75 < scores["coverage"] < inside.mean()
    one = [{"rmse": value} for value in (1.0, 2.0, 3.0)]
    assert benchmark.cell(one, "rmse") == "2.000 ± 0.577" and benchmark.cell(one, "coverage") == "-"
