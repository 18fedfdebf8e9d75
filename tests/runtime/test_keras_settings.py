"""Keras's backend: any other than TensorFlow is refused before Keras is imported."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfvae.errors import InputError
from tfvae.runtime.keras_settings import require_tensorflow_backend


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where Keras keeps its settings, for a process that has not imported it."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy", "openvino", "typo"])
def test_another_backend_is_refused(home, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(InputError, match=f"^KERAS_BACKEND={backend}: must be tensorflow, or not set"):
        require_tensorflow_backend()


def test_so_is_that_of_keras_json(home, monkeypatch):
    (home / "keras.json").write_text('{"floatx": "float32", "backend": "jax"}')
    with pytest.raises(InputError, match=f"^{home}/keras.json: its backend must be tensorflow, and is jax"):
        require_tensorflow_backend()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # goes before the file
    require_tensorflow_backend()


@pytest.mark.parametrize("content", [None, "", "[]", "not json", '{"floatx": "float64"}', '{"backend": "tensorflow"}'])
def test_what_leaves_tensorflow_is_not_refused(home, monkeypatch, content):
    if content is not None:
        (home / "keras.json").write_text(content)
    require_tensorflow_backend()
    monkeypatch.setenv("KERAS_BACKEND", "")
    require_tensorflow_backend()
    assert os.listdir(home) == ([] if content is None else ["keras.json"])


def test_a_keras_that_is_there_is_asked(home, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # too late: it has been imported
    for backend in ("tensorflow", "torch"):
        fake = SimpleNamespace(config=SimpleNamespace(backend=lambda backend=backend: backend))
        monkeypatch.setitem(sys.modules, "keras", fake)
        if backend == "tensorflow":
            require_tensorflow_backend()
        else:
            with pytest.raises(InputError, match="Keras has been imported with torch"):
                require_tensorflow_backend()


@pytest.mark.parametrize("command", [["train", "--dataset=digits"], ["evaluate", "--run_dir=run"]], ids=lambda c: c[0])
def test_the_commands_refuse_it_before_anything_is_written(tmp_path, command):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/config.flags").write_text("--dataset=digits\n")
    before = sorted(tmp_path.rglob("*"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-m", f"tfvae.{command[0]}", *command[1:]],
        cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"tfvae.{command[0]}: KERAS_BACKEND=torch: must be tensorflow")
    assert sorted(tmp_path.rglob("*")) == before
