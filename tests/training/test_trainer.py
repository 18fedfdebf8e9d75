"""The trainer, piece by piece: restoring, chunks by the clock, when it saves, what it writes at the end."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from runs import assert_same_values, values

from tfvae.config import Config
from tfvae.config.flagfile import read_config
from tfvae.data.splits import Dataset, Split
from tfvae.errors import InputError, RunError
from tfvae.training import checkpoints, trainer
from tfvae.training.monitor import Monitor
from tfvae.training.strategy import Placement, one_device
from tfvae.training.trainer import Notes, Trainer

CONFIG = Config(  # 12 steps an epoch; of convolutions, for which nobody waits until XLA has compiled them
    dataset="digits", network="conv", filters=(2,), hidden_units=(4,), batch_size=4, epochs=3, eval_samples=3, seed=5
)
EPOCH = 12


def make_dataset(seed=0, validation=20):
    images = np.random.default_rng(seed).integers(0, 256, (50 + validation + 30, 6, 5, 1), dtype=np.uint8)
    parts = np.split(images, [50, 50 + validation])
    return Dataset(*(Split(part, None) for part in parts))


def draw_pictures(vae):
    """One picture of one pixel: it says which weights it is of."""
    mean = vae.decode(np.ones([1, 2], np.float32)).mean.numpy().mean()
    return {"samples": np.full((1, 1, 1), round(mean * 1e4) % 256, np.uint8)}


class Export:
    """Counts its calls; leaves a file in the directory that it returns."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def __call__(self, vae, step, results):
        self.calls.append((vae, step, json.loads(json.dumps(results))))
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder


def make_trainer(folder, dataset=None, placement=None, **settings):
    config = dataclasses.replace(CONFIG, **settings)
    (folder / "run").mkdir(exist_ok=True)
    placement = placement or one_device()
    return Trainer(
        config, dataset or make_dataset(), folder / "run", placement, draw_pictures, Export(folder / "export" / "1")
    )


class Clock:
    """In the place of the module `time`: it goes on by `step_seconds` at each look, or when it is told."""

    def __init__(self, step_seconds=0.0):
        self.now, self.step_seconds = 0.0, step_seconds

    def perf_counter(self):
        self.now += self.step_seconds
        return self.now

    def monotonic(self):
        return self.now


