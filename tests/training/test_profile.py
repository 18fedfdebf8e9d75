"""`--profile_steps`: where the trace begins and ends, and what is refused."""

import pytest
import tensorflow as tf
from trainers import CONFIG, EPOCH, make_trainer

from tfvae.errors import InputError
from tfvae.training import profile


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


def test_a_training_that_ends_within_a_trace_ends_it(tmp_path, traced):
    made = make_trainer(tmp_path, profile_steps=(4, 3 * EPOCH), epochs=3, patience=1, learning_rate=1e-30)
    made.train()
    assert made.step == 2 * EPOCH and [call[0] for call in traced] == ["start", "stop"]


@pytest.mark.parametrize("named", [True, False])
def test_how_to_look_is_said(monkeypatch, named):
    monkeypatch.setattr(profile.importlib.util, "find_spec", lambda name: name == "xprof" and named)
    assert ("pip install" in profile._how_to_look()) != named


def test_steps_that_are_none_of_the_run_s_are_refused():
    profile.require_steps((0, 36), CONFIG, 50, 0)
    with pytest.raises(InputError, match="profile_steps=30,37: must be steps of the run, which has 36"):
        profile.require_steps((30, 37), CONFIG, 50, 0)
    with pytest.raises(InputError, match="profile_steps=11,36: must be steps that are to come: 12 are done"):
        profile.require_steps((11, 36), CONFIG, 50, 12)
