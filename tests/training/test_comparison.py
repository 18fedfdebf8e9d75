"""Runs beside each other: in what they differ, which figures can be compared, and means over seeds."""

import numpy as np
import pytest
import scipy.stats
from made_runs import make_run, make_unfinished_run

from tfvae.training import comparison, records
from tfvae.training.comparison import FIGURES


def compare(*run_dirs):
    return comparison.compare([records.read(run_dir) for run_dir in run_dirs])


def names(compared, table):
    return [compared.names[record.directory] for record in table.records]


def test_only_settings_that_differ_and_that_change_numbers_are_told(tmp_path):
    a = make_run(tmp_path / "a", latent_dim=2, checkpoint_every=5.0, export_dir="a")
    b = make_run(tmp_path / "b", latent_dim=5, learning_rate=1e-4, data_dir="/data")
    assert compare(a, b).settings == ("latent_dim", "learning_rate")
    assert compare(a).settings == ()


def test_runs_are_in_the_order_of_their_settings(tmp_path):
    for latent_dim in (10, 2, 5):
        make_run(tmp_path / f"l{latent_dim}", latent_dim=latent_dim)
    compared = compare(*sorted(tmp_path.iterdir()))
    assert names(compared, compared.tables[0]) == ["l2", "l5", "l10"]


def test_numbers_come_before_names(tmp_path):
    of = {"likelihood": "gaussian, sigma x"}
    gaussian = {"likelihood": "gaussian", "of": of}
    for name, sigma in (("a", "optimal"), ("b", 0.5), ("c", "learned"), ("d", 0.0625)):
        make_run(tmp_path / name, sigma=sigma, **gaussian)
    compared = compare(*sorted(tmp_path.iterdir()))
    assert names(compared, compared.tables[0]) == ["d", "b", "c", "a"]


def test_runs_are_called_by_what_their_places_do_not_have_in_common(tmp_path):
    a, b = make_run(tmp_path / "x" / "a"), make_run(tmp_path / "y" / "a", seed=1)
    assert list(compare(a, b).names.values()) == ["x/a", "y/a"]
    assert list(compare(a).names.values()) == ["a"]


OTHER = {
    "data": {"fingerprint": "12345678"},
    "split": {"of": {"split": "validation"}},
    "examples": {"of": {"images": 179}},
    "pixels": {"of": {"pixels": "pixels 1 above 0.5"}, "binarize": "threshold"},
    "likelihood": {"of": {"likelihood": "gaussian, sigma 0.1"}, "likelihood": "gaussian"},
    "scale": {"scale": "unit", "value_range": (-1.0, 1.0)},
    "units": {"of": {"units": "nats per row"}},
    "condition": {"of": {"condition": "label"}, "condition": "label"},
}


@pytest.mark.parametrize("word", OTHER)
def test_figures_of_something_else_are_in_a_table_of_their_own(tmp_path, word):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", **OTHER[word])
    c = make_run(tmp_path / "c", seed=1)
    compared = compare(a, b, c)
    assert sorted(names(compared, table) for table in compared.tables) == [["a", "c"], ["b"]]
    differences = comparison.incomparable(compared.tables)
    assert list(differences) == [word] and len(differences[word]) == 2


