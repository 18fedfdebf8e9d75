"""Several runs beside each other: the settings in which they differ, and their figures, with means over seeds.

Figures can be compared where they are of the same: data, split, pixels, likelihood's family. Others are in another
table.
"""

import math
import os
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tfvae.config.config import FIELDS
from tfvae.config.fields import to_text
from tfvae.training.records import RunRecord


class Figure(NamedTuple):
    """A column of figures: `results[part][key]`."""

    part: str  # test, train, or best: of the weights that --keep_best has kept
    key: str
    label: str
    form: str  # a format
    error_key: str | None = None  # of its standard error over the examples

    @property
    def name(self) -> str:
        """In files."""
        return f"{self.part}_{self.key}"

    def of_run(self, record: RunRecord) -> "Value | None":
        """This figure of a finished run; None where its model has not it."""
        assert record.results is not None
        figures = record.results.get(self.part, {})
        value = figures.get(self.key)
        if value is None:
            return None
        return Value(value, figures.get(self.error_key) if self.error_key else None)


FIGURES = (
    Figure("test", "elbo", "ELBO", ".2f", "elbo_standard_error"),
    Figure("test", "log_px", "log p(x)", ".2f", "log_px_standard_error"),
    Figure("test", "kl", "KL", ".2f"),
    Figure("test", "active_units", "active units", "d"),
    Figure("test", "squared_error", "squared error", ".4f"),
    Figure("test", "bits_per_dimension", "bits per dim", ".4f"),
    Figure("train", "elbo", "train ELBO", ".2f"),
    Figure("train", "stopped_at_epoch", "stopped at epoch", "d"),
    Figure("best", "epoch", "best epoch", "d"),
    Figure("train", "images_per_second", "images/s", ",.0f"),
)


class Value(NamedTuple):
    """A figure, or a mean of figures, with its standard error where there is one."""

    value: float
    standard_error: float | None


class SeedMeans(NamedTuple):
    """The figures of runs that differ in their seed alone, as means over the seeds."""

    record: RunRecord  # one of them, which has the settings of all
    seeds: tuple[int, ...]
    figures: dict[str, Value]  # by `Figure.name`; standard errors are over the seeds


class Table(NamedTuple):
    """Finished runs whose figures can be compared."""

    records: list[RunRecord]
    figures: tuple[Figure, ...]  # that one of them has
    over_seeds: list[SeedMeans]  # nothing where no two of them differ in their seed alone


class Comparison(NamedTuple):
    """Runs beside each other."""

    names: dict[Path, str]  # of each run directory
    settings: tuple[str, ...]  # in which the runs differ
    tables: list[Table]
    unfinished: list[RunRecord]


def compare(records: list[RunRecord]) -> Comparison:
    """Puts runs beside each other, in the order of the settings in which they differ."""
    settings = _differing(records)
    in_order = sorted(records, key=lambda record: [_rank(getattr(record.config, name)) for name in settings])
    finished = [record for record in in_order if record.results]
    tables = [_table(group) for group in _groups(finished, _comparable)]
    unfinished = [record for record in in_order if not record.results]
    return Comparison(_names(records), settings, tables, unfinished)


def _rank(value: Any) -> tuple[float, str]:
    """By which values are sorted: numbers by their size, before all others by their text."""
    if isinstance(value, int | float):
        return float(value), ""
    return math.inf, to_text(value)


def _table(records: list[RunRecord]) -> Table:
    figures = tuple(figure for figure in FIGURES if any(figure.of_run(record) for record in records))
    if records[0].config.condition != "none":
        figures = tuple(figure._replace(label=figure.label.replace("p(x)", "p(x|y)")) for figure in figures)
    return Table(records, figures, _over_seeds(records, figures))


def _names(records: list[RunRecord]) -> dict[Path, str]:
    """Each run's directory, without the directories above that all have in common."""
    absolute = [record.directory.absolute() for record in records]
    above = os.path.commonpath([directory.parent for directory in absolute])
    return {record.directory: os.path.relpath(path, above) for record, path in zip(records, absolute)}


