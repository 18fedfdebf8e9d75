"""What Python code may call: `import tfvae`, and the functions that the documentation names."""

import importlib.metadata
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfvae
import tfvae.evaluate
import tfvae.export
import tfvae.run
import tfvae.train
import tfvae.trained
from tfvae import data, front_door
from tfvae.config import config
from tfvae.errors import InputError, RunError

ROOT = Path(__file__).parents[1]


def test_the_package_has_its_names():
    assert tfvae.Config is config.Config
    assert (tfvae.InputError, tfvae.RunError) == (InputError, RunError)
    assert tfvae.load is front_door.load
    assert tfvae.__version__ == importlib.metadata.version("tfvae")
    with pytest.raises(AttributeError, match="'tfvae' has no attribute 'lod'"):
        tfvae.lod  # noqa: B018


def test_all_and_dir_name_what_there_is():
    for name in tfvae.__all__:
        assert name in dir(tfvae)
        assert getattr(tfvae, name).__name__ == name
    commands = {path.stem for path in (ROOT / "tfvae").glob("*.py")}
    assert not commands & set(tfvae.__all__)  # else the name would be now the module, now the function


def run_in_process(folder, lines):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", lines], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_the_lines_of_the_docstring_work(tmp_path):
    lines = [line[4:] for line in tfvae.__doc__.splitlines() if line.startswith("    ")]
    assert len(lines) >= 10
    checks = """
assert latents.shape == (1797, 2) and scores.shape == (1797,)
assert [picture.shape for picture in pictures] == [(8, 8, 8, 1)] * 2 and p.mean.shape == (1797, 8, 8, 1)
"""
    done = run_in_process(tmp_path, "\n".join(lines) + checks)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "E0000" in line]) == (0, []), done.stderr


def test_the_commands_have_the_functions_that_they_call():
    assert tfvae.train.train is tfvae.run.train
    assert tfvae.evaluate.evaluate is tfvae.trained.evaluate
    assert tfvae.export.export is tfvae.trained.export


def test_each_takes_a_config_first():
    for function in (tfvae.run.train, tfvae.trained.evaluate, tfvae.trained.explore, tfvae.trained.export, data.load):
        first, *others = inspect.signature(function).parameters.values()
        assert first.name == "config" and first.annotation is tfvae.Config
        assert all(parameter.default is not parameter.empty for parameter in others)


def test_data_load_gives_the_images():
    images = data.load(tfvae.Config(dataset="digits")).test.images
    assert images.shape == (180, 8, 8, 1)
