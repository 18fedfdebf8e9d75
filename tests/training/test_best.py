"""--keep_best and --patience: which weights are kept, when a training ends, and that stops change nothing of it."""

import itertools
import json
import math
import shutil
import signal

import numpy as np
import pytest
from runs import final_state, named_variables, results, train
from test_stopped_processes import CHUNK, finish, started, wait_for
from trainers import EPOCH, make_trainer

import tfvae
from tfvae import run, trained
from tfvae.errors import InputError, RunError
from tfvae.training import checkpoints, evaluation, history
from tfvae.training.best import Selection
from tfvae.training.notes import Notes
from tfvae.training.trainer import Trainer

# A large step size: the validation ELBO goes up and down.
RESTLESS = {"learning_rate": 0.1, "epochs": 8, "keep_best": True, "validate_every": 1}


@pytest.fixture(scope="module")
def restless_run(tmp_path_factory, cheap_runs):
    """The directory of a run of RESTLESS; for reading."""
    made = tmp_path_factory.mktemp("restless")
    train(made, **RESTLESS)
    return made / "run"


def follow(made, elbos):
    """The notes after validations with these ELBOs, one an epoch, up to where the training stops."""
    notes = Notes((6, 5, 1), "0")
    for epoch, elbo in enumerate(elbos, start=1):
        notes = made.after_validation(notes._replace(step=epoch * EPOCH), elbo)
        if notes.stopped_early:
            break
    return notes


def by_hand(elbos, patience, interval):
    """The best epoch and the last one, as the words say it."""
    best = None
    for epoch, elbo in enumerate(elbos, start=1):
        if epoch % interval:
            continue
        if best is None or elbo > elbos[best - 1]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch, True
    return best, len(elbos), False


@pytest.mark.parametrize(("patience", "interval"), [(1, 1), (2, 1), (3, 2), (100, 1)])
def test_the_best_and_the_end_of_all_orders_of_five_validations(tmp_path, patience, interval):
    config = tfvae.Config(patience=patience, validate_every=interval, epochs=5)
    for elbos in itertools.product([-3.0, -2.0, -1.0], repeat=5):
        notes = follow(Selection(tmp_path, config, None, EPOCH), elbos)
        best, last, stopped = by_hand(elbos, patience, interval)
        assert (notes.best_step, notes.step, notes.stopped_early) == (best * EPOCH, last * EPOCH, stopped)
        assert notes.best_elbo == elbos[best - 1]


@pytest.mark.parametrize(("warmup", "last"), [(0.0, 3), (2.0, 4), (2.5, 5), (4.0, 6)])
def test_patience_begins_when_the_weight_of_the_kl_has_risen(tmp_path, warmup, last):
    config = tfvae.Config(patience=2, kl_warmup_epochs=warmup, validate_every=1, epochs=9)
    notes = follow(Selection(tmp_path, config, None, EPOCH), [-1.0, *[-2.0] * 8])
    assert (notes.best_step, notes.step, notes.stopped_early) == (EPOCH, last * EPOCH, True)


def test_a_validation_that_is_no_number_is_never_the_best(tmp_path):
    config = tfvae.Config(patience=4, validate_every=1, epochs=5)
    notes = follow(Selection(tmp_path, config, None, EPOCH), [math.nan, -3.0, math.nan, -2.0])
    assert (notes.best_step, notes.best_elbo, notes.stopped_early) == (4 * EPOCH, -2.0, False)


def test_a_run_without_them_knows_no_best(tmp_path):
    notes = follow(Selection(tmp_path, tfvae.Config(epochs=5), None, EPOCH), [-1.0, -2.0])
    assert (notes.best_step, notes.best_elbo, notes.stopped_early) == (None, None, False)


def test_the_best_weights_are_those_of_a_run_that_ended_there(tmp_path, cheap_runs, capsys):
    made = train(tmp_path, **RESTLESS)
    elbos = history.read(tmp_path / "run")["val_elbo"]
    epoch = int(np.argmax(elbos)) + 1
    assert epoch < 8
    best = {"step": 11 * epoch, "epoch": epoch, "validation_elbo": elbos[epoch - 1]}
    assert made["best"] == best and made["train"]["steps"] == 88
    assert f"takes the weights of epoch {epoch} (step {11 * epoch})" in capsys.readouterr().out
    (tmp_path / "shorter").mkdir()
    shorter = train(tmp_path / "shorter", **{**RESTLESS, "epochs": epoch, "keep_best": False})
    assert made["test"] == shorter["test"]
    _, expected = named_variables(tmp_path / "shorter" / "run")
    loaded = tfvae.load(tmp_path / "run")
    assert loaded.step == 11 * epoch and list(checkpoints.best_folders(tmp_path / "run")[0].parent.iterdir())
    for variable in loaded.vae.variables:
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path])
    assert loaded.evaluate()["test"] == made["test"]


