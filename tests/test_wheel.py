"""The wheel has every file of the package, and a user who has installed it can train, outside the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLAGS = ["--dataset=digits", "--epochs=1", "--hidden_units=16", "--eval_samples=5", "--run_dir=runs/small"]


def run(command, folder, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_CPP")} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout, into which building writes."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tfvae", folder / "checkout" / "tfvae", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "checkout" / name)
    options = ["--no-deps", "--wheel-dir", str(folder / "wheels")]
    run([sys.executable, "-m", "pip", "wheel", *options, str(folder / "checkout")], folder)
    [path] = (folder / "wheels").glob("tfvae-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is installed in; the packages that it needs are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--target", str(folder)]
    run([sys.executable, "-m", "pip", "install", *options, str(wheel)], folder)
    return folder


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel):
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "tfvae").rglob("*.py")}
    assert files == sources | {"tfvae/analysis/explorer.html", "tfvae/completion.bash", "tfvae/py.typed"}


@pytest.mark.slow
def test_who_installed_it_can_train_go_on_and_export_the_explorer(installed, tmp_path):
    here = {"PYTHONPATH": str(installed)}
    command = str(installed / "bin" / "tfvae")
    where = run([sys.executable, "-c", "import tfvae; print(tfvae.__file__)"], tmp_path, **here).stdout
    assert where == f"{installed / 'tfvae' / '__init__.py'}\n"
    version = run([sys.executable, "-c", "import tfvae; print(tfvae.__version__)"], tmp_path, **here).stdout
    assert version == "0.1.0.dev0\n"  # what pyproject.toml says of a folder without git

    trained = run([sys.executable, "-m", "tfvae.train", *FLAGS], tmp_path, **here)
    assert trained.stderr == "" and "runs/small: starts from step 0 of 11 steps" in trained.stdout
    again = run([command, "train", *FLAGS], tmp_path, **here)
    results = again.stdout.partition("runs/small is finished: 1 epochs\n")[2]
    assert again.stderr == "" and results and trained.stdout.endswith(results)

    exported = run([command, "export", "--run_dir=runs/small", "--explorer"], tmp_path, **here)
    assert exported.stderr == "" and "saved_models/small/2: the decoder of step 11" in exported.stdout
    assert "<html" in (tmp_path / "runs" / "small" / "explorer.html").read_text()


@pytest.mark.slow
def test_every_command_of_who_installed_it_has_its_help(installed, tmp_path):
    usage = run([str(installed / "bin" / "tfvae"), "--help"], tmp_path, PYTHONPATH=str(installed)).stdout
    for name in ("train", "launch", "evaluate", "explore", "export", "serve"):
        assert f"  {name} " in usage
        by_module = run([sys.executable, "-m", f"tfvae.{name}", "--help"], tmp_path, PYTHONPATH=str(installed))
        assert by_module.stderr == "" and "--flagfile" in by_module.stdout
