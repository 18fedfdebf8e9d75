"""The published numbers, reproduced: python -m benchmarks.reproduce [NAME ...] [--data_dir=DIR]

Trains each named row's recipe (a flagfile of flags/, in runs/reproduce/), evaluates it as its source did, compares the
result with the published figure and an agreed band, and writes docs/results/NAME.json and the table of
docs/results.md. Stop it at any moment: the same command goes on. Without names, lists the rows and which are missing.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tfvae import config

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
RUNS = Path("runs") / "reproduce"


class Row(NamedTuple):
    """A published figure, and how we come to ours: the mean over the seeds of `measure`, nats an image."""

    title: str
    recipe: str  # flags/<recipe>.flags
    source: str
    published: str
    accept: tuple[float, float]
    minutes: str
    measure: str = "elbo"  # the test set's -ELBO, or -log p(x): the latter by the recipe's --eval_samples
    seeds: tuple[int, ...] = (0,)
    units: tuple[int, int] | None = None  # active units, where they were published too
    variants: dict[str, tuple[str, ...]] = {"": ()}  # further flags of each run
    combine: Callable[[dict[str, float]], float] | None = None  # the variants' figures to the one that is accepted


def _falls(figures: dict[str, float]) -> float:
    """By how much the -ELBO falls, at the least, from one latent dimension to the next, but the last: it rises."""
    values = list(figures.values())
    return min(min(a - b for a, b in zip(values, values[1:-1])), 3 + values[-2] - values[-1])


def _rises(figures: dict[str, float]) -> float:
    """By how much the ELBO rises, at the least, from one latent dimension to the next; its first value, if less."""
    values = [-value for value in figures.values()]
    return min(values[0], *(b - a for a, b in zip(values, values[1:])))


def _latents(*dims: int) -> dict[str, tuple[str, ...]]:
    return {f"z = {n}": (f"--latent_dim={n}",) for n in dims}


BURDA = "Burda et al. 2016 (arXiv 1509.00519)"
KINGMA = "Kingma & Welling 2014 (arXiv 1312.6114), figure 2"
ROWS = {
    "pytorch": Row(
        "784-400-20, grey, 10 epochs, test -ELBO",
        "mnist_pytorch_example",
        "pytorch/examples vae",
        "105.57",
        (104.8, 106.4),
        "1",
        seeds=(0, 1, 2),
    ),
    "flax": Row(
        "784-500-20, static, 10 epochs, test -ELBO",
        "static_mnist_flax_example",
        "google/flax examples/vae",
        "about 104",
        (101.5, 104.5),
        "1",
        seeds=(0, 1, 2),
    ),
    "keras": Row(
        "convolutional, z = 2, grey, 30 epochs, test -ELBO",
        "keras_example",
        "keras.io/examples/generative/vae",
        "146.95 / 150.40 (on training images)",
        (144.0, 153.0),
        "15",
    ),
    "tutorial": Row(
        "convolutional, z = 2, thresholded, 10 epochs, batch 32, test -ELBO",
        "tensorflow_tutorial",
        "tensorflow.org/tutorials/generative/cvae",
        "155.9 (one transcript)",
        (150.0, 160.0),
        "10",
    ),
    "pythae": Row(
        "784-400-40, static, 500 epochs, -log p(x) by 200 samples",
        "static_mnist_pythae",
        "pythae; Rezende & Mohamed 2015",
        "89.78 / 89.9",
        (89.0, 90.6),
        "15",
        measure="log_px",
    ),
    "burda_vae": Row(
        "VAE, 1 layer, k = 1, 3,280 epochs, -log p(x) by 5,000 samples",
        "burda_vae",
        f"{BURDA}, table 1",
        "86.76; 19 active units",
        (86.2, 87.6),
        "150",
        measure="log_px",
        units=(17, 22),
    ),
    "burda_static": Row(
        "VAE, 1 layer, k = 1, static, 3,280 epochs, -log p(x) by 5,000 samples",
        "burda_static",
        f"{BURDA}, table 3",
        "88.71; 19 active units",
        (88.0, 89.6),
        "120",
        measure="log_px",
        units=(17, 22),
    ),
    "burda_iwae5": Row(
        "IWAE, 1 layer, k = 5, 3,280 epochs, -log p(x) by 5,000 samples",
        "burda_vae",
        f"{BURDA}, table 1",
        "85.54; 22 active units",
        (84.9, 86.4),
        "500",
        measure="log_px",
        variants={"": ("--objective=iwae", "--num_samples=5")},
    ),
    "kingma_mnist": Row(
        "500 tanh units, 10^7 samples each: how much -ELBO falls from each Nz to the next (from 20 to 200: rises by "
        "less than 3), at the least",
        "kingma_mnist",
        KINGMA,
        "falls to Nz = 20, flat to 200",
        (0.0, float("inf")),
        "20",
        variants=_latents(3, 5, 10, 20, 200),
        combine=_falls,
    ),
    "kingma_frey": Row(
        "Frey Face, 200 tanh units, gaussian: how much the ELBO rises from each Nz to the next, at the least",
        "kingma_frey",
        KINGMA,
        "0 to 1,600, rises with Nz",
        (0.0, float("inf")),
        "5",
        variants=_latents(2, 5, 10, 20),
        combine=_rises,
    ),
}


def hardware() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores, {model}"


def run(name: str, row: Row, flags: list[str]) -> dict[str, Any]:
    """Trains and evaluates what is not finished yet; what docs/results/NAME.json holds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for variant, further in row.variants.items():
        for seed in row.seeds:
            run_dir = RUNS / "-".join(part for part in (name, variant.replace(" = ", ""), str(seed)) if part)
            command = [sys.executable, "-m", "tfvae.train", f"--flagfile={ROOT / 'flags' / row.recipe}.flags"]
            command += [*further, f"--seed={seed}", f"--run_dir={run_dir}", f"--export_dir={RUNS / 'exports'}", *flags]
            print(" ".join(command[1:]), flush=True)
            if status := subprocess.run(command).returncode:
                raise SystemExit(status)
            found.setdefault(variant, []).append(json.loads((run_dir / "results.json").read_text()))
    figures = {v: statistics.mean(-r["test"][row.measure] for r in runs) for v, runs in found.items()}
    runs = [r for some in found.values() for r in some]
    batch = config.read_flags(run_dir / "config.flags").batch_size
    return {
        "recipe": f"flags/{row.recipe}.flags",
        "source": row.source,
        "published": row.published,
        "accept": row.accept,
        "value": row.combine(figures) if row.combine else figures[""],
        "standard_error": max(r["test"]["log_px_standard_error"] for r in runs),
        "seeds": row.seeds,
        "samples": runs[0]["of"]["samples"],
        "seconds": sum(r["train"]["steps"] * batch / r["train"]["images_per_second"] for r in runs),
        "hardware": hardware(),
        "versions": {package: version(package) for package in ("tensorflow", "keras", "numpy")},
        "config": (run_dir / "config.flags").read_text().splitlines(),
        "title": row.title,
        "figures": {v: [-r["test"][row.measure] for r in some] for v, some in found.items()},
        "active_units": [r["test"]["active_units"] for r in runs],
        "of": runs[0]["of"],
    }