def _differing(records: list[RunRecord]) -> tuple[str, ...]:
    """The settings that change numbers and that these runs don't have in common."""
    settings = [record.config.settings() for record in records]
    names = [name for name in FIELDS if any(name in of_run for of_run in settings)]  # some count in some runs alone
    values = [[getattr(record.config, name) for record in records] for name in names]
    return tuple(name for name, of_name in zip(names, values) if any(value != of_name[0] for value in of_name))


def figures_are_of(record: RunRecord) -> dict[str, str]:
    """What figures must have in common to be compared, by a word for it.

    Of the likelihood it is the family, as log densities under any sigma are of the same x; of the data it is their
    fingerprint, for their place may change. A range of images that --scale maps onto [0, 1] is the unit of x.
    """
    assert record.results is not None
    of = record.results["of"]
    return {
        "data": record.results.get("fingerprint", of["dataset"]),
        "split": of["split"],
        "examples": f"{of['images']:,} {of.get('examples', 'images')}",  # older results have no word
        "pixels": of["pixels"],
        "likelihood": of["likelihood"].partition(",")[0],
        "scale": "" if of.get("examples") == "rows" else _scale_of_images(record),
        "units": of["units"],
        "condition": of.get("condition", "none"),
    }


def _scale_of_images(record: RunRecord) -> str:
    scale, value_range = record.config.scale, record.config.value_range
    return f"{to_text(scale)} of {to_text(value_range)}" if scale == "unit" else "none"


def _comparable(record: RunRecord) -> Any:
    return tuple(figures_are_of(record).values())


def describe(table: Table) -> str:
    """What a table's figures are of, as far as its runs have it in common."""
    all_of = [record.results["of"] for record in table.records if record.results]
    of = all_of[0]
    examples = of.get("examples", "images")
    likelihoods = {each["likelihood"] for each in all_of}
    likelihood = of["likelihood"] if len(likelihoods) == 1 else of["likelihood"].partition(",")[0]
    words = [of["dataset"], f"{of['images']:,} {of['split']} {examples}", of["pixels"], f"{likelihood} likelihood"]
    if "condition" in of:
        words.append("given the label: log p(x|y)")
    for key, text in (("seed", "seed {}"), ("samples", "{:,} samples of z")):
        values = {each[key] for each in all_of}
        if len(values) == 1:
            words.append(text.format(values.pop()))
    epochs = {record.config.epochs for record in table.records}
    if len(epochs) == 1:
        at_most = "" if all(record.epochs_done == record.config.epochs for record in table.records) else "at most "
        words.append(f"{at_most}{epochs.pop():,} epochs")
    return f"{', '.join(words)}; {of['units']}"


def incomparable(tables: list[Table]) -> dict[str, list[str]]:
    """In what the tables' figures are of different things: {word: each table's own}; nothing of one table."""
    all_of = [figures_are_of(table.records[0]) for table in tables]
    differing = {}
    for word in all_of[0] if all_of else ():
        values = [of[word] for of in all_of]
        if len(set(values)) > 1:
            differing[word] = list(dict.fromkeys(values))
    return differing


def _groups(records: Iterable[RunRecord], key: Callable[[RunRecord], Any]) -> list[list[RunRecord]]:
    """Runs with one key together, in the order in which they come."""
    groups: dict[Any, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return list(groups.values())


def _all_but_seed(record: RunRecord) -> Any:
    return tuple((name, value) for name, value in record.config.settings().items() if name != "seed")


def _over_seeds(records: list[RunRecord], figures: tuple[Figure, ...]) -> list[SeedMeans]:
    """Means over the seeds of each group of settings; a seed counts once, also where its run was made twice."""
    means = []
    for group in _groups(records, _all_but_seed):
        by_seed = {record.config.seed: record for record in reversed(group)}
        members = [by_seed[seed] for seed in sorted(by_seed)]
        of_group = {figure.name: _mean([figure.of_run(record) for record in members]) for figure in figures}
        values = {name: value for name, value in of_group.items() if value}
        means.append(SeedMeans(members[0], tuple(sorted(by_seed)), values))
    return means if any(len(mean.seeds) > 1 for mean in means) else []


def _mean(values: list[Value | None]) -> Value | None:
    """The mean with its standard error, s / sqrt(n) with the n - 1 of a sample; of one value there is no error."""
    numbers = [value.value for value in values if value]
    if not numbers:
        return None
    error = statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return Value(statistics.fmean(numbers), error)