def test_another_checkpoint_is_taken_where_it_is_asked_for(tmp_path, restless_run):
    run_dir = tmp_path / "run"
    shutil.copytree(restless_run, run_dir)
    made = json.loads((run_dir / "results.json").read_text())
    assert tfvae.load(run_dir, "best").step == tfvae.load(run_dir).step == made["best"]["step"] < 88
    last = tfvae.load(run_dir, checkpoint="last")
    assert last.step == tfvae.load(run_dir, 88).step == 88
    assert tfvae.load(run_dir, np.int64(made["best"]["step"])).step == made["best"]["step"]
    assert last.evaluate()["of"]["step"] == 88
    with pytest.raises(InputError, match=r"checkpoint=3: must be a step that .*run has kept: \d+, .*88"):
        tfvae.load(run_dir, 3)
    with pytest.raises(InputError, match="checkpoint='first': must be 'auto', 'last', 'best' or the step of"):
        tfvae.load(run_dir, "first")


def test_a_run_that_keeps_no_best_says_so(tmp_path, cheap_runs):
    train(tmp_path, epochs=1)
    assert tfvae.load(tmp_path / "run").step == 11 and not (tmp_path / "run" / "best").exists()
    with pytest.raises(InputError, match="checkpoint=best: must be last or auto: .* was made without keep_best"):
        tfvae.load(tmp_path / "run", "best")


@pytest.mark.parametrize(
    ("settings", "flag"), [({}, None), ({"objective": "iwae"}, "--objective=iwae"), ({"beta": 0.5}, "--beta=0.5")]
)
def test_a_run_that_maximises_something_else_is_told_that_the_elbo_decides(tmp_path, capsys, settings, flag):
    make_trainer(tmp_path, keep_best=True, num_samples=2, **settings).announce()
    out = capsys.readouterr().out
    told = f"go by the validation ELBO, which may fall while the objective of {flag} still rises"
    assert (told in out) if flag else ("advice" not in out)


def test_patience_ends_a_training_where_the_history_of_a_longer_one_says(tmp_path, restless_run, cheap_runs, capsys):
    elbos = history.read(restless_run)["val_elbo"]
    best, last, stopped = by_hand(elbos, 1, 1)
    assert stopped and last < 8
    (tmp_path / "early").mkdir()
    impatient = {**RESTLESS, "patience": 1}
    early = train(tmp_path / "early", **impatient)
    assert early["train"]["stopped_at_epoch"] == last and early["best"]["epoch"] == best
    assert history.read(tmp_path / "early" / "run")["val_elbo"] == elbos[:last]
    for epochs in (8, 20):  # more epochs don't make it more patient
        capsys.readouterr()
        assert train(tmp_path / "early", **{**impatient, "epochs": epochs}) == early
        assert f"is finished: --patience=1 ended it after epoch {last}" in capsys.readouterr().out


def test_more_epochs_find_the_best_that_a_longer_run_finds(tmp_path, cheap_runs):
    """Validations at every third epoch count, and the last one of a run of five does not."""
    longer, raised = ({**RESTLESS, "validate_every": 3, "epochs": epochs} for epochs in (9, 5))
    expected = train(tmp_path, **longer)
    (tmp_path / "raised").mkdir()
    assert train(tmp_path / "raised", **raised)["best"]["epoch"] == 3
    again = train(tmp_path / "raised", **{**raised, "validate_every": None, "epochs": 9})
    assert again["best"] == expected["best"] and again["test"] == expected["test"]


# Stops.


class Killed(BaseException):
    """In the place of a kill: nothing that the trainer does comes after it."""


KILLED = {"learning_rate": 0.1, "epochs": 6, "keep_best": True, "patience": 4, "checkpoint_every": 0.0}


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    """A trainer of KILLED that has come to its end, and its results."""
    whole = make_trainer(tmp_path_factory.mktemp("whole"), **KILLED)
    return whole, whole.train()


@pytest.mark.parametrize("moment", ["best", "checkpoint", "old"])
@pytest.mark.parametrize("call", [1, *(pytest.param(n, marks=pytest.mark.nightly) for n in (2, 3))])
def test_killed_while_it_saves_it_goes_on_to_the_same(tmp_path, monkeypatch, never_killed, moment, call):
    """Before the best weights are written, between these and their checkpoint, before old ones are removed."""
    whole, expected = never_killed
    (tmp_path / "killed").mkdir()
    calls = itertools.count(1)
    places = {"best": (Selection, "save"), "checkpoint": (checkpoints, "save"), "old": (Selection, "remove_old")}
    owner, name = places[moment]
    original = getattr(owner, name)

    def kill(*arguments):
        if next(calls) == call:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            make_trainer(tmp_path / "killed", **KILLED).train()
    again = make_trainer(tmp_path / "killed", **KILLED)
    assert again.train()["test"] == expected["test"]
    assert again.notes.best_step == whole.notes.best_step and again.notes.best_elbo == whole.notes.best_elbo
    assert final_state(tmp_path / "killed") == final_state(whole.run_dir.parent)
    [kept] = checkpoints.best_folders(again.run_dir)
    assert kept.name == str(whole.notes.best_step)
    tensors = kept / "ckpt.data-00000-of-00001", whole.run_dir / "best" / kept.name / "ckpt.data-00000-of-00001"
    assert tensors[0].read_bytes() == tensors[1].read_bytes()


