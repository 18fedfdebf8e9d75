"""Bad command lines of the other commands, what the user may not touch, and a few in processes of their own."""

import os
import subprocess
import sys

import pytest
from command_line import DIGITS, LONG, ROOT, assert_one_clear_line, run, tree

pytestmark = pytest.mark.usefixtures("same_signal_handlers")

BAD_LINES_OF_OTHERS = {
    "evaluate no run_dir": ("evaluate", [], "--run_dir: must be given"),
    "evaluate auto": ("evaluate", ["--run_dir=auto"], "--run_dir"),
    "evaluate missing": ("evaluate", ["--run_dir=none"], "--run_dir=none: must be the directory of a run"),
    "evaluate no run": ("evaluate", ["--run_dir=no_run"], "--run_dir=no_run: must be the directory of a run"),
    "evaluate a long name": ("evaluate", [f"--run_dir={LONG}"], f"--run_dir={LONG}: must be the directory of a run"),
    "evaluate a file": ("evaluate", ["--run_dir=file"], "--run_dir=file: must be the directory of a run"),
    "evaluate spoiled": ("evaluate", ["--run_dir=spoiled"], "--latent_dim=many"),
    "evaluate untrained": ("evaluate", ["--run_dir=run"], "--run_dir=run: must be the directory of a run that has"),
    "evaluate samples": ("evaluate", ["--run_dir=run", "--eval_samples=0"], "--eval_samples=0: must be"),
    "evaluate foreign flag": ("evaluate", ["--run_dir=run", "--latent_dim=2"], "latent_dim"),
    "evaluate leftover": ("evaluate", ["run"], "run: arguments must be flags"),
    "export no run_dir": ("export", [], "--run_dir: must be given"),
    "export auto": ("export", ["--run_dir=auto"], "--run_dir"),
    "export no run": ("export", ["--run_dir=no_run"], "--run_dir=no_run: must be the directory of a run"),
    "export untrained": ("export", ["--run_dir=run"], "--run_dir=run: must be the directory of a run that has"),
    "export to a file": ("export", ["--run_dir=run", "--export_dir=file"], "--export_dir=file: must be"),
    "export nowhere": ("export", ["--run_dir=run", "--export_dir=/proc/a"], "--export_dir=/proc/a: must be"),
    "evaluate in a file": ("evaluate", ["--run_dir=full"], "--run_dir=full: must be a directory that can"),
    "explore in a file": ("explore", ["--run_dir=full"], "--run_dir=full: must be a directory that can"),
    "export foreign flag": ("export", ["--run_dir=run", "--eval_samples=3"], "eval_samples"),
    "apply no run_dir": ("apply", ["--output=a.npz"], "--run_dir: must be given"),
    "apply no output": ("apply", ["--run_dir=run"], "--output: must be given"),
    "apply foreign flag": ("apply", ["--run_dir=run", "--output=a.npz", "--latent_dim=2"], "latent_dim"),
    "apply unknown": ("apply", ["--run_dir=run", "--output=a.npz", "--what=dreams"], "--what=dreams: must be"),
    "launch unknown flag": ("launch", ["--frobnicate=3"], "frobnicate"),
    "launch train's flag": ("launch", ["--latent_dim=2"], "latent_dim"),
    "launch train's unknown flag": ("launch", ["--workers=2", "--", "--laten_dim=2"], "latent_dim"),
    "launch train's bad value": ("launch", ["--", "--latent_dim=0"], "--latent_dim=0: must be"),
    "launch train's clash": ("launch", ["--", "--kl=analytic", "--prior=mixture"], "--kl=analytic: must be"),
    "launch train's bad profile": ("launch", ["--", "--profile_steps=7,7"], "--profile_steps=7,7: must be"),
    "launch dry run": ("launch", ["--", "--dry_run"], "--dry_run=true: must be false for several workers"),
    "launch leftover": ("launch", ["two"], "two: arguments must be flags"),
    "launch train's leftover": ("launch", ["--", "digits"], "digits: arguments must be flags"),
    "launch no worker": ("launch", ["--workers=0", "--", DIGITS], "--workers=0: must be"),
    "compare nothing": ("compare", [], "RUN: must be given"),
    "compare missing": ("compare", ["run", "none"], "none: must be a run directory or a directory of runs, and there"),
    "compare no run": ("compare", ["no_run", "file"], "no_run, file: must be a run directory or a directory of runs"),
    "compare spoiled": ("compare", ["spoiled"], "spoiled/config.flags: --latent_dim=many: must be"),
    "compare to words": (
        "compare",
        ["run", "--output=a.txt"],
        "--output=a.txt: must be a file whose name ends in .csv",
    ),
    "compare to a directory": ("compare", ["run", "--output=folder.csv"], "--output=folder.csv: must be a file, and"),
    "compare nowhere": ("compare", ["run", "--output=none/a.csv"], "--output=none/a.csv: must be in a directory that"),
    "compare unfinished in a picture": ("compare", ["--output=a.png", "run"], "--output=a.png: must be of a run that"),
    "compare foreign flag": ("compare", ["run", "--latent_dim=2"], "latent_dim"),
    "grid nothing": ("grid", ["--", DIGITS], "--vary: must be given"),
    "grid no values": ("grid", ["--vary=latent_dim"], "--vary=latent_dim: must be NAME=VALUE;VALUE;..."),
    "grid unknown": ("grid", ["--vary=laten_dim=2;3"], "--vary=laten_dim=2;3: must be NAME=VALUE;VALUE;..., and laten"),
    "grid bad value": (
        "grid",
        ["--vary=latent_dim=2;x"],
        "--vary=latent_dim=2;x: latent_dim=x: must be a whole number",
    ),
    "grid free": ("grid", ["--vary=memory_gb=1;2"], "--vary=memory_gb=1;2: must be of a setting that changes"),
    "grid twice": ("grid", ["--vary=seed=1;1"], "--vary=seed=1;1: must have each value once"),
    "grid a flag twice": ("grid", ["--vary=seed=1", "--vary=seed=2"], "--vary=seed=...: must be given once"),
    "grid given too": ("grid", ["--vary=seed=1", "--", "--seed=2"], "--seed: must not be given after -- as well"),
    "grid run_dir": ("grid", ["--vary=seed=1", "--", "--run_dir=a"], "--run_dir=a: must not be given"),
    "grid export_name": ("grid", ["--vary=seed=1", "--", "--export_name=a"], "--export_name=a: must not be given"),
    "grid train's flag": ("grid", ["--vary=seed=1", "--", "--frobnicate=2"], "frobnicate"),
    "grid clash": (
        "grid",
        ["--vary=posterior=full;laplace", "--vary=seed=1", "--", "--kl=analytic"],
        "--vary: posterior=laplace, seed=1 can't be combined: --kl=analytic: must be",
    ),
    "grid no data": (
        "grid",
        ["--vary=seed=1", "--", "--dataset=./none.npy"],
        "--dataset=./none.npy: must be a readable",
    ),
    "grid in a file": ("grid", ["--vary=seed=1", "--grid_dir=file", "--", DIGITS], "--grid_dir=file: must be a direc"),
    "grid exports to a file": (
        "grid",
        ["--vary=seed=1", "--", "--export_dir=file"],
        "--export_dir=file: must be a dir",
    ),
    "grid of workers": ("grid", ["--vary=seed=1", "--", "--strategy=multi_worker"], "--strategy=multi_worker: must"),
    "grid leftover": ("grid", ["--vary=seed=1", "x"], "x: arguments must be flags"),
    "launch restarts": ("launch", ["--max_restarts=-1", "--", DIGITS], "--max_restarts=-1: must be"),
}


