"""The whole command, as a user runs it, beside what it replaces: python benchmarks/first_minute.py, on an idle machine.

README's command on the digits, and flags/mnist_2d.flags (--data_dir), as processes of their own, in turns with
keras.io's VAE example and the TensorFlow tutorial's loop doing the same work, over ROUNDS rounds; one more round before
them, of which nothing is counted, fills tfvae's cache of compiled programs. Writes its part of docs/performance.md, and
docs/first_minute.json with each round's seconds. --dataset=digits or mnist measures this alone and keeps the other's
figures; with --epochs it is a trial, one round of so many epochs, and nothing is written.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from page import DOCS, machine, write
from whole_programs import WORKS

from tfvae import data
from tfvae.config import Config
from tfvae.errors import InputError
from tfvae.flags import of_config, parse, run_command
from tfvae.runtime.tensorflow import import_tensorflow

ROUNDS = 3
FILE = DOCS / "first_minute.json"
Measured = dict[str, Any]  # of a process: what benchmarks/whole_programs.py writes, and its "total" by our clock


class Command(NamedTuple):
    """A `tfvae.train` command, and how many epochs it trains."""

    title: str
    flags: tuple[str, ...]
    epochs: int


COMMANDS = {
    "digits": Command("README's command on the digits", ("--dataset=digits", "--latent_dim=2"), 696),
    "mnist": Command("flags/mnist_2d.flags", (f"--flagfile={DOCS.parent / 'flags' / 'mnist_2d.flags'}",), 10),
}
NAMES = {
    "tfvae": "`tfvae.train`",
    "keras_io": "keras.io's example, by `fit`",
    "tutorial": "TensorFlow tutorial's loop",
}
PHASES = {
    "importing": "importing",
    "data": "data",
    "compile": "model, compiling",
    "training": "training",
    "evaluation": "evaluation",
    "export": "figure, export",
}
PARTS = {
    "steps": "compiled steps",
    "validation": "validation",
    "pictures": "waiting for pictures",
    "summaries": "summaries, prints",
}


def save_images(command: Command, given: dict[str, Any], path: Path) -> str:
    """Puts the command's training images at `path`; says how many of which size they are."""
    import_tensorflow()
    flags = {**parse(command.flags, "first_minute"), **given}
    images = data.load(Config(**flags)).train.images
    np.save(path, images)
    return f"{len(images):,} images of {images.shape[1]}x{images.shape[2]}"


