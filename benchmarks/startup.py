"""Where the time to the first training step goes: python benchmarks/startup.py, on an idle machine.

Runs `tfvae.train` on the digits and on MNIST (--dataset, --data_dir), with an empty cache of compiled programs and then
with what the run before left, and `--help`. Writes its part of docs/performance.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from page import machine, write

from tfvae.flags import of_config, run_command

ROUNDS = 3
STAGES = {
    "import": "importing TensorFlow",
    "data": "data",
    "model": "network and optimizer",
    "compile": "tracing, compiling",
    "first": "**first step, after TensorFlow's import**",
}
CHILD = """
import functools, json, sys, time
began = time.perf_counter()
from tfvae.runtime.tensorflow import import_tensorflow
import_tensorflow()
imported = time.perf_counter()
from tfvae import train
from tfvae.data import dataset, sources
from tfvae.training import trainer
from tfvae.training.evaluation import Evaluator
from tfvae.training.monitor import Monitor
from tfvae.training.step import TrainProgram
spent = dict.fromkeys(("data", "model", "compile", "steps", "evaluation", "pictures"), 0.0)
spent["import"] = imported - began

def timed(owner, name, part):
    function = getattr(owner, name)
    @functools.wraps(function)
    def wrapper(*arguments, **options):
        start = time.perf_counter()
        result = function(*arguments, **options)
        spent[part] += time.perf_counter() - start
        return result
    setattr(owner, name, wrapper)

timed(sources, "resolve", "data")
timed(sources, "read", "data")
timed(dataset, "divide", "data")
timed(trainer, "create_state", "model")
timed(Monitor, "pictures", "pictures")  # what training waits for them
timed(Monitor, "__exit__", "pictures")
make_steps, evaluate = TrainProgram.run, Evaluator.evaluate

def timed_steps(program, first, count):
    start = time.perf_counter()
    result = make_steps(program, first, count)
    now = time.perf_counter()
    if count:
        spent.setdefault("first", now - imported)
        spent.setdefault("loop began", start)
    spent["steps" if count else "compile"] += now - start
    return result

def timed_evaluation(evaluator, images, samples, *others):
    if samples > 1:
        spent.setdefault("loop", time.perf_counter() - spent["loop began"])
    start = time.perf_counter()
    result = evaluate(evaluator, images, samples, *others)
    if samples == 1:
        spent["evaluation"] += time.perf_counter() - start
    return result

TrainProgram.run, Evaluator.evaluate = timed_steps, timed_evaluation
train.run(sys.argv[1:])
print(json.dumps(spent))
"""


def run(flags: list[str], cache: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        flags = [*flags, f"--run_dir={folder}/run", f"--export_dir={folder}/exports", "--eval_samples=2"]
        environment = {**os.environ, "TFVAE_CACHE": cache, "TF_XLA_FLAGS": ""}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, *flags], env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])


def main(given: dict[str, Any]) -> None:
    name = given.get("dataset", "mnist")
    other = [f"--dataset={name}"] + [f"--data_dir={given['data_dir']}"] * ("data_dir" in given)
    rows, shares = {}, []
    for what, flags in (("digits", ["--dataset=digits", "--epochs=20"]), (name, [*other, "--epochs=3"])):
        colds, warms = [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as cache:
                colds.append(run(flags, cache))
                warms.append(run(flags, cache))
        rows[f"{what}, nothing compiled yet"], rows[f"{what}, later runs"] = colds, warms
        outside = [s["loop"] - s["steps"] - s["evaluation"] - s["pictures"] for s in warms]
        share = statistics.median(o / (s["loop"] - s["pictures"]) for o, s in zip(outside, warms))
        drawn = statistics.median(s["pictures"] for s in warms)
        shares.append(
            f"From the first step to the last on {what} ({flags[-1].removeprefix('--epochs=')} epochs), outside steps "
            f"and validation, without pictures: {share:.1%} of the time; it waits for pictures {drawn:.1f} s."
        )
    helps = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tfvae.train", "--help"], check=True, stdout=subprocess.DEVNULL)
        helps.append(time.perf_counter() - start)
    lines = [f"Seconds, medians of {ROUNDS}; {machine()}.", "", "| | " + " | ".join(STAGES.values()) + " |"]
    lines += ["| --- |" + " --- |" * len(STAGES)]
    for row, found in rows.items():
        lines.append(f"| {row} | " + " | ".join(f"{statistics.median(s[k] for s in found):.2f}" for k in STAGES) + " |")
    lines += ["", f"`--help`: {statistics.median(helps):.2f} s.", "", *shares]
    write("performance", "startup", "\n".join(lines))


if __name__ == "__main__":
    run_command(main, sys.argv[1:], "startup", __doc__, of_config("dataset", "data_dir"))
