"""`tfvae.apply` in processes that are ended by real signals, and on a file that memory should not hold."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from untrained import make_run

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
# the largest resident set of the process, in kB, on the last line; getrusage would have that of the parent too
PEAK = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"


def start(program, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *program, *arguments], env=environment, **pipes)


def apply(folder, output, *flags):
    given = [f"--run_dir={folder / 'run'}", f"--dataset={folder / 'new.npy'}", f"--output={folder / output}"]
    return start(["-m", "tfvae.apply"], *given, *flags)


def finished_chunks(folder, output):
    return len(list((folder / f"{output}.parts").glob("[0-9]*.npz")))


def end_after(folder, output, chunks, number):
    """Ends the command by a signal when so many chunks are there; its status and what it said."""
    process = apply(folder, output)
    deadline = time.monotonic() + 300
    while finished_chunks(folder, output) < chunks:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    _, error = process.communicate(timeout=300)
    return process.returncode, error


@pytest.mark.slow
def test_ended_by_signals_it_goes_on_to_the_file_of_an_unbroken_process(tmp_path):
    np.save(tmp_path / "own.npy", RNG.integers(0, 256, (50, 28, 28), dtype=np.uint8))
    np.save(tmp_path / "new.npy", RNG.integers(0, 256, (60_000, 28, 28), dtype=np.uint8))
    make_run(tmp_path / "run", tmp_path / "own.npy", hidden_units=(512,))
    unbroken = apply(tmp_path, "unbroken.npz")
    assert (unbroken.communicate()[1], unbroken.returncode) == ("", 0)
    assert end_after(tmp_path, "x.npz", 3, signal.SIGKILL) == (-signal.SIGKILL, "")
    status, error = end_after(tmp_path, "x.npz", 10, signal.SIGTERM)
    assert status == 143 and error.startswith("stopped; ")
    assert error.endswith(f"are safe in {tmp_path}/x.npz.parts: the same command goes on from there\n")
    kept = finished_chunks(tmp_path, "x.npz")
    assert 10 <= kept < 60 and not (tmp_path / "x.npz").exists()
    last = apply(tmp_path, "x.npz")
    assert (last.communicate()[1], last.returncode) == ("", 0)
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "unbroken.npz").read_bytes()
    assert not (tmp_path / "x.npz.parts").exists()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path):
    np.save(tmp_path / "own.npy", RNG.integers(0, 256, (50, 64, 64, 3), dtype=np.uint8))
    make_run(tmp_path / "run", tmp_path / "own.npy")
    program = f"import sys; from tfvae import apply; apply.main(eval(sys.argv[1])); {PEAK}"
    peaks = []
    for count in (1_000, 40_000):  # 12 and 490 MB
        images = np.lib.format.open_memmap(tmp_path / "new.npy", "w+", np.uint8, (count, 64, 64, 3))
        images[:] = np.arange(64, dtype=np.uint8)[:, None]
        images.flush()
        given = {"run_dir": tmp_path / "run", "dataset": tmp_path / "new.npy", "output": tmp_path / f"{count}.npz"}
        process = start(["-c", program], repr({name: str(path) for name, path in given.items()}))
        output, error = process.communicate()
        assert (error, process.returncode) == ("", 0)
        peaks.append(int(output.splitlines()[-1]) / 1e3)
    assert peaks[1] - peaks[0] < 100, peaks
