"""What replicas cost here, and where more of them stop paying: python benchmarks/scaling.py

Trains the same network (784-512-2, 20,000 images) on one device, on 2 and 4 logical CPUs, with two
local workers, and from disk, as whole processes that take turns; then works out from the bytes that a step reduces
how large a batch keeps a cluster busy. Writes both tables into docs/scaling.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from page import write

FLAGS = ["--hidden_units=512", "--latent_dim=2", "--epochs=2", "--eval_samples=1", "--validation_examples=0"]
WAYS = {
    "one device": ["tfvae.train", "--strategy=one_device"],
    "mirrored, 1 CPU": ["tfvae.train", "--strategy=mirrored"],
    "mirrored, 2 logical CPUs": ["tfvae.train", "--logical_cpus=2"],
    "mirrored, 4 logical CPUs": ["tfvae.train", "--logical_cpus=4"],
    "2 workers (`tfvae.launch`)": ["tfvae.launch", "--workers=2", "--"],
    "one device, images on disk": ["tfvae.train", "--memory_gb=0"],
}
ROUNDS = 3
BATCHES = (128, 1024)

# The model on paper: seconds of a step = overhead + images a replica * seconds an image + reduction
DEVICE_FLOPS = 10e12  # of one GPU, float32, at the sizes of these layers
OVERHEAD = 200e-6  # to launch a step's kernels
NETWORKS = {"784-512-2": 0.81e6, "a convolutional VAE of 10 M weights": 10e6, "a hierarchical VAE of 100 M": 100e6}
REUSE = {"784-512-2": 1, "a convolutional VAE of 10 M weights": 100, "a hierarchical VAE of 100 M": 100}
CLUSTERS = {  # replicas, bytes a second through the narrowest link, seconds a message
    "8 GPUs of one host (NVLink, 200 GB/s)": (8, 200e9, 5e-6),
    "8 hosts of 8 GPUs (100 Gb/s)": (64, 12.5e9, 20e-6),
    "64 hosts of 8 GPUs (100 Gb/s)": (512, 12.5e9, 20e-6),
}
EFFICIENCY = 0.8


def measure(folder: Path) -> dict[int, dict[str, list[float]]]:
    """{batch: {way: images a second in each round}}."""
    images = folder / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (20_000, 28, 28), dtype=np.uint8))
    speeds: dict[int, dict[str, list[float]]] = {batch: {way: [] for way in WAYS} for batch in BATCHES}
    for batch in BATCHES:
        for turn in range(ROUNDS):
            for i, (way, command) in enumerate(WAYS.items()):
                run_dir = folder / f"{batch}-{turn}-{i}"
                flags = [*FLAGS, f"--batch_size={batch}", f"--dataset={images}", f"--run_dir={run_dir}"]
                flags += [f"--export_dir={folder / 'exports'}"]
                environment = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
                subprocess.run(
                    [sys.executable, "-m", *command, *flags], check=True, env=environment, stdout=subprocess.DEVNULL
                )
                results = json.loads((run_dir / "results.json").read_text())
                speeds[batch][way].append(results["train"]["compiled_images_per_second"])
    return speeds


def reduction_seconds(weights: float, replicas: int, bandwidth: float, latency: float) -> float:
    """Of a ring: each replica sends and receives 2 (R-1)/R of the gradient's bytes, in 2 (R-1) messages."""
    return 2 * (replicas - 1) / replicas * 4 * weights / bandwidth + 2 * (replicas - 1) * latency


def batch_that_pays(weights: float, reuse: float, replicas: int, bandwidth: float, latency: float) -> float:
    """The global batch at which R replicas are EFFICIENCY * R times as fast as one with the same batch."""
    image = 6 * weights * reuse / DEVICE_FLOPS  # a multiplication and an addition, forward and twice backward
    fixed = OVERHEAD + reduction_seconds(weights, replicas, bandwidth, latency)
    # (OVERHEAD + B image) = EFFICIENCY R (fixed + B image / R)
    return (EFFICIENCY * replicas * fixed - OVERHEAD) / ((1 - EFFICIENCY) * image)


def tables(speeds: dict[int, dict[str, list[float]]]) -> str:
    head = "images/s (ratio to one device's: median, lowest to highest of the rounds)"
    lines = [f"| {head} | " + " | ".join(f"batch {b}" for b in speeds) + " |", "| --- |" + " --- |" * len(speeds)]
    for way in WAYS:
        cells = []
        for found in speeds.values():
            ratios = [a / b for a, b in zip(found[way], found["one device"])]
            spread = f"{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
            cells.append(f"{statistics.median(found[way]):,.0f} ({spread})")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    lines += ["", f"| global batch that keeps {EFFICIENCY:.0%} | " + " | ".join(NETWORKS) + " |"]
    lines += ["| --- |" + " --- |" * len(NETWORKS)]
    for cluster, link in CLUSTERS.items():
        batches = [batch_that_pays(weights, REUSE[name], *link) for name, weights in NETWORKS.items()]
        times = [reduction_seconds(weights, *link) * 1e3 for weights in NETWORKS.values()]
        cells = [f"{batch:,.0f} ({time:.2g} ms reduced a step)" for batch, time in zip(batches, times)]
        lines.append(f"| {cluster} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        speeds = measure(Path(folder))
    write("scaling", "tables", f"\n{tables(speeds)}\n")


if __name__ == "__main__":
    main()
