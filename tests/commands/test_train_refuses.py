"""Bad command lines of tfvae.train: one line of the program's own, exit status 2, and nothing written."""

import json

import pytest
from command_line import DIGITS, LONG, assert_one_clear_line, run, tree

pytestmark = pytest.mark.usefixtures("same_signal_handlers")

BAD_VALUES = [  # alone on the command line; the flag, its value and `must be` are in the line
    "--latent_dim=two",
    "--profile_steps=5",
    "--profile_steps=7,7",
    "--profile_steps=-1,7",
    "--profile_steps=a,b",
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
    "--sigma=1e-200",
    "--sigma_floor=1e-200",
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
    "--init_from=",
    "--init_part=prior",
    "--init_checksum=",
]
BAD_LINES = {  # arguments, and what the line says besides
    "a path of other bytes than UTF-8": (["--dataset=./caf\udce9"], "--dataset=./caf\\udce9: must be auto, digits, "),
    "a run directory of such bytes": (["--run_dir=caf\udce9"], "caf\\udce9: must be auto or a directory, in UTF-8"),
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
    "a path that is no image file": (["--dataset=./file"], "file: must be a folder of images"),
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
    "vectors without a network of theirs": (["--dataset=flat.npy", "--network=conv"], "--network=conv: must be mlp"),
    "binarized vectors": (["--dataset=rows.npy", "--binarize=threshold"], "--binarize=threshold: must be none for"),
    "dequantized vectors": (
        ["--dataset=rows.npy", "--dequantize", "--likelihood=gaussian"],
        "--dequantize=True: must be false for vectors",
    ),
    "vectors with an image's size": (["--dataset=rows.npy", "--image_size=32"], "--image_size=32,32: must not be set"),
    "vectors with a label column": (["--dataset=rows.npy", "--label_column=b"], "--label_column=b: must not be set"),
    "vectors on disk": (["--dataset=rows.npy", "--memory_gb=0"], "rows.npy: must fit into --memory_gb"),
    "scaled probabilities": (
        ["--dataset=rows.npy", "--likelihood=bernoulli", "--scale=unit"],
        "--scale=unit: must be none with --likelihood=bernoulli",
    ),
    "images that are standardized": (["--dataset=good.npy", "--scale=standardize"], "--scale=standardize: must be"),
    "missing pixels": (["--dataset=good.npy", "--missing=allow"], "--missing=allow: must be refuse for images"),
    "infinite value": (["--dataset=infinite_value.npy", "--missing=allow"], "row 7 (from 0), column 1"),
    "missing value": (["--dataset=missing_value.npy"], "has 1, the first in row 7 (from 0), column 1"),
    "optimal deviation of missing values": (
        ["--dataset=missing_value.npy", "--missing=allow", "--sigma=optimal"],
        "--sigma=optimal: must not be optimal with --missing=allow",
    ),
    "nothing in a row": (["--dataset=empty_row.npy", "--missing=allow"], "has none in 1 of them, the first row 7"),
    "constant column": (["--dataset=constant_column.npy"], "constant_column.npy: must have no constant column"),
    "probabilities above 1": (
        ["--dataset=constant_column.npy", "--likelihood=bernoulli"],
        "constant_column.npy: must be of numbers in [0, 1] for --likelihood=bernoulli",
    ),
    "other columns": (["--dataset=columns.npz"], "columns.npz: must have 3 columns, as the training part"),
    "text in a table": (["--dataset=./table.csv"], "table.csv: must have numeric columns, and has text in kind"),
    "no such column": (["--dataset=./table.csv", "--label_column=class"], "--label_column=class: must be a column of"),
    "rank 5": (["--dataset=deep.npy"], "deep.npy: must be images"),
    "strings": (["--dataset=words.npy"], "words.npy: must be images"),
    "complex": (["--dataset=complex.npy"], "complex.npy: must be images"),
    "no image": (["--dataset=empty.npy"], "empty.npy: must be images"),
    "no row": (["--dataset=thin.npy"], "thin.npy: must be images"),
    "few images": (["--dataset=few.npy", "--batch_size=1"], "--dataset"),
    "labels": (["--dataset=labels.npz", "--batch_size=1"], "labels.npz: labels must be"),
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
    "weights of no run": ([DIGITS, "--init_from=no_run"], "no_run: must be the directory of a run, and has no config"),
    "weights of a run without a checkpoint": (
        [DIGITS, "--init_from=run"],
        "run: must be the directory of a run that has a checkpoint",
    ),
    "weights of another network": (
        ["--dataset=good.npy", "--batch_size=1", "--init_from=trained", "--latent_dim=3"],
        "--latent_dim=3: must be 2, as of the run of --init_from=",
    ),
    "a part of no weights": (
        [DIGITS, "--init_part=encoder"],
        "--init_part=encoder: must not be set without --init_from",
    ),
    "a checksum of no weights": (
        [DIGITS, "--init_checksum=0"],
        "--init_checksum=0: must not be set without --init_from",
    ),
    "weights for a run that has begun": (
        ["--run_dir=run", "--init_from=trained"],
        "trained: must be given with another --run_dir: run was started without it",
    ),
    "nowhere to export": ([DIGITS, "--export_dir=/proc/nope"], "--export_dir=/proc/nope: must be a directory"),
    "nowhere to train": ([DIGITS, "--run_dir=/proc/nope"], "--run_dir=/proc/nope: must be a directory"),
    "a file for pictures": ([DIGITS, "--run_dir=full"], "--run_dir=full: must be a directory that can be written, and"),
    "no workers named": (["--strategy=multi_worker"], "must have the workers' addresses in TF_CONFIG"),
    "devices for one": (["--strategy=one_device", "--logical_cpus=2"], "--logical_cpus=2: must be 1 with --strategy"),
}
WORKERS = {"worker": ["a:1", "b:1"]}
BAD_CLUSTERS = {
    "words": "two workers",
    "on two lines": '{"cluster":\n 2}',
    "a number": "2",
    "a list": "[]",
    "a misspelled key": json.dumps({"clutser": WORKERS}),
    "no task": json.dumps({"cluster": WORKERS}),
    "no index": json.dumps({"cluster": WORKERS, "task": {"type": "worker"}}),
    "third of two": json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
    "no chief": json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}),
    "no worker": json.dumps({"cluster": {}, "task": {"type": "worker", "index": 0}}),
    "no port": json.dumps({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}),
    "parameter server": json.dumps({"cluster": {**WORKERS, "ps": ["c:1"]}, "task": {"type": "worker", "index": 0}}),
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
