"""What is told of the time that a training will take; the clock is the test's."""

from datetime import datetime

import pytest
from trainers import Clock, NoSteps, TimedProgram, make_dataset, make_trainer

from tfvae.config import Config
from tfvae.training import forecast, notes, trainer
from tfvae.training.forecast import Forecast

NOON = datetime(2026, 11, 27, 12, 0).timestamp()  # of the machine's own time zone, as the line has it
CONFIG = Config(dataset="digits", epochs=40, batch_size=50).as_usual()  # 10 steps an epoch
STEPS = 400


class ClockOfDay(Clock):
    """Its perf_counter begins at 0, its time at noon."""

    def time(self):
        return NOON + self.now


@pytest.fixture
def clock(monkeypatch):
    clock = ClockOfDay()
    monkeypatch.setattr(forecast, "time", clock)
    return clock


def test_the_rest_is_told_once_after_five_seconds_by_the_whole_clock(clock):
    told = Forecast(CONFIG, 0, STEPS)
    clock.now = 4.9
    assert told.read(20) is None
    clock.now = 50.0  # 25 steps, and whatever else: 2 s a step, and 375 steps remain
    assert told.read(25) == (
        "training will take about 12 minutes more, until 12:13 (epochs 3 to 40, 25 images/s); "
        "a run of fewer --epochs takes less"
    )
    clock.now = 500.0
    assert told.read(30) is None


def test_a_training_that_patience_may_end_takes_at_most_so_long(clock):
    told = Forecast(Config(dataset="digits", epochs=40, batch_size=50, patience=3).as_usual(), 0, STEPS)
    clock.now = 50.0
    assert told.read(25).endswith("(epochs 3 to 40, 25 images/s); --patience may end it earlier")


def test_what_remains_half_a_minute_is_not_told_then_nor_later(clock):
    told = Forecast(CONFIG, 0, STEPS)
    clock.now = 5.0
    assert told.read(60) is None  # 28.3 s
    clock.now = 4000.0
    assert told.read(70) is None


def test_a_process_that_goes_on_counts_its_own_steps(clock):
    told = Forecast(CONFIG, 390, STEPS)
    clock.now = 6.0
    assert told.read(391) == (
        "training will take about 55 seconds more, until 12:01 (epoch 40, 8 images/s); "
        "a run of fewer --epochs takes less"
    )


def test_an_end_on_another_day_has_its_date(clock):
    told = Forecast(CONFIG, 0, STEPS)
    clock.now = 360.0
    assert "about 39.9 hours more, until 2026-11-29 04:00 " in told.read(1)


def test_what_compiles_is_not_counted(clock):
    told = Forecast(CONFIG, 0, STEPS)
    clock.now = 100.0  # of the program
    told.begin(0)
    clock.now = 104.0
    assert told.read(10) is None
    clock.now = 120.0  # of the first validation
    told.after_validation(10)
    clock.now = 122.0
    assert told.read(20) is None
    told.after_validation(20)  # one like all others
    clock.now = 125.0  # 0.25 s a step: 92.5 s
    assert "about 2 minutes more" in told.read(30)


def test_what_remains_is_known_at_any_time_after_the_first_seconds(clock):
    told = Forecast(CONFIG, 0, STEPS)
    clock.now = 4.9
    assert told.remaining_seconds(20) is None
    clock.now = 50.0
    assert told.remaining_seconds(25) == 375 * 2.0
    told.after_validation(25)
    clock.now = 80.0  # until there are more steps, those before tell it
    assert told.remaining_seconds(25) == 375 * 2.0
    clock.now = 110.0  # 20 steps since the validation, in 60 s
    assert told.remaining_seconds(45) == 355 * 3.0


def test_rows_are_no_images(clock):
    told = Forecast(CONFIG, 0, STEPS, "rows")
    clock.now = 50.0
    assert "(epochs 3 to 40, 25 rows/s)" in told.read(25)


def test_a_training_tells_it_above_the_first_epoch_s_line(tmp_path, monkeypatch, capsys, clock):
    for module in (trainer, notes):
        monkeypatch.setattr(module, "time", clock)
    made = make_trainer(tmp_path, make_dataset(validation=0), epochs=4)  # 12 steps an epoch
    made.program = TimedProgram(NoSteps(12), clock, seconds=12.0)
    monkeypatch.setattr(type(made), "finish", lambda self: {})
    made.train()
    lines = capsys.readouterr().out.splitlines()
    # 10 steps in 12 s; the call that compiled took 12 s too
    assert lines[1] == (
        "training will take about 45 seconds more, until 12:01 (epochs 1 to 4, 3 images/s); "
        "a run of fewer --epochs takes less"
    )
    assert lines[2].startswith("epoch 1/4:") and not any("will take" in line for line in lines[2:])