def test_a_conditional_run_s_log_density_is_headed_as_that_given_the_label(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", **OTHER["condition"])
    of_condition, of_pixels = compare(a, b).tables  # in the order of the settings
    assert "log p(x)" in [figure.label for figure in of_pixels.figures]
    labels = [figure.label for figure in of_condition.figures]
    assert "log p(x|y)" in labels and "log p(x)" not in labels


def test_every_word_on_what_figures_are_of_can_differ(tmp_path):
    assert set(OTHER) == set(comparison.figures_are_of(records.read(make_run(tmp_path / "a"))))


@pytest.mark.parametrize("changed", [{"posterior": "full"}, {"eval_samples": 5}, {"beta": 4.0}, {"objective": "iwae"}])
def test_models_of_the_same_data_can_be_compared(tmp_path, changed):
    compared = compare(make_run(tmp_path / "a"), make_run(tmp_path / "b", **changed))
    assert len(compared.tables) == 1 and comparison.incomparable(compared.tables) == {}


def test_sigmas_are_of_the_same_x(tmp_path):
    a = make_run(tmp_path / "a", likelihood="gaussian", of={"likelihood": "gaussian, sigma 0.1"})
    b = make_run(tmp_path / "b", likelihood="gaussian", sigma="learned", of={"likelihood": "gaussian, sigma learned"})
    assert len(compare(a, b).tables) == 1


def test_an_unfinished_run_has_no_figures(tmp_path):
    a, b = make_run(tmp_path / "a"), make_unfinished_run(tmp_path / "b", 3, latent_dim=9)
    compared = compare(a, b)
    assert [names(compared, table) for table in compared.tables] == [["a"]]
    assert [record.directory for record in compared.unfinished] == [b]
    assert compared.settings == ("latent_dim",)


def test_means_over_seeds_are_those_of_scipy(tmp_path):
    elbos = {2: (-26.0, -25.0, -25.75), 5: (-24.0, -24.5, -23.0)}
    for latent_dim, of_seeds in elbos.items():
        for seed, elbo in enumerate(of_seeds):
            make_run(tmp_path / f"{latent_dim}-{seed}", elbo, latent_dim=latent_dim, seed=seed)
    [table] = compare(*sorted(tmp_path.iterdir())).tables
    assert [(mean.record.config.latent_dim, mean.seeds) for mean in table.over_seeds] == [
        (2, (0, 1, 2)),
        (5, (0, 1, 2)),
    ]
    for mean in table.over_seeds:
        of_seeds = elbos[mean.record.config.latent_dim]
        value = mean.figures["test_elbo"]
        assert value.value == pytest.approx(np.mean(of_seeds))
        assert value.standard_error == pytest.approx(scipy.stats.sem(of_seeds))
        assert mean.figures["test_active_units"] == (mean.record.config.latent_dim, 0)


def test_a_single_seed_has_no_error_and_alone_no_mean(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", latent_dim=5)
    assert compare(a, b).tables[0].over_seeds == []
    c = make_run(tmp_path / "c", seed=1)
    [of_two, of_one] = compare(a, b, c).tables[0].over_seeds
    assert of_two.seeds == (0, 1) and of_two.figures["test_elbo"].standard_error == 0
    assert of_one.seeds == (0,) and of_one.figures["test_elbo"].standard_error is None


def test_a_run_that_was_made_twice_counts_once(tmp_path):
    a, again = make_run(tmp_path / "a", -20.0), make_run(tmp_path / "again", -20.0)
    c = make_run(tmp_path / "c", -30.0, seed=1)
    [mean] = compare(a, again, c).tables[0].over_seeds
    assert mean.seeds == (0, 1) and mean.figures["test_elbo"].value == -25


def test_seeds_of_unlike_figures_have_no_common_mean(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=1, fingerprint="12345678")
    assert all(table.over_seeds == [] for table in compare(a, b).tables)


def test_figures_that_no_run_has_are_left_out(tmp_path):
    run_dir = make_run(tmp_path / "a")
    path = run_dir / "results.json"
    path.write_text(path.read_text().replace('"elbo": -24.0', '"elbo": null'))
    [table] = compare(run_dir).tables
    absent = {figure.name for figure in FIGURES} - {figure.name for figure in table.figures}
    assert absent == {"test_elbo", "test_bits_per_dimension", "train_stopped_at_epoch", "best_epoch"}


def test_a_setting_that_counts_in_some_runs_alone_is_told(tmp_path):
    a = make_run(tmp_path / "a", validate_every=2, patience=4)
    b = make_run(tmp_path / "b", validate_every=1, patience=4)
    c = make_run(tmp_path / "c", validate_every=1)
    assert compare(a, b).settings == ("validate_every",)
    assert compare(c, a).settings == ("validate_every", "patience")
    assert compare(c, make_run(tmp_path / "d", validate_every=5)).settings == ()


def test_epochs_of_runs_that_patience_may_end_are_at_most_so_many(tmp_path):
    a, b = make_run(tmp_path / "a", patience=4), make_run(tmp_path / "b", patience=4, seed=1)
    assert ", 10 epochs;" in comparison.describe(compare(a, b).tables[0])
    path = a / "results.json"
    path.write_text(path.read_text().replace('"epochs": 10', '"epochs": 10, "stopped_at_epoch": 7'))
    [table] = compare(a, b).tables
    assert ", at most 10 epochs;" in comparison.describe(table)
    assert {"train_stopped_at_epoch"} <= {figure.name for figure in table.figures}
