"""A checkpoint brings back every variable, and no damage to it goes unnoticed or takes the run away."""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from saved_states import DAMAGES, DATA, IMAGE, make_state, notes, save_states, tree, values, without_checksums

from tfvae.errors import InputError, RunError
from tfvae.training.checkpoints import restore, save, steps


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_units": (7, 5, 3)},
        {"hidden_units": ()},
        {"network": "conv", "hidden_units": (5,), "filters": (2, 3)},
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop", "lr_schedule": "cosine", "epochs": 3},
        {"optimizer": "adagrad"},
    ],
    ids=str,
)
def test_restores_every_variable_bit_for_bit(tmp_path: Path, settings: dict[str, Any]) -> None:
    saved = make_state(1, **settings)
    assert len(saved.variables()) == len(saved.vae.variables) + len(saved.optimizer.variables) + 1
    save(tmp_path, saved.variables(), 30, notes(30))
    other = make_state(2, **settings)
    assert values(other).keys() == values(saved).keys()
    assert all(values(other)[name] != value for name, value in values(saved).items())
    assert restore(tmp_path, lambda _: other.variables()) == {**notes(30), "image_shape": list(IMAGE)}
    assert values(other) == values(saved)


def test_adam_has_two_slots_for_each_weight() -> None:
    state = make_state(hidden_units=(7, 5, 3))
    assert len(state.vae.trainable_variables) == len(state.vae.variables) == 2 * 9
    assert len(state.variables()) == 3 * 2 * 9 + 3  # the iteration, the step size, the step


def test_keeps_the_last_three(tmp_path: Path) -> None:
    saved = save_states(tmp_path, 9, 10, 100, 101)
    assert steps(tmp_path) == [10, 100, 101]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["10", "100", "101"]
    state = make_state()
    assert restore(tmp_path, lambda _: state.variables())["step"] == 101
    assert values(state) == saved[101]


def test_names_that_are_no_steps_are_passed_over_and_stay(tmp_path: Path) -> None:
    others = ["²", "٣", "07", "notes", "9" * 19]
    for name in others:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    for name in ("50", "³"):
        (tmp_path / "checkpoints" / name).write_text("a file")
    saved = save_states(tmp_path, 10, 20, 30, 40)
    assert steps(tmp_path) == [20, 30, 40]
    state = make_state()
    assert restore(tmp_path, lambda _: state.variables())["step"] == 40 and values(state) == saved[40]
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {*others, "50", "³", "20", "30", "40"}
    assert not steps(tmp_path / "none")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_newest_is_named_and_passed_over(
    tmp_path: Path, damage: Callable[[Path], Any], capfd: pytest.CaptureFixture
) -> None:
    saved = save_states(tmp_path, 10, 20, 30)
    damage(tmp_path / "checkpoints" / "30")
    state = make_state(4)
    assert restore(tmp_path, lambda _: state.variables())["step"] == 20
    assert values(state) == saved[20]
    printed = capfd.readouterr().out
    assert printed.startswith(f"{tmp_path / 'checkpoints' / '30'} is damaged and passed over (")
    assert printed.count("\n") == 1


def test_a_checkpoint_of_an_older_version_has_no_checksums_of_files(tmp_path: Path) -> None:
    saved = save_states(tmp_path, 10, 20)
    without_checksums(tmp_path / "checkpoints" / "20")
    state = make_state(4)
    assert restore(tmp_path, lambda _: state.variables())["step"] == 20
    assert values(state) == saved[20]


def test_what_else_lies_in_a_checkpoint_does_no_harm(tmp_path: Path) -> None:
    save_states(tmp_path, 10, 20)
    (tmp_path / "checkpoints" / "20" / ".nfs0001").write_text("left by the file system")
    (tmp_path / "checkpoints" / "20" / ".snapshot").mkdir()
    state = make_state(4)
    assert restore(tmp_path, lambda _: state.variables())["step"] == 20


