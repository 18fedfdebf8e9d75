"""The published numbers: the page shows what the rows' files hold, and the short rows end in their bands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfvae.config import Config
from tfvae.flags import parse
from tfvae.train import train

ROOT = Path(__file__).parents[2]
KEYS = (
    "recipe", "source", "published", "accept", "value", "standard_error", "seeds", "samples", "seconds", "hardware",
    "versions", "config",
)  # fmt: skip


@pytest.fixture
def reproduce(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import reproduce

    return reproduce


def test_the_page_s_table_is_that_of_the_files(reproduce):
    assert f"<!-- rows -->\n{reproduce.table()}\n<!-- end -->" in (ROOT / "docs" / "results.md").read_text()
    files = {path.stem for path in (ROOT / "docs" / "results").glob("*.json")}
    assert files and files <= set(reproduce.ROWS)
    for name in files:
        result = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text())
        row = reproduce.ROWS[name]
        assert set(KEYS) <= set(result)
        assert (result["source"], result["published"]) == (row.source, row.published)
        assert result["accept"] == json.loads(json.dumps(row.accept)) and tuple(result["seeds"]) == row.seeds
        given = parse([f"--flagfile={ROOT / result['recipe']}"], "test")
        wanted = json.loads(json.dumps({**given, **list(row.runs.values())[-1].flags}))
        wanted["dataset"] = Path(wanted["dataset"]).name
        assert {k: result["config"][k] for k in wanted} == wanted  # the files were written by today's recipes
        values = result["value"] if isinstance(result["value"], dict) else {"": result["value"]}
        for variant, run in result["runs"].items():
            assert values[variant] == pytest.approx(sum(run["values"]) / len(row.seeds))


def test_a_row_is_within_its_band_or_not(reproduce):
    def result(*figures, units=(19,)):
        return {"runs": {str(i): {"values": [f], "active_units": list(units)} for i, f in enumerate(figures)}}

    cases = [
        ("pytorch", [(105.6,)], [(104.7,), (106.5,)]),
        ("keras", [(146.9, 150.4)], [(146.9, 153.1)]),
        ("burda_iwae5", [(88.0, 87.0)], [(88.0, 87.8), (88.0, 86.0), (87.0, 88.0)]),
        ("kingma_mnist", [(126, 113, 104, 101, 102)], [(126, 113, 104, 101, 105), (126, 113, 114, 101, 102)]),
        ("kingma_frey", [(-500, -800, -900, -950)], [(-500, -800, -700, -950), (5, -800, -900, -950)]),
    ]
    for name, good, bad in cases:
        assert all(reproduce.within(reproduce.ROWS[name], result(*figures)) for figures in good)
        assert not any(reproduce.within(reproduce.ROWS[name], result(*figures)) for figures in bad)
    assert reproduce.within(reproduce.ROWS["burda_vae"], result(86.8))
    assert not reproduce.within(reproduce.ROWS["burda_vae"], result(86.8, units=(16,)))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["flax", "nix"], "nix: must be one of pytorch, flax"),
        (["kingma_frey"], "--dataset: must be given, the file of kingma_frey's images"),
        (["--data_dir=x", "flax"], "flax: arguments must be flags"),
        (["--epochs=3"], "epochs"),
    ],
)
def test_what_it_cannot_run_is_refused_before_anything_is_written(arguments, named, tmp_path):
    command = [sys.executable, "-m", "benchmarks.reproduce", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("benchmarks.reproduce: ") and named in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_without_names_it_lists_the_rows_and_what_is_missing(reproduce, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path)
    (tmp_path / "flax.json").write_text("{}")
    reproduce.main({}, [])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == list(reproduce.ROWS)
    assert lines["flax"].startswith("done") and lines["pytorch"].startswith("missing, about 1 minute")


@pytest.fixture
def data_dir():
    if not (Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist").is_dir():
        pytest.skip("TFDS_DATA_DIR names no directory with mnist")
    return os.environ["TFDS_DATA_DIR"]


@pytest.mark.nightly
def test_two_latents(data_dir, tmp_path):
    given = parse([f"--flagfile={ROOT / 'flags' / 'mnist_2d.flags'}"], "test")
    places = {"run_dir": str(tmp_path / "run"), "export_dir": str(tmp_path / "saved_models")}
    results = train(Config(**given, **places))
    assert 153 <= -results["test"]["elbo"] <= 156  # 154.2 to 154.6 by an independent code
    assert results["of"]["images"] == 10_000


@pytest.mark.parametrize(
    "name", [pytest.param("pytorch", marks=pytest.mark.slow), pytest.param("flax", marks=pytest.mark.nightly)]
)
def test_a_short_row(name, data_dir, reproduce, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "ROWS", {name: reproduce.ROWS[name]._replace(seeds=(0,))})
    monkeypatch.setattr(reproduce, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reproduce.page, "DOCS", tmp_path)
    (tmp_path / "results.md").write_text("# Results\n\n<!-- rows -->\n<!-- end -->\n")
    reproduce.main({"data_dir": data_dir}, [name])
    result = json.loads((tmp_path / "results" / f"{name}.json").read_text())
    low, high = result["accept"]
    assert low <= result["value"] <= high
    assert set(KEYS) <= set(result) and result["runs"][""]["of"]["images"] == 10_000
    assert 0 < result["standard_error"] < 0.5 and "tensorflow" in result["versions"]
    assert f"{result['value']:.2f} ± " in (tmp_path / "results.md").read_text()
