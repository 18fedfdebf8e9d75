"""What NumPy alone can tell is told before TensorFlow is imported: the same lines, in a process that has none."""

import json
import os
import subprocess
import sys

import pytest
from command_line import ROOT, assert_one_clear_line, run, tree
from test_train_refuses import BAD_LINES

pytestmark = pytest.mark.usefixtures("same_signal_handlers")

CHILD = """
import contextlib, io, json, runpy, sys
sys.modules["tensorflow"] = None  # to import it raises ModuleNotFoundError
results = []
for command, args in json.load(sys.stdin):
    sys.argv = [f"tfvae.{command}", *args]
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        try:
            runpy.run_module(f"tfvae.{command}", run_name="__main__")
            status = 0
        except SystemExit as exit:
            status = exit.code
        except ModuleNotFoundError as error:
            status = str(error)
    results.append([status, printed.getvalue()])
json.dump(results, sys.stdout)
"""
OF_TRAIN = [name for name, (args, _) in BAD_LINES.items() if args[0].endswith((".npy", ".npz", ".csv", "=./file"))]
OF_TRAIN += ["other latent_dim", "other data", "other seed", "fewer epochs", "more epochs under a cosine"]
OF_TRAIN += ["epochs recorded as auto", "weights of no run", "weights of a run without a checkpoint"]
OF_TRAIN += ["weights for a run that has begun"]
REFUSED = {name: ("train", *BAD_LINES[name]) for name in OF_TRAIN} | {
    "epochs left to the data": ("train", ["--run_dir=run", "--epochs=auto", "--seed=1"], "settings: --seed=1 (there"),
    "validation left to the data": (
        "train",
        ["--run_dir=run", "--validation_examples=auto", "--seed=1"],
        "settings: --seed=1 (there: 0); must be",
    ),
    "validation of a file left to the data": (
        "train",
        ["--run_dir=unlabelled", "--validation_examples=auto"],
        "settings: --validation_examples=4 (there: 3); must be",
    ),
    "evaluate untrained": ("evaluate", ["--run_dir=run"], "--run_dir=run: must be the directory of a run that has"),
    "explore untrained": ("explore", ["--run_dir=run"], "--run_dir=run: must be the directory of a run that has"),
    "export untrained": ("export", ["--run_dir=run"], "--run_dir=run: must be the directory of a run that has"),
    "evaluate no run": ("evaluate", ["--run_dir=no_run"], "--run_dir=no_run: must be the directory of a run, and"),
    "explore no run": ("explore", ["--run_dir=no_run"], "--run_dir=no_run: must be the directory of a run, and"),
    "export no run": ("export", ["--run_dir=no_run"], "--run_dir=no_run: must be the directory of a run, and"),
    "features without labels": (
        "explore",
        ["--run_dir=unlabelled", "--task=features"],
        "--task=features: must be of a data set that has labels, and ",
    ),
    "evaluate bad data": ("evaluate", ["--run_dir=unlabelled", "--dataset=nan.npy"], "nan.npy: must be images"),
    "explore bad data": ("explore", ["--run_dir=unlabelled", "--dataset=none.npy"], "none.npy: must be a readable"),
    "a grid's combination": (
        "grid",
        ["--vary=kl=auto;analytic", "--", "--prior=mixture"],
        "--vary: kl=analytic can't be combined: --kl=analytic: must be",
    ),
    "a grid's directory": (
        "grid",
        ["--vary=seed=1", "--grid_dir=grid", "--", "--dataset=digits"],
        "--grid_dir=grid: seed=1 was made with other settings: --batch_size=128 (there: 64); must be",
    ),
    "explorer of bad data": (
        "export",
        ["--run_dir=unlabelled", "--explorer", "--dataset=labels.npz"],
        "labels.npz: labels must be",
    ),
}
APPLIED = ["--run_dir=unlabelled"]
REFUSED |= {
    name: ("apply", [*APPLIED, *args], part)
    for name, (args, part) in {
        "apply untrained": (
            ["--run_dir=run", "--output=a.npz"],
            "--run_dir=run: must be the directory of a run that has",
        ),
        "apply ending": (["--output=a.txt"], "--output=a.txt: must end in .npz, .png, .csv, .parquet, or in /"),
        "apply latents to a picture": (["--output=a.png"], "--output=a.png: must end in .npz, .csv or .parquet"),
        "apply scores to pictures": (["--output=a/", "--what=scores"], "--output=a/: must end in .npz, .csv or"),
        "apply to pictures in a file": (["--output=file/", "--what=samples"], "--output=file/: must be a directory"),
        "apply over a file": (["--output=columns.npz"], "columns.npz: must be new, and is there: --overwrite"),
        "apply below a file": (["--output=file/a.npz"], "file/a.npz: must be in a directory that can be written"),
        "apply nowhere": (["--output=/proc/a/a.npz"], "--output=/proc/a/a.npz: must be in a directory that can"),
        "apply no such data": (["--output=a.npz", "--dataset=./none"], "none: must be a file or a folder, and there"),
        "apply garbage": (["--output=a.npz", "--dataset=garbage.npy"], "garbage.npy: must be a readable .npy"),
        "apply wrong labels": (["--output=a.npz", "--dataset=labels.npz"], "labels.npz: labels must be"),
        "apply to no images": (["--output=a.npz", "--dataset=./no_run"], "no_run: must be a folder of images, and has"),
        "apply to its own bad data": (["--output=a.npz", "--dataset=a.csv"], "a.csv: must be a file or a folder"),
        "apply too many samples": (
            ["--output=a.png", "--what=samples", "--count=10001"],
            "--output=a.png: must be of at most 10,000 images",
        ),
        "apply count of latents": (
            ["--output=a.npz", "--count=3"],
            "--count=3: must not be set without --what=samples",
        ),
        "apply draw of latents": (["--output=a.npz", "--draw"], "--draw=True: must be false without --what=samples"),
        "apply split of samples": (
            ["--output=a.npz", "--what=samples", "--split=test"],
            "--split=test: must not be set with --what=samples",
        ),
        "apply data of samples": (
            ["--output=a.npz", "--what=samples", "--dataset=rows.npy"],
            "rows.npy: must not be set with --what=samples",
        ),
    }.items()
}
NOT_REFUSED = {  # by NumPy: the child shows that it would see an import of TensorFlow
    "a good file": ("train", ["--dataset=good.npy", "--batch_size=8"]),
    "a good run": ("evaluate", ["--run_dir=unlabelled"]),
    "a good application": ("apply", [*APPLIED, "--output=a.npz"]),
    "an application to other data": ("apply", [*APPLIED, "--output=a.npz", "--dataset=few.npy"]),
}


def run_without_tensorflow(cases):
    """(exit status, what it wrote on stderr) of each command, all of them in one child process."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([(command, args) for command, args, *_ in cases]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_what_numpy_can_tell_is_told_without_tensorflow(folder, monkeypatch, capsys):
    before = tree(folder)
    results = run_without_tensorflow([*REFUSED.values(), *NOT_REFUSED.values()])
    for (name, (command, args, part)), (status, error) in zip(REFUSED.items(), results):
        assert status == 2, (name, status, error)
        assert_one_clear_line(error, command, part)
        assert (status, error) == run(monkeypatch, capsys, command, args), name
    for name, (status, error) in zip(NOT_REFUSED, results[len(REFUSED) :], strict=True):
        assert (status, error) == ("import of tensorflow halted; None in sys.modules", ""), name
    assert tree(folder) == before
