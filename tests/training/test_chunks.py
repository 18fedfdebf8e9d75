"""The trainer's chunks: how long they are, what is shown of each, and what happens at the ends of epochs."""

import numpy as np
import pytest
from trainers import EPOCH, Clock, NoSteps, RecordingMonitor, TimedProgram, make_dataset, make_trainer, values_of

from tfvae.errors import RunError
from tfvae.training import checkpoints, history, notes, trainer
from tfvae.training.history import History
from tfvae.training.notes import Notes
from tfvae.training.painter import Painter
from tfvae.training.step import EpochMeans
from tfvae.training.strategy import one_device


@pytest.fixture
def timed(tmp_path, monkeypatch):
    """A function: a trainer whose calls of compiled steps take the clock's time alone; only `real` ones are made."""

    def make(real=False, **settings):
        clock = Clock()
        for module in (trainer, notes):
            monkeypatch.setattr(module, "time", clock)
        made = make_trainer(tmp_path, **settings)
        made.program = TimedProgram(made.program if real else NoSteps(made.epoch_steps), clock, seconds=5.0)
        made.monitor = RecordingMonitor()
        return made

    return make


def test_a_chunk_is_a_second_s_work_and_not_more_than_the_rest_of_an_epoch_with_a_validation(timed):
    made = timed()
    made.run_chunk()  # 10 steps, whose speed is not known before, took 5 s
    assert (made.step, made.chunk) == (10, 2)
    made.program.seconds = 0.25
    made.run_chunk()  # 2 steps to the epoch's end took a quarter of a second
    assert (made.step, made.chunk) == (12, 8)
    made.run_chunk()
    assert (made.step, made.chunk) == (20, 32)
    made.run_chunk()  # 32 would be into the next epoch
    assert (made.step, made.chunk) == (24, 16)
    made.program.seconds = 1e9
    made.run_chunk()
    assert (made.step, made.chunk) == (36, 1)
    assert made.notes.seconds == 5 + 3 * 0.25 + 1e9
    assert [step for _, _, step in made.monitor.of("scalars")] == [10, 12, 20, 24, 36]
    assert [count for count, *_ in made.monitor.of("advance")] == [10, 2, 8, 4, 12]


def test_a_chunk_goes_over_epochs_to_the_end_of_one(timed):
    made = timed(epochs=40, validate_every=10, batch_size=16)  # 3 steps an epoch
    made.program.seconds = 0.5
    made.run_chunk()  # 10 steps would end within the fourth epoch
    assert (made.step, made.chunk) == (9, 18)
    made.run_chunk()
    assert (made.step, made.chunk) == (27, 36)
    made.run_chunk()  # the tenth epoch ends with a validation
    assert (made.step, made.chunk) == (30, 6)
    made.run_chunk()
    assert made.step == 36
    assert [step for _, step in made.monitor.of("validation")] == [30]
    made.chunk = 2
    made.run_chunk()  # less than an epoch
    assert made.step == 38


def test_the_speed_that_is_shown_is_by_the_clock_and_that_of_compiled_steps_beside_it(timed):
    made = timed(validate_every=3)
    made.run_chunk()  # 10 steps of 4 images in 5 s
    made.program.clock.now += 3  # of anything else
    made.program.seconds = 1.0
    made.run_chunk()  # 2 steps
    of_train = [scalars for part, scalars, _ in made.monitor.of("scalars")]
    np.testing.assert_allclose([scalars["images_per_second"] for scalars in of_train], [40 / 5, 8 / 4])
    np.testing.assert_allclose([scalars["compiled_images_per_second"] for scalars in of_train], [40 / 5, 8 / 1])
    assert (made.notes.seconds, made.notes.clock_seconds) == (6, 9)


@pytest.mark.slow
def test_each_epoch_of_a_chunk_has_its_row(timed, tmp_path):
    rows = {}
    for name, chunk in (("one by one", 3), ("together", 24)):
        made = timed(real=True, epochs=9, validate_every=4, batch_size=16)  # 3 steps an epoch
        made.history = History(made.run_dir, 0)
        while made.step < made.total_steps:
            made.chunk = chunk
            made.run_chunk()
        rows[name] = history.read(made.run_dir)
    assert rows["together"]["epoch"] == list(range(1, 10)) and rows["together"]["step"] == list(range(3, 28, 3))
    validated = [epoch for epoch, elbo in zip(range(1, 10), rows["together"]["val_elbo"]) if elbo is not None]
    assert validated == [4, 8, 9]  # the last one has one too
    for name, column in rows["one by one"].items():
        assert rows["together"][name] == column


def test_a_checkpoint_from_before_the_clock_was_noted_takes_its_compiled_seconds(tmp_path):
    made = make_trainer(tmp_path)
    made.run_chunk()
    notes = made.notes._asdict()
    del notes["clock_seconds"]
    checkpoints.save(made.run_dir, made.state.variables(), made.step, notes)
    again = make_trainer(tmp_path)
    again.restore()
    assert again.notes.clock_seconds == again.notes.seconds > 0


def test_the_learning_rate_that_is_shown_is_the_schedule_s(tmp_path):
    made = make_trainer(tmp_path, make_dataset(validation=0), lr_schedule="1:0.5", learning_rate=0.25)
    made.monitor = RecordingMonitor()
    while made.step < 2 * EPOCH:
        made.run_chunk()
    rates = {step: scalars["learning_rate"] for _, scalars, step in made.monitor.of("scalars")}
    assert rates[10] == 0.25 and rates[24] == 0.125