def run(name: str, arguments: list[str], cache: str) -> Measured:
    """Runs one of benchmarks/whole_programs.py in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    environment |= {"TFVAE_CACHE": cache, "TF_XLA_FLAGS": ""}  # our own import has set the second
    program = str(Path(__file__).with_name("whole_programs.py"))
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, program, name, folder, str(start), *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        total = time.monotonic() - start
        if done.returncode:
            raise SystemExit(f"{name} failed: {done.stderr[-2000:]}")
        return {"total": total, **json.loads((Path(folder) / "measured.json").read_text())}


def take_turns(name: str, given: dict[str, Any], images: Path, cache: Path, rounds: int) -> dict[str, list[Measured]]:
    """{program: what was measured in each round}; one round before is thrown away."""
    command = COMMANDS[name]
    epochs = given.get("epochs", command.epochs)
    flags = [*command.flags, *(f"--{key}={value}" for key, value in given.items())]
    arguments = {program: [str(images), name, str(epochs)] for program in NAMES}
    arguments["tfvae"] = flags
    measured: dict[str, list[Measured]] = {program: [] for program in NAMES}
    for _ in range(rounds + 1):
        for program, turns in measured.items():
            turns.append(run(program, arguments[program], str(cache)))
        trained = {program: (turns[-1]["epochs"], turns[-1]["steps"]) for program, turns in measured.items()}
        if len(set(trained.values())) > 1:
            raise SystemExit(f"not the same work, in epochs and steps: {trained}")
    return {program: turns[1:] for program, turns in measured.items()}


def _median(values: list[float]) -> str:
    return f"{statistics.median(values):.1f}"


def phase_table(measured: dict[str, list[Measured]]) -> list[str]:
    """The seconds of each program's phases, and its total as a multiple of tfvae's in the same round.

    Phases follow each other; what is left at the end is the process's leaving.
    """
    head = ["", "**total**", *PHASES.values(), "leaving", "its total / `tfvae.train`'s", "train ELBO"]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for program, turns in measured.items():
        cells = [NAMES[program], f"**{_median([turn['total'] for turn in turns])}**"]
        for phase in PHASES:
            seconds = [turn["phases"][phase] for turn in turns if phase in turn["phases"]]
            cells.append(_median(seconds) if seconds else "none")
        cells.append(_median([turn["total"] - sum(turn["phases"].values()) for turn in turns]))
        ratios = [turn["total"] / ours["total"] for turn, ours in zip(turns, measured["tfvae"])]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        cells.append("" if program == "tfvae" else spread)
        cells.append(f"{turns[-1]['elbo']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def training_table(measured: dict[str, dict[str, list[Measured]]]) -> list[str]:
    """The seconds of the parts of tfvae's training, and how many times its compiled steps the whole is."""
    head = ["", "training", *PARTS.values(), "the rest", "training / compiled steps"]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for name, programs in measured.items():
        turns = programs["tfvae"]
        training = [turn["phases"]["training"] for turn in turns]
        cells = [name, _median(training)]
        cells += [_median([turn["parts"].get(part, 0.0) for turn in turns]) for part in PARTS]
        known = [sum(turn["parts"].get(part, 0.0) for part in PARTS) for turn in turns]
        cells.append(_median([whole - parts for whole, parts in zip(training, known)]))
        ratios = [whole / turn["parts"]["steps"] for whole, turn in zip(training, turns)]
        lines.append(f"| {' | '.join(cells)} | {statistics.median(ratios):.2f} |")
    return lines


def text(kept: dict[str, dict[str, Any]]) -> str:
    """The page's part."""
    lines = []
    for name, entry in kept.items():
        lines += [f"**{COMMANDS[name].title}** ({entry['of']})", "", *phase_table(entry["rounds"]), ""]
    lines += ["Of this, the training of `tfvae.train`:", ""]
    lines += training_table({name: entry["rounds"] for name, entry in kept.items()})
    return "\n".join(lines)


def measure(names: list[str], given: dict[str, Any], rounds: int) -> dict[str, dict[str, Any]]:
    """{command: what it is, and its rounds}.

    Raises:
        InputError: the images of one can't be had; nothing has been measured.
    """
    measured = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = {name: folder / f"{name}.npy" for name in names}
        images = {name: save_images(COMMANDS[name], given, path) for name, path in paths.items()}
        for name, path in paths.items():
            turns = take_turns(name, given, path, folder / "cache", rounds)
            epochs, work = turns["tfvae"][0]["epochs"], WORKS[name]
            network = f"{'-'.join(map(str, work.hidden_units))}-{work.latent_dim}"
            what = f"{epochs:,} epochs of {images[name]}, hidden units and latents {network}, batch {work.batch_size}"
            times = "one round" if rounds == 1 else f"medians of {rounds} rounds"
            measured[name] = {"of": f"{what}; seconds, {times}; {machine()}", "rounds": turns}
    return measured


def main(given: dict[str, Any]) -> None:
    given = {name: value for name, value in given.items() if value is not None}  # --epochs=auto
    name = given.pop("dataset", None)
    if name not in (None, *COMMANDS):
        raise InputError(f"--dataset={name}: must be one of {', '.join(COMMANDS)}")
    names = [name] if name else list(COMMANDS)
    if "epochs" in given:
        print(text(measure(names, given, rounds=1)))
        return
    measured = measure(names, given, ROUNDS)
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    every = {**before, **measured}
    kept = {name: every[name] for name in COMMANDS if name in every}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")
    write("performance", "first_minute", text(kept))


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "first_minute", __doc__, of_config("dataset", "data_dir", "epochs"))