def test_all_damaged(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    save_states(tmp_path, 10, 20, 30)
    for step, name in ((10, "data byte flipped"), (20, "names missing"), (30, "empty directory")):
        DAMAGES[name](tmp_path / "checkpoints" / str(step))
    state = make_state(4)
    before = values(state)
    with pytest.raises(RunError, match=f"none of the checkpoints in {tmp_path / 'checkpoints'} can be read"):
        restore(tmp_path, lambda _: state.variables())
    assert values(state) == before
    assert capfd.readouterr().out.count("is damaged and passed over") == 3


@pytest.mark.parametrize("made", [False, True])
def test_no_checkpoint(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "checkpoints" / ".10.tmp").mkdir(parents=True)
    with pytest.raises(InputError, match="^run_dir=.* that has a checkpoint"):
        restore(tmp_path, lambda _: {})


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"latent_dim": 3}, ["encoder/head/mean_kernel", "[5, 2]", "[5, 3]"]),
        ({"hidden_units": (6,)}, ["encoder/hidden_0/kernel", "[64, 5]", "[64, 6]"]),
        ({"hidden_units": (5, 5)}, ["encoder/hidden_1/kernel", "None", "[5, 5]"]),
        ({"optimizer": "sgd"}, ["None here"]),
    ],
    ids=str,
)
def test_another_model_is_refused(tmp_path: Path, settings: dict[str, Any], named: list[str]) -> None:
    save_states(tmp_path, 10, 20)
    state, before = make_state(4, **settings), tree(tmp_path)
    held = values(state)
    with pytest.raises(InputError) as error:
        restore(tmp_path, lambda _: state.variables())
    assert all(text in str(error.value) for text in ["same model", str(tmp_path / "checkpoints" / "20"), *named])
    assert values(state) == held and tree(tmp_path) == before


def test_leftovers_of_a_killed_save_are_ignored_then_removed(tmp_path: Path) -> None:
    saved = save_states(tmp_path, 10)
    folder = tmp_path / "checkpoints"
    for leftover in (".20.tmp", ".15.tmp"):
        shutil.copytree(folder / "10", folder / leftover)
        (folder / leftover / DATA).write_bytes(b"half")
    state = make_state()
    assert steps(tmp_path) == [10]
    assert restore(tmp_path, lambda _: state.variables())["step"] == 10 and values(state) == saved[10]
    save_states(tmp_path, 20)
    assert sorted(p.name for p in folder.iterdir()) == ["10", "20"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["vae/decoder/pixels/bias", "velocity"])
def test_variables_that_are_not_finite_are_not_saved(tmp_path: Path, part: str, value: float) -> None:
    saved, state = save_states(tmp_path, 10), make_state(2)
    name, variable = next((n, v) for n, v in state.variables().items() if part in n)
    variable.assign(tf.fill(variable.shape, value))
    before = tree(tmp_path)
    with pytest.raises(RunError) as error:
        save(tmp_path, state.variables(), 20, notes(20))
    assert f"step 20: {name} is not finite" in str(error.value) and "step 10 is safe" in str(error.value)
    assert tree(tmp_path) == before
    restore(tmp_path, lambda _: state.variables())
    assert values(state) == saved[10]


def test_write_that_fails_leaves_the_older_checkpoints(tmp_path: Path) -> None:
    saved, state = save_states(tmp_path, 10, 20, 30), make_state(4)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a full disk would
    try:
        with pytest.raises((OSError, tf.errors.OpError, RunError)):
            save(tmp_path, state.variables(), 40, notes(40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps(tmp_path) == [10, 20, 30]
    assert restore(tmp_path, lambda _: state.variables())["step"] == 30 and values(state) == saved[30]
    save(tmp_path, state.variables(), 40, notes(40))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["20", "30", "40"]


def test_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(tmp_path: Path) -> None:
    save_states(tmp_path, 10, 20)
    DAMAGES["data byte flipped"](tmp_path / "checkpoints" / "20")
    (tmp_path / "checkpoints" / "20" / "more").write_text("")
    state = make_state()
    assert restore(tmp_path, lambda _: state.variables())["step"] == 10
    again = make_state(5)
    save(tmp_path, again.variables(), 20, notes(20))
    assert steps(tmp_path) == [10, 20] and not (tmp_path / "checkpoints" / "20" / "more").exists()
    assert restore(tmp_path, lambda _: state.variables())["step"] == 20 and values(state) == values(again)


def test_damaged_newer_checkpoints_never_push_out_the_good_ones(tmp_path: Path) -> None:
    save_states(tmp_path, 10, 20, 30)
    shutil.copytree(tmp_path / "checkpoints" / "30", tmp_path / "checkpoints" / "40")  # killed before it removed 10
    for step in (20, 30, 40):
        DAMAGES["data byte flipped"](tmp_path / "checkpoints" / str(step))
    state = make_state()
    assert restore(tmp_path, lambda _: state.variables())["step"] == 10
    saved = save_states(tmp_path, 15)
    assert restore(tmp_path, lambda _: state.variables())["step"] == 15 and values(state) == saved[15]
