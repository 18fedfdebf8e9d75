"""The trainer, piece by piece: what it restores, and what it writes at the end."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from runs import assert_same_values, values
from trainers import EPOCH, make_dataset, make_trainer

from tfvae.config.flagfile import read_config
from tfvae.errors import InputError
from tfvae.training import checkpoints, history, hparams, trainer
from tfvae.training.notes import Notes
from tfvae.training.strategy import Placement, one_device
from tfvae.training.trainer import Trainer

# What is restored.


def test_a_run_without_a_checkpoint_starts_at_step_0(tmp_path):
    made = make_trainer(tmp_path)
    made.restore()
    assert made.step == 0 and made.saved_step is None
    assert (made.epoch_steps, made.total_steps) == (EPOCH, 3 * EPOCH)
    assert made.notes == Notes((6, 5, 1), make_dataset().fingerprint())


def test_a_checkpoint_is_taken_up_with_its_notes(tmp_path):
    first = make_trainer(tmp_path)
    first.run_chunk()
    assert first.step == 10
    first.save()
    again = make_trainer(tmp_path)
    assert (values(again.state)["step"], again.step) == (0, 0)
    again.restore()
    assert again.step == again.saved_step == 10
    assert again.notes == first.notes and again.notes.seconds > 0 and again.notes.elbo < 0
    assert_same_values(again.state, first.state)


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    first = make_trainer(tmp_path)
    first.run_chunk()
    first.save()
    with pytest.raises(InputError, match=f"must be the images that {tmp_path / 'run'} was made with, and these are"):
        make_trainer(tmp_path, make_dataset(seed=1)).restore()


def test_restored_it_goes_on_as_one_that_was_not_stopped(tmp_path):
    dataset = make_dataset(validation=0)
    unbroken = make_trainer(tmp_path, dataset)
    unbroken.run_chunk()
    unbroken.save()
    broken = make_trainer(tmp_path, dataset)
    broken.restore()
    for made in (broken, unbroken):
        while made.step < 2 * EPOCH:
            made.run_chunk()
    assert_same_values(broken.state, unbroken.state)
    np.testing.assert_allclose(broken.notes.elbo, unbroken.notes.elbo, rtol=1e-6)


# The whole.


def test_train_leaves_a_run_whose_numbers_can_be_found_again(tmp_path, capsys):
    made = make_trainer(tmp_path)
    results = made.train()
    assert results == json.loads((made.run_dir / "results.json").read_text())
    assert results["train"]["steps"] == 3 * EPOCH and results["train"]["epochs"] == 3
    images, speeds = 3 * EPOCH * 4, results["train"]
    np.testing.assert_allclose(speeds["images_per_second"], images / made.notes.clock_seconds)
    np.testing.assert_allclose(speeds["compiled_images_per_second"], images / made.notes.seconds)
    assert 0 < speeds["images_per_second"] < speeds["compiled_images_per_second"]
    assert results["train"]["elbo"] == made.notes.elbo
    test = made.evaluator.evaluate(made.dataset.test.images, 3).summary()
    assert results["test"] == test
    assert results["of"]["images"] == 30 and results["of"]["samples"] == 3
    assert results["fingerprint"] == make_dataset().fingerprint()
    assert results["versions"]["tensorflow"] == tf.__version__
    [(vae, step, handed)] = made.export.calls
    assert vae is made.state.vae and step == 3 * EPOCH
    assert handed == {name: value for name, value in results.items() if name != "export"}
    assert results["export"] == str(tmp_path / "export" / "1")
    assert checkpoints.steps(made.run_dir)[-1] == 3 * EPOCH
    assert read_config(made.run_dir) == dataclasses.replace(made.config, run_dir=str(made.run_dir))
    assert (made.run_dir / "figures" / "samples.png").exists()
    assert (made.run_dir / "tensorboard" / "test" / hparams.FILE_NAME).exists()
    assert not (made.run_dir / "evaluation").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{made.run_dir}: starts from step 0 of 36 steps; grey values, bernoulli likelihood, seed 5; "
        "ELBO in nats an image"
    )
    assert [line.partition(":")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_another_worker_than_the_chief_writes_nothing(tmp_path, monkeypatch, capsys):
    made = make_trainer(tmp_path, make_dataset(validation=0), placement=one_device()._replace(index=1))
    monkeypatch.setattr(Trainer, "finish", lambda self: {})
    made.train()
    assert made.step == 3 * EPOCH
    assert not list(made.run_dir.iterdir()) and not (tmp_path / "export").exists()
    assert capsys.readouterr().out == ""


def test_a_stop_in_the_evaluation_says_what_is_safe(tmp_path, monkeypatch, capsys):
    made = make_trainer(tmp_path)
    made.run_chunk()
    made.save()

    def stop(*_, **options):
        raise SystemExit(143)

    monkeypatch.setattr(trainer.evaluation, "evaluate_run", stop)
    with pytest.raises(SystemExit, match="143"):
        made.finish()
    assert capsys.readouterr().out == (
        f"stopped in the evaluation; the checkpoint of step 10 is safe in {made.run_dir}: the same command goes on "
        "from there, and with its finished images\n"
    )
    assert not made.export.calls and not (made.run_dir / "results.json").exists()


def test_the_monitor_draws_the_pictures_that_the_trainer_was_handed(tmp_path):
    made = make_trainer(tmp_path)
    with made.make_monitor() as monitor:
        monitor.pictures(made.state.vae, 0)
    assert [path.name for path in (made.run_dir / "figures").iterdir()] == ["samples.png"]


def test_workers_must_bring_the_same_images_and_flags(tmp_path, monkeypatch):
    facts = {}
    monkeypatch.setattr(Placement, "agree", lambda self, run_dir, brought: facts.update(brought))
    made = make_trainer(tmp_path)
    made.restore()
    flags = {**made.config.settings(), "validate_every": 1}
    assert facts == {"step": 0, "images": make_dataset().fingerprint(), "flags": flags, "network": None}


# A signal in a validation.


@pytest.mark.slow
def test_a_signal_is_heard_within_a_validation_and_the_next_start_makes_it(tmp_path, monkeypatch):
    """As many rows and the same figures as a run that was never stopped; the validation is of two blocks."""
    folders = [tmp_path / name for name in ("stopped", "whole")]
    for folder in folders:
        folder.mkdir()
    dataset = make_dataset(validation=300)
    whole = make_trainer(folders[1], dataset)
    whole.train()
    stopped = make_trainer(folders[0], dataset)
    finished_blocks = []

    def hear_signals(self):
        in_validation = self.step == 2 * EPOCH
        finished_blocks.append(in_validation)
        return in_validation

    monkeypatch.setattr(Trainer, "_hear_signals", hear_signals)
    monkeypatch.setattr(Trainer, "finish", lambda self: {})
    stopped.train()
    assert stopped.step == stopped.saved_step == 2 * EPOCH and stopped.notes.end_is_due
    assert finished_blocks.count(True) == 2  # after the first of the two blocks, and in the loop
    assert len(history.read(stopped.run_dir)["step"]) == 1
    monkeypatch.undo()
    again = make_trainer(folders[0], dataset)
    again.train()
    assert not again.notes.end_is_due
    rows, expected = (history.read(made.run_dir) for made in (again, whole))
    for column, values_of_epochs in expected.items():  # means of an epoch's parts are summed in other groups
        np.testing.assert_allclose(rows[column], values_of_epochs, rtol=1e-6, err_msg=column)
    assert_same_values(again.state, whole.state)


def test_a_run_directory_that_is_removed_does_not_come_back_by_halves(tmp_path):
    made = make_trainer(tmp_path)
    made.run_chunk()
    made.run_dir.rmdir()
    with pytest.raises(FileNotFoundError):
        made.save()
    assert not made.run_dir.exists()
