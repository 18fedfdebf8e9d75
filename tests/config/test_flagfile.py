"""A run's `config.flags`: written and read again, and under which settings a run may go on."""

import dataclasses

import pytest
from settings import FREE, LINKED, MACHINE, OTHER, RECORDED

from tfvae.config import Config
from tfvae.config.flagfile import check_resumable, read_config, recorded_config, to_flagfile
from tfvae.errors import InputError
from tfvae.flags import parse

WRITTEN_BEFORE = """\
--dataset=/data/my images.npz
--data_dir=/data/sets
--binarize=none
--validation_examples=180
--network=mlp
--hidden_units=
--filters=32,64
--activation=relu
--dtype=float32
--latent_dim=2
--likelihood=gaussian
--sigma=learned
--sigma_floor=0.01
--dequantize=True
--posterior=diagonal
--prior=standard
--prior_components=10
--objective=elbo
--kl=auto
--estimator=reparameterized
--baseline=none
--beta=1.0
--kl_warmup_epochs=0.0
--free_bits=0.0
--num_samples=1
--batch_size=128
--epochs=5
--optimizer=adam
--learning_rate=1e-10
--adam_epsilon=1e-07
--lr_schedule=200:0.6,350:0.4
--clip_norm=0.0
--eval_samples=200
--seed=0
--checkpoint_every=10.0
--export_dir=out=put
"""  # by version 0.1.0, whose runs must go on
APART = ("objective", "free_bits", "adam_epsilon", "labels")  # which don't go with others
TOGETHER = {name: value for name, (_, value) in OTHER.items() if name not in APART}


@pytest.mark.parametrize("other", [{}, TOGETHER, {"objective": "iwae"}, {"free_bits": 0.25}, {"hidden_units": ()}])
def test_to_flagfile_round_trip(tmp_path, other):
    config = Config(**other)
    path = tmp_path / "config.flags"
    path.write_text(to_flagfile(config))
    here = {name: getattr(config, name) for name in MACHINE}
    assert Config(**parse([f"--flagfile={path}"], "t"), **here) == config
    assert dataclasses.replace(read_config(tmp_path), **here) == config
    assert read_config(tmp_path).run_dir == str(tmp_path)


def test_to_flagfile_names_every_field_but_those_of_the_machine():
    here = {name: OTHER[name][1] for name in MACHINE}
    names = [line[2:].split("=")[0] for line in to_flagfile(Config(**here)).splitlines()]
    assert sorted(names) == sorted((set(OTHER) | LINKED) - MACHINE)


LATER_FLAGS = [
    "residual_blocks=1",
    "condition=none",
    "likelihood_components=10",
    "validate_every=auto",
    "keep_best=False",
    "patience=auto",
    "labels=auto",
    "export_name=auto",
    "eval_memory_gb=1.0",
    "image_size=auto",
    "channels=auto",
    "skip_damaged=False",
    "label_column=auto",
    "scale=auto",
    "value_range=auto",
    "missing=refuse",
    "init_from=auto",
    "init_part=all",
    "init_checksum=auto",
]


def test_a_file_of_version_0_1_0_is_read_and_would_be_written_with_a_later_flag_as_well(tmp_path):
    (tmp_path / "config.flags").write_text(WRITTEN_BEFORE)
    config = Config(
        dataset="/data/my images.npz",
        data_dir="/data/sets",
        validation_examples=180,
        network="mlp",
        hidden_units=(),
        filters=(32, 64),
        likelihood="gaussian",
        sigma="learned",
        dequantize=True,
        epochs=5,
        learning_rate=1e-10,
        lr_schedule="200:0.6,350:0.4",
        export_dir="out=put",
        run_dir=str(tmp_path),
    )
    assert read_config(tmp_path) == config
    written = to_flagfile(config)
    for later_flag in LATER_FLAGS:
        assert f"--{later_flag}\n" in written
        written = written.replace(f"--{later_flag}\n", "")
    assert written == WRITTEN_BEFORE


