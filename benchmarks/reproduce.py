"""The published numbers, reproduced: python -m benchmarks.reproduce [NAME ...] [--data_dir=DIR]

Trains each named row's recipe (a flagfile of flags/) in runs/reproduce/, evaluates it as its source did, compares the
result with the published figure and the band that is accepted, and writes docs/results/NAME.json and the table of
docs/results.md. Stop it at any moment: the same command goes on. Without names it lists the rows and what is missing.
--dataset=FILE names kingma_frey's images, which no TFDS data set has.
"""

import functools
import io
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import page
from tfvae.config import Config
from tfvae.config.data_names import is_file_name
from tfvae.config.flagfile import read_config
from tfvae.errors import InputError
from tfvae.flags import of_config, parse, run_command
from tfvae.runtime.files import write_atomically

FLAGS = page.DOCS.parent / "flags"
RESULTS = page.DOCS / "results"
RUNS = Path("runs") / "reproduce"


class Run(NamedTuple):
    """One training of a row: flags beside its recipe's, and the figure of results.json that is read off, negated."""

    flags: dict[str, Any] = {}
    figure: tuple[str, str] = ("test", "elbo")


class Row(NamedTuple):
    """A published figure, and how we come to ours: a mean over seeds for each run, in nats an image."""

    title: str
    recipe: str  # flags/<recipe>.flags
    source: str
    published: str
    accept: tuple[float, float] | str  # of each run's figure; words, if `fits` decides
    minutes: int  # of training and evaluation on two cores, about
    runs: dict[str, Run] = {"": Run()}
    seeds: tuple[int, ...] = (0,)
    units: tuple[int, int] | None = None  # accepted active units, where they were published too
    fits: Callable[[list[float]], bool] | None = None


def _latents(*dims: int) -> dict[str, Run]:
    return {f"Nz = {n}": Run({"latent_dim": n}) for n in dims}


def _falls_to_the_last_but_one(figures: list[float]) -> bool:
    return all(a > b for a, b in zip(figures, figures[1:-1])) and figures[-1] - figures[-2] <= 3


def _densities_rise(figures: list[float]) -> bool:
    return figures[0] < 0 and all(a > b for a, b in zip(figures, figures[1:]))


def _half_to_one_and_a_half_better(figures: list[float]) -> bool:
    return 0.5 <= figures[0] - figures[1] <= 1.5


