"""Processes that start from another run's weights: one that is killed before its first checkpoint, two replicas."""

import numpy as np
import pytest
from runs import final_state, named_variables, results, train
from test_stopped_processes import CHUNK, finish, started, wait_for

from tfvae.config.flagfile import read_config
from tfvae.training import checkpoints

pytestmark = pytest.mark.slow

EPOCHS = 2
STEPS = 22


@pytest.fixture(scope="module")
def flags(tmp_path_factory, cheap_runs):
    """Of a run that starts from another one's weights."""
    folder = tmp_path_factory.mktemp("source")
    train(folder, epochs=1, optimizer="sgd", learning_rate=0.01)
    source = f"--init_from={folder / 'run'}"
    return ("--dataset=digits", "--hidden_units=16", "--eval_samples=5", f"--epochs={EPOCHS}", source)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, flags):
    """The folder of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert finish(folder, *flags) == 0
    return folder


def test_a_run_that_is_killed_before_its_first_checkpoint_ends_as_an_unbroken_one(tmp_path, flags, unbroken):
    with started(tmp_path, *flags, "--checkpoint_every=1000", moments=[CHUNK]) as process:
        wait_for(process, "^paused")
        process.kill()
        process.wait()
    assert not checkpoints.steps(tmp_path / "run")
    recorded = read_config(tmp_path / "run")
    assert recorded.init_checksum == read_config(unbroken / "run").init_checksum
    assert finish(tmp_path, f"--epochs={EPOCHS}") == 0  # the run has recorded all other flags
    assert final_state(tmp_path) == final_state(unbroken)
    assert results(tmp_path / "run")["test"] == results(unbroken / "run")["test"]


def test_two_replicas_start_from_the_same_weights(tmp_path, flags, unbroken):
    assert finish(tmp_path, *flags, "--logical_cpus=2") == 0
    step, here = named_variables(tmp_path / "run")
    step_of_one, there = named_variables(unbroken / "run")
    assert step == step_of_one == STEPS and here.keys() == there.keys()
    for name, value in there.items():
        np.testing.assert_allclose(here[name], value, rtol=0, atol=1e-5, err_msg=name)