def test_a_file_may_be_edited_by_hand(tmp_path):
    path = tmp_path / "config.flags"
    path.write_text("# mine\n\n// and\n--latent_dim=7  \n--dequantize=false\n--latent_dim=3\n--dataset=a\x0cb\u2028c\n")
    expected = Config(latent_dim=3, dataset="a\x0cb\u2028c", run_dir=str(tmp_path))
    assert read_config(tmp_path) == expected
    assert parse([f"--flagfile={path}"], "t") == {"latent_dim": 3, "dequantize": False, "dataset": "a\x0cb\u2028c"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("some words", "some words: must be --name=value with the name of a flag of tfvae.train"),
        ("--dequantize", "--dequantize: must be --name=value with the name of a flag of tfvae.train"),
        ("-latent_dim=3", "-latent_dim=3: must be --name=value with the name of a flag of tfvae.train"),
        ("--frobnicate=3", "--frobnicate=3: must be --name=value with the name of a flag of tfvae.train"),
        ("--dequantize=maybe", "--dequantize=maybe: must be true or false"),
        ("--latent_dim=0", "--latent_dim=0: must be a whole number from 1 to 65536"),
        ("--latent_dim=", "--latent_dim=: must be a whole number from 1 to 65536"),
        ("--free_bits=1\n--posterior=full", "--free_bits=1.0: must be 0, or the KL closed for each latent by itself: "),
    ],
)
def test_a_line_that_can_not_be_read_is_named(tmp_path, line, reason):
    path = tmp_path / "config.flags"
    path.write_text(f"--latent_dim=3\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_config(tmp_path)
    assert str(caught.value).startswith(f"{path}: {reason}") and "\n" not in str(caught.value)
    assert caught.value.for_command_line == str(caught.value)  # the file holds flags, whoever reads it


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "config.flags").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="config.flags: must be a readable text file: ") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_resume_with_the_same_settings():
    check_resumable(RECORDED, RECORDED)


@pytest.mark.parametrize("name", sorted(FREE - {"init_from"}))
def test_resume_with_other_paths_and_intervals(name):
    check_resumable(dataclasses.replace(RECORDED, **{name: OTHER[name][1]}), RECORDED)


def flags_of(config):
    return dict(line[2:].split("=", 1) for line in to_flagfile(config).splitlines())


@pytest.mark.parametrize("name", sorted(set(OTHER) - FREE - {"dataset", "epochs"}))
def test_resume_with_another_setting_is_refused(name):
    value = OTHER[name][1]
    changed = dataclasses.replace(RECORDED, **{name: value})
    with pytest.raises(InputError) as caught:
        check_resumable(changed, RECORDED)
    flag, recorded = (flags_of(config)[name] for config in (changed, RECORDED))
    message = caught.value.for_command_line
    assert message.startswith("--run_dir=runs/a: ") and f"--{name}={flag} (there: {recorded})" in message
    in_python = str(caught.value)
    assert in_python.startswith("run_dir=runs/a: was made with other settings: ") and "--" not in in_python
    assert f": {name}={value!r} (there: {getattr(RECORDED, name)!r}); must be" in in_python
    named = {other for other in OTHER if f"--{other}=" in message}
    assert named - {"run_dir", "init_from"} == {name}


@pytest.mark.parametrize("name", ["learning_rate", "beta", "batch_size", "seed", "objective"])
def test_resume_with_another_setting_is_pointed_to_init_from_where_the_weights_fit(name):
    changed = dataclasses.replace(RECORDED, **{name: OTHER[name][1]})
    with pytest.raises(InputError, match="; another run_dir with init_from=runs/a starts from the weights") as caught:
        check_resumable(changed, RECORDED)
    assert "; another --run_dir with --init_from=runs/a starts from" in caught.value.for_command_line
    other_network = dataclasses.replace(changed, hidden_units=(7,))
    with pytest.raises(InputError) as caught:
        check_resumable(other_network, RECORDED)
    assert "init_from" not in str(caught.value)


def test_resume_from_the_weights_of_a_run_that_has_moved_but_of_no_other():
    recorded = dataclasses.replace(RECORDED, init_from="runs/b", init_checksum="0123abcd")
    check_resumable(dataclasses.replace(recorded, init_from="elsewhere/b"), recorded)
    for name, other in {"init_checksum": "4567abcd", "init_part": "decoder"}.items():
        with pytest.raises(InputError, match=rf"{name}='{other}' \(there: "):
            check_resumable(dataclasses.replace(recorded, **{name: other}), recorded)


