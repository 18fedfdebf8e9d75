"""`--profile_steps`: where the trace begins and ends, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf
from trainers import CONFIG, EPOCH, make_trainer

from tfvae.errors import InputError
from tfvae.training import profile
from tfvae.training.strategy import Placement, one_device


@pytest.fixture
def traced(monkeypatch):
    """What was asked of TensorFlow's profiler, in the place of a trace."""
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append(("start", folder)))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append(("stop",)))
    return calls


@pytest.mark.parametrize(("first", "last"), [(0, 3), (5, 7), (10, 30), (34, 36)])
def test_a_trace_is_of_its_steps_whole_and_of_no_others(tmp_path, traced, first, last, capsys):
    made = make_trainer(tmp_path, profile_steps=(first, last))
    run = made.program.run

    def recorded(start, count):
        traced.append((start, start + count))
        return run(start, count)

    made.program.run = recorded
    made.train()
    begin, end = ([call[0] for call in traced].index(name) for name in ("start", "stop"))
    steps = [call for call in traced[begin + 1 : end] if call[0] != call[1]]
    assert steps[0][0] == first and steps[-1][1] == last
    assert all(a[1] == b[0] for a, b in zip(steps, steps[1:]))
    assert [call[0] for call in traced].count("start") == 1
    folder = tmp_path / "run" / "tensorboard" / "train"
    assert traced[begin] == ("start", str(folder))
    assert f"profile of steps {first} to {last}: {folder}" in capsys.readouterr().out


class TwoWorkers(Placement):
    """Both workers are this process; the other one's chunk and signals are `of_other`."""

    of_other = (5, 0)

    def all_gather(self, value):
        return np.array([value, self.of_other] if self.chief else [self.of_other, value])


def test_all_workers_make_the_chief_s_chunks_also_where_it_alone_traces(tmp_path):
    strategy = one_device().strategy
    chief = make_trainer(tmp_path, placement=TwoWorkers(strategy, 1), profile_steps=(2, 7))
    chief.chunk = 9
    assert not chief._hear_signals() and chief._next_count() == 2
    other = make_trainer(tmp_path, placement=TwoWorkers(strategy, 1, 1), profile_steps=(2, 7))
    other.chunk = 9
    assert not other._hear_signals() and other._next_count() == 5
    assert other.profile is None


def test_a_training_that_ends_within_a_trace_ends_it(tmp_path, traced):
    made = make_trainer(tmp_path, profile_steps=(4, 3 * EPOCH), epochs=3, patience=1, learning_rate=1e-30)
    made.train()
    assert made.step == 2 * EPOCH and [call[0] for call in traced] == ["start", "stop"]


@pytest.mark.parametrize("named", [True, False])
def test_how_to_look_is_said(monkeypatch, named):
    monkeypatch.setattr(profile.importlib.util, "find_spec", lambda name: name == "xprof" and named)
    assert ("pip install" in profile._how_to_look()) != named


def test_steps_that_are_none_of_the_run_s_are_refused():
    profile.require_steps((0, 36), CONFIG, 50)
    with pytest.raises(InputError, match="profile_steps=30,37: must be steps of the run, which has 36"):
        profile.require_steps((30, 37), CONFIG, 50)
