"""Runs as they are read from disk, and which directories are runs."""

import pytest
from made_runs import make_run, make_unfinished_run, write_history

from tfvae.errors import InputError
from tfvae.training import records


def test_a_finished_run_has_its_settings_and_figures(tmp_path):
    record = records.read(make_run(tmp_path / "a", elbo=-23.5, latent_dim=7))
    assert record.config.latent_dim == 7 and record.config.directory == tmp_path / "a"
    assert record.results["test"]["elbo"] == -23.5
    assert record.epochs_done == 10


def test_an_unfinished_run_has_the_epochs_that_its_history_has(tmp_path):
    record = records.read(make_unfinished_run(tmp_path / "a", 4))
    assert record.results is None and record.epochs_done == 4


def test_a_run_without_a_history_has_done_nothing(tmp_path):
    make_unfinished_run(tmp_path / "a", 4)
    (tmp_path / "a" / "history.csv").unlink()
    assert records.read(tmp_path / "a").epochs_done == 0
    write_history(tmp_path / "a", 0)
    assert records.read(tmp_path / "a").epochs_done == 0


def test_figures_of_fewer_epochs_than_are_wanted_now_are_not_the_run_s(tmp_path):
    run_dir = make_run(tmp_path / "a", epochs=10)
    flags = run_dir / "config.flags"
    flags.write_text(flags.read_text().replace("--epochs=10\n", "--epochs=20\n"))
    record = records.read(run_dir)
    assert record.results is None and (record.epochs_done, record.config.epochs) == (10, 20)


def test_a_run_that_patience_has_ended_is_finished(tmp_path):
    run_dir = make_run(tmp_path / "a", epochs=10, patience=3)
    path = run_dir / "results.json"
    path.write_text(path.read_text().replace('"epochs": 10', '"epochs": 10, "stopped_at_epoch": 7'))
    record = records.read(run_dir)
    assert record.results and record.epochs_done == 7


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"train": 3}', '{"train": {"epochs": 10}}', "{"])
def test_results_that_are_none_are_named(tmp_path, content):
    run_dir = make_run(tmp_path / "a")
    (run_dir / "results.json").write_text(content)
    with pytest.raises(InputError, match="results.json: must be the results of a run"):
        records.read(run_dir)


def test_runs_are_found_by_their_names_by_patterns_and_in_directories(tmp_path):
    for name in ("grid/a", "grid/b", "c"):
        make_run(tmp_path / name)
    (tmp_path / "grid" / "a.log").write_text("what a run has printed")
    (tmp_path / "grid" / "begins").mkdir()
    a, b, c = (tmp_path / name for name in ("grid/a", "grid/b", "c"))
    assert records.find([str(a)]) == ([a], [])
    assert records.find([str(tmp_path / "grid")]) == ([a, b], [])
    assert records.find([str(tmp_path / "*")]) == ([c, a, b], [])
    assert records.find([str(b), str(tmp_path / "grid" / "?"), str(tmp_path / "c" / ".." / "c")]) == (
        [b, a, tmp_path / "c" / ".." / "c"],
        [],
    )


def test_what_holds_no_run_is_passed_over_beside_runs(tmp_path):
    a = make_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    found, without = records.find([str(tmp_path / "empty"), str(a), str(tmp_path / "file")])
    assert found == [a] and without == [str(tmp_path / "empty"), str(tmp_path / "file")]


def test_arguments_without_any_run_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: must be a run directory or a directory of runs, and has no config"):
        records.find([str(tmp_path / "empty")])
    make_run(tmp_path / "a")
    for name in ("none", "x*"):
        with pytest.raises(InputError, match=r"(none|x\*): must be a run directory .*, and there is none"):
            records.find([str(tmp_path / "a"), str(tmp_path / name)])