@pytest.mark.parametrize("case", BAD_LINES_OF_OTHERS)
def test_a_bad_command_line_of_the_others(folder, monkeypatch, capsys, case):
    command, args, part = BAD_LINES_OF_OTHERS[case]
    before = tree(folder)
    status, error = run(monkeypatch, capsys, command, args)
    assert status == 2
    assert_one_clear_line(error, command, part)
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("command", "flag", "below"),
    [
        ("train", "dataset", "good.npy"),
        ("train", "run_dir", "run"),
        ("train", "run_dir", "run/a/b"),
        ("train", "export_dir", "run"),
        ("train", "export_dir", "run/a/b"),
        ("evaluate", "run_dir", "run"),
    ],
)
def test_what_the_user_may_not_touch(folder, monkeypatch, capsys, command, flag, below):
    path = folder / below.split("/")[0]
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads and writes everywhere")
    status, error = run(monkeypatch, capsys, command, [f"--{flag}={folder / below}"])
    path.chmod(0o700)
    assert status == 2
    assert_one_clear_line(error, command, f"--{flag}={folder / below}: must be")


TOO_LARGE_A_BATCH = ("train", [DIGITS, "--batch_size=1438"], "--batch_size=1438: must be at most the 1,437")
CORRUPT_IMAGES = ("train", ["--dataset=corrupt.npz"], "corrupt.npz: must be a readable")
NO_SHARE_OF_A_BATCH = (
    "train",
    [DIGITS, "--logical_cpus=3", "--batch_size=128"],
    "=128: must be a multiple of the 3 replicas",
)


@pytest.mark.parametrize(
    ("command", "args", "part"),
    [
        ("train", ["--latent_dim=0"], "--latent_dim=0: must be"),
        pytest.param(*TOO_LARGE_A_BATCH, marks=pytest.mark.nightly),
        pytest.param(*CORRUPT_IMAGES, marks=pytest.mark.nightly),
        pytest.param(*NO_SHARE_OF_A_BATCH, marks=pytest.mark.slow),
        ("evaluate", ["--run_dir=no_run"], "--run_dir=no_run: must be"),
        ("launch", ["--", "--latent_dim=0"], "--latent_dim=0: must be"),
        ("grid", ["--vary=latent_dim=0"], "--vary=latent_dim=0: latent_dim=0: must be"),
    ],
    ids=["flag", "batch size", "corrupt file", "share of a batch", "no run", "flag of a worker", "flag of a grid"],
)
def test_for_real(folder, command, args, part):
    before = tree(folder)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_CPP")}
    done = subprocess.run(
        [sys.executable, "-m", f"tfvae.{command}", *args],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 2
    assert_one_clear_line(done.stderr, command, part)
    assert done.stdout == ""
    assert tree(folder) == before
