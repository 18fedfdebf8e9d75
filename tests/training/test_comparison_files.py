"""What a comparison looks like: text, Markdown, CSV, JSON, a picture."""

import csv
import io
import json

import matplotlib.image
import numpy as np
import pytest
from made_runs import make_run, make_unfinished_run

from tfvae.errors import InputError
from tfvae.training import comparison, records
from tfvae.training.comparison_files import as_csv, as_json, as_markdown, as_text, to_bytes


@pytest.fixture
def grid(tmp_path):
    """Two settings of two seeds, one run that is not finished."""
    for latent_dim in (2, 5):
        for seed in (0, 1):
            elbo = -26.0 + latent_dim / 4 + seed
            make_run(tmp_path / f"{latent_dim}-{seed}", elbo, latent_dim=latent_dim, seed=seed, hidden_units=(8, 4))
    make_unfinished_run(tmp_path / "later", 3, latent_dim=10, hidden_units=())
    return tmp_path


def compared(folder):
    return comparison.compare([records.read(run_dir) for run_dir in sorted(folder.iterdir())])


def test_the_text_says_what_its_figures_are_of(grid):
    lines = as_text(compared(grid)).splitlines()
    assert lines == [
        "digits, 180 test images, grey values, bernoulli likelihood, 200 samples of z, 10 epochs; nats per image; "
        "± standard error over the examples:",
        "  run  hidden_units  latent_dim  seed  ELBO           log p(x)       KL    active units  squared error  "
        "train ELBO  images/s",
        "  2-0  8,4           2           0     -25.50 ± 0.25  -25.00 ± 0.50  5.00  2             0.0625         "
        "-24.50      1,234",
        "  2-1  8,4           2           1     -24.50 ± 0.25  -24.00 ± 0.50  5.00  2             0.0625         "
        "-23.50      1,234",
        "  5-0  8,4           5           0     -24.75 ± 0.25  -24.25 ± 0.50  5.00  5             0.0625         "
        "-23.75      1,234",
        "  5-1  8,4           5           1     -23.75 ± 0.25  -23.25 ± 0.50  5.00  5             0.0625         "
        "-22.75      1,234",
        "",
        "means over seeds, ± standard error over the seeds:",
        "  hidden_units  latent_dim  seeds    ELBO           log p(x)       KL           active units  "
        "squared error    train ELBO     images/s",
        "  8,4           2           2 (0,1)  -25.00 ± 0.50  -24.50 ± 0.50  5.00 ± 0.00  2.0 ± 0.0     "
        "0.0625 ± 0.0000  -24.00 ± 0.50  1,234 ± 0",
        "  8,4           5           2 (0,1)  -24.25 ± 0.50  -23.75 ± 0.50  5.00 ± 0.00  5.0 ± 0.0     "
        "0.0625 ± 0.0000  -23.25 ± 0.50  1,234 ± 0",
        "",
        "not finished:",
        "  run    hidden_units  latent_dim  seed  epoch",
        "  later  nothing       10          0     3 of 10",
    ]


def test_the_text_of_unlike_figures_begins_with_in_what_they_differ(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", fingerprint="12345678", of={"dataset": "mnist"}, seed=3)
    lines = as_text(compared(tmp_path)).splitlines()
    assert lines[0] == "figures of different tables of these 2 can't be compared: data (bd806510; 12345678)"
    assert lines[1].startswith("digits, 180 test images, ") and ", seed 0, " in lines[1]
    assert lines[5].startswith("mnist, 180 test images, ") and ", seed 3, " in lines[5]


def test_markdown_has_the_same_cells(grid):
    compared_runs = compared(grid)
    rows = [line for line in as_markdown(compared_runs).splitlines() if line.startswith("| ") and "---" not in line]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    text = as_text(compared_runs)
    assert len(rows) == 5 + 3 + 2
    assert all(cell in text for row in cells for cell in row)
    assert as_markdown(compared_runs).count("\n| ---") == 3 and rows[0].startswith("| run | hidden_units |")


def test_a_pipe_in_a_name_does_not_end_a_cell_of_markdown(tmp_path):
    make_run(tmp_path / "a|b")
    assert r"| a\|b |" in as_markdown(compared(tmp_path))


def test_csv_has_a_row_a_run_with_figures_in_full(grid):
    rows = list(csv.DictReader(io.StringIO(as_csv(compared(grid)))))
    assert [row["run"] for row in rows] == ["2-0", "2-1", "5-0", "5-1", "later"]
    assert [row["finished"] for row in rows] == ["true"] * 4 + ["false"]
    assert [row["epochs_done"] for row in rows] == ["10"] * 4 + ["3"]
    assert [(row["latent_dim"], row["hidden_units"]) for row in rows] == [("2", "8,4")] * 2 + [("5", "8,4")] * 2 + [
        ("10", "")
    ]
    assert float(rows[3]["test_elbo"]) == -23.75 and float(rows[3]["test_elbo_standard_error"]) == 0.25
    assert float(rows[0]["train_images_per_second"]) == 1234.5
    assert rows[0]["figures_are_of"].startswith("digits, 180 test images")
    assert rows[4]["test_elbo"] == rows[4]["figures_are_of"] == ""


def test_json_has_everything(grid):
    content = json.loads(as_json(compared(grid)))
    assert content["settings"] == ["hidden_units", "latent_dim", "seed"]
    [table] = content["tables"]
    assert table["runs"][2]["settings"] == {"hidden_units": [8, 4], "latent_dim": 5, "seed": 0}
    assert table["runs"][2]["figures"]["test_log_px"] == {"value": -24.25, "standard_error": 0.5}
    assert table["over_seeds"][1]["settings"] == {"hidden_units": [8, 4], "latent_dim": 5}
    assert table["over_seeds"][1]["seeds"] == [0, 1]
    assert table["over_seeds"][1]["figures"]["test_elbo"] == {"value": -24.25, "standard_error": pytest.approx(0.5)}
    assert [(run["run"], run["epochs_done"]) for run in content["unfinished"]] == [("later", 3)]


def picture_of(folder):
    pixels = matplotlib.image.imread(io.BytesIO(to_bytes(compared(folder), folder / "a.png")))
    assert np.ptp(pixels[..., :3]) == 1  # something is drawn
    return pixels


def test_a_picture_is_drawn_of_numbers_and_of_names(grid):
    assert picture_of(grid).shape[1] == 1200
    folder = grid / "names"
    for name, posterior in (("a", "full"), ("b", "diagonal"), ("c", "laplace")):
        make_run(folder / name, posterior=posterior, hidden_units=(4, 2))
    assert picture_of(folder).shape[1] == 1200
    single = comparison.compare([records.read(folder / "a")])
    assert to_bytes(single, grid / "a.png").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([{"fingerprint": "12345678"}], r"a.png: must be of figures that can be compared for a picture: data \("),
        (
            [{"latent_dim": n, "batch_size": 2 * n, "beta": n / 4} for n in range(2, 13)],
            "a.png: must be of fewer runs for a picture: batch_size is its axis, .* have 12 combinations, more than 10",
        ),
    ],
)
def test_a_picture_that_would_mislead_is_refused(tmp_path, others, message):
    for number, settings in enumerate([{}, *others]):
        make_run(tmp_path / str(number), **settings)
    with pytest.raises(InputError, match=message):
        picture_of(tmp_path)


def test_a_picture_of_unfinished_runs_is_refused(tmp_path):
    make_unfinished_run(tmp_path / "a", 3)
    with pytest.raises(InputError, match="a.png: must be of a run that is finished for a picture"):
        picture_of(tmp_path)
