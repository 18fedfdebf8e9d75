"""Too old a TensorFlow or Keras is refused in one line before it is imported; made-up metadata stands for it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tfvae.errors import InputError
from tfvae.runtime.versions import OLDEST, require_versions

ROOT = Path(__file__).parents[2]
LINE = "tensorflow 2.18.1 is installed: must be 2.20 or newer: pip install 'tensorflow>=2.20'\n"


def install(folder, package, version):
    """Metadata of a package of this version, and no code, found by who has `folder` in its path."""
    information = folder / f"{package}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs packages in front of the real ones."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda package, version: install(tmp_path, package, version)


@pytest.mark.parametrize("package, version", [("tensorflow", "2.19.1"), ("tensorflow", "1.15.0"), ("keras", "3.9.2")])
def test_too_old_a_version_is_refused(installed, package, version):
    installed(package, version)
    oldest = {"tensorflow": "2.20", "keras": "3.10"}[package]
    line = f"{package} {version} is installed: must be {oldest} or newer: pip install '{package}>={oldest}'"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        require_versions()


@pytest.mark.parametrize("version", ["2.20.0", "2.20.0rc1", "2.100.1", "3.0", "unknown"])
def test_others_are_not(installed, version):
    installed("tensorflow", version)
    require_versions()


def test_a_package_of_another_name_is_not_asked(monkeypatch):
    monkeypatch.setattr(sys, "path", [])  # where no metadata is
    require_versions()


def test_the_oldest_are_those_of_pyproject():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for package, (major, minor) in OLDEST.items():
        assert any(line.startswith(f"{package}>={major}.{minor},<") for line in dependencies)


@pytest.fixture
def python(tmp_path):
    """Runs Python with an old TensorFlow of which there is metadata alone: to import it would be another error."""
    install(tmp_path / "old", "tensorflow", "2.18.1")
    (tmp_path / "old/tensorflow.py").write_text("raise SystemExit('TensorFlow was imported')")
    (tmp_path / "work").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'old'}{os.pathsep}{ROOT}"}
    options = {"cwd": tmp_path / "work", "env": environment, "capture_output": True, "text": True, "timeout": 60}
    return lambda *arguments: subprocess.run([sys.executable, *arguments], **options)


def test_a_command_ends_with_status_2_and_writes_nothing(python, tmp_path):
    done = python("-m", "tfvae.train", "--dataset=digits")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tfvae.train: {LINE}")
    assert os.listdir(tmp_path / "work") == []


def test_help_does_not_mind(python):
    done = python("-m", "tfvae.train", "--help")
    assert (done.returncode, done.stderr) == (0, "") and "--latent_dim" in done.stdout


def test_python_raises_where_keras_is_imported_beside_tfvae(python, tmp_path):
    (tmp_path / "old/keras.py").write_text("class backend:\n    backend = staticmethod(lambda: 'tensorflow')\n")
    done = python("-c", "import tfvae; tfvae.Config(); print('settings alone'); import keras")
    assert (done.returncode, done.stdout) == (1, "settings alone\n")
    assert done.stderr.endswith(f"tfvae.errors.InputError: {LINE}")