class RecordingMonitor:
    """In the place of `Monitor`: a list of what it was told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append((name, args, options))

    def of(self, name):
        return [args for called, args, _ in self.calls if called == name]


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
    with pytest.raises(InputError, match=f"must be the images that {tmp_path / 'run'} was made with: they changed"):
        make_trainer(tmp_path, make_dataset(seed=1)).restore()


def test_restored_it_goes_on_as_one_that_was_not_stopped(tmp_path):
    folders = [tmp_path / name for name in ("broken", "unbroken")]
    for folder in folders:
        folder.mkdir()
    first, unbroken = (make_trainer(folder) for folder in folders)
    first.run_chunk()
    first.save()
    broken = make_trainer(folders[0])
    broken.restore()
    for made in (broken, unbroken):
        while made.step < 2 * EPOCH:
            made.run_chunk()
    assert_same_values(broken.state, unbroken.state)
    np.testing.assert_allclose(broken.notes.elbo, unbroken.notes.elbo, rtol=1e-6)


# Chunks.


def test_a_chunk_is_a_second_s_work_and_never_more_than_the_rest_of_its_epoch(tmp_path, monkeypatch):
    made = make_trainer(tmp_path)
    made.monitor = RecordingMonitor()
    clock = Clock(step_seconds=5.0)
    monkeypatch.setattr(trainer, "time", clock)
    made.run_chunk()  # 10 steps, whose speed is not known before, took 5 s
    assert (made.step, made.chunk) == (10, 2)
    clock.step_seconds = 0.25
    made.run_chunk()  # 2 steps to the epoch's end took a quarter of a second
    assert (made.step, made.chunk) == (12, 8)
    made.run_chunk()
    assert (made.step, made.chunk) == (20, 32)
    made.run_chunk()  # 32 would be into the next epoch
    assert (made.step, made.chunk) == (24, 16)
    clock.step_seconds = 1e9
    made.run_chunk()
    assert (made.step, made.chunk) == (36, 1)
    assert made.notes.seconds == 5 + 3 * 0.25 + 1e9
    speeds = [scalars["images_per_second"] for part, scalars, _ in made.monitor.of("scalars") if part == "train"]
    np.testing.assert_allclose(speeds, [10 * 4 / 5, 2 * 4 / 0.25, 8 * 4 / 0.25, 4 * 4 / 0.25, 12 * 4 / 1e9])
    assert [step for _, _, step in made.monitor.of("scalars")] == [10, 12, 20, 24, 36]
    assert [count for count, *_ in made.monitor.of("advance")] == [10, 2, 8, 4, 12]


def test_the_learning_rate_that_is_shown_is_the_schedule_s(tmp_path):
    made = make_trainer(tmp_path, lr_schedule="1:0.5", learning_rate=0.25)
    made.monitor = RecordingMonitor()
    while made.step < 2 * EPOCH:
        made.run_chunk()
    rates = {step: scalars["learning_rate"] for _, scalars, step in made.monitor.of("scalars")}
    assert rates[10] == 0.25 and rates[24] == 0.125


def test_the_pictures_before_the_first_step_are_of_the_weights_that_training_starts_from(tmp_path):
    made = make_trainer(tmp_path)
    start = values(made.state)
    made.monitor = RecordingMonitor()
    made.run_chunk()
    made.run_chunk()
    [(vae, step), *_] = made.monitor.of("pictures")
    assert step == 0 and [step for _, step in made.monitor.of("pictures")].count(0) == 1
    for variable in vae.variables:
        np.testing.assert_array_equal(variable, start[variable.path], err_msg=variable.path)


def test_a_loss_that_is_not_finite_ends_the_run_and_says_what_is_safe(tmp_path):
    made = make_trainer(tmp_path, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(RunError) as caught:
        made.run_chunk()
    assert str(caught.value).startswith("step 1: the loss is not finite, and the same command would end there again")
    assert str(caught.value).endswith(f"; no checkpoint in {tmp_path / 'run'} yet")
    assert made.step == 0  # it is not counted as done


def test_the_notes_hold_the_mean_over_the_epoch_s_steps():
    steps = np.random.default_rng(0).normal(-80, 5, (24, 3))  # ELBO, log-likelihood, KL
    notes = Notes((6, 5, 1), "0")
    for first, last in ((0, 1), (1, 5), (5, 12), (12, 13), (13, 20)):
        means = dict(zip(("elbo", "log_likelihood", "kl"), steps[first:last].mean(axis=0)))
        notes = notes.after(last - first, 0.5, means, EPOCH)
        assert notes.step == last
        of_epoch = steps[(last - 1) // EPOCH * EPOCH : last].mean(axis=0)
        np.testing.assert_allclose([notes.elbo, notes.log_likelihood, notes.kl], of_epoch, rtol=1e-12)
    assert notes.seconds == 2.5 and notes.image_shape == (6, 5, 1)


# The end of an epoch.


def at_the_end_of_epoch(made, epoch):
    made.notes = made.notes._replace(step=epoch * EPOCH)
    made.end_epoch(images_per_second=100.0)


def test_it_saves_when_it_is_time_and_at_the_end(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(trainer, "time", clock)
    made = make_trainer(tmp_path, checkpoint_every=10.0, epochs=5)
    clock.now = 9.9
    at_the_end_of_epoch(made, 1)
    assert checkpoints.steps(made.run_dir) == [] and made.saved_step is None
    clock.now = 10.0
    at_the_end_of_epoch(made, 2)
    assert checkpoints.steps(made.run_dir) == [2 * EPOCH] and made.saved_step == 2 * EPOCH
    clock.now = 19.9
    at_the_end_of_epoch(made, 3)
    assert checkpoints.steps(made.run_dir) == [2 * EPOCH]
    at_the_end_of_epoch(made, 5)  # the last
    assert checkpoints.steps(made.run_dir) == [2 * EPOCH, 5 * EPOCH]


def test_another_worker_than_the_chief_does_not_save(tmp_path):
    made = make_trainer(tmp_path, placement=one_device()._replace(index=1), checkpoint_every=0.0)
    made.save()
    assert not list(made.run_dir.iterdir()) and made.saved_step is None


def test_the_validation_is_of_the_validation_images_and_of_one_draw_each(tmp_path):
    made = make_trainer(tmp_path)
    made.monitor = RecordingMonitor()
    at_the_end_of_epoch(made, 1)
    [(step, elbo, validation, speed, print_line)] = made.monitor.of("end_epoch")
    assert (step, elbo, speed, print_line) == (EPOCH, 0.0, 100.0, True)
    assert validation == made.evaluator.evaluate(made.dataset.validation.images, 1).summary()
    without = make_trainer(tmp_path, make_dataset(validation=0))
    without.monitor = RecordingMonitor()
    at_the_end_of_epoch(without, 1)
    assert without.monitor.of("end_epoch")[0][2] is None


def test_ten_epochs_between_the_start_and_the_end_are_pictured(tmp_path):
    made = make_trainer(tmp_path, epochs=110)
    assert made.pictured_epochs == {0, *range(10, 101, 10), 110}
    made.monitor = RecordingMonitor()
    for epoch in (9, 10, 11):
        at_the_end_of_epoch(made, epoch)
    assert [step for _, step in made.monitor.of("pictures")] == [10 * EPOCH]
    assert [print_line for *_, print_line in made.monitor.of("end_epoch")] == [False, True, False]
    assert make_trainer(tmp_path).pictured_epochs == {0, 1, 2, 3}  # of 3 epochs: each


# The whole.


def test_train_leaves_a_run_whose_numbers_can_be_found_again(tmp_path, capsys):
    made = make_trainer(tmp_path)
    results = made.train()
    assert results == json.loads((made.run_dir / "results.json").read_text())
    assert results["train"]["steps"] == 3 * EPOCH and results["train"]["epochs"] == 3
    speed = 3 * EPOCH * 4 / made.notes.seconds
    np.testing.assert_allclose(results["train"]["images_per_second"], speed)
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
    assert not (made.run_dir / "evaluation").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{made.run_dir}: starts from step 0 of 36 steps; grey values, bernoulli likelihood, seed 5; "
        "ELBO in nats an image"
    )
    assert [line.partition(":")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_another_worker_than_the_chief_writes_nothing(tmp_path, monkeypatch, capsys):
    made = make_trainer(tmp_path, placement=one_device()._replace(index=1))
    monkeypatch.setattr(Trainer, "finish", lambda self: {})
    made.train()
    assert made.step == 3 * EPOCH
    assert not list(made.run_dir.iterdir()) and not (tmp_path / "export").exists()
    assert capsys.readouterr().out == ""


def test_a_stop_in_the_evaluation_says_what_is_safe(tmp_path, monkeypatch, capsys):
    made = make_trainer(tmp_path)
    made.run_chunk()
    made.save()

    def stop(*_, show_progress):
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
    with Monitor(made.run_dir, made.config, 0, made.total_steps, made.draw_pictures) as monitor:
        monitor.pictures(made.state.vae, 0)
    assert [path.name for path in (made.run_dir / "figures").iterdir()] == ["samples.png"]


def test_workers_must_bring_the_same_images_and_flags(tmp_path, monkeypatch):
    facts = {}
    monkeypatch.setattr(Placement, "agree", lambda self, run_dir, brought: facts.update(brought))
    made = make_trainer(tmp_path)
    made.restore()
    assert facts == {"step": 0, "images": make_dataset().fingerprint(), "flags": made.config.settings()}