def test_a_run_that_has_begun_without_other_weights_refuses_them():
    with pytest.raises(InputError) as caught:
        check_resumable(dataclasses.replace(RECORDED, init_from="runs/b"), RECORDED)
    assert caught.value.for_command_line == (
        "--init_from=runs/b: must be given with another --run_dir: runs/a was started without it"
    )


def test_resume_names_all_differences():
    config = dataclasses.replace(RECORDED, latent_dim=3, beta=2.0, dataset="mnist")
    with pytest.raises(InputError) as caught:
        check_resumable(config, RECORDED)
    for part in ("--latent_dim=3 (there: 2)", "--beta=2.0 (there: 1.0)", "--dataset=mnist (there: digits)"):
        assert part in caught.value.for_command_line
    for part in ("latent_dim=3 (there: 2)", "beta=2.0 (there: 1.0)", "dataset='mnist' (there: 'digits')"):
        assert part in str(caught.value)


def test_resume_epochs():
    check_resumable(dataclasses.replace(RECORDED, epochs=6), RECORDED)
    with pytest.raises(InputError, match=r" epochs=4 \(there: 5\)"):
        check_resumable(dataclasses.replace(RECORDED, epochs=4), RECORDED)
    cosine = dataclasses.replace(RECORDED, lr_schedule="cosine")
    check_resumable(cosine, cosine)
    with pytest.raises(InputError, match=r" epochs=6 \(there: 5\)"):
        check_resumable(dataclasses.replace(cosine, epochs=6), cosine)


def test_resume_where_epochs_were_recorded_as_auto():
    with pytest.raises(InputError, match=r" epochs=5 \(there: None\)"):  # a config.flags written by hand
        check_resumable(RECORDED, dataclasses.replace(RECORDED, epochs=None))


def test_what_is_left_to_the_data_is_not_compared_before_they_are_read():
    left = dataclasses.replace(RECORDED, dataset="auto", validation_examples=None, epochs=None)
    check_resumable(left, RECORDED)
    for name in ("dataset", "validation_examples"):
        known = dataclasses.replace(left, **{name: OTHER[name][1] if name != "dataset" else "mnist"})
        with pytest.raises(InputError, match=f" {name}=.* \\(there: "):
            check_resumable(known, RECORDED)
    with pytest.raises(InputError) as caught:
        check_resumable(dataclasses.replace(left, latent_dim=3), RECORDED)
    assert "other settings: latent_dim=3 (there: 2); must be" in str(caught.value)


def test_resume_with_a_file_that_moved():
    here = dataclasses.replace(RECORDED, dataset="/b/x.npy")
    check_resumable(here, dataclasses.replace(RECORDED, dataset="/a/x.npy"))
    with pytest.raises(InputError, match=" dataset='/b/x.npy' "):
        check_resumable(here, RECORDED)


def test_a_directory_without_a_readable_config_flags_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"^run_dir={tmp_path}: must be the directory of a run") as caught:
        read_config(tmp_path)
    assert caught.value.for_command_line == f"--{caught.value}"
    (tmp_path / "config.flags").write_text("--latent_dim=many\n")
    with pytest.raises(InputError, match="config.flags: --latent_dim=many: must be"):
        read_config(tmp_path)


@pytest.mark.parametrize("given", [{}, {"run_dir": None}])
def test_recorded_config_needs_a_run_directory(given):
    with pytest.raises(InputError, match="^run_dir: must be given"):
        recorded_config(given)


def test_recorded_config_takes_the_recorded_values(tmp_path):
    (tmp_path / "config.flags").write_text(to_flagfile(dataclasses.replace(RECORDED, eval_samples=7)))
    wanted = dataclasses.replace(RECORDED, run_dir=str(tmp_path), eval_samples=7)
    assert recorded_config({"run_dir": str(tmp_path)}) == wanted
    assert recorded_config({"run_dir": str(tmp_path), "eval_samples": 9}) == dataclasses.replace(wanted, eval_samples=9)


def test_recorded_config_is_of_this_machine_and_not_of_the_one_that_trained(tmp_path):
    there = {name: OTHER[name][1] for name in MACHINE}
    (tmp_path / "config.flags").write_text(to_flagfile(dataclasses.replace(RECORDED, **there)))
    assert recorded_config({"run_dir": str(tmp_path)}) == dataclasses.replace(RECORDED, run_dir=str(tmp_path))