LOG_PX = ("test", "log_px")
TOGETHER = RUNS / "mnist_train_and_test.npz"  # both parts of MNIST to train on, as keras.io does
BURDA = "Burda et al. 2016 (arXiv 1509.00519)"
KINGMA = "Kingma & Welling 2014 (arXiv 1312.6114), figure 2"
ROWS = {
    "pytorch": Row(
        "784-400-20, grey, 10 epochs: test -ELBO",
        "mnist_pytorch_example",
        "pytorch/examples, vae",
        "105.57",
        (104.8, 106.4),
        1,
        seeds=(0, 1, 2),
    ),
    "flax": Row(
        "784-500-20, static, 10 epochs: test -ELBO",
        "static_mnist_flax_example",
        "google/flax, examples/vae",
        "about 104",
        (101.5, 104.5),
        1,
        seeds=(0, 1, 2),
    ),
    "keras": Row(
        "convolutional, z = 2, grey, 30 epochs: -ELBO",
        "keras_example",
        "keras.io, examples/generative/vae",
        "146.95 and 150.40, of its own training images",
        (144, 153),
        35,
        {
            "as published: trained on all 70,000 images, mean over the steps of epoch 30": Run(
                {"dataset": str(TOGETHER)}, ("train", "elbo")
            ),
            "trained on 60,000, of the 10,000 test images": Run(),
        },
    ),
    "tutorial": Row(
        "convolutional, z = 2, thresholded, 10 epochs, batch 32: test -ELBO",
        "tensorflow_tutorial",
        "tensorflow.org, tutorials/generative/cvae",
        "155.9, in one public transcript",
        (150, 160),
        10,
    ),
    "pythae": Row(
        "784-400-40, static, the best of 500 epochs by validation: test -log p(x)",
        "static_mnist_pythae",
        "pythae, reproducibility; Rezende & Mohamed 2015 (arXiv 1505.05770)",
        "89.78; 89.9",
        (89.0, 90.6),
        20,
        {"": Run(figure=LOG_PX)},
    ),
    "burda_vae": Row(
        "VAE, one layer, k = 1, 3,280 epochs: test -log p(x)",
        "burda_vae",
        f"{BURDA}, table 1",
        "86.76; 19 active units",
        (86.2, 87.6),
        120,
        {"": Run(figure=LOG_PX)},
        units=(17, 22),
    ),
    "burda_static": Row(
        "VAE, one layer, k = 1, static, 3,280 epochs: test -log p(x)",
        "burda_static",
        f"{BURDA}, table 3",
        "88.71; 19 active units",
        (88.0, 89.6),
        100,
        {"": Run(figure=LOG_PX)},
    ),
    "burda_iwae5": Row(
        "IWAE, one layer, k = 5, beside a VAE of as many epochs, 364 (i = 0 to 5): test -log p(x)",
        "burda_vae",
        f"{BURDA}, table 1",
        "86.76 and 85.54, 19 and 22 active units, after 3,280 epochs",
        "0.5 to 1.5 nats better than the VAE",
        70,
        {
            "VAE": Run({"epochs": 364}, LOG_PX),
            "IWAE": Run({"epochs": 364, "objective": "iwae", "num_samples": 5}, LOG_PX),
        },
        fits=_half_to_one_and_a_half_better,
    ),
    "kingma_mnist": Row(
        "500 tanh units, grey, 10^7 samples each: test -ELBO",
        "kingma_mnist",
        KINGMA,
        "a figure: falls to Nz = 20, where 200 is about as good",
        "falls to Nz = 20; 200 no worse by more than 3",
        30,
        _latents(3, 5, 10, 20, 200),
        fits=_falls_to_the_last_but_one,
    ),
    "kingma_frey": Row(
        "Frey Face, 200 tanh units, gaussian: test -ELBO",
        "kingma_frey",
        KINGMA,
        "a figure: -ELBO from 0 to -1,600, falls with Nz",
        "below 0, falls with Nz",
        10,
        _latents(2, 5, 10, 20),
        fits=_densities_rise,
    ),
}


def reproduce(name: str, data_dir: str | None = None, images: str | None = None) -> dict[str, Any]:
    """Trains and evaluates what is not finished yet of row `name`; returns what docs/results/NAME.json holds.

    Raises:
        InputError: its images can't be had; those of a recipe whose data set is a file are in the file `images`.
    """
    from tfvae.run import train

    row, runs = ROWS[name], {}
    recipe = parse([f"--flagfile={FLAGS / row.recipe}.flags"], "benchmarks.reproduce")
    for number, (variant, run) in enumerate(row.runs.items()):
        given = {**recipe, **run.flags, "data_dir": data_dir, "export_dir": str(RUNS / "exports")}
        if given["dataset"] == str(TOGETHER):
            _write_together(Config(**{**given, "dataset": recipe["dataset"]}))
        elif is_file_name(given["dataset"]):
            if images is None:
                raise InputError(f"--dataset: must be given, the file of {name}'s images ({given['dataset']})")
            given["dataset"] = images
        results = []
        for seed in row.seeds:
            run_dir = RUNS / "-".join(map(str, (name, *([number] if variant else []), seed)))
            results.append(train(Config(**given, seed=seed, run_dir=str(run_dir))))
        part, figure = run.figure
        runs[variant] = {
            "flags": run.flags,
            "figure": f"-{part} {figure}",
            "values": [-r[part][figure] for r in results],
            "standard_errors": [r[part].get(f"{figure}_standard_error") for r in results],
            "active_units": [r["test"]["active_units"] for r in results],
            "seconds": sum(
                r["train"]["steps"] * given["batch_size"] / r["train"]["images_per_second"] for r in results
            ),
            "of": {**results[0]["of"], "dataset": Path(given["dataset"]).name},  # of whatever directory
        }
    settings = read_config(run_dir).settings()
    settings["dataset"] = Path(settings["dataset"]).name
    return {
        "recipe": f"flags/{row.recipe}.flags",
        "source": row.source,
        "published": row.published,
        "accept": row.accept,
        "value": _alone({variant: statistics.mean(run["values"]) for variant, run in runs.items()}),
        "standard_error": _alone({variant: run["standard_errors"][0] for variant, run in runs.items()}),
        "seeds": row.seeds,
        "samples": results[0]["of"]["samples"],
        "seconds": sum(run["seconds"] for run in runs.values()),
        "hardware": page.processor(),
        "versions": results[0]["versions"],
        "config": settings,
        "runs": runs,
    }


