"""Flags, flagfiles and what a recorded config allows. None of it may wait for TensorFlow."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfvae import config
from tfvae.config import Config, InputError, RunError, WorkerLost, check_resumable, lr_steps, parse, read_flags

ROOT = Path(__file__).parents[1]
MACHINE = {"run_dir", "strategy", "logical_cpus", "start_timeout", "memory_gb"}  # not of the run: not recorded
FREE = MACHINE | {"data_dir", "export_dir", "checkpoint_every"}
DEFAULTS = {
    "dataset": "auto",
    "data_dir": None,
    "binarize": "none",
    "validation_examples": None,
    "network": "mlp",
    "hidden_units": (512,),
    "activation": "relu",
    "dtype": "float32",
    "latent_dim": 2,
    "likelihood": "bernoulli",
    "beta": 1.0,
    "num_samples": 1,
    "batch_size": 128,
    "epochs": None,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "lr_schedule": "constant",
    "clip_norm": 0.0,
    "eval_samples": 200,
    "strategy": "auto",
    "logical_cpus": 1,
    "memory_gb": None,
    "export_dir": "saved_models",
    "run_dir": None,
}
OTHER = {  # a value for each field that isn't its default, as text and as it must be read
    "dataset": ("digits", "digits"),
    "data_dir": ("/data/my sets", "/data/my sets"),
    "binarize": ("stochastic", "stochastic"),
    "validation_examples": ("0", 0),
    "network": ("conv", "conv"),
    "hidden_units": ("300,100", (300, 100)),
    "filters": ("8", (8,)),
    "activation": ("softplus", "softplus"),
    "dtype": ("bfloat16", "bfloat16"),
    "latent_dim": ("20", 20),
    "likelihood": ("gaussian", "gaussian"),
    "sigma": ("0.30000000000000004", 0.1 + 0.2),
    "beta": ("0", 0.0),
    "num_samples": ("50", 50),
    "batch_size": ("20", 20),
    "epochs": ("3280", 3280),
    "optimizer": ("sgd", "sgd"),
    "learning_rate": ("1e-10", 1e-10),
    "adam_epsilon": ("1e-4", 1e-4),
    "lr_schedule": ("200:0.6,350:0.4", "200:0.6,350:0.4"),
    "clip_norm": ("1e3", 1000.0),
    "eval_samples": ("5000", 5000),
    "seed": ("2147483647", 2**31 - 1),
    "strategy": ("mirrored", "mirrored"),
    "logical_cpus": ("4", 4),
    "start_timeout": ("0.5", 0.5),
    "memory_gb": ("0", 0.0),
    "checkpoint_every": ("0.5", 0.5),
    "run_dir": ("runs/a b", "runs/a b"),
    "export_dir": ("out=put", "out=put"),
    "posterior": ("full", "full"),
    "prior": ("mixture", "mixture"),
    "prior_components": ("3", 3),
    "objective": ("iwae", "iwae"),
    "kl": ("monte_carlo", "monte_carlo"),
    "estimator": ("score_function", "score_function"),
    "kl_warmup_epochs": ("2.5", 2.5),
    "free_bits": ("0.25", 0.25),
}
LINKED = {"sigma_floor", "dequantize", "baseline"}  # another value needs other flags too
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


def test_defaults_are_the_documented_ones():
    assert {name: getattr(Config(), name) for name in DEFAULTS} == DEFAULTS


def test_a_config_can_not_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().latent_dim = 3


def test_the_table_of_other_values_has_every_field():
    assert set(OTHER) | LINKED == {field.name for field in dataclasses.fields(Config)}


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
    assert "--hidden_units=\n" in Config(hidden_units=()).to_flags()


TOGETHER = {k: v for k, (_, v) in OTHER.items() if k not in ("objective", "free_bits", "adam_epsilon")}  # others


@pytest.mark.parametrize("other", [{}, TOGETHER, {"objective": "iwae"}, {"free_bits": 0.25}, {"hidden_units": ()}])
def test_to_flags_round_trip(tmp_path, other):
    config = Config(**other)
    path = tmp_path / "config.flags"
    path.write_text(config.to_flags())
    here = {name: getattr(config, name) for name in MACHINE}
    assert Config(**parse([f"--flagfile={path}"], "t"), **here) == config
    assert dataclasses.replace(read_flags(path), **here) == config
    assert read_flags(path).run_dir == str(tmp_path)


def test_to_flags_names_every_field_but_those_of_the_machine():
    here = {name: OTHER[name][1] for name in MACHINE}
    names = [line[2:].split("=")[0] for line in Config(**here).to_flags().splitlines()]
    assert sorted(names) == sorted((set(OTHER) | LINKED) - MACHINE)


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
        ("sigma", "0", "above 0"),
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
        ("activation", "", "relu, tanh, elu, gelu, softplus"),
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
    message = str(caught.value)
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
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message and "ERROR" not in message and "('" not in message


def test_a_bad_flagfile_is_refused(tmp_path):
    path = tmp_path / "bad.flags"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="--flagfile.*must be"):
        parse([f"--flagfile={path}"], "t")
    path.write_text("--latent_dim=3\nsome words\n")
    with pytest.raises(InputError, match="some words"):
        parse([f"--flagfile={path}"], "t")
    path.write_text("--latent_dim=0\n")
    with pytest.raises(InputError, match="--latent_dim=0: must be a whole number"):
        parse([f"--flagfile={path}"], "t")


def test_only_the_named_flags_are_known():
    assert parse(["--run_dir=a"], "t", names=("run_dir",)) == {"run_dir": "a"}
    with pytest.raises(InputError, match="latent_dim"):
        parse(["--latent_dim=3"], "t", names=("run_dir",))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", "2"),
        ("latent_dim", 2.0),
        ("latent_dim", True),
        ("latent_dim", None),
        ("hidden_units", [512]),
        ("hidden_units", 512),
        ("hidden_units", (512.0,)),
        ("filters", ()),
        ("beta", float("nan")),
        ("beta", "1"),
        ("network", None),
        ("dataset", None),
        ("dataset", "a\nb"),
        ("run_dir", Path("x")),
        ("lr_schedule", None),
        ("lr_schedule", 3),
        ("export_dir", None),
    ],
)
def test_a_config_made_in_python_is_checked(name, value):
    with pytest.raises(InputError, match=f"^--{name}=(?s:.*): must be "):
        Config(**{name: value})


def test_lr_steps():
    assert lr_steps("200:0.6,350:0.4") == [(200, 0.6), (350, 0.4)]
    for bad in ("", "5", "5:", ":0.1", "5:0.1:2", "0:0.1", "5:0", "5:-1", "5:inf", "5:0.1,5:0.2", "5:0.1,", "1.5:2"):
        with pytest.raises(ValueError):
            lr_steps(bad)


@pytest.mark.parametrize("name", OTHER)
def test_name_differs_for_other_settings_alone(name):
    same = Config(**{name: OTHER[name][1]}).name() == Config().name()
    assert same == (name in FREE)
    assert (name in Config().settings()) == (name not in FREE)


def test_name_is_one_for_one_config_and_fits_a_path():
    assert Config(latent_dim=7).name() == Config(latent_dim=7).name()
    assert Config(beta=2).name() == Config(beta=2.0).name()
    name = Config(dataset="/my data/faces (old).npz", latent_dim=7).name()
    assert name.startswith("faces_old_-512-7-") or name.startswith("faces_old-512-7-"), name
    assert not set(name) & set("/ ()")


def test_name_of_a_file_is_not_that_of_a_data_set():
    assert Config(dataset="/a/digits.npy").name() != Config(dataset="digits").name()
    assert Config(dataset="/a/x.npy").name() != Config(dataset="/b/x.npy").name()
    assert Config(network="conv", latent_dim=3).name().startswith("auto-conv-3-")


RECORDED = Config(dataset="digits", epochs=5, validation_examples=180, run_dir="runs/a")


def test_resume_with_the_same_settings():
    check_resumable(RECORDED, RECORDED)


@pytest.mark.parametrize("name", sorted(FREE))
def test_resume_with_other_paths_and_intervals(name):
    check_resumable(dataclasses.replace(RECORDED, **{name: OTHER[name][1]}), RECORDED)


@pytest.mark.parametrize("name", sorted(set(OTHER) - FREE - {"dataset", "epochs"}))
def test_resume_with_another_setting_is_refused(name):
    text, value = OTHER[name]
    with pytest.raises(InputError) as caught:
        check_resumable(dataclasses.replace(RECORDED, **{name: value}), RECORDED)
    recorded = dict(line[2:].split("=", 1) for line in RECORDED.to_flags().splitlines())[name]
    message = str(caught.value)
    assert message.startswith("--run_dir=runs/a: ") and f"(there: {recorded})" in message
    assert [f"--{other}=" in message for other in OTHER if other != "run_dir"] == [
        other == name for other in OTHER if other != "run_dir"
    ]


def test_resume_names_all_differences():
    config = dataclasses.replace(RECORDED, latent_dim=3, beta=2.0, dataset="mnist")
    with pytest.raises(InputError) as caught:
        check_resumable(config, RECORDED)
    for part in ("--latent_dim=3 (there: 2)", "--beta=2.0 (there: 1.0)", "--dataset=mnist (there: digits)"):
        assert part in str(caught.value)


def test_resume_epochs():
    check_resumable(dataclasses.replace(RECORDED, epochs=6), RECORDED)
    with pytest.raises(InputError, match=r"--epochs=4 \(there: 5\)"):
        check_resumable(dataclasses.replace(RECORDED, epochs=4), RECORDED)
    cosine = dataclasses.replace(RECORDED, lr_schedule="cosine")
    check_resumable(cosine, cosine)
    with pytest.raises(InputError, match=r"--epochs=6 \(there: 5\)"):
        check_resumable(dataclasses.replace(cosine, epochs=6), cosine)


def test_resume_where_epochs_were_recorded_as_auto():
    with pytest.raises(InputError, match=r"--epochs=5 \(there: auto\)"):  # a config.flags written by hand
        check_resumable(RECORDED, dataclasses.replace(RECORDED, epochs=None))


def test_resume_with_a_file_that_moved():
    here = dataclasses.replace(RECORDED, dataset="/b/x.npy")
    check_resumable(here, dataclasses.replace(RECORDED, dataset="/a/x.npy"))
    with pytest.raises(InputError, match="--dataset=/b/x.npy"):
        check_resumable(here, RECORDED)


def test_read_flags_of_no_run(tmp_path):
    with pytest.raises(InputError, match="--run_dir=.*must be the directory of a run"):
        read_flags(tmp_path / "config.flags")
    (tmp_path / "config.flags").write_text("--latent_dim=many\n")
    with pytest.raises(InputError, match="config.flags: --latent_dim=many: must be"):
        read_flags(tmp_path / "config.flags")


@pytest.mark.parametrize("given", [{}, {"run_dir": None}])
def test_of_run_needs_a_run_directory(given):
    with pytest.raises(InputError, match="--run_dir"):
        config.of_run(given)


def test_of_run_takes_the_recorded_values(tmp_path):
    (tmp_path / "config.flags").write_text(dataclasses.replace(RECORDED, eval_samples=7).to_flags())
    wanted = dataclasses.replace(RECORDED, run_dir=str(tmp_path), eval_samples=7)
    assert config.of_run({"run_dir": str(tmp_path)}) == wanted
    assert config.of_run({"run_dir": str(tmp_path), "eval_samples": 9}) == dataclasses.replace(wanted, eval_samples=9)


def test_of_run_is_of_this_machine_and_not_of_the_one_that_trained(tmp_path):
    there = {name: OTHER[name][1] for name in MACHINE}
    (tmp_path / "config.flags").write_text(dataclasses.replace(RECORDED, **there).to_flags())
    assert config.of_run({"run_dir": str(tmp_path)}) == dataclasses.replace(RECORDED, run_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("--a=b: must be c"), 2, "t: --a=b: must be c\n"),
        (RunError("step 3: no"), 1, "t: step 3: no\n"),
        (WorkerLost("worker 1: gone"), 75, "t: worker 1: gone\n"),
        (None, None, ""),
    ],
)
def test_run_turns_errors_into_a_line_and_a_status(monkeypatch, capsys, error, status, line):
    def main(given):
        assert given == {"latent_dim": 3}
        if error:
            raise error

    monkeypatch.setattr(sys, "argv", ["t", "--latent_dim=3"])
    if status:
        with pytest.raises(SystemExit) as caught:
            config.run(main, "t", "doc")
        assert caught.value.code == status
    else:
        config.run(main, "t", "doc")
    assert capsys.readouterr().err == line


def test_help_names_every_flag_and_its_default(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], "t", "What it does.")
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("What it does.")
    assert all(f"--{name}: " in out for name in (*OTHER, "flagfile"))
    assert "(default: 0.001)" in out and "(default: 512)" in out


@pytest.mark.parametrize(
    ("argument", "status"), [("--help", 0), ("--latent_dim=0", 2), ("--laten_dim=2", 2), ("word", 2)]
)
def test_help_and_refusals_do_not_wait_for_tensorflow(argument, status):
    done = python("-X", "importtime", "-m", "tfvae.train", argument)
    modules = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert done.returncode == status
    assert "absl" in modules  # the list is one
    assert not modules & {"tensorflow", "keras", "tensorflow_datasets", "matplotlib", "numpy"}


CLASHES = [
    ("kl", {"kl": "analytic", "posterior": "laplace"}),
    ("kl", {"kl": "analytic", "posterior": "logistic"}),
    ("kl", {"kl": "analytic", "prior": "mixture"}),
    ("kl", {"kl": "monte_carlo", "objective": "iwae"}),
    ("beta", {"beta": 2.0, "objective": "dreg"}),
    ("kl_warmup_epochs", {"kl_warmup_epochs": 1.0, "objective": "autoencoder"}),
    ("free_bits", {"free_bits": 0.5, "objective": "iwae"}),
    ("free_bits", {"free_bits": 0.5, "posterior": "full"}),
    ("free_bits", {"free_bits": 0.5, "kl": "monte_carlo"}),
    ("free_bits", {"free_bits": 0.5, "prior": "mixture"}),
    ("free_bits", {"free_bits": 0.5, "estimator": "score_function"}),
    ("estimator", {"estimator": "score_function", "objective": "iwae"}),
    ("baseline", {"baseline": "leave_one_out"}),
    ("baseline", {"baseline": "leave_one_out", "estimator": "score_function", "num_samples": 1}),
    ("num_samples", {"num_samples": 2, "objective": "autoencoder"}),
    ("prior", {"prior": "normal", "objective": "autoencoder"}),
    ("dequantize", {"dequantize": True}),
    ("dequantize", {"dequantize": True, "likelihood": "gaussian", "binarize": "threshold"}),
    ("adam_epsilon", {"adam_epsilon": 1e-4, "optimizer": "adagrad"}),
    ("sigma_floor", {"sigma_floor": 0.1, "likelihood": "gaussian"}),
    ("logical_cpus", {"logical_cpus": 2, "strategy": "one_device"}),
    ("logical_cpus", {"logical_cpus": 2, "strategy": "multi_worker"}),
]


@pytest.mark.parametrize("name, options", CLASHES, ids=[" ".join(f"{k}={v}" for k, v in o.items()) for _, o in CLASHES])
def test_combinations_that_make_no_sense_are_refused_with_a_reason(name, options):
    with pytest.raises(InputError) as caught:
        Config(**options)
    line = str(caught.value)
    assert line.startswith(f"--{name}=") and "\n" not in line and "must" in line.partition(": ")[2]


@pytest.mark.parametrize("posterior", ["isotropic", "diagonal", "full", "laplace", "logistic"])
@pytest.mark.parametrize("prior", ["standard", "normal", "mixture"])
def test_the_kl_is_closed_exactly_between_normals(posterior, prior):
    closed = posterior not in ("laplace", "logistic") and prior != "mixture"
    assert Config(posterior=posterior, prior=prior).closed_kl == closed
    assert not Config(posterior=posterior, prior=prior, kl="monte_carlo").closed_kl