def verdict(row: Row, result: dict[str, Any]) -> str:
    low, high = row.accept
    units = statistics.mean(result["active_units"])
    fits = low <= result["value"] <= high and (row.units is None or row.units[0] <= units <= row.units[1])
    return "yes" if fits else "**no**"


def table() -> str:
    lines = ["| row | what | source | published | accepted | ours | S | seeds | time | within |", "|" + " --- |" * 10]
    for name, row in ROWS.items():
        low, high = row.accept
        band = f"{low:g} to {high:g}" if high < float("inf") else f"above {low:g}"
        start = f"| {name} | {row.title} | {row.source} | {row.published} | {band} |"
        path = RESULTS / f"{name}.json"
        if not path.is_file():
            lines.append(f"{start} not yet run (about {row.minutes} minutes) | | | | |")
            continue
        result = json.loads(path.read_text())
        parts = [f"{v}: {', '.join(f'{x:.2f}' for x in xs)}" for v, xs in result["figures"].items() if v]
        ours = f"{result['value']:.2f} ± {result['standard_error']:.2f}" + (f" ({'; '.join(parts)})" if parts else "")
        if row.units:
            ours += f"; {statistics.mean(result['active_units']):.0f} active units"
        seeds = ", ".join(map(str, result["seeds"]))
        time = f"{result['seconds'] / 60:,.1f} min"
        lines.append(f"{start} {ours} | {result['samples']:,} | {seeds} | {time} | {verdict(row, result)} |")
    return "\n".join(lines)


def write_table() -> None:
    before, _, rest = PAGE.read_text().partition("<!-- rows -->\n")
    after = rest.partition("<!-- end of rows -->")[2]
    PAGE.write_text(f"{before}<!-- rows -->\n{table()}\n<!-- end of rows -->{after}")


def main() -> None:
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    flags = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    if unknown := set(names) - set(ROWS):
        print(f"reproduce: {', '.join(sorted(unknown))}: must be of {', '.join(ROWS)}", file=sys.stderr)
        sys.exit(2)
    for name in names:
        result = run(name, ROWS[name], flags)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        write_table()
        print(f"{name}: {result['value']:.2f}, published {ROWS[name].published}: {verdict(ROWS[name], result)}")
    if not names:
        for name, row in ROWS.items():
            there = (RESULTS / f"{name}.json").is_file()
            print(f"{name:14} {'done' if there else f'missing, about {row.minutes} minutes'}: {row.title}")


if __name__ == "__main__":
    main()
