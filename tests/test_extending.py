"""The likelihood of docs/extending.md, added to a copy of the package as the page says, and used from end to end."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMMANDS = """
from tfvae import explore, export, train
flags = ["--dataset=digits", "--likelihood=laplace", "--epochs=30", "--eval_samples=20", "--hidden_units=32"]
train.run([*flags, "--run_dir=run"])
explore.run(["--run_dir=run", "--task=imputation", "--eval_samples=20"])
export.run(["--run_dir=run", "--explorer"])
"""


def added_lines(diff: str) -> str:
    return "\n".join(line[1:] for line in diff.splitlines() if line.startswith("+")) + "\n"


def add_likelihood(package: Path) -> None:
    """Applies the page's first diff to the package."""
    page = (ROOT / "docs" / "extending.md").read_text()
    diff = page.split("```diff\n")[1].split("```")[0]
    of_likelihoods, of_capabilities = diff.split("--- tfvae/config/capabilities.py\n")
    classes, branch = of_likelihoods.split("@@ def make_family")
    path = package / "core" / "likelihoods.py"
    text = path.read_text()
    text = text.replace("def make_family", f"{added_lines(classes)}\n\ndef make_family")
    text = text.replace("    raise ValueError(f", f"{added_lines(branch)}    raise ValueError(f")
    path.write_text(text)
    path = package / "config" / "capabilities.py"
    row = added_lines(of_capabilities)
    path.write_text(path.read_text().replace('    "gaussian": Likelihood(', f'{row}    "gaussian": Likelihood('))


@pytest.mark.slow
def test_the_page_s_likelihood_trains_and_is_explored_and_exported(tmp_path):
    shutil.copytree(ROOT / "tfvae", tmp_path / "tfvae")
    add_likelihood(tmp_path / "tfvae")

    done = subprocess.run([sys.executable, "-c", COMMANDS], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["of"]["likelihood"] == "laplace"
    assert results["test"]["elbo"] > 0  # a density, where the decoder's first images have one far below 1
    assert results["test"]["elbo"] < results["test"]["log_px"]
    rows = json.loads((tmp_path / "run" / "explore" / "imputation.json").read_text())["rows"]
    assert rows["random half: VAE"]["RMSE"] < rows["random half: means"]["RMSE"]
    assert "mean_activation" in (tmp_path / "run" / "explorer.html").read_text()
