"""tfvae's training beside what a user would otherwise run: python benchmarks/speed.py, on an idle machine.

On MNIST (--dataset, --data_dir; else noise of its shape, saying so), the contenders of benchmarks/contenders.py, each
in a process of its own, take turns, an epoch each, over ROUNDS rounds: what the machine does meanwhile hits all alike.
Ratios are medians of the rounds' ratios. PyTorch and JAX where they are installed. Writes its part of
docs/performance.md, docs/speed.png and docs/speed.json, with each round's seconds. With names of works
measures these alone and keeps the others' figures.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contenders import WORKS
from page import DOCS, machine, write

from tfvae import data
from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.flags import of_config, run_command
from tfvae.runtime.tensorflow import import_tensorflow

ROUNDS = 7
ROUNDS_KEY = "seconds and ELBO of each round"
NAMES = {
    "tfvae": "tfvae",
    "tfvae_bfloat16": "tfvae --dtype=bfloat16",
    "keras_fit": "Keras `fit`, custom `train_step`",
    "tutorial": "TensorFlow tutorial's loop",
    "pytorch": "PyTorch",
    "pytorch_channels_last": "PyTorch, `channels_last`",
    "jax_scan": "JAX, an epoch in a `lax.scan`",
    "products": "bare matrix products (the floor)",
}
NEEDS = {"pytorch": "torch", "pytorch_channels_last": "torch", "jax_scan": "jax"}


def images(given: dict[str, str], path: Path) -> str:
    """Puts training images at `path`; says which they are."""
    import_tensorflow()
    try:
        loaded = data.load(Config(**{"dataset": "mnist", **given}, validation_examples=0)).train.images
        what = given.get("dataset", "mnist")
    except InputError as error:
        loaded = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28, 1), dtype=np.uint8)
        what = f"noise of MNIST's shape ({error})"
    np.save(path, loaded)
    return f"{len(loaded):,} training images of {what}"


def take_turns(work: str, path: Path) -> dict[str, list[tuple[float, float]]]:
    """{contender: its seconds and mean ELBO in each round}."""
    program = [sys.executable, str(Path(__file__).with_name("contenders.py"))]
    there = [n for n in WORKS[work].contenders if n not in NEEDS or importlib.util.find_spec(NEEDS[n])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    running = {name: subprocess.Popen([*program, name, work, str(path)], **pipes) for name in there}
    for name, process in running.items():
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{name} did not start")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in there}
    for _ in range(ROUNDS):
        for name, process in running.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seconds, elbo = map(float, process.stdout.readline().split())
            found[name].append((seconds, elbo))
    for process in running.values():
        process.communicate()
    return found


def table(measured: dict[str, Any]) -> str:
    """Of each work in WORKS's order what was measured where, and a row for each contender."""
    lines = []
    for work in WORKS:
        rounds = measured[work][ROUNDS_KEY]
        lines += ["", f"**{work}**: {measured[work]['of']}.", ""]
        lines += ["| | images/s | tfvae's speed is so many times that | ELBO |", "| --- | --- | --- | --- |"]
        for name, turns in rounds.items():
            ratios = [seconds / ours for (seconds, _), (ours, _) in zip(turns, rounds["tfvae"])]
            speed = WORKS[work].images / statistics.median(seconds for seconds, _ in turns)
            elbo = "" if np.isnan(turns[-1][1]) else f"{turns[-1][1]:.2f}"
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(f"| {NAMES[name]} | {speed:,.0f} | {'' if name == 'tfvae' else spread} | {elbo} |")
    return "\n".join(lines).lstrip()


def plot(measured: dict[str, Any]) -> None:
    """The speeds of the works that have a floor."""
    from matplotlib.figure import Figure

    rounds_of = {work: measured[work][ROUNDS_KEY] for work in WORKS}
    found = {work: rounds for work, rounds in rounds_of.items() if "products" in rounds}
    figure = Figure(figsize=(9, 3.2), dpi=120, layout="constrained")
    for axes, (work, rounds) in zip(figure.subplots(1, len(found), sharey=True), found.items()):
        for i, (name, turns) in enumerate(rounds.items()):
            speeds = [WORKS[work].images / seconds / 1e3 for seconds, _ in turns]
            axes.barh(i, statistics.median(speeds), color="C0" if name == "tfvae" else "0.75")
            axes.plot(speeds, [i] * len(speeds), "k|", markersize=5)
        axes.set_yticks(range(len(rounds)), [NAMES[name].split(",")[0].replace("`", "") for name in rounds])
        axes.set(title=work.replace(", batch", ",\nbatch"), xlabel="1,000 images/s")
        axes.title.set_fontsize(9)
    figure.axes[0].invert_yaxis()
    figure.savefig(DOCS / "speed.png")


def main(given: dict[str, Any]) -> None:
    works = given.pop("works")
    if unknown := [work for work in works if work not in WORKS]:
        raise InputError(f"{unknown[0]}: must be one of {'; '.join(WORKS)}")
    kept = json.loads((DOCS / "speed.json").read_text()) if works else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        what = images(given, path)
        for work in works or WORKS:
            of = f"{what}; Adam; {ROUNDS} rounds of {WORKS[work].images:,} images; {machine()}"
            kept[work] = {"of": of, ROUNDS_KEY: take_turns(work, path)}
    (DOCS / "speed.json").write_text(json.dumps(kept, indent=1) + "\n")
    plot(kept)
    write("performance", "speed", table(kept))


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "speed", __doc__, of_config("dataset", "data_dir"), "works")
