"""Missing entries of scikit-learn's tables, filled in: python -m benchmarks.imputation

Of each table a tenth of the entries is hidden at random. A VAE is trained on the incomplete training rows
(--missing=allow; the ELBO, and the importance-weighted bound, which is MIWAE's), in runs/imputation/, and fills in the
test rows, which it has never seen; so do column means and scikit-learn's IterativeImputer. Writes the table of
docs/imputation.md. Stop it at any moment: the same command goes on.
"""

import json
import math
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
from absl import app
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401  # IterativeImputer can't be imported without it
from sklearn.impute import IterativeImputer

import tfvae
from benchmarks import page

RUNS = Path("runs") / "imputation"
TABLES = {"iris": load_iris, "wine": load_wine, "diabetes": load_diabetes, "breast cancer": load_breast_cancer}
SEEDS = (0, 1, 2)
MISSING = 0.1
TEST = 0.2
VALIDATION = 0.15  # of the training rows, by which the best weights of a VAE are chosen
MASKS = 5  # of the test rows, each of other entries: a single one hides ten values of iris
DRAWS = 50
SAMPLES = 1_000
INTERVAL = (0.05, 0.95)
STEPS = 2_000
SETTINGS = {"hidden_units": (128,), "latent_dim": 8, "batch_size": 48, "lr_schedule": "cosine"}
OBJECTIVES = {
    "elbo": {"objective": "elbo", "keep_best": True},
    # the best ELBO says nothing of the bound with K = 20, which goes on rising when it falls
    "iwae, K = 20": {"objective": "iwae", "num_samples": 20},
}


class Problem(NamedTuple):
    """Rows of a table in standardized units: each column less the mean, over the deviation, of what training sees."""

    name: str
    seed: int
    train: np.ndarray  # [N, D], NaN where missing
    test: np.ndarray  # [R, D], whole
    is_hidden: np.ndarray  # [R, D], of the test rows

    @property
    def incomplete(self) -> np.ndarray:
        """The test rows, NaN where hidden."""
        return np.where(self.is_hidden, np.nan, self.test)


class Answer(NamedTuple):
    """What a method says of each hidden entry, by itself, given the observed ones of its row; E entries."""

    mean: np.ndarray  # [E]
    log_density: np.ndarray  # at the true value, nats, [E]
    draws: np.ndarray | None = None  # [DRAWS, E]


def make_problem(name: str, seed: int) -> Problem:
    """A table divided and hidden by `seed`; each row keeps a value."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(TABLES[name]().data)
    first = int(TEST * len(x))
    test = np.tile(x[:first], (MASKS, 1))
    train = np.where(hide(rng, x[first:].shape), np.nan, x[first:])
    mean, deviation = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    return Problem(name, seed, (train - mean) / deviation, (test - mean) / deviation, hide(rng, test.shape))


def hide(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Which entries are hidden: MISSING of all, but never a whole row."""
    is_hidden = rng.random(shape) < MISSING
    is_hidden[is_hidden.all(axis=1), 0] = False
    return is_hidden


def by_column_means(problem: Problem) -> Answer:
    """The training part's means, 0, and independent normals of its deviations, 1."""
    truth = problem.test[problem.is_hidden]
    draws = np.random.default_rng(problem.seed).normal(size=(DRAWS, len(truth)))
    return Answer(np.zeros(len(truth)), scipy.stats.norm.logpdf(truth), draws)


def by_regressions(problem: Problem) -> Answer:
    """IterativeImputer: a Bayesian linear regression of each column on all others, in turn.

    The density of an entry is the regression's predictive normal, the row's other hidden entries being at what is
    filled in there: exact where there is no other, too narrow where there are some.
    """
    imputer = IterativeImputer(max_iter=30, random_state=problem.seed)
    filled = fitted(imputer, problem).transform(problem.incomplete)
    mean, deviation = regressions_of(imputer, filled)
    hidden = problem.is_hidden
    density = scipy.stats.norm(mean[hidden], deviation[hidden])
    return Answer(filled[hidden], density.logpdf(problem.test[hidden]))


def by_drawn_regressions(problem: Problem) -> Answer:
    """The same with `sample_posterior`: each entry is drawn, DRAWS times, and the predictive normals are averaged.

    So the row's other hidden entries are integrated out, in mean and density, as a VAE integrates over them.
    """
    imputer = IterativeImputer(random_state=problem.seed, sample_posterior=True)
    fitted(imputer, problem)
    hidden = problem.is_hidden
    draws, means, log_densities = [], [], []
    for _ in range(DRAWS):
        filled = imputer.transform(problem.incomplete)
        mean, deviation = regressions_of(imputer, filled)
        draws.append(filled[hidden])
        means.append(mean[hidden])
        log_densities.append(scipy.stats.norm(mean[hidden], deviation[hidden]).logpdf(problem.test[hidden]))
    log_density = scipy.special.logsumexp(log_densities, axis=0) - np.log(DRAWS)
    return Answer(np.mean(means, axis=0), log_density, np.array(draws))


