"""TensorFlow's start is quiet and keeps what it compiles; a stand-in that writes on stderr takes its place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = """
import os
os.write(2, b"a start-up line\\n")
print(os.environ["TF_CPP_MIN_LOG_LEVEL"], "persistent_cache_directory" in os.environ.get("TF_XLA_FLAGS", ""))
"""
PROGRAM = """
import os, sys
from tfvae.runtime.tensorflow import import_tensorflow
descriptors = os.listdir("/proc/self/fd")
import_tensorflow()
assert "tensorflow" in sys.modules
assert os.listdir("/proc/self/fd") == descriptors
os.write(2, b"later\\n")
"""


@pytest.fixture
def start(tmp_path):
    def run(stand_in, program=PROGRAM, **variables):
        (tmp_path / "tensorflow.py").write_text(stand_in)
        path = f"{tmp_path}{os.pathsep}{ROOT}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
        environment |= {"PYTHONPATH": path, "TFVAE_CACHE": str(tmp_path / "cache"), **variables}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    return run


def test_start_up_lines_are_hidden_and_later_ones_are_not(start):
    done = start(STAND_IN)
    assert (done.returncode, done.stderr, done.stdout) == (0, "later\n", "3 True\n")


def test_a_log_level_that_is_set_stays(start):
    assert start(STAND_IN, TF_CPP_MIN_LOG_LEVEL="1").stdout == "1 False\n"


def test_nothing_is_kept_where_tensorflow_would_log_each_kept_program(start):
    """It logs an error for each that it reads, and had its log level before we came."""
    done = start(STAND_IN, TF_CPP_MIN_LOG_LEVEL="2")
    assert (done.returncode, done.stdout) == (0, "2 False\n")
    imported_before = f"import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '1'; import tensorflow\n{PROGRAM}"
    done = start(STAND_IN, program=imported_before + "print(os.environ.get('TF_XLA_FLAGS'))")
    assert (done.returncode, done.stdout) == (0, "1 False\nNone\n")


def test_level_0_shows_the_lines(start):
    done = start(STAND_IN, TF_CPP_MIN_LOG_LEVEL="0")
    assert (done.returncode, done.stderr) == (0, "a start-up line\nlater\n")


def test_nothing_is_kept_where_the_cache_is_switched_off(start):
    assert start(STAND_IN, TFVAE_CACHE="").stdout == "3 False\n"


def test_an_import_that_fails_says_why(start):
    done = start(STAND_IN + "raise ImportError('no libcudart')")
    assert done.returncode == 1 and done.stderr.endswith("ImportError: no libcudart\n")
    assert "a start-up line" not in done.stderr
