"""Programs that are kept on disk: the same figures, and no damage to the directory ends a command."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tfvae.runtime import compile_cache

PROGRAM = """
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
import tensorflow as tf
print(tf.function(lambda x: tf.reduce_sum(tf.exp(x) * 3), jit_compile=True)(tf.range(5.0)).numpy())
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The directory that `keep` names, and what it registers for the process's end."""
    at_end = []
    monkeypatch.setattr(
        compile_cache.atexit, "register", lambda function, *arguments: at_end.append((function, arguments))
    )
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", "--given")
    compile_cache.keep()
    [folder] = tmp_path.iterdir()
    assert os.environ["TF_XLA_FLAGS"] == f"--given --tf_xla_persistent_cache_directory={folder}"
    return folder, lambda: [function(*arguments) for function, arguments in at_end]


def test_only_programs_with_their_checksum_stay(cache):
    folder, end = cache
    for name in ("whole", "damaged", "replaced"):
        (folder / f"{name}.pb").write_bytes(name.encode() * 100)
    end()
    (folder / "damaged.pb").write_bytes(b"damaged" * 50)
    (folder / "replaced.crc32").unlink()
    for name in ("of_a_killed_process.pb", "of_a_killed_process.tmp", "being_written.tmp"):
        (folder / name).write_bytes(b"x")
    os.utime(folder / "of_a_killed_process.tmp", (0, 0))
    compile_cache.keep()  # of a child, too, that was given the flag
    assert os.environ["TF_XLA_FLAGS"].count(str(folder)) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["being_written.tmp", "whole.crc32", "whole.pb"]


def test_the_newest_stay(cache, monkeypatch):
    folder, end = cache
    for i in range(5):
        (folder / f"{i}.pb").write_bytes(b"x")
        os.utime(folder / f"{i}.pb", (i, i))
    end()
    monkeypatch.setattr(compile_cache, "_MOST", 2)
    compile_cache.keep()
    assert sorted(p.name for p in folder.glob("*.pb")) == ["3.pb", "4.pb"]


@pytest.mark.parametrize(
    "cache, flags", [("", ""), ("/proc/nowhere", ""), ("x", "--tf_xla_persistent_cache_read_only")]
)
def test_where_nothing_can_or_shall_be_kept_nothing_happens(cache, flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFVAE_CACHE", cache)
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    compile_cache.keep()
    assert os.environ["TF_XLA_FLAGS"] == flags and not any(tmp_path.iterdir())


def test_a_nearly_full_disk_is_left_alone(tmp_path, monkeypatch):
    """TensorFlow would end the run that can't save a program."""
    monkeypatch.setattr(
        compile_cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40 - 2**20, 2**20)
    )
    monkeypatch.setenv("TFVAE_CACHE", str(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    compile_cache.keep()
    assert os.environ["TF_XLA_FLAGS"] == ""


@pytest.mark.slow
def test_a_damaged_program_is_compiled_anew_and_a_whole_one_is_taken(tmp_path):
    def run(cache):
        environment = {**os.environ, "TFVAE_CACHE": str(cache), "TF_XLA_FLAGS": ""}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    expected = run(tmp_path)
    np.testing.assert_allclose(float(expected), 3 * np.exp(np.arange(5)).sum(), rtol=1e-6)
    [program] = tmp_path.rglob("*.pb")
    first = program.stat().st_mtime_ns
    assert run(tmp_path) == expected and program.stat().st_mtime_ns == first  # taken, not written again
    whole = program.read_bytes()
    damaged = whole[:1000] + b"x" + whole[1001:]
    program.write_bytes(damaged)
    assert run(tmp_path) == expected and program.read_bytes() != damaged
