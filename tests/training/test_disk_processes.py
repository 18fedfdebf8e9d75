"""Processes that train from disk: their memory is bounded, and they end."""

import subprocess

import numpy as np
import pytest
from runs import start

IMPORTS = """
import sys, threading, time
import numpy as np
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
from tfvae import data, run
from tfvae.config import Config
from tfvae.training import feeds
from tfvae.training.strategy import one_device
"""


def output_of(program, *arguments, first=""):
    """What a program prints that begins with these imports; it must end by itself."""
    process = start(["-c", first + IMPORTS + program, *map(str, arguments)], stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return output


@pytest.mark.slow
def test_no_image_is_read_any_more_when_the_interpreter_ends(tmp_path):
    """A thread of tf.data that would then call Python often kept the process from ending."""
    first = """
import atexit, time
begun = []
def last():  # registered first
    before = len(begun)
    time.sleep(2)
    print(before, len(begun))
atexit.register(last)
"""
    program = """
images = data.load(Config(dataset=sys.argv[1], batch_size=8, memory_gb=0.0)).train.images
class Slow(type(images)):
    def read(self, rows):
        begun.append(rows)
        time.sleep(0.3)
        return super().read(rows)
feeds._BUFFER_BYTES = 1
slow = Slow(images.array, images.file_rows)
feed = feeds.StreamedImages(Config(batch_size=8), slow, one_device())
feed.rows_at(0, 1)
feed.rows_at(1, 1)
"""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (65, 6, 5), dtype=np.uint8))
    before, after = map(int, output_of(program, tmp_path / "images.npy", first=first).split())
    assert before == after >= 2


@pytest.mark.slow
def test_memory_is_that_of_a_few_buffers_however_large_the_file(tmp_path):
    """Each file has a process of its own, for a training leaves memory that the next one would begin with."""
    program = """
def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) * 1e3
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.01)
peak = 0
threading.Thread(target=watch, daemon=True).start()
path = sys.argv[1]
run.train(Config(
    dataset=path, memory_gb=0.01, hidden_units=(8,), batch_size=1_000, epochs=1, eval_samples=1,
    run_dir=path + ".run", export_dir=path + ".export",
))
print(peak)
"""
    files = [sparse(tmp_path / f"{size}.npy", size) for size in (100_000, 1_300_000)]
    small, large = (float(output_of(program, file).split()[-1]) for file in files)
    assert large - small < 0.2e9 < files[1].stat().st_size / 5


def sparse(path, size):
    np.lib.format.open_memmap(path, "w+", np.uint8, (size, 28, 28))
    return path
