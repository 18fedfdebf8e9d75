"""Each diff of docs/extending.md applies to the tree of today; nightly it is tested, trained, exported and taken back.

A growth is one place of code, one row of the tables in `tfvae/config/`, and one test file: a diff that needs more shows
a defect of the package.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("tfvae", "tests", "benchmarks", "docs", "flags", "pyproject.toml", "README.md")
GROWTHS = {  # the page's sections: the flag that each adds a value to, that value, and the place of its code
    "A likelihood": ("likelihood", "laplace", {"tfvae/core/likelihoods.py"}),
    "A posterior": ("posterior", "student", {"tfvae/core/posteriors.py"}),
    "A prior": ("prior", "tied", {"tfvae/core/priors.py"}),
    "A network": ("network", "residual", {"tfvae/core/networks.py"}),
    "An objective": ("objective", "renyi", {"tfvae/core/objectives.py"}),
    "A data source": (  # which has messages of its own
        "dataset",
        "train-images-idx3-ubyte.gz",
        {"tfvae/data/idx.py", "tfvae/data/sources.py", "docs/errors.md"},
    ),
    "A quantity": ("what", "clusters", {"tfvae/analysis/applications.py", "tfvae/applied.py"}),
}
growths = pytest.mark.parametrize("heading", GROWTHS)


class Section(NamedTuple):
    """What the page has of one growth."""

    diff: str
    commands: str

    @property
    def files(self) -> set[str]:
        """That the diff changes or adds."""
        return set(re.findall(r"^\+\+\+ b/(\S+)$", self.diff, re.MULTILINE))

    @property
    def test_file(self) -> str:
        """The one that the diff adds."""
        [path] = [path for path in self.files if path.startswith("tests/")]
        return path


def sections() -> dict[str, Section]:
    """Those of the page that have a diff, by the start of their headings."""
    page = (ROOT / "docs" / "extending.md").read_text()
    found = {}
    for part in page.split("\n## ")[1:]:
        blocks = dict(re.findall(r"^```(diff|console)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL))
        if "diff" in blocks:
            found[part.partition(":")[0]] = Section(blocks["diff"], blocks.get("console", ""))
    return found


def apply(folder, diff, *options):
    """Applies a diff to a folder; `git apply` takes no part of it where another does not fit."""
    # outside any repository: within one, git would take the paths from its top
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(Path(folder).parent)}
    command = ["git", "apply", *options, "-"]
    return subprocess.run(command, cwd=folder, env=environment, input=diff, capture_output=True, text=True)


def copy_of_tree(folder):
    """The package, its tests and what these read, without what running them has left."""
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy that no test changes."""
    return copy_of_tree(tmp_path_factory.mktemp("extending") / "tree")


def test_every_growth_has_its_section():
    assert list(sections()) == list(GROWTHS)


@growths
def test_the_diff_applies_to_the_tree_of_today(tree, heading):
    done = apply(tree, sections()[heading].diff, "--check")
    assert done.returncode == 0, f"docs/extending.md, {heading}: the diff is out of date:\n{done.stderr}"


@growths
def test_the_diff_is_its_place_its_row_and_its_test(heading):
    section, (_, value, places) = sections()[heading], GROWTHS[heading]
    row = {"tfvae/config/data_names.py" if heading == "A data source" else "tfvae/config/capabilities.py"}
    assert section.files == places | row | {section.test_file}
    assert not (ROOT / section.test_file).exists()
    for command in ("train", "evaluate", "export"):
        assert f"python -m tfvae.{command} " in section.commands
    assert value in section.commands


def run_in(folder, command, seconds=1_800):
    """Runs a command in the copy, whose package is the one that is imported; returns what it prints."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    return done.stdout


def checksums(folder):
    """Of every file of the copied tree, by its path."""
    files = [path for name in COPIED for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_digits_as_idx(folder):
    """The file that the page's data source is tried on: Fashion-MNIST has its own under the same name."""
    from sklearn.datasets import load_digits

    images = (load_digits().images * 15).astype(np.uint8)
    header = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
    (folder / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    subprocess.run(["gzip", "train-images-idx3-ubyte"], cwd=folder, check=True)


def check_run(folder, commands, flag, value):
    """The run has learned, was evaluated and exported, with the new value in its settings."""
    [run_dir] = set(re.findall(r"--run_dir=(\S+)", commands))
    results = json.loads((folder / run_dir / "results.json").read_text())
    with open(folder / run_dir / "history.csv", newline="") as file:
        elbo = [float(row["elbo"]) for row in csv.DictReader(file)]
    assert elbo[-1] > elbo[0] and results["test"]["elbo"] > elbo[0]
    evaluation = json.loads((folder / run_dir / "evaluation.json").read_text())
    assert evaluation["test"]["elbo"] == pytest.approx(results["test"]["elbo"], abs=1e-3)
    if flag != "what":
        settings = (folder / run_dir / "config.flags").read_text()
        assert re.search(rf"^--{flag}=\S*{re.escape(value)}$", settings, re.MULTILINE)
    for exported in (f"{Path(run_dir).name}/2", f"{Path(run_dir).name}-encoder/2"):
        assert (folder / "saved_models" / exported / "saved_model.pb").is_file()


@pytest.mark.nightly
@growths
def test_what_the_diff_adds_is_tested_trained_exported_and_taken_back(tmp_path, heading):
    section, (flag, value, _) = sections()[heading], GROWTHS[heading]
    folder = copy_of_tree(tmp_path / "tree")
    before = checksums(folder)
    done = apply(folder, section.diff)
    assert done.returncode == 0, done.stderr

    python = [sys.executable, "-m"]
    changed = sorted(path for path in section.files if path.endswith(".py"))
    run_in(folder, [*python, "ruff", "check", "--no-cache", *changed])
    run_in(folder, [*python, "ruff", "format", "--check", "--no-cache", *changed])
    run_in(folder, [*python, "mypy", "--cache-dir", str(tmp_path / "mypy")])
    tests = {section.test_file, "tests/core/test_capabilities.py", "tests/test_house.py", "tests/test_errors_page.py"}
    print(run_in(folder, [*python, "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *sorted(tests)])[-300:])

    if flag == "dataset":
        write_digits_as_idx(folder)
    print(run_in(folder, ["bash", "-ec", section.commands]))
    check_run(folder, section.commands, flag, value)

    done = apply(folder, section.diff, "-R")
    assert done.returncode == 0, done.stderr
    assert checksums(folder) == before
