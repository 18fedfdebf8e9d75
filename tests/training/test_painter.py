"""The thread that draws pictures: of which weights they are, and what happens to a round that does not end."""

import threading

import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from tfvae.training import painter
from tfvae.training.painter import Painter


class Level:
    """In the place of a VAE: one variable, the grey value of its picture."""

    def __init__(self, level=0):
        self.variables = [tf.Variable(level, dtype=tf.int32)]


class Gate:
    """Draws one picture, when it is opened."""

    def __init__(self):
        self.opened, self.levels = threading.Event(), []

    def __call__(self, vae):
        assert self.opened.wait(60)
        self.levels.append(int(vae.variables[0].numpy()))
        yield "level", np.full((2, 3, 1), self.levels[-1], np.uint8)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()  # its thread ends, whatever the test came to


@pytest.fixture
def make(tmp_path, gate):
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))

    def make_painter(is_stopping=lambda: False):
        return Painter(tmp_path / "figures", writer, Level, gate, is_stopping)

    return make_painter


def drawn(folder):
    return [int(matplotlib.image.imread(path)[0, 0, 0] * 255) for path in (folder / "figures").glob("*.png")]


def test_the_pictures_are_of_the_weights_when_they_were_ordered(tmp_path, make, gate):
    made, vae = make(), Level(40)
    made.paint(vae, 0)
    vae.variables[0].assign(200)  # training goes on meanwhile
    assert drawn(tmp_path) == []
    gate.opened.set()
    made.paint(vae, 5)  # after the round before
    made.close(failed=False)
    assert gate.levels == [40, 200] and drawn(tmp_path) == [200]


def test_rounds_between_the_first_and_the_last_take_their_share_of_the_time_alone(tmp_path, make, gate):
    gate.opened.set()
    made = make()
    made.paint(Level(10), 0)
    made.paint(Level(20), 1)  # nothing has been spent: the first round, which makes much for the first time, counts not
    made._wait()
    assert 0 < made.seconds < 60
    made.seconds, now = 6.0, made.began  # of the processor
    made.began = now - 500  # 500 seconds and a little have gone by, of which 5 may be spent
    made.paint(Level(30), 2)
    made.began = now - 1_000
    made.paint(Level(40), 3)
    made.began = now
    made.paint(Level(50), 4, is_last=True)
    made.close(failed=False)
    assert gate.levels == [10, 20, 40, 50]


def test_the_history_is_drawn_in_every_fourth_round_and_in_the_last(tmp_path, gate):
    writer = tf.summary.create_file_writer(str(tmp_path / "tensorboard"))
    steps = []

    def draw_history(step):
        steps.append(step)
        yield "path", np.zeros((2, 3, 3), np.uint8)

    gate.opened.set()
    made = Painter(tmp_path / "figures", writer, Level, gate, lambda: False, draw_history)
    made.began -= 1e6  # there has been time enough
    for step in range(6):
        made.paint(Level(step), step, is_last=step == 5)
    made.close(failed=False)
    assert steps == [3, 5] and gate.levels == [0, 1, 2, 3, 4, 5]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["level.png", "path.png"]


@pytest.mark.parametrize("after", ["a signal", "a failure"])
def test_a_round_that_does_not_end_is_dropped_whole(tmp_path, make, gate, monkeypatch, after):
    monkeypatch.setattr(painter, "_SECONDS_WHEN_STOPPING", 0.2)
    signals = []
    made = make(lambda: bool(signals))
    made.paint(Level(40), 0)
    if after == "a signal":
        signals.append(15)
    made.close(failed=after == "a failure")
    gate.opened.set()
    made.thread.shutdown(wait=True)
    assert gate.levels == [40] and drawn(tmp_path) == []


def test_after_a_signal_a_round_that_ends_is_kept_and_none_begins(tmp_path, make, gate):
    signals = []
    made = make(lambda: bool(signals))
    made.paint(Level(40), 0)
    signals.append(15)
    gate.opened.set()
    made.paint(Level(200), 5)
    made.close(failed=False)
    assert gate.levels == [40] and drawn(tmp_path) == [40]


def test_a_file_that_can_t_be_written_is_told_to_the_training(tmp_path, make, gate):
    (tmp_path / "figures").write_text("no directory")
    gate.opened.set()
    made = make()
    made.paint(Level(40), 0)
    with pytest.raises(FileExistsError):
        made.paint(Level(40), 5)
    made.paint(Level(40), 5)
    with pytest.raises(FileExistsError):
        made.close(failed=False)


def test_a_file_that_can_t_be_written_does_not_hide_why_the_training_ended(tmp_path, make, gate, capsys):
    (tmp_path / "figures").write_text("no directory")
    gate.opened.set()
    made = make()
    made.paint(Level(40), 0)
    made.close(failed=True)
    assert capsys.readouterr().out.startswith("the last pictures could not be drawn: [Errno 17] File exists")
