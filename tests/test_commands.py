"""Bad command lines: one line of the program's own, exit status 2, and nothing written."""

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfvae import config
from tfvae.config import Config

config.import_tensorflow()

from tfvae.data import dataset as data  # noqa: E402

ROOT = Path(__file__).parents[1]
DIGITS = "--dataset=digits"
LONG = "a" * 300  # longer than a file's name may be
RECORDED = Config(dataset="digits", epochs=5, validation_examples=180, latent_dim=2)


@pytest.fixture(autouse=True)
def same_signal_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory of a command: files that are bad in many ways, a few that are good, no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "_no_network", lambda url: "no network: unplugged")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    grey = np.random.default_rng(0).integers(0, 256, (40, 5, 7), dtype=np.uint8)
    floats = (grey / 255).astype(np.float32)
    arrays = {
        "good": grey,
        "few": grey[:9],
        "nan": np.where(floats == floats.max(), np.nan, floats),
        "above": floats * 1.01,
        "below": floats - 0.01,
        "grey_floats": grey.astype(np.float32),
        "negative": grey.astype(np.int16) - 1,
        "wide": grey.astype(np.int16) * 2,
        "flat": grey.reshape(40, 35),
        "deep": grey[..., None, None],
        "words": np.full((40, 5, 7), "a"),
        "complex": floats.astype(complex),
        "empty": grey[:0],
        "thin": grey[:, :0],
        "pickled": np.array([{"a": 1}] * 40, object),
    }
    for name, array in arrays.items():
        np.save(f"{name}.npy", array, allow_pickle=name == "pickled")
    np.savez("labels.npz", images=grey, labels=np.arange(39))
    np.savez("keys.npz", pictures=grey)
    np.savez("shapes.npz", train=grey, test=grey[:, 1:])
    np.savez("corrupt.npz", images=grey)
    whole = Path("corrupt.npz").read_bytes()
    Path("corrupt.npz").write_bytes(whole[:500] + bytes(20) + whole[520:])
    Path("truncated.npz").write_bytes(whole[:500])
    Path("garbage.npy").write_bytes(b"some words")
    Path("folder.npy").mkdir()
    Path("file").write_text("a file\n")
    Path("file").chmod(0o755)
    Path("binary.flags").write_bytes(bytes(range(256)))
    Path("typo.flags").write_text("--latent_dim=2\n--laten_dim=2\n")
    Path("words.flags").write_text("--latent_dim=2\nsome words\n")
    for name, text in {
        "run": RECORDED.to_flags(),
        "cosine": RECORDED.to_flags() + "--lr_schedule=cosine\n",
        "auto_run": RECORDED.to_flags() + "--epochs=auto\n",
        "spoiled": "--latent_dim=many\n",
        "foreign": "--frobnicate=3\n",
        "binary": "\0\1",
    }.items():
        Path(name).mkdir()
        Path(name, "config.flags").write_text(text)
    Path("binary/config.flags").write_bytes(bytes(range(256)))
    Path("no_run").mkdir()
    Path("no_tfds").mkdir()
    return tmp_path