def fitted(imputer: IterativeImputer, problem: Problem) -> IterativeImputer:
    """The imputer, fitted to the training rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # draws don't converge; of the others the page speaks
        return imputer.fit(problem.train)


def regressions_of(imputer: IterativeImputer, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each entry by the last round's regression on the others of its row, [R, D] each."""
    mean, deviation = np.empty_like(filled), np.empty_like(filled)
    for step in imputer.imputation_sequence_[-filled.shape[1] :]:
        of_column = step.estimator.predict(filled[:, step.neighbor_feat_idx], return_std=True)
        mean[:, step.feat_idx], deviation[:, step.feat_idx] = of_column
    return mean, deviation


def by_vae(problem: Problem, objective: str) -> Answer:
    """A VAE of the incomplete training rows; log p(x_j | x_observed) is log p(x_j, x_observed) - log p(x_observed)."""
    folder = RUNS / f"{problem.name.replace(' ', '_')}-{OBJECTIVES[objective]['objective']}-seed-{problem.seed}"
    validation = int(VALIDATION * len(problem.train))
    config = tfvae.Config(
        **SETTINGS,
        **OBJECTIVES[objective],
        epochs=math.ceil(STEPS / ((len(problem.train) - validation) // SETTINGS["batch_size"])),
        missing="allow",
        scale="none",
        validation_examples=validation,
        seed=problem.seed,
        run_dir=str(folder),
        export_dir=str(RUNS / "exports"),
    )
    run = tfvae.fit(config, problem.train, test=problem.incomplete)
    imputed = run.impute(problem.incomplete, draws=DRAWS, samples=SAMPLES, seed=problem.seed)
    row, column = np.nonzero(problem.is_hidden)
    one_more = problem.incomplete[row]  # for each hidden entry its row, with that entry
    one_more[np.arange(len(row)), column] = problem.test[row, column]
    log_joint = run.impute(one_more, samples=SAMPLES, seed=problem.seed).log_observed
    hidden = problem.is_hidden
    return Answer(imputed.mean[hidden], log_joint - imputed.log_observed[row], imputed.draws[:, hidden])


METHODS: dict[str, Callable[[Problem], Answer]] = {
    "column means": by_column_means,
    "IterativeImputer": by_regressions,
    "IterativeImputer, 50 draws": by_drawn_regressions,
    "VAE, elbo": lambda problem: by_vae(problem, "elbo"),
    "VAE, iwae, K = 20": lambda problem: by_vae(problem, "iwae, K = 20"),
}


def score(problem: Problem, answer: Answer) -> dict[str, float]:
    """RMSE, mean log density in nats an entry, and the share of true values within the central 90 % of the draws."""
    truth = problem.test[problem.is_hidden]
    scores = {
        "rmse": float(np.sqrt(np.mean((answer.mean - truth) ** 2))),
        "log density": float(answer.log_density.mean()),
    }
    if answer.draws is not None:
        low, high = np.quantile(answer.draws, INTERVAL, axis=0)
        scores["coverage"] = float(np.mean((truth >= low) & (truth <= high)))
    return scores


def scores_of(name: str, method: str, seed: int) -> dict[str, float]:
    """What is written in runs/imputation/ already, or is computed now."""
    path = RUNS / f"{name}, {method}, seed {seed}.json".replace(" ", "_")
    if not path.exists():
        problem = make_problem(name, seed)
        scores = score(problem, METHODS[method](problem))
        RUNS.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(scores))
    return json.loads(path.read_text())


def cell(of_seeds: list[dict[str, float]], figure: str) -> str:
    """The mean over the seeds and its standard error."""
    if figure not in of_seeds[0]:
        return "-"
    values = [scores[figure] for scores in of_seeds]
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def rows_of(name: str) -> list[str]:
    """The table's rows of one of scikit-learn's."""
    shape = TABLES[name]().data.shape
    rows = [f"| **{name}**, {shape[0]} rows, {shape[1]} columns | | | |"]
    for method in METHODS:
        of_seeds = [scores_of(name, method, seed) for seed in SEEDS]
        cells = [cell(of_seeds, figure) for figure in ("rmse", "log density", "coverage")]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return rows


def main(_: list[str]) -> None:
    table = [
        "| | RMSE | log density of a hidden entry, nats | within the draws' central 90 % |",
        "|---|---|---|---|",
        *(row for name in TABLES for row in rows_of(name)),
    ]
    page.write("imputation", "tables", "\n".join(table))


if __name__ == "__main__":
    app.run(main)
