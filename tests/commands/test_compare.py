"""`tfvae.compare`, by its command line, without TensorFlow: what it prints, and the files that it writes."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, tree

from tfvae import compare
from tfvae.config import Config
from tfvae.config.flagfile import to_flagfile

RESULTS = """{"of": {"dataset": "digits", "split": "test", "images": 180, "pixels": "grey values",
"likelihood": "bernoulli", "samples": 200, "seed": 0, "units": "nats per image"},
"test": {"elbo": %s, "elbo_standard_error": 0.25, "kl": 5.0}, "train": {"epochs": 10}, "fingerprint": "bd806510"}"""

pytestmark = pytest.mark.usefixtures("same_signal_handlers")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for latent_dim, elbo in ((2, -26.5), (5, -24.5)):
        run_dir = Path("runs", f"latent_dim={latent_dim}")
        run_dir.mkdir(parents=True)
        config = Config(dataset="digits", epochs=10, latent_dim=latent_dim).as_usual()
        (run_dir / "config.flags").write_text(to_flagfile(config))
        (run_dir / "results.json").write_text(RESULTS % elbo)
    return tmp_path


def test_a_table_is_printed_and_nothing_is_written(runs, capsys):
    before = tree(runs)
    compare.run(["runs"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["run", "latent_dim", "ELBO", "KL"],
        ["latent_dim=2", "2", "-26.50", "±", "0.25", "5.00"],
        ["latent_dim=5", "5", "-24.50", "±", "0.25", "5.00"],
    ]
    assert tree(runs) == before


@pytest.mark.parametrize("suffix", compare.SUFFIXES)
def test_a_file_is_written_besides(runs, suffix, capsys):
    compare.run(["runs/*", f"--output=table{suffix}"])
    captured = capsys.readouterr()
    assert captured.out.startswith("digits, 180 test images") and captured.out.endswith(f"table{suffix} has it too\n")
    assert Path(f"table{suffix}").stat().st_size > 100
    assert {path.name for path in runs.iterdir()} == {"runs", f"table{suffix}"}


def test_what_is_no_run_is_named_on_the_side(runs, capsys):
    Path("runs", "notes.txt").write_text("")
    compare.run(["runs/*", "--output=a.csv"])
    captured = capsys.readouterr()
    assert captured.err == "runs/notes.txt: passed over, it is no run\n"
    with open("a.csv") as file:
        assert [row["test_elbo"] for row in csv.DictReader(file)] == ["-26.5", "-24.5"]


def test_tensorflow_is_not_imported_nor_is_matplotlib_without_a_picture(runs):
    script = (
        "import sys; sys.modules['tensorflow'] = None  # to import it raises ModuleNotFoundError\n"
        "from tfvae import compare\n"
        "compare.run(['runs', '--output=a.md'])\n"
        "assert not {'keras', 'matplotlib'} & set(sys.modules)\n"
        "compare.run(['runs', '--output=a.png'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("a.png has it too\n")
