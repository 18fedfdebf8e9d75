"""Images a second and memory as the work grows: python benchmarks/growth.py, on an idle machine.

Starting from 784-512-2 at batch 128, one thing grows at a time, each point in a process of its own. Writes its part of
docs/performance.md and docs/growth.png.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
from page import DOCS, machine, write

from tfvae.config import Config
from tfvae.runtime.tensorflow import import_tensorflow

BASE = {"batch_size": 128, "width": 512, "latent_dim": 2, "images": 60_000, "num_samples": 1}
GROWTH = {
    "batch_size": (16, 64, 256, 1024, 4096),
    "width": (128, 256, 512, 1024, 2048),
    "latent_dim": (2, 8, 32, 128, 512),
    "images": (10_000, 100_000, 1_000_000),
    "num_samples": (1, 5, 20, 50),
}
LABELS = {
    "batch_size": "batch size",
    "width": "hidden units",
    "latent_dim": "latent dimensions",
    "images": "training images",
    "num_samples": "samples K (IWAE)",
}
SECONDS = 3.0


def point(batch_size: int, width: int, latent_dim: int, images: int, num_samples: int) -> dict[str, float]:
    """Speed and peak memory of training, and the seconds that an epoch's order takes."""
    import_tensorflow()
    from tfvae.training.feeds import epoch_order
    from tfvae.training.state import create_state
    from tfvae.training.step import TrainProgram

    data = np.random.default_rng(0).integers(0, 256, (images, 28, 28, 1), dtype=np.uint8)
    config = Config(
        batch_size=batch_size,
        hidden_units=(width,),
        latent_dim=latent_dim,
        num_samples=num_samples,
        objective="iwae" if num_samples > 1 else "elbo",
        epochs=1,
    )
    program = TrainProgram(create_state(config, data.shape[1:], images), config, data)
    program.run(0, 0)  # compiles
    start = time.perf_counter()
    epoch_order(0, 1, images)
    ordering = time.perf_counter() - start
    step, speeds, began = 0, [], time.perf_counter()
    count = 2
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        program.run(step, count)
        took = time.perf_counter() - start
        speeds.append(count * batch_size / took)
        step, count = step + count, max(2, round(count / took * 0.3))
    return {
        "speed": statistics.median(speeds[1:] or speeds),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ordering": ordering,
    }


def products(batch_size: int, width: int, latent_dim: int, images: int, num_samples: int) -> float:
    """Multiplications and additions of an image's matrix products, forward and backward."""
    encoder, decoder = 784 * width + width * 2 * latent_dim, num_samples * (latent_dim * width + width * 784)
    return 2 * (3 * (encoder + decoder) - 784 * width)


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(point(**json.loads(sys.argv[1]))))
        return
    lines, figures = [], {}
    for name, values in GROWTH.items():
        lines += ["", f"| {LABELS[name]} | images/s | GFLOP/s of products | peak memory, MB | an epoch's order, s |"]
        lines += ["| --- |" + " --- |" * 4]
        figures[name] = []
        for value in values:
            settings = {**BASE, name: value}
            done = subprocess.run([sys.executable, __file__, json.dumps(settings)], check=True, capture_output=True)
            found = json.loads(done.stdout.splitlines()[-1])
            rate = found["speed"] * products(**settings) / 1e9
            cells = f"{found['speed']:,.0f} | {rate:,.0f} | {found['memory']:,.0f} | {found['ordering']:.3f}"
            lines.append(f"| {value:,} | {cells} |")
            figures[name].append((value, found["speed"], found["memory"]))
            print(lines[-1], flush=True)
    plot(figures)
    of = f"784-512-2, batch 128, 60,000 images of noise, one thing at a time; float32; {machine()}."
    write("performance", "growth", of + "\n" + "\n".join(lines))


def plot(figures: dict[str, list[tuple[int, float, float]]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(figures), sharey="row", sharex="col")
    for (speed, memory), (name, points) in zip(grid.T, figures.items()):
        values, speeds, memories = zip(*points)
        speed.loglog(values, speeds, "o-")
        memory.semilogx(values, memories, "o-", color="C1")
        memory.set_xlabel(LABELS[name])
        memory.xaxis.set_minor_formatter("")
        for axes in (speed, memory):
            axes.grid(alpha=0.3, which="both")
    grid[1, 0].set_ylim(bottom=0)
    grid[0, 0].set_ylabel("images/s")
    grid[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(DOCS / "growth.png")


if __name__ == "__main__":
    main()