def _alone(values: dict[str, Any]) -> Any:
    return values[""] if "" in values else values


def _write_together(config: Config) -> None:
    import numpy as np

    from tfvae import data

    if TOGETHER.is_file():
        return
    mnist = data.load(config)
    TOGETHER.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, train=np.concatenate([mnist.train.images, mnist.test.images]), test=mnist.test.images)
    write_atomically(TOGETHER, content.getvalue())


def within(row: Row, result: dict[str, Any]) -> bool:
    """Whether a result is in the accepted band."""
    runs = result["runs"].values()
    figures = [statistics.mean(run["values"]) for run in runs]
    if row.fits:
        return row.fits(figures)
    units = [n for run in runs for n in run["active_units"]]
    bands = [(row.accept, figures), (row.units or (0, math.inf), units)]
    return all(low <= value <= high for (low, high), values in bands for value in values)


def _ours(row: Row, result: dict[str, Any]) -> str:
    """Each run's figure, its standard error, and the seeds' where there are several."""
    texts = []
    for variant, run in result["runs"].items():
        text = f"{variant}: " if variant else ""
        text += f"{statistics.mean(run['values']):.2f}"
        if run["standard_errors"][0]:
            text += f" ± {run['standard_errors'][0]:.2f}"
        if len(run["values"]) > 1:
            text += f" ({', '.join(f'{value:.2f}' for value in run['values'])})"
        if "active units" in row.published:
            text += f", {', '.join(map(str, run['active_units']))} active units"
        texts.append(text)
    return "; ".join(texts) + ("" if within(row, result) else " **(outside)**")


def _accepted(row: Row) -> str:
    band = row.accept if isinstance(row.accept, str) else "{:g} to {:g}".format(*row.accept)
    return band + ("; {} to {} active units".format(*row.units) if row.units else "")


def table() -> str:
    """The table of docs/results.md: of what is in docs/results/ alone."""
    lines = ["| row | what | published | accepted | ours | S | seeds | training |", "|" + " --- |" * 8]
    for name, row in ROWS.items():
        what = f"{row.title} ([recipe](../{FLAGS.name}/{row.recipe}.flags))"
        cells = [name, what, f"{row.published} ({row.source})", _accepted(row)]
        path = RESULTS / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text())
            cells[0] = f"[{name}](results/{name}.json)"
            cells += [_ours(row, result), f"{result['samples']:,}", ", ".join(map(str, result["seeds"]))]
            cells += [f"{result['seconds'] / 60:,.1f} min, {result['hardware']}"]
        else:
            cells += [f"not yet run (about {row.minutes} minutes)", "", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(given: dict[str, Any], names: list[str]) -> None:
    if unknown := [name for name in names if name not in ROWS]:
        raise InputError(f"{unknown[0]}: must be one of {', '.join(ROWS)}")
    for name in names:
        result = reproduce(name, given.get("data_dir"), given.get("dataset"))
        RESULTS.mkdir(exist_ok=True)
        write_atomically(RESULTS / f"{name}.json", json.dumps(result, indent=1) + "\n")
        page.write("results", "rows", table(), shown=False)
        row = ROWS[name]
        print(f"{row.title}: {_ours(row, result)}; published {row.published}; accepted {_accepted(row)}", flush=True)
    for name, row in ROWS.items():
        if not names:
            done = (RESULTS / f"{name}.json").is_file()
            print(f"{name:14}{'done' if done else f'missing, about {row.minutes} minutes':28}{row.title}")


if __name__ == "__main__":
    first = next((i for i, argument in enumerate(sys.argv[1:], 1) if argument.startswith("-")), len(sys.argv))
    main_of_rows = functools.partial(main, names=sys.argv[1:first])
    run_command(main_of_rows, sys.argv[first:], "benchmarks.reproduce", __doc__, of_config("data_dir", "dataset"))