def tree(folder):
    """Everything below a folder: names, contents, and when it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, None if path.is_dir() else path.read_bytes())
        for path in folder.rglob("*")
    }


def run(monkeypatch, capsys, command, args):
    """Runs a command in this process, as `python -m` would; returns its exit status and what it wrote on stderr."""
    monkeypatch.setattr(sys, "argv", [f"tfvae.{command}", *args])
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "tfvae" / f"{command}.py"), run_name="__main__")
    return caught.value.code, capsys.readouterr().err


def assert_one_clear_line(error, command, part):
    lines = error.splitlines()
    assert len(lines) == 1, error
    assert lines[0].startswith(f"tfvae.{command}: ")
    assert part in lines[0]
    for mess in ("Traceback", "ERROR", "Error(", ": ('--"):
        assert mess not in lines[0]


BAD_VALUES = [  # alone on the command line; the flag, its value and `must be` are in the line
    "--latent_dim=two",
    "--latent_dim=0",
    "--latent_dim=2.5",
    "--latent_dim=",
    "--epochs=0",
    "--epochs=-3",
    "--epochs=ten",
    "--batch_size=0",
    "--batch_size=1e3",
    "--batch_size=99999999999",
    "--seed=-1",
    "--num_samples=0",
    "--eval_samples=0",
    "--validation_examples=-1",
    "--validation_examples=10%",
    "--beta=nan",
    "--beta=-1",
    "--sigma=0",
    "--sigma=inf",
    "--learning_rate=0",
    "--learning_rate=nan",
    "--learning_rate=fast",
    "--checkpoint_every=-1",
    "--checkpoint_every=inf",
    "--clip_norm=-1",
    "--clip_norm=nan",
    "--strategy=foo",
    "--logical_cpus=0",
    "--logical_cpus=65",
    "--start_timeout=0",
    "--memory_gb=-1",
    "--memory_gb=half",
    "--hidden_units=512,,2",
    "--hidden_units=wide",
    "--hidden_units=512,-1",
    "--filters=",
    "--network=rnn",
    "--activation=",
    "--likelihood=poisson",
    "--binarize=yes",
    "--optimizer=lion",
    "--lr_schedule=linear",
    "--lr_schedule=",
    "--lr_schedule=5:0.1,3:0.2",
    "--lr_schedule=1:nan",
    "--dataset=",
    "--data_dir=",
    "--export_dir=",
    "--run_dir=",
]
BAD_LINES = {  # arguments, and what the line says besides
    "unknown flag": (["--frobnicate=3"], "frobnicate"),
    "typo": (["--laten_dim=3"], "latent_dim"),
    "no value": (["--latent_dim"], "--latent_dim"),
    "leftover": (["digits"], "digits: arguments must be flags"),
    "leftover after flags": ([DIGITS, "2", "--latent_dim=3"], "2: arguments must be flags"),
    "leftover by a space": (["--latent_dim", "2", "3"], "3: arguments must be flags"),
    "missing flagfile": (["--flagfile=none.flags"], "--flagfile"),
    "binary flagfile": (["--flagfile=binary.flags"], "--flagfile"),
    "directory as flagfile": (["--flagfile=no_run"], "--flagfile"),
    "empty flagfile name": (["--flagfile="], "--flagfile"),
    "typo in a flagfile": (["--flagfile=typo.flags"], "laten_dim"),
    "words in a flagfile": (["--flagfile=words.flags"], "some words"),
    "missing npy": (["--dataset=none.npy"], "none.npy: must be a readable"),
    "missing directory": (["--dataset=/none/x.npz"], "--dataset=/none/x.npz: must be a readable"),
    "a path that is no image file": (["--dataset=./file"], "file: must be a readable"),
    "directory as npy": (["--dataset=folder.npy"], "folder.npy: must be a readable"),
    "garbage npy": (["--dataset=garbage.npy"], "garbage.npy: must be a readable"),
    "corrupt npz": (["--dataset=corrupt.npz"], "corrupt.npz: must be a readable"),
    "truncated npz": (["--dataset=truncated.npz"], "truncated.npz: must be a readable"),
    "pickled npy": (["--dataset=pickled.npy"], "without pickles"),
    "nan": (["--dataset=nan.npy"], "nan.npy: must be images"),
    "above 1": (["--dataset=above.npy"], "above.npy: must be images"),
    "below 0": (["--dataset=below.npy"], "below.npy: must be images"),
    "floats to 255": (["--dataset=grey_floats.npy"], "grey_floats.npy: must be images"),
    "negative": (["--dataset=negative.npy"], "negative.npy: must be images"),
    "above 255": (["--dataset=wide.npy"], "wide.npy: must be images"),
    "rank 2": (["--dataset=flat.npy"], "flat.npy: must be images"),
    "rank 5": (["--dataset=deep.npy"], "deep.npy: must be images"),
    "strings": (["--dataset=words.npy"], "words.npy: must be images"),
    "complex": (["--dataset=complex.npy"], "complex.npy: must be images"),
    "no image": (["--dataset=empty.npy"], "empty.npy: must be images"),
    "no row": (["--dataset=thin.npy"], "thin.npy: must be images"),
    "few images": (["--dataset=few.npy", "--batch_size=1"], "--dataset"),
    "labels": (["--dataset=labels.npz", "--batch_size=1"], "labels.npz: must have"),
    "keys": (["--dataset=keys.npz", "--batch_size=1"], "keys.npz: must hold"),
    "shapes": (["--dataset=shapes.npz", "--batch_size=1"], "shapes.npz: must have"),
    "unknown name": (["--dataset=no_such_set"], "--dataset=no_such_set: must be"),
    "unknown version": (["--dataset=mnist:9.9.9", "--data_dir=no_tfds"], "--dataset=mnist:9.9.9: must be"),
    "mnist offline": (["--dataset=mnist", "--data_dir=no_tfds"], "take --dataset=digits"),
    "data_dir is a file": (["--dataset=mnist", "--data_dir=file"], "file"),
    "batch above the digits": ([DIGITS, "--batch_size=1438"], "--batch_size=1438: must be at most the 1,437"),
    "batch above a file": (["--dataset=good.npy"], "--batch_size=128: must be at most the 32"),
    "validation above train": ([DIGITS, "--validation_examples=1617"], "--validation_examples=1617: must be"),
    "run_dir is a file": ([DIGITS, "--run_dir=file"], "--run_dir=file: must be"),
    "run_dir below a file": ([DIGITS, "--run_dir=file/a/b"], "--run_dir=file/a/b: must be"),
    "run_dir where nothing can be made": ([DIGITS, "--run_dir=/proc/none/run"], "--run_dir=/proc/none/run: must be"),
    "run_dir with a long name": ([DIGITS, f"--run_dir={LONG}"], f"--run_dir={LONG}: must be"),
    "export_dir with a long name": ([DIGITS, f"--export_dir={LONG}/a"], f"--export_dir={LONG}/a: must be"),
    "data_dir with a long name": (["--dataset=mnist", f"--data_dir={LONG}"], "--dataset=mnist: "),
    "dataset with a long name": ([f"--dataset={LONG}.npy"], f"{LONG}.npy: must be a readable"),
    "flagfile with a long name": ([f"--flagfile={LONG}"], "--flagfile"),
    "export_dir is a file": ([DIGITS, "--export_dir=file"], "--export_dir=file: must be"),
    "export_dir below a file": ([DIGITS, "--export_dir=file/a"], "--export_dir=file/a: must be"),
    "other latent_dim": (["--run_dir=run", "--latent_dim=3"], "--latent_dim=3 (there: 2)"),
    "other data": (
        ["--run_dir=run", "--dataset=good.npy", "--batch_size=1", "--validation_examples=4"],
        "(there: digits)",
    ),
    "other seed": (["--run_dir=run", "--seed=1"], "--seed=1 (there: 0)"),
    "fewer epochs": (["--run_dir=run", "--epochs=4"], "--epochs=4 (there: 5)"),
    "more epochs under a cosine": (["--run_dir=cosine", "--epochs=6"], "--epochs=6 (there: 5)"),
    "epochs recorded as auto": (["--run_dir=auto_run", "--epochs=3"], "--epochs=3 (there: auto)"),
    "spoiled config.flags": (["--run_dir=spoiled"], "spoiled/config.flags: --latent_dim=many: must be"),
    "foreign config.flags": (["--run_dir=foreign"], "foreign/config.flags: "),
    "binary config.flags": (["--run_dir=binary"], "binary/config.flags: "),
    "no workers named": (["--strategy=multi_worker"], "must have the workers' addresses in TF_CONFIG"),
    "devices for one": (["--strategy=one_device", "--logical_cpus=2"], "--logical_cpus=2: must be 1 with --strategy"),
}
WORKERS = {"worker": ["a:1", "b:1"]}
BAD_CLUSTERS = {
    "words": "two workers",
    "on two lines": '{"cluster":\n 2}',
    "a number": "2",
    "a list": "[]",
    "nothing in it": "{}",
    "no task": json.dumps({"cluster": WORKERS}),
    "no index": json.dumps({"cluster": WORKERS, "task": {"type": "worker"}}),
    "third of two": json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
    "no chief": json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}),
    "no worker": json.dumps({"cluster": {}, "task": {"type": "worker", "index": 0}}),
    "no port": json.dumps({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}),
    "parameter server": json.dumps({"cluster": {**WORKERS, "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}),
}
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
    "export foreign flag": ("export", ["--run_dir=run", "--eval_samples=3"], "eval_samples"),
    "launch unknown flag": ("launch", ["--frobnicate=3"], "frobnicate"),
    "launch train's flag": ("launch", ["--latent_dim=2"], "latent_dim"),
    "launch train's unknown flag": ("launch", ["--workers=2", "--", "--laten_dim=2"], "latent_dim"),
    "launch train's bad value": ("launch", ["--", "--latent_dim=0"], "--latent_dim=0: must be"),
    "launch train's clash": ("launch", ["--", "--kl=analytic", "--prior=mixture"], "--kl=analytic: must be"),
    "launch leftover": ("launch", ["two"], "two: arguments must be flags"),
    "launch train's leftover": ("launch", ["--", "digits"], "digits: arguments must be flags"),
    "launch no worker": ("launch", ["--workers=0", "--", DIGITS], "--workers=0: must be"),
    "launch restarts": ("launch", ["--max_restarts=-1", "--", DIGITS], "--max_restarts=-1: must be"),
}


@pytest.mark.parametrize("flag", BAD_VALUES)
def test_a_bad_value(folder, monkeypatch, capsys, flag):
    before = tree(folder)
    status, error = run(monkeypatch, capsys, "train", [flag])
    assert status == 2
    assert_one_clear_line(error, "train", f"{flag}: must be ")
    assert tree(folder) == before


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_command_line(folder, monkeypatch, capsys, case):
    args, part = BAD_LINES[case]
    before = tree(folder)
    status, error = run(monkeypatch, capsys, "train", args)
    assert status == 2
    assert_one_clear_line(error, "train", part)
    assert tree(folder) == before


@pytest.mark.parametrize("strategy", ["auto", "multi_worker"])
@pytest.mark.parametrize("case", BAD_CLUSTERS)
def test_a_bad_cluster(folder, monkeypatch, capsys, case, strategy):
    monkeypatch.setenv("TF_CONFIG", BAD_CLUSTERS[case])
    before = tree(folder)
    status, error = run(monkeypatch, capsys, "train", [DIGITS, f"--strategy={strategy}"])
    assert status == 2
    assert_one_clear_line(error, "train", 'must be {"cluster": {"worker": ["host:port", ...]}')
    assert error.startswith("tfvae.train: TF_CONFIG=")
    assert tree(folder) == before


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


@pytest.mark.parametrize(
    ("command", "args", "part"),
    [
        ("train", ["--latent_dim=0"], "--latent_dim=0: must be"),
        ("train", [DIGITS, "--batch_size=1438"], "--batch_size=1438: must be at most the 1,437"),
        ("train", ["--dataset=corrupt.npz"], "corrupt.npz: must be a readable"),
        ("train", [DIGITS, "--logical_cpus=3", "--batch_size=128"], "=128: must be a multiple of the 3 replicas"),
        ("evaluate", ["--run_dir=no_run"], "--run_dir=no_run: must be"),
        ("launch", ["--", "--latent_dim=0"], "--latent_dim=0: must be"),
    ],
    ids=["flag", "batch size", "corrupt file", "share of a batch", "no run", "flag of a worker"],
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
