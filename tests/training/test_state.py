"""The state of training: its variables, optimizers and learning rates."""

import keras
import numpy as np
import pytest
from runs import IMAGES, OPTIONS, assert_same_values, run_program

from tfvae.config import Config
from tfvae.training.state import create_state, make_learning_rate, make_optimizer, steps_per_epoch
from tfvae.training.step import mean_of_parts


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5] * 12),
        ("1:0.5,3:0.1", [0.5] * 3 + [0.25] * 6 + [0.05] * 3),
        ("cosine", [0.25 * (1 + np.cos(np.pi * t / 12)) for t in range(12)]),
    ],
)
def test_learning_rate_schedules(schedule, expected):
    rate = make_learning_rate(Config(**OPTIONS, lr_schedule=schedule, learning_rate=0.5), epoch_steps=3)
    rates = [float(rate(t)) if callable(rate) else rate for t in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("examples", "steps"), [(50, 3), (48, 3), (47, 2), (16, 1)])
def test_an_epoch_is_of_whole_batches(examples, steps):
    assert steps_per_epoch(Config(**OPTIONS), examples) == steps


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", keras.optimizers.Adam),
        ("sgd", keras.optimizers.SGD),
        ("rmsprop", keras.optimizers.RMSprop),
        ("adagrad", keras.optimizers.Adagrad),
    ],
)
def test_the_optimizer_is_the_one_that_is_named(name, kind):
    optimizer = make_optimizer(Config(**OPTIONS, optimizer=name, learning_rate=0.25), epoch_steps=3)
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == 0.25


def test_adam_has_the_epsilon_that_is_set():
    assert make_optimizer(Config(**OPTIONS, adam_epsilon=1e-3), epoch_steps=3).epsilon == 1e-3


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adagrad"])
def test_every_optimizer_raises_the_elbo_and_keeps_its_state_among_the_variables(optimizer, without_xla):
    state, results = run_program([(0, 3)] + [(3, 3)] * 40, optimizer=optimizer, learning_rate=0.003)
    assert mean_of_parts(results[-1][0])["elbo"] > mean_of_parts(results[0][0])["elbo"] + 0.1
    names = set(state.variables())
    assert isinstance(state.optimizer, keras.optimizers.Optimizer)
    assert len(names) == len(state.vae.variables) + len(state.optimizer.variables) + 1


def test_a_new_state_is_built_and_its_weights_are_those_of_the_seed():
    first, again, other = (create_state(Config(**OPTIONS, seed=seed), IMAGES.shape[1:], 50) for seed in (1, 1, 2))
    assert first.step == 0 and first.step.dtype == "int64"
    assert len(first.optimizer.variables) == 2 + 2 * len(first.vae.trainable_variables)  # Adam's slots are there
    assert_same_values(first, again)
    kernels = [(v, w) for v, w in zip(first.vae.variables, other.vae.variables) if v.path.endswith("hidden_0/kernel")]
    assert len(kernels) == 2
    for ours, theirs in kernels:
        assert (ours.numpy() != theirs.numpy()).any()
