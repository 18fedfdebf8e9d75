"""100,000 images through a `Run`: memory follows a block's work, and what comes out, not the number of images."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import os, sys
import numpy as np
import tfvae

def resident():  # megabytes
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

run = tfvae.load("run")
images = np.load("images.npy", mmap_mode="r")  # 8-bit, 784 values each
run.encode(images[:2_000]), run.score(images[:2_000], samples=2)
before = resident()
latents, scores = run.encode(images), run.score(images, samples=2)
print(len(latents.mean), len(scores.elbo), resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_hundred_thousand_images_in_flat_memory(tmp_path, monkeypatch):
    """As float32 they are 314 MB, and their file 78 MB: what stays may be that file's pages and 20 MB."""
    from tfvae.runtime.tensorflow import import_tensorflow

    import_tensorflow()
    import tfvae
    from tfvae.serving import verify

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "check", lambda folder: None)
    images = np.lib.format.open_memmap("images.npy", "w+", np.uint8, (100_000, 28, 28))
    images[:] = np.random.default_rng(0).integers(0, 256, (1, 28, 28))
    images.flush()
    config = tfvae.Config(epochs=1, hidden_units=(32,), eval_samples=1, run_dir="run")
    with contextlib.redirect_stdout(io.StringIO()):
        tfvae.fit(config, np.asarray(images[:1_000]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    encoded, scored, growth = done.stdout.split()
    assert (int(encoded), int(scored)) == (100_000, 100_000)
    assert float(growth) < 78 + 20
