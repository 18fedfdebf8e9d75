"""Programs that are kept on disk: the same figures, and no damage to the directory ends a command."""

import os
import subprocess
import sys

PROGRAM = """
from tfvae import config
config.import_tensorflow()
import tensorflow as tf
print(tf.function(lambda x: tf.reduce_sum(tf.exp(x) * 3), jit_compile=True)(tf.range(5.0)).numpy())
"""


def run(cache, **environment):
    environment = {**os.environ, "TFVAE_CACHE": str(cache), "TF_XLA_FLAGS": "", **environment}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_damaged_program_is_compiled_anew_and_a_whole_one_is_taken(tmp_path):
    expected = run("")
    assert not any(tmp_path.iterdir())
    assert run(tmp_path) == expected
    [program] = tmp_path.rglob("*.pb")
    first = program.stat().st_mtime_ns
    assert run(tmp_path) == expected and program.stat().st_mtime_ns == first  # taken, not written again
    whole = program.read_bytes()
    damaged = whole[:1000] + b"x" + whole[1001:]
    program.write_bytes(damaged)
    assert run(tmp_path) == expected and program.read_bytes() != damaged
    program.with_suffix(".crc32").unlink()  # as a killed process leaves it
    program.write_bytes(b"x")
    assert run(tmp_path) == expected and len(list(tmp_path.rglob("*.crc32"))) == 1


def test_where_it_cannot_be_kept_it_is_compiled():
    assert run("/proc/nowhere")
