"""The rows of `history.csv`: what an epoch came to, through kills and restarts."""

import csv

from tfvae.training import history
from tfvae.training.history import History

VALIDATION = {"elbo": -9.5, "log_likelihood": -7.25, "kl": 2.25, "elbo_standard_error": 0.5, "active_units": 2}


def terms(epoch):
    return {"elbo": -80.1 / epoch, "log_likelihood": -70.1 / epoch, "kl": 10 / epoch}


def write(folder, epochs, step=0):
    rows = History(folder, step)
    for epoch in epochs:
        rows.append(epoch, 3 * epoch, terms(epoch), VALIDATION)


def test_a_row_is_an_epoch_and_is_read_back_to_the_bit(tmp_path):
    write(tmp_path, [1, 2, 3])
    columns = history.read(tmp_path)
    assert list(columns) == [
        "epoch", "step", "elbo", "log_likelihood", "kl", "val_elbo", "val_log_likelihood", "val_kl",
        "val_elbo_standard_error",
    ]  # fmt: skip
    assert columns["epoch"] == [1, 2, 3] and columns["step"] == [3, 6, 9]
    assert columns["elbo"] == [terms(epoch)["elbo"] for epoch in (1, 2, 3)]
    assert columns["val_kl"] == [2.25] * 3


def test_any_reader_of_csv_reads_it(tmp_path):
    write(tmp_path, [1, 2])
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert float(rows[1]["val_elbo"]) == -9.5


def test_without_validation_its_columns_are_empty(tmp_path):
    History(tmp_path, 0).append(1, 3, terms(1), None)
    columns = history.read(tmp_path)
    assert columns["val_elbo"] == [None] and columns["kl"] == [10.0]


def test_epochs_after_the_checkpoint_are_made_again(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [3, 4], step=6)
    assert history.read(tmp_path)["epoch"] == [1, 2, 3, 4]


def test_a_part_of_a_row_is_taken_away(tmp_path):
    write(tmp_path, [1, 2])
    path = tmp_path / "history.csv"
    path.write_text(path.read_text() + "3,9,-2")
    assert history.read(tmp_path)["epoch"] == [1, 2]
    write(tmp_path, [3], step=9)
    assert history.read(tmp_path)["epoch"] == [1, 2, 3]


def test_an_older_run_has_none(tmp_path):
    assert history.read(tmp_path) == {}
