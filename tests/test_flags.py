"""Command lines: what is read, what is refused, `--help`, and how a command ends. None of it waits for TensorFlow."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from settings import OTHER

from tfvae.config import Config, help_page
from tfvae.config.capabilities import LIKELIHOODS, POSTERIORS
from tfvae.config.config import FIELDS
from tfvae.config.fields import field, whole
from tfvae.config.flagfile import to_flagfile
from tfvae.errors import InputError, RunError, WorkerLost
from tfvae.flags import of_config, parse, run_command

pytestmark = pytest.mark.usefixtures("same_signal_handlers")

ROOT = Path(__file__).parents[1]
RECIPES = {  # from the papers' and examples' own settings
    "digits_2d": {"dataset": "digits", "latent_dim": 2},
    "mnist_2d": {
        "dataset": "mnist",
        "hidden_units": (512,),
        "latent_dim": 2,
        "batch_size": 50,
        "epochs": 10,
        "optimizer": "adam",
        "learning_rate": 1e-3,
    },
    "mnist_pytorch_example": {
        "dataset": "mnist",
        "binarize": "none",
        "hidden_units": (400,),
        "latent_dim": 20,
        "batch_size": 128,
        "epochs": 10,
    },
    "static_mnist_flax_example": {
        "dataset": "binarized_mnist",
        "hidden_units": (500,),
        "latent_dim": 20,
        "batch_size": 128,
        "epochs": 10,
    },
    "keras_example": {"network": "conv", "latent_dim": 2, "batch_size": 128},
    "burda_vae": {
        "dataset": "mnist",
        "binarize": "stochastic",
        "hidden_units": (200, 200),
        "activation": "tanh",
        "latent_dim": 50,
        "batch_size": 20,
        "epochs": 3280,
        "adam_epsilon": 1e-4,
        "eval_samples": 5000,
    },
}


def python(*args):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=environment, timeout=60)


@pytest.mark.parametrize("name", OTHER)
def test_each_flag_is_read(name):
    text, value = OTHER[name]
    given = parse([f"--{name}={text}"], "t")
    assert given == {name: value} and type(given[name]) is type(value)
    assert getattr(Config(**given), name) == value


def test_unset_flags_are_not_given():
    assert parse([], "t") == {}
    assert parse(["--latent_dim", "3"], "t") == {"latent_dim": 3}


@pytest.mark.parametrize("name", ["epochs", "validation_examples", "data_dir", "run_dir", "memory_gb"])
def test_auto_is_none(name):
    assert parse([f"--{name}=auto"], "t") == {name: None}


def test_no_hidden_units_is_a_linear_model():
    assert parse(["--hidden_units="], "t") == {"hidden_units": ()}
    assert "--hidden_units=\n" in to_flagfile(Config(hidden_units=()))


def test_the_later_flag_wins(tmp_path):
    path = tmp_path / "a.flags"
    path.write_text("# a comment\n\n--latent_dim=7\n--batch_size=50\n")
    assert parse([f"--flagfile={path}", "--latent_dim=3"], "t") == {"latent_dim": 3, "batch_size": 50}
    assert parse(["--latent_dim=3", f"--flagfile={path}"], "t") == {"latent_dim": 7, "batch_size": 50}
    assert parse(["--latent_dim=3", "--latent_dim=4"], "t") == {"latent_dim": 4}


def test_a_flagfile_may_name_another(tmp_path):
    (tmp_path / "a.flags").write_text(f"--latent_dim=7\n--flagfile={tmp_path / 'b.flags'}\n")
    (tmp_path / "b.flags").write_text("--latent_dim=8\n--epochs=2\n")
    assert parse([f"--flagfile={tmp_path / 'a.flags'}"], "t") == {"latent_dim": 8, "epochs": 2}


def test_every_recipe_parses():
    for path in sorted((ROOT / "flags").glob("*.flags")):
        config = Config(**parse([f"--flagfile={path}"], "t"))
        wanted = RECIPES.get(path.stem, {})
        assert {name: getattr(config, name) for name in wanted} == wanted, path
        assert path.read_text().startswith("#"), f"{path}: a header says what it reproduces"


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("latent_dim", "two", "whole number"),
        ("latent_dim", "2.5", "whole number"),
        ("latent_dim", "", "whole number"),
        ("latent_dim", "0", "from 1 to 65536"),
        ("latent_dim", "65537", "from 1 to 65536"),
        ("epochs", "0", "auto or a whole number"),
        ("batch_size", "-1", "whole number"),
        ("batch_size", "99999999999", "2147483647"),
        ("seed", "-1", "whole number"),
        ("seed", "2147483648", "2147483647"),
        ("validation_examples", "-1", "auto or a whole number"),
        ("eval_samples", "0", "from 1 to 10000000"),
        ("num_samples", "10001", "from 1 to 10000"),
        ("beta", "nan", "finite number"),
        ("beta", "1e400", "finite number"),
        ("beta", "-0.1", "not below 0"),
        ("sigma", "0", "from 1e-6 to 1e6"),
        ("learning_rate", "-inf", "above 0"),
        ("adam_epsilon", "0", "above 0"),
        ("checkpoint_every", "soon", "finite number"),
        ("clip_norm", "-1", "not below 0"),
        ("strategy", "foo", "auto, one_device, mirrored, multi_worker"),
        ("logical_cpus", "0", "from 1 to 64"),
        ("start_timeout", "0", "above 0"),
        ("memory_gb", "-1", "auto or a finite number not below 0"),
        ("network", "rnn", "mlp, conv"),
        ("network", "MLP", "mlp, conv"),
        ("binarize", "yes", "none, threshold, stochastic"),
        ("likelihood", "poisson", "bernoulli, gaussian"),
        ("optimizer", "lion", "adam, sgd, rmsprop, adagrad"),
        ("dtype", "float16", "float32, bfloat16"),
        ("activation", "", "relu, tanh, elu, gelu, softplus, silu"),
        ("hidden_units", "512,,2", "separated by commas"),
        ("hidden_units", "512,0", "whole numbers"),
        ("hidden_units", "9999999", "104857"),
        ("filters", "", "separated by commas"),
        ("lr_schedule", "linear", "EPOCH:FACTOR"),
        ("lr_schedule", "200:0.6,100:0.4", "growing epochs"),
        ("lr_schedule", "200:nan", "EPOCH:FACTOR"),
        ("lr_schedule", "", "EPOCH:FACTOR"),
        ("dataset", "", "digits"),
        ("export_dir", " ", "a directory"),
        ("run_dir", "", "auto or a directory"),
    ],
)
def test_a_bad_value_is_refused(flag, value, allowed):
    with pytest.raises(InputError) as caught:
        parse([f"--{flag}={value}"], "t")
    message = caught.value.for_command_line
    assert message.startswith(f"--{flag}={value}: must be ")
    assert allowed in message


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--laten_dim=3"], ["laten_dim", "latent_dim"]),  # with what was meant
        (["--frobnicate"], ["frobnicate"]),
        (["--nolatent_dim"], ["nolatent_dim"]),
        (["--latent_dim"], ["--latent_dim", "value"]),
        (["extra"], ["extra", "--name=value"]),
        (["--latent_dim=3", "extra", "--beta=2"], ["extra", "--name=value"]),
        (["--latent_dim=3", "4"], ["4", "--name=value"]),
        (["--flagfile=/no/such.flags"], ["--flagfile", "/no/such.flags", "must be"]),
        (["--flagfile=/"], ["--flagfile", "/", "must be"]),
        (["--flagfile="], ["--flagfile", "must be"]),
    ],
)
def test_a_bad_command_line_is_refused(argv, parts):
    with pytest.raises(InputError) as caught:
        parse(argv, "t")
    message = caught.value.for_command_line
    assert all(part in message for part in parts), message
    assert "\n" not in message and "ERROR" not in message and "('" not in message


def test_a_bad_flagfile_is_refused(tmp_path):
    path = tmp_path / "bad.flags"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="^flagfile: must be"):
        parse([f"--flagfile={path}"], "t")
    path.write_text("--latent_dim=3\nsome words\n")
    with pytest.raises(InputError, match="some words"):
        parse([f"--flagfile={path}"], "t")
    path.write_text("--latent_dim=0\n")
    with pytest.raises(InputError, match="latent_dim=0: must be a whole number"):
        parse([f"--flagfile={path}"], "t")


def test_only_the_named_flags_are_known():
    assert parse(["--run_dir=a"], "t", fields=of_config("run_dir")) == {"run_dir": "a"}
    with pytest.raises(InputError, match="latent_dim"):
        parse(["--latent_dim=3"], "t", fields=of_config("run_dir"))


def test_arguments_are_given_back_where_a_command_takes_some():
    run_dir = of_config("run_dir")
    assert parse([], "t", fields=run_dir, arguments="runs") == {"runs": ()}
    argv = ["a", "--run_dir=b", "c", "--", "--d"]
    assert parse(argv, "t", fields=run_dir, arguments="runs") == {"run_dir": "b", "runs": ("a", "c", "--d")}
    with pytest.raises(InputError, match="latent_dim"):
        parse(["a", "--latent_dim=3"], "t", fields=run_dir, arguments="runs")


def test_a_repeated_flag_is_the_list_of_all():
    fields = {"vary": field((), whole(1), "numbers", repeated=True)}
    assert parse([], "t", fields=fields) == {}
    assert parse(["--vary=3", "--vary", "2"], "t", fields=fields) == {"vary": [3, 2]}
    with pytest.raises(InputError, match="vary=0: must be a whole number"):
        parse(["--vary=3", "--vary=0"], "t", fields=fields)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("--a=b: must be c"), 2, "t: --a=b: must be c\n"),
        (RunError("step 3: no"), 1, "t: step 3: no\n"),
        (WorkerLost("worker 1: gone"), 75, "t: worker 1: gone\n"),
        (OSError(28, "No space left on device", "run"), 1, "t: [Errno 28] No space left on device: 'run'\n"),
        (None, None, ""),
    ],
)
def test_run_turns_errors_into_a_line_and_a_status(capsys, error, status, line):
    def main(given):
        assert given == {"latent_dim": 3}
        if error:
            raise error

    argv = ["--latent_dim=3"]
    if status:
        with pytest.raises(SystemExit) as caught:
            run_command(main, argv, "t", "doc")
        assert caught.value.code == status
    else:
        run_command(main, argv, "t", "doc")
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("argument", "given", "for_command_line", "in_python"),
    [
        (
            "--hidden_units=512,0",
            {"hidden_units": (512, 0)},
            "--hidden_units=512,0: must be layer sizes: whole numbers from 1 to 1048575, separated by commas, "
            "or nothing",
            "hidden_units=(512, 0): must be a tuple of whole numbers from 1 to 1048575, or ()",
        ),
        (
            "--epochs=0",
            {"epochs": 0},
            "--epochs=0: must be auto or a whole number from 1 to 2147483647",
            "epochs=0: must be None or a whole number from 1 to 2147483647",
        ),
        (
            "--kl=analytic --prior=mixture",
            {"kl": "analytic", "prior": "mixture"},
            "--kl=analytic: must be monte_carlo or auto: it is closed only from --posterior=isotropic, diagonal or "
            "full to --prior=standard or normal",
            "kl='analytic': must be 'monte_carlo' or 'auto': it is closed only from posterior='isotropic', 'diagonal' "
            "or 'full' to prior='standard' or 'normal'",
        ),
    ],
)
def test_one_mistake_has_the_words_of_each_side(capsys, argument, given, for_command_line, in_python):
    with pytest.raises(SystemExit):
        run_command(lambda given: Config(**given), argument.split(), "t", "doc")
    assert capsys.readouterr().err == f"t: {for_command_line}\n"
    with pytest.raises(InputError) as caught:
        Config(**given)
    assert str(caught.value) == in_python


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_128_and_its_number(number, status, capsys):
    with pytest.raises(SystemExit) as caught:
        run_command(lambda given: signal.raise_signal(number), [], "t", "doc")
    assert caught.value.code == status and capsys.readouterr().err == ""


def test_help_names_every_flag_and_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], "t", "What it does.")
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("What it does.")
    assert all(f"--{name}: " in out or f"--[no]{name}: " in out for name in (*OTHER, "flagfile"))
    assert "(default: 0.001; " in out and "(default: 512; " in out


def test_help_has_the_flags_by_subject_and_each_once(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], "t", "What it does.")
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    titles = re.findall(r"^(\w.*):$", out, flags=re.MULTILINE)
    assert titles[0] == "The flags that matter first" and titles[-2:] == ["Recipes", "Of every command"]
    assert titles[1:-2] == [subject.capitalize() for subject in help_page.SUBJECTS]
    by_subject = [name for names in help_page.SUBJECTS.values() for name in names]
    assert sorted(by_subject) == sorted(FIELDS) and set(help_page.FIRST) <= set(FIELDS)
    listed = re.findall(r"^  --(?:\[no\])?(\w+): ", out, flags=re.MULTILINE)
    assert sorted(listed) == sorted([*FIELDS, "verbosity", "flagfile", "help"])
    assert tuple(listed[:10]) == help_page.FIRST
    assert all(f"--flagfile=flags/{path.name}:" in out for path in (ROOT / "flags").glob("*.flags"))


@pytest.mark.parametrize(
    ("argument", "end"),
    [
        ("--likelihood=gausian", f"must be auto or one of {', '.join(LIKELIHOODS)}: did you mean gaussian?"),
        ("--posterior=diag", f"must be one of {', '.join(POSTERIORS)}: did you mean diagonal?"),
        ("--posterior=gumbel", f"must be one of {', '.join(POSTERIORS)}"),
        ("--latentdim=3", "Did you mean: latent_dim ?"),
    ],
)
def test_a_mistyped_name_is_told_the_nearest(argument, end):
    with pytest.raises(InputError) as caught:
        parse([argument], "t")
    assert caught.value.for_command_line.endswith(end)


@pytest.mark.parametrize(
    ("argument", "status"), [("--help", 0), ("--latent_dim=0", 2), ("--laten_dim=2", 2), ("word", 2)]
)
def test_help_and_refusals_do_not_wait_for_tensorflow(argument, status):
    done = python("-X", "importtime", "-m", "tfvae.train", argument)
    modules = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == status
    assert "absl" in modules  # the list is one
    assert not modules & {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "numpy"}