def test_the_pictures_before_the_first_step_are_of_the_weights_that_training_starts_from(tmp_path, monkeypatch):
    pictured = {}
    monkeypatch.setattr(Painter, "paint", lambda self, vae, step, is_last: pictured.setdefault(step, values_of(vae)))
    made = make_trainer(tmp_path, make_dataset(validation=0))
    start = values_of(made.state.vae)
    made.train()
    assert list(pictured) == [0, EPOCH, 2 * EPOCH, 3 * EPOCH]
    for name, value in start.items():
        np.testing.assert_array_equal(pictured[0][name], value, err_msg=name)


def test_a_loss_that_is_not_finite_ends_the_run_and_says_what_is_safe(tmp_path):
    made = make_trainer(tmp_path, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(RunError) as caught:
        made.run_chunk()
    assert str(caught.value).startswith("step 1: the loss is not finite, and the same command would end there again")
    assert str(caught.value).endswith(f"; no checkpoint in {tmp_path / 'run'} yet")
    assert made.step == 0  # it is not counted as done


def test_the_epochs_before_a_loss_that_is_not_finite_have_their_rows(tmp_path):
    made = make_trainer(tmp_path, epochs=9, validate_every=9, batch_size=16)  # 3 steps an epoch
    made.history = History(made.run_dir, 0)

    class Spoiled:
        def run(self, first, count):
            parts = [EpochMeans(3, {"elbo": -80.0 - i, "log_likelihood": -70.0, "kl": 10.0 + i}) for i in range(3)]
            return parts, 7  # in the third epoch

    made.program, made.chunk = Spoiled(), 9
    with pytest.raises(RunError, match="step 7: the loss is not finite"):
        made.run_chunk()
    assert history.read(made.run_dir)["elbo"] == [-80, -81]
    assert made.step == 0


def test_a_failed_picture_loses_no_checkpoint(tmp_path):
    made = make_trainer(tmp_path, make_dataset(validation=0), checkpoint_every=0.0)
    (made.run_dir / "figures").write_text("no directory")
    with pytest.raises(FileExistsError):
        made.train()
    assert checkpoints.steps(made.run_dir) == [EPOCH]  # whose pictures come upon those of the start


def test_the_notes_hold_the_mean_over_the_epoch_s_steps():
    steps = np.random.default_rng(0).normal(-80, 5, (24, 3))  # ELBO, log-likelihood, KL
    notes = Notes((6, 5, 1), "0")
    for first, last in ((0, 1), (1, 5), (5, 12), (12, 13), (13, 20)):
        terms = dict(zip(("elbo", "log_likelihood", "kl"), steps[first:last].mean(axis=0)))
        notes = notes.after(EpochMeans(last - first, terms), EPOCH)
        assert notes.step == last
        of_epoch = steps[(last - 1) // EPOCH * EPOCH : last].mean(axis=0)
        np.testing.assert_allclose([notes.elbo, notes.log_likelihood, notes.kl], of_epoch, rtol=1e-12)
    assert notes.image_shape == (6, 5, 1)


# The end of an epoch.


def at_the_end_of_epoch(made, epoch):
    made.notes = made.notes._replace(step=epoch * EPOCH)
    made.end_epochs([made.notes])


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
    validation = made.evaluator.evaluate(made.dataset.validation.images, 1).summary()
    assert made.monitor.of("validation") == [(validation, EPOCH)]
    assert made.monitor.of("advance_validation") == [(20, 20, EPOCH)]
    assert made.monitor.of("end_epoch") == [(EPOCH, 0.0, False)]
    without = make_trainer(tmp_path, make_dataset(validation=0))
    without.monitor = RecordingMonitor()
    at_the_end_of_epoch(without, 1)
    assert not without.monitor.of("validation")
    at_the_end_of_epoch(without, 3)
    assert without.monitor.of("end_epoch") == [(EPOCH, 0.0, False), (3 * EPOCH, 0.0, True)]


@pytest.mark.parametrize(
    ("epochs", "validate_every", "validated"),
    [(5, None, [1, 2, 3, 4, 5]), (5, 2, [2, 4, 5]), (5, 7, [5]), (500, None, [3, 6])],
)
def test_the_epochs_with_a_validation(tmp_path, epochs, validate_every, validated):
    made = make_trainer(tmp_path, epochs=epochs, validate_every=validate_every)
    made.monitor = RecordingMonitor()
    for epoch in range(1, min(epochs, 6) + 1):
        at_the_end_of_epoch(made, epoch)
    assert [step // EPOCH for _, step in made.monitor.of("validation")] == validated


def test_ten_epochs_between_the_start_and_the_end_are_pictured(tmp_path):
    made = make_trainer(tmp_path, epochs=110)
    assert made.pictured_epochs == {*range(10, 101, 10), 110}
    made.monitor = RecordingMonitor()
    for epoch in (9, 10, 11):
        at_the_end_of_epoch(made, epoch)
    assert [step for _, step in made.monitor.of("pictures")] == [10 * EPOCH]
    assert make_trainer(tmp_path).pictured_epochs == {1, 2, 3}  # of 3 epochs: each


def test_pictures_are_drawn_after_epochs_with_a_validation(tmp_path):
    assert make_trainer(tmp_path, epochs=696).pictured_epochs == {
        *(64, 128, 188, 252, 316, 380, 444, 508, 568, 632),  # multiples of 4
        696,
    }
    assert make_trainer(tmp_path, epochs=100, validate_every=40).pictured_epochs == {40, 80, 100}
    assert make_trainer(tmp_path, epochs=100, validate_every=300).pictured_epochs == {100}