def test_a_signal_in_the_validation_leaves_it_to_the_next_start(tmp_path, monkeypatch):
    settings = {"learning_rate": 0.1, "epochs": 4, "keep_best": True}
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = make_trainer(tmp_path / "whole", **settings)
    whole.train()
    monkeypatch.setattr(Trainer, "finish", lambda self: {})
    original = evaluation.Evaluator.evaluate

    def evaluate(self, images, samples, on_block=None, **options):
        signal.raise_signal(signal.SIGTERM)
        return original(self, images, samples, on_block, **options)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation.Evaluator, "evaluate", evaluate)
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with pytest.raises(RunError, match="stopped by signal 15 at step 12"):
                make_trainer(tmp_path / "stopped", **settings).train()
        finally:
            signal.signal(signal.SIGTERM, before)
    notes = checkpoints.read_notes(tmp_path / "stopped" / "run")
    assert notes["end_is_due"] and notes["best_step"] is None
    again = make_trainer(tmp_path / "stopped", **settings)
    again.train()
    assert again.notes.best_step == whole.notes.best_step and again.notes.best_elbo == whole.notes.best_elbo


def test_where_the_best_is_damaged_an_older_one_or_an_error_is_told(tmp_path, capsys):
    made = make_trainer(tmp_path, learning_rate=0.1, epochs=4, keep_best=True)
    made.train()
    [kept] = checkpoints.best_folders(made.run_dir)
    (kept / "ckpt.index").write_bytes(b"")
    none_is_good = "none of the checkpoints in .*best can be read: the last weights are in .*run, by --checkpoint=last"
    with pytest.raises(RunError, match=none_is_good):
        tfvae.load(made.run_dir)
    assert f"{kept} is damaged and passed over" in capsys.readouterr().out
    assert tfvae.load(made.run_dir, "last").step == 4 * EPOCH


def test_where_the_best_is_gone_the_last_is_not_taken_for_it(tmp_path):
    made = make_trainer(tmp_path, learning_rate=0.1, epochs=2, keep_best=True)
    made.train()
    shutil.rmtree(made.run_dir / "best")
    for checkpoint in ("auto", "best"):
        with pytest.raises(RunError, match="none of the checkpoints in .*best can be read"):
            tfvae.load(made.run_dir, checkpoint)
    with pytest.raises(RunError, match="none of the checkpoints in .*best can be read"):
        make_trainer(tmp_path, learning_rate=0.1, epochs=2, keep_best=True).train()
    with pytest.raises(InputError, match=r"must be a step that .* has kept: (\d+, )*24"):
        tfvae.load(made.run_dir, 7)


def test_figures_say_which_weights_they_are_of_and_an_export_has_its_own(tmp_path, cheap_runs, capsys, monkeypatch):
    made = train(tmp_path, **RESTLESS)
    step, epoch = made["best"]["step"], made["best"]["epoch"]
    assert (made["of"]["step"], made["of"]["weights"]) == (step, "the best weights by validation")
    assert ", seed 0, the best weights by validation, nats per image:" in capsys.readouterr().out
    train(tmp_path, **RESTLESS)
    finished = f"is finished: 8 epochs; the best weights are those of epoch {epoch} (step {step})"
    assert finished in capsys.readouterr().out
    last = tfvae.load(tmp_path / "run", "last").evaluate()
    assert (last["of"]["step"], last["of"]["weights"]) == (88, "not the best weights by validation")
    assert ", not the best weights by validation, nats per image:" in capsys.readouterr().out
    exports = []
    monkeypatch.setattr(run, "export_models", lambda *of_export: exports.append(of_export) or tmp_path / "x" / "1")
    for checkpoint in ("best", "last"):
        trained.export(tfvae.load(tmp_path / "run").config, checkpoint=checkpoint)
    of_best, of_last = ((exported[3], exported[4]) for exported in exports)
    assert of_best == (step, made)
    assert of_last[0] == 88 and "test" not in of_last[1] and of_last[1]["versions"] == made["versions"]


@pytest.mark.slow
def test_two_logical_cpus_find_the_same_best(tmp_path):
    """In processes of their own, with real data, one of them killed on its way."""
    flags = ("--dataset=digits", "--hidden_units=16", "--eval_samples=5", "--keep_best", "--patience=3", "--epochs=12")
    flags += ("--learning_rate=0.05", "--validate_every=1")
    for name, own in {"one": (), "two": ("--logical_cpus=2",)}.items():
        (tmp_path / name).mkdir()
        if name == "two":
            with started(tmp_path / name, *flags, *own, moments=(CHUNK,)) as process:
                wait_for(process, "paused")
                process.kill()
                process.wait()
        finish(tmp_path / name, *flags, *own)
    one, two = (results(tmp_path / name / "run") for name in ("one", "two"))
    assert one["best"]["epoch"] == two["best"]["epoch"]
    np.testing.assert_allclose(one["best"]["validation_elbo"], two["best"]["validation_elbo"], rtol=1e-5)
    np.testing.assert_allclose(one["test"]["elbo"], two["test"]["elbo"], rtol=1e-5)
    assert one["train"].get("stopped_at_epoch") == two["train"].get("stopped_at_epoch")
